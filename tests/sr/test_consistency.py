from __future__ import annotations

import pytest

from bids_sr.imaging import Acquisition, Grid, RobustScaler, Volume, resample
from bids_sr.sr import data_consistency_residual, reconstruct


def test_truth_has_no_residual(reference: Volume, thick: Volume, acquisition: Acquisition) -> None:
    assert data_consistency_residual(reference, thick, acquisition) == pytest.approx(0, abs=1e-4)


def test_blur_leaves_a_residual(
    thick: Volume, acquisition: Acquisition, reference: Volume
) -> None:
    cubic = reconstruct(thick, acquisition, method="bspline", grid=reference.grid).volume
    linear = reconstruct(thick, acquisition, method="linear", grid=reference.grid).volume
    residuals = [data_consistency_residual(v, thick, acquisition) for v in (cubic, linear)]
    assert 0.5 < residuals[0] < residuals[1] < 20


def test_known_offset_is_the_residual(
    reference: Volume, thick: Volume, acquisition: Acquisition
) -> None:
    width = RobustScaler.fit(thick.data).width
    shifted = reference.with_data(reference.data + 0.03 * width)
    assert data_consistency_residual(shifted, thick, acquisition) == pytest.approx(3, abs=1e-3)


def test_coarser_in_plane_grid_is_compared_there(
    reference: Volume, thick: Volume, acquisition: Acquisition
) -> None:
    shape = (24, 28, reference.shape[2])
    affine = reference.affine.copy()
    affine[:3, 3] += reference.affine[:3, :2].sum(axis=1) / 2
    affine[:, :2] *= 2
    coarse = resample(reference, Grid(shape, affine))
    assert data_consistency_residual(coarse, thick, acquisition) == pytest.approx(0, abs=0.05)


def test_slices_outside_do_not_count(
    reference: Volume, thick: Volume, acquisition: Acquisition
) -> None:
    part = Volume(reference.data[:, :, :40], reference.affine)
    residual = data_consistency_residual(part, thick, acquisition)
    assert residual < 1.5  # only the last slice lacks a part of its profile
