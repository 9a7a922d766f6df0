from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bids_sr.imaging import Volume
from bids_sr.sr import Stack
from bids_sr.sr.together.judgement import Registration
from bids_sr.sr.together.placement import rigid_motion
from bids_sr.sr.together.registration import register


def fitted(fixed: Volume, moving: Volume) -> Registration:
    """Register reconstructions of slices 8 mm apart."""
    return register(fixed, moving, spacing=8.0)


def corners_mm(found: np.ndarray, wanted: np.ndarray, volume: Volume) -> float:
    """Return how far apart two transforms lay the middle half of a volume, on average."""
    ends = [np.array([0.25, 0.75]) * size for size in volume.shape]
    points = np.array(np.meshgrid(*ends)).reshape(3, -1)
    world = volume.affine @ np.vstack([points, np.ones(8)])
    return float(np.linalg.norm(((found - wanted) @ world)[:3], axis=0).mean())


def centre(volume: Volume) -> np.ndarray:
    return (volume.affine @ np.append((np.array(volume.shape) - 1) / 2, 1))[:3]


@pytest.mark.parametrize(
    ("degrees", "mm"),
    [((6, 6, -5), (6, -6, 5)), ((0, 0, 40), (30, 0, 0))],
)
def test_motion_is_recovered(
    planes: list[Stack], degrees: tuple[float, ...], mm: tuple[float, ...]
) -> None:
    fixed, moving = planes[0].reconstruction, planes[1].reconstruction
    motion = rigid_motion(np.deg2rad(degrees), mm, centre(moving))
    elsewhere = Volume(moving.data, motion @ moving.affine)
    fit = fitted(fixed, elsewhere)
    assert fit.believed
    assert corners_mm(fit.to_fixed @ motion, np.eye(4), moving) < 0.3


def test_the_order_and_direction_of_axes_make_no_difference(planes: list[Stack]) -> None:
    fixed, moving = planes[0].reconstruction, planes[2].reconstruction
    turned = np.ascontiguousarray(moving.data.transpose(2, 0, 1)[:, ::-1])
    affine = moving.affine[:, [2, 0, 1, 3]].copy()
    affine[:3, 3] += affine[:3, 1] * (turned.shape[1] - 1)
    affine[:, 1] *= -1
    motion = rigid_motion(np.deg2rad([3, -4, 5]), [4, 3, -5], centre(moving))
    fit = fitted(fixed, Volume(turned, motion @ affine))
    assert corners_mm(fit.to_fixed @ motion, np.eye(4), moving) < 0.3


def test_intensities_of_another_scale_make_no_difference(planes: list[Stack]) -> None:
    fixed, moving = planes[0].reconstruction, planes[1].reconstruction
    fit = fitted(fixed, moving.with_data(7 * moving.data + 100))
    assert fit.believed
    assert corners_mm(fit.to_fixed, np.eye(4), moving) < 0.3


def test_a_part_is_laid_where_it_belongs(planes: list[Stack]) -> None:
    moving = planes[1].reconstruction
    part = moving.part([slice(0, None), slice(0, None), slice(30, None)])
    motion = rigid_motion(np.deg2rad([3, 2, -3]), [3, -2, 4], centre(part))
    fit = fitted(planes[0].reconstruction, Volume(part.data, motion @ part.affine))
    assert fit.believed
    assert corners_mm(fit.to_fixed @ motion, np.eye(4), part) < 0.5
    wide = fitted(part, planes[0].reconstruction)
    assert wide.believed
    assert wide.overlap < 0.7


@pytest.mark.parametrize("spoilt", [True, False])
def test_neither_shading_nor_a_spoilt_slice_speaks_against_it(
    planes: list[Stack], remake: Callable[..., Stack], spoilt: bool
) -> None:
    data = planes[1].slices.data.copy()
    if spoilt:
        data[4] *= 0.3
    else:
        data *= np.linspace(0.75, 1.25, data.shape[1], dtype=np.float32)[:, None]
    moving = remake(planes[1].slices.with_data(data), planes[1].acquisition).reconstruction
    fit = fitted(planes[0].reconstruction, moving)
    assert fit.believed
    assert corners_mm(fit.to_fixed, np.eye(4), moving) < 0.5


def test_other_anatomy_is_not_believed(planes: list[Stack]) -> None:
    fixed, moving = planes[0].reconstruction, planes[1].reconstruction
    fit = fitted(fixed, moving.with_data(moving.data[:, ::-1, ::-1].copy()))
    assert not fit.believed
    assert fit.reason


def test_what_lies_elsewhere_is_not_believed(planes: list[Stack]) -> None:
    fixed = planes[0].reconstruction
    noise = np.random.default_rng(0).normal(100, 10, fixed.shape).astype(np.float32)
    far = fixed.affine.copy()
    far[:3, 3] += 500
    assert not fitted(fixed, Volume(noise, far)).believed
    assert not fitted(fixed, fixed.with_data(np.zeros(fixed.shape, np.float32))).believed
