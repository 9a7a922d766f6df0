from __future__ import annotations

import numpy as np
import pytest

from bids_sr.imaging import (
    Acquisition,
    ForwardModel,
    Grid,
    RobustScaler,
    Volume,
    resample,
)
from bids_sr.sr import data_consistency_residual, reconstruct
from bids_sr.sr.consistency import make_consistent


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


def test_back_projection_removes_the_residual_and_the_error(
    reference: Volume, thick: Volume, acquisition: Acquisition
) -> None:
    cubic = reconstruct(thick, acquisition, method="bspline", grid=reference.grid).volume
    exact = make_consistent(cubic, thick, acquisition, damping=0.0)
    damped = make_consistent(cubic, thick, acquisition)
    residuals = [data_consistency_residual(v, thick, acquisition) for v in (cubic, damped, exact)]
    assert residuals[2] < 1e-3 < residuals[1] < 0.3 * residuals[0]
    errors = [np.mean((v.data - reference.data) ** 2) for v in (cubic, damped, exact)]
    assert errors[1] < 0.95 * errors[0]
    assert errors[2] < 0.95 * errors[0]


def test_back_projection_is_the_least_change(
    reference: Volume, thick: Volume, acquisition: Acquisition
) -> None:
    """The oracle: the least-squares solution of minimal norm, line by line."""
    cubic = reconstruct(thick, acquisition, method="linear", grid=reference.grid).volume
    exact = make_consistent(cubic, thick, acquisition, damping=0.0)
    matrix = ForwardModel.between(reference.grid, thick.grid, acquisition).matrix.toarray()
    line = cubic.data[20, 30].astype(np.float64)
    change, *_ = np.linalg.lstsq(matrix, thick.data[20, 30] - matrix @ line, rcond=None)
    np.testing.assert_allclose(exact.data[20, 30], line + change, atol=1e-4 * line.max())


def test_truth_is_left_alone_and_cut_slices_are_not_believed(
    reference: Volume, thick: Volume, acquisition: Acquisition
) -> None:
    same = make_consistent(reference, thick, acquisition)
    np.testing.assert_allclose(same.data, reference.data, atol=2e-3 * reference.data.max())
    part = Volume(reference.data[:, :, 2:], reference.affine @ _moved(2))
    kept = make_consistent(part, thick, acquisition)
    np.testing.assert_allclose(kept.data, part.data, atol=2e-3 * reference.data.max())


def _moved(voxels: int) -> np.ndarray:
    step = np.eye(4)
    step[2, 3] = voxels
    return step
