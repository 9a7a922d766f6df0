from __future__ import annotations

import numpy as np
import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Acquisition, Grid, Volume
from bids_sr.imaging.degrade import lr_grid
from bids_sr.imaging.label_slices import LabelSlices

FINE = Grid((20, 24, 30), np.diag([1.0, 1.0, 1.0, 1.0]))


def between(axis: int = 2, spacing: float = 5.0, fine: Grid = FINE) -> LabelSlices:
    acquisition = Acquisition(thickness=5.0, spacing=spacing, slice_axis=axis)
    return LabelSlices.between(fine, lr_grid(fine, acquisition), acquisition)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_structure_of_whole_slices_keeps_its_volume(axis: int) -> None:
    labels = np.zeros(FINE.shape, np.int32)
    place = [slice(4, 16)] * 3
    place[axis] = slice(5, 15)
    labels[tuple(place)] = 7
    on_slices = between(axis)
    slices = on_slices.labels(Volume(labels, FINE.affine))
    assert set(np.unique(slices.data)) == {0, 7}
    volume = np.count_nonzero(slices.data) * np.prod(slices.spacings)
    assert volume == pytest.approx(np.count_nonzero(labels))
    assert on_slices.shares(labels == 7).sum() * 5 == pytest.approx(1440, rel=0.02)


def test_the_label_that_fills_most_wins_and_shares_sum_to_one() -> None:
    labels = np.ones(FINE.shape, np.int32)
    labels[:, :, 2:5] = 2  # three of the five planes of the first slice
    labels[:, :, 7:9] = 3  # two of the five planes of the second
    on_slices = between()
    slices = on_slices.labels(Volume(labels, FINE.affine))
    assert slices.data[0, 0].tolist() == [2, 1, 1, 1, 1, 1]
    total = sum(on_slices.shares(labels == value) for value in (1, 2, 3))
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_a_mask_is_kept_where_it_fills_half() -> None:
    mask = np.zeros(FINE.shape, np.uint8)
    mask[:, :, 0:3] = 1
    mask[:, :, 5:7] = 1
    slices = between().mask(Volume(mask, FINE.affine))
    assert slices.data.dtype == np.uint8
    assert slices.data[3, 3].tolist() == [1, 0, 0, 0, 0, 0]


def test_finer_slices_in_plane_are_reached() -> None:
    acquisition = Acquisition(thickness=5.0, spacing=5.0, slice_axis=2)
    fine = lr_grid(FINE, acquisition)
    half = fine.rescaled(0, 0.5, 40).rescaled(1, 0.5, 48)
    labels = np.zeros(FINE.shape, np.int32)
    labels[5:15, 6:18] = 4
    slices = LabelSlices.between(FINE, half, acquisition).labels(Volume(labels, FINE.affine))
    assert slices.shape == (40, 48, 6)
    volume = np.count_nonzero(slices.data) * np.prod(slices.spacings)
    assert volume == pytest.approx(np.count_nonzero(labels), rel=0.02)


def test_slices_elsewhere_are_refused() -> None:
    acquisition = Acquisition(thickness=5.0, spacing=5.0, slice_axis=2)
    affine = lr_grid(FINE, acquisition).affine.copy()
    affine[2, 3] += 100
    with pytest.raises(InputDataError, match="outside the fine grid"):
        LabelSlices.between(FINE, Grid((20, 24, 6), affine), acquisition)
