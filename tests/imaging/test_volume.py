"""Volumes: orientation there and back, checks, files."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Volume

ORIENTATIONS = [
    np.array(list(zip(axes, flips, strict=True)), dtype=float)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def _volume(turn_degrees: float = 0.0) -> Volume:
    angle = np.deg2rad(turn_degrees)
    affine = np.eye(4)
    turn = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    affine[:3, :3] = turn @ np.diag([0.9, 1.1, 4.7])
    affine[:3, 3] = (-31.3, 12.7, 5.1)
    data = np.random.default_rng(1).normal(size=(4, 5, 6)).astype(np.float32)
    return Volume(data, affine)


def _in_orientation(volume: Volume, orientation: np.ndarray) -> Volume:
    data = nb.orientations.apply_orientation(volume.data, orientation)
    step = nb.orientations.inv_ornt_aff(orientation, volume.shape)
    return Volume(np.ascontiguousarray(data), volume.affine @ step)


@pytest.mark.parametrize(
    "orientation", ORIENTATIONS, ids=lambda o: "".join(nb.orientations.ornt2axcodes(o))
)
@pytest.mark.parametrize("turn_degrees", [0.0, 17.0, 45.0])
def test_canonical_there_and_back_is_bit_exact(
    orientation: np.ndarray, turn_degrees: float
) -> None:
    volume = _in_orientation(_volume(turn_degrees), orientation)
    canonical = volume.canonical()
    back = canonical.oriented_like(volume)
    assert np.array_equal(back.data, volume.data)
    assert np.array_equal(back.affine, volume.affine)
    assert np.array_equal(np.sort(canonical.data, axis=None), np.sort(volume.data, axis=None))
    if turn_degrees < 45:  # where the nearest axes are no toss-up
        assert nb.aff2axcodes(canonical.affine) == ("R", "A", "S")


def test_canonical_agrees_with_nibabel() -> None:
    volume = _in_orientation(_volume(12.0), ORIENTATIONS[29])
    oracle = nb.as_closest_canonical(nb.Nifti1Image(volume.data, volume.affine))
    canonical = volume.canonical()
    assert np.array_equal(canonical.data, oracle.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(canonical.affine, oracle.affine, atol=1e-6)


def test_canonical_keeps_values_at_their_place() -> None:
    volume = _in_orientation(_volume(20.0), ORIENTATIONS[21])
    canonical = volume.canonical()
    index = np.array([1, 2, 3, 1])
    world = volume.affine @ index
    same_index = np.rint(np.linalg.solve(canonical.affine, world)).astype(int)
    assert canonical.data[tuple(same_index[:3])] == volume.data[1, 2, 3]


def test_oriented_like_works_on_another_grid() -> None:
    volume = _in_orientation(_volume(10.0), ORIENTATIONS[13])
    canonical = volume.canonical()
    finer = Volume(np.zeros((8, 5, 6), np.float32), canonical.affine @ np.diag([0.5, 1, 1, 1]))
    back = finer.oriented_like(volume)
    unit = volume.affine[:3, :3] / volume.spacings
    np.testing.assert_allclose(back.affine[:3, :3] / back.spacings, unit, atol=1e-12)


def test_properties_are_those_of_the_grid() -> None:
    volume = _volume(17.0)
    np.testing.assert_allclose(volume.spacings, [0.9, 1.1, 4.7])
    np.testing.assert_allclose(volume.fov, [3.6, 5.5, 28.2])
    assert volume.anisotropy == pytest.approx(4.7 / 0.9)
    assert volume.obliquity == pytest.approx(np.deg2rad(17.0))
    assert volume.slice_axis == 2
    assert volume.grid.shape == volume.shape == (4, 5, 6)


def test_with_data_keeps_the_grid_and_refuses_another_shape() -> None:
    volume = _volume()
    assert volume.with_data(volume.data + 1).same_grid(volume)
    with pytest.raises(InputDataError, match=r"expected \(4, 5, 6\)"):
        volume.with_data(np.zeros((4, 5, 7)))


def test_with_slice_spacing_keeps_the_first_slice() -> None:
    volume = _volume(17.0)
    mended = volume.with_slice_spacing(6.0, 2)
    np.testing.assert_allclose(mended.spacings, [0.9, 1.1, 6.0])
    np.testing.assert_array_equal(mended.affine[:3, 3], volume.affine[:3, 3])
    np.testing.assert_array_equal(mended.affine[:, :2], volume.affine[:, :2])


def test_refuses_complex_and_flat_arrays() -> None:
    with pytest.raises(InputDataError, match="real numbers"):
        Volume(np.zeros((2, 2, 2), complex), np.eye(4))
    with pytest.raises(InputDataError, match="three axes"):
        Volume(np.zeros((2, 2)), np.eye(4))


def test_save_and_load(tmp_path: Path) -> None:
    volume = _in_orientation(_volume(17.0), ORIENTATIONS[40])
    path = volume.save(tmp_path / "new" / "image.nii.gz")
    loaded = Volume.load(path)
    assert np.array_equal(loaded.data, volume.data)
    assert loaded.same_grid(volume, tolerance_mm=1e-3)


def test_part_keeps_its_place() -> None:
    volume = _volume(17.0)
    part = volume.part((slice(1, 3), slice(None), slice(1, None, 2)))
    np.testing.assert_array_equal(part.data, volume.data[1:3, :, 1::2])
    places = part.affine @ [1, 2, 1, 1], volume.affine @ [2, 2, 3, 1]
    np.testing.assert_allclose(*places)


def test_planes_are_a_part_across_one_axis() -> None:
    volume = _volume()
    planes = volume.planes(2, slice(0, None, 2))
    np.testing.assert_array_equal(planes.data, volume.data[..., ::2])
    np.testing.assert_allclose(planes.spacings, [0.9, 1.1, 9.4])
