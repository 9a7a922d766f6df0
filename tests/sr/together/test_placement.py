from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_sr.imaging import Grid, Volume
from bids_sr.sr.together.placement import covered, interpolation, placed, rigid_motion

SOURCE = Grid((9, 11, 10), np.diag([2.0, 1.5, 1.0, 1.0]))
# Another order and direction of axes, another spacing, beyond the source on one side.
TARGET = Grid(
    (8, 7, 9), np.array([[0, 0, -1.6, 13], [1.3, 0, 0, 2], [0, 1.2, 0, 1], [0, 0, 0, 1]])
)
MOTION = rigid_motion([0.1, -0.2, 0.15], [1.0, -0.5, 0.7], [8, 8, 5])


def values(grid: Grid, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=grid.shape).astype(np.float32)


def test_a_motion_turns_about_its_centre() -> None:
    centre = np.array([8.0, 8, 5, 1])
    np.testing.assert_allclose((MOTION @ centre - centre)[:3], [1.0, -0.5, 0.7])
    np.testing.assert_allclose(MOTION[:3, :3] @ MOTION[:3, :3].T, np.eye(3), atol=1e-12)


def test_the_matrix_is_linear_interpolation() -> None:
    """The oracle: SciPy's, at the same places."""
    matrix = interpolation(SOURCE, TARGET, MOTION)
    assert matrix is not None
    assert matrix.indices.dtype == matrix.indptr.dtype == np.int32
    data = values(SOURCE)
    step = np.linalg.inv(SOURCE.affine) @ MOTION @ TARGET.affine
    indices = step[:3, :3] @ np.indices(TARGET.shape).reshape(3, -1) + step[:3, 3:]
    expected = ndimage.map_coordinates(data, indices, order=1, mode="nearest")
    inside = covered(SOURCE, TARGET, MOTION).ravel()
    assert 0.2 < inside.mean() < 0.99
    np.testing.assert_allclose((matrix @ data.ravel())[inside], expected[inside], atol=2e-5)
    assert not (matrix @ data.ravel())[~inside].any()


def test_the_adjoint_has_the_same_inner_product() -> None:
    matrix = interpolation(SOURCE, TARGET, MOTION)
    assert matrix is not None
    x, y = values(SOURCE).ravel(), values(TARGET, 1).ravel()
    assert y @ (matrix @ x) == pytest.approx(x @ (matrix.T @ y), rel=1e-4)


def test_the_same_grid_needs_no_interpolation() -> None:
    assert interpolation(SOURCE, SOURCE, np.eye(4)) is None
    data = values(SOURCE)
    assert placed(Volume(data, SOURCE.affine), SOURCE, np.eye(4)) is data


def test_a_header_that_moved_along_changes_nothing() -> None:
    data = values(SOURCE)
    there = Volume(data, MOTION @ SOURCE.affine)
    np.testing.assert_allclose(placed(there, SOURCE, MOTION), data, atol=1e-5)
