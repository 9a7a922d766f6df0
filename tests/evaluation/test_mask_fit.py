"""Masks that are shifted, too small or too large show on their worst side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bids_sr.evaluation.mask_fit import brain_outside_percent, dark_rim_percent
from bids_sr.imaging import Volume

AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])
SHAPE = (100, 110, 45)


def ball(radius_mm: float) -> np.ndarray:
    axes = np.meshgrid(
        *(
            (np.arange(size) - size / 2) * step
            for size, step in zip(SHAPE, (2, 2, 4), strict=True)
        ),
        indexing="ij",
    )
    return np.asarray(sum(axis**2 for axis in axes) < radius_mm**2)


@pytest.fixture(scope="module")
def head() -> Volume:
    """Return a brain of 60 mm in 6 mm of dark bone, in 8 mm of bright fat, in air."""
    random = np.random.default_rng(0)
    data = np.where(ball(74), 900.0, 0.0)
    data[ball(66)] = 20.0
    data[ball(60)] = random.normal(500, 60, np.count_nonzero(ball(60)))
    return Volume(data.astype(np.float32), AFFINE)


def mask(inside: np.ndarray) -> Volume:
    return Volume(inside.astype(np.uint8), AFFINE)


def test_a_mask_that_fits(head: Volume) -> None:
    outside, rim = (
        measure(head, mask(ball(60))) for measure in (brain_outside_percent, dark_rim_percent)
    )
    assert outside is not None
    assert outside < 5
    assert rim is not None
    assert rim < 5


@pytest.mark.parametrize(("axis", "steps"), [(0, 5), (0, -5), (1, 10), (1, -10)])
def test_a_shifted_mask_leaves_brain_out_on_one_side(head: Volume, axis: int, steps: int) -> None:
    outside = brain_outside_percent(head, mask(np.roll(ball(60), steps, axis=axis)))
    assert outside is not None
    assert outside > 60


def test_a_small_mask_leaves_brain_out_and_a_large_one_has_a_dark_rim(head: Volume) -> None:
    small, large = mask(ball(54)), mask(ball(66))
    outside = brain_outside_percent(head, small)
    assert outside is not None
    assert outside > 60
    rim = dark_rim_percent(head, large)
    assert rim is not None
    assert rim > 80


def test_a_mask_of_everything_has_no_outside(head: Volume) -> None:
    assert brain_outside_percent(head, mask(np.ones(SHAPE, bool))) is None


@pytest.mark.parametrize("measure", [brain_outside_percent, dark_rim_percent])
def test_a_mask_between_the_voxels_that_are_looked_at(head: Volume, measure: Any) -> None:
    fine = Volume(head.data, np.diag([1.0, 1.0, 1.0, 1.0]))
    voxel = np.zeros(SHAPE, bool)
    voxel[51, 51, 21] = True
    assert measure(fine, Volume(voxel.astype(np.uint8), fine.affine)) is None
