from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from bids_sr.imaging import Acquisition, Volume
from bids_sr.sr import reconstruct
from bids_sr.sr.slices.slice_spectrum import detail_limit, interpolated_axes


def filled_up(volume: Volume, axis: int, factor: float) -> Volume:
    """Return an image as a scanner makes it that fills up its raw data with zeros."""
    count = round(volume.shape[axis] * factor)
    data = np.abs(signal.resample(volume.data.astype(float), count, axis=axis))
    affine = volume.affine.copy()
    affine[:, axis] *= volume.shape[axis] / count
    return Volume(data.round(4).astype(np.float32), affine)


def test_thick_slices_are_not_taken_for_interpolated(
    head: Volume, head_acquisition: Acquisition
) -> None:
    assert interpolated_axes(head, head_acquisition, head.grid) == ()


@pytest.mark.parametrize("factor", [1.5, 2.0])
def test_slices_filled_up_across_are_told(
    head: Volume, head_acquisition: Acquisition, factor: float
) -> None:
    fine = filled_up(head, 2, factor)
    spacing = float(fine.spacings[2])
    acquisition = Acquisition(spacing=spacing, thickness=4.0, slice_axis=2)
    (axis,) = interpolated_axes(fine, acquisition, fine.grid)
    assert axis.through_plane
    assert axis.detail_mm == pytest.approx(4.0, rel=0.15)
    result = reconstruct(fine, acquisition, method="linear", grid=fine.grid)
    assert any("interpolated by the scanner" in warning for warning in result.record.warnings)


def test_fine_voxels_without_fine_detail_are_told(head: Volume) -> None:
    fine = filled_up(head, 0, 2.0)
    assert detail_limit(fine, 0) == pytest.approx(2.0, rel=0.15)
    assert detail_limit(fine, 1) is None
    acquisition = Acquisition(spacing=4.0, thickness=4.0, slice_axis=2)
    (axis,) = interpolated_axes(fine, acquisition, fine.grid)  # result with voxels of 1 mm
    assert "no detail finer than" in axis.warning
    (axis,) = interpolated_axes(fine, acquisition, head.grid)  # of 2 mm
    assert axis.warning == ""


def test_a_few_samples_say_nothing(head: Volume) -> None:
    assert detail_limit(Volume(head.data[:, :, :10], head.affine), 2) is None
    assert detail_limit(head.with_data(np.ones_like(head.data)), 0) is None
