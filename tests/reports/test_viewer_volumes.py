"""8-bit copies: true values in their place, cropped, the same bytes every time."""

from __future__ import annotations

import gzip

import nibabel as nb
import numpy as np
import numpy.typing as npt
import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Volume, resample
from bids_sr.reports.viewer_volumes import (
    Copy,
    Frame,
    coarser,
    grey_copy,
    label_copy,
    uncertainty_copy,
    with_fewer_levels,
)

from .viewer_phantom import BALL, BRIGHT, HEAD, phantom


def image_of(copy: Copy) -> nb.Nifti1Image:
    return nb.Nifti1Image.from_bytes(gzip.decompress(copy.content))


def volume_of(copy: Copy) -> Volume:
    image = image_of(copy)
    return Volume(image.get_fdata(dtype=np.float32), image.affine)


def value_at(volume: Volume, place: tuple[float, float, float]) -> float:
    voxel = np.rint(np.linalg.inv(volume.affine) @ [*place, 1])[:3].astype(int)
    return float(volume.data[tuple(voxel)])


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "ASL"])
@pytest.mark.parametrize("degrees", [0.0, 17.0])
def test_a_copy_has_true_values_in_their_place(axes: str, degrees: float) -> None:
    volume = phantom(axes, degrees).canonical()
    cropped = Frame.of(volume).crop(volume)
    assert cropped is not None
    assert np.prod(cropped.shape) < np.prod(volume.shape)
    copy = grey_copy(cropped)
    shown = volume_of(copy)
    # 256 levels between the ends: half a step at most.
    step = copy.facts["slope"]
    assert np.abs(np.clip(cropped.data, 0, copy.facts["high"]) - shown.data).max() <= 0.51 * step
    assert shown.grid.distance_mm(cropped.affine) < 1e-3
    assert value_at(shown, BALL) == pytest.approx(BRIGHT, abs=6)
    assert value_at(shown, (-BALL[0], BALL[1], BALL[2])) == pytest.approx(HEAD, abs=6)
    assert np.allclose(copy.facts["affine"], cropped.affine)
    assert image_of(copy).get_data_dtype() == np.uint8


def test_nothing_of_the_head_is_cut_off() -> None:
    volume = phantom("LPS", 17.0).canonical()
    cropped = Frame.of(volume).crop(volume)
    assert cropped is not None
    assert (cropped.data > 0.5 * HEAD).sum() == (volume.data > 0.5 * HEAD).sum()


@pytest.mark.parametrize("degrees", [0.0, 17.0])
def test_the_frame_is_rigid_and_its_box_holds_both_grids(degrees: float) -> None:
    volume = phantom("RAS", degrees).canonical()
    frame = Frame.of(volume)
    turned = frame.to_display[:3, :3]
    assert np.allclose(turned @ turned.T, np.eye(3))
    assert np.linalg.det(turned) == pytest.approx(1)
    # Along its own axes: what is shown of the result is a straight cut through its voxels.
    shown = turned @ volume.affine[:3, :3]
    assert np.allclose(shown, np.diag(volume.spacings), atol=1e-6)
    coarse = resample(volume, volume.grid.tiled(2, 8.0))
    cropped = frame.crop(coarse)
    assert cropped is not None
    corners: list[npt.NDArray[np.float64]] = []
    for corner in np.ndindex(2, 2, 2):
        index = np.array(corner) * cropped.shape - 0.5
        corners.append((frame.to_display @ cropped.affine @ [*index, 1])[:3])
    # Whole voxels: at most one thick slice beyond the box at either end.
    assert (np.min(corners, axis=0) <= -frame.half + 1e-6).all()
    assert (np.min(corners, axis=0) > -frame.half - cropped.spacings).all()
    assert (np.max(corners, axis=0) < frame.half + cropped.spacings).all()


def test_a_volume_elsewhere_has_no_copy() -> None:
    volume = phantom().canonical()
    affine = volume.affine.copy()
    affine[0, 3] += 1000
    assert Frame.of(volume).crop(Volume(volume.data, affine)) is None


def test_few_very_bright_voxels_do_not_cost_grey_levels() -> None:
    volume = phantom().canonical()
    volume.data[30, 40, 28] = 1e6
    copy = grey_copy(volume)
    assert copy.facts["high"] < 1.1 * BRIGHT
    assert volume_of(copy).data[30, 40, 28] == pytest.approx(copy.facts["high"], rel=1e-5)


def test_values_below_zero_are_kept() -> None:
    volume = phantom().canonical()
    shifted = volume.with_data(volume.data - 100)
    assert value_at(volume_of(grey_copy(shifted)), BALL) == pytest.approx(BRIGHT - 100, abs=6)
    assert volume_of(grey_copy(shifted)).data.min() == pytest.approx(shifted.data.min(), abs=3)


def test_the_same_volume_gives_the_same_bytes() -> None:
    assert grey_copy(phantom()).content == grey_copy(phantom()).content


def test_fewer_levels_are_smaller_and_nearly_as_true() -> None:
    copy = grey_copy(phantom())
    fewer = with_fewer_levels(copy, 64)
    assert len(fewer.content) < len(copy.content)
    assert len(np.unique(np.asarray(image_of(fewer).dataobj.get_unscaled()))) <= 64 + 2
    error = np.abs(volume_of(copy).data - volume_of(fewer).data).max()
    assert 0 < error <= 2.01 * copy.facts["slope"]


def test_a_coarser_copy_has_the_same_values_in_their_place() -> None:
    copy = grey_copy(phantom().canonical())
    larger = coarser(copy)
    fine, coarse = volume_of(copy), volume_of(larger)
    assert np.allclose(coarse.spacings, 2 * fine.spacings)
    assert np.allclose(
        coarse.grid.affine[:3, 3], fine.affine[:3, :3] @ np.full(3, 0.5) + fine.affine[:3, 3]
    )
    for place in (BALL, (0.0, 0.0, 0.0)):
        assert value_at(coarse, place) == pytest.approx(value_at(fine, place), abs=6)


def test_thick_slices_stay_when_a_copy_is_made_coarser() -> None:
    data = np.arange(5 * 4 * 3, dtype=np.float32).reshape(5, 4, 3)
    larger = coarser(grey_copy(Volume(data, np.diag([1.0, 1.0, 3.0, 1.0]))))
    assert larger.facts["shape"] == [3, 2, 3]
    assert volume_of(larger).data[2, 1, 2] == pytest.approx(
        (data[4, 2, 2] + data[4, 3, 2]) / 2, abs=0.3
    )


@pytest.mark.parametrize("data", [np.zeros((4, 4, 4)), np.full((4, 4, 4), 7.0)])
def test_a_constant_part_has_a_copy(data: npt.NDArray[np.float64]) -> None:
    volume = Volume(data.astype(np.float32), np.eye(4))
    assert np.allclose(volume_of(grey_copy(volume)).data, data, atol=0.01)


def test_uncertainty_is_averaged_where_voxels_are_small() -> None:
    data = np.zeros((5, 4, 3), dtype=np.float32)
    data[0, 0, 0], data[4, 3, 2] = 8.0, 2.0
    copy = uncertainty_copy(Volume(data, np.diag([1.0, 1.0, 3.0, 1.0])))
    shown = volume_of(copy)
    assert shown.shape == (3, 2, 3)
    assert shown.spacings.tolist() == [2, 2, 3]
    assert np.allclose(shown.affine[:3, 3], [0.5, 0.5, 0])
    assert shown.data[0, 0, 0] == pytest.approx(2.0, abs=0.01)
    assert shown.data[2, 1, 2] == pytest.approx(1.0, abs=0.01)  # alone at the end


def test_labels_of_any_number_are_kept() -> None:
    data = np.zeros((4, 4, 4), dtype=np.int32)
    data[0], data[1], data[2] = 2035, 17, -3
    copy = label_copy(Volume(data, np.eye(4)))
    stored = np.asarray(image_of(copy).dataobj)
    assert copy.facts["labels"] == [0, -3, 17, 2035]
    assert [int(stored[n, 0, 0]) for n in range(4)] == [3, 2, 1, 0]


def test_too_many_labels_are_refused() -> None:
    data = np.arange(512, dtype=np.int32).reshape(8, 8, 8)
    with pytest.raises(InputDataError, match="512 labels; expected at most 255"):
        label_copy(Volume(data, np.eye(4)))
