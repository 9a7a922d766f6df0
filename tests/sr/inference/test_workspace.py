from __future__ import annotations

import numpy as np
import pytest

from bids_sr.imaging import Acquisition, Grid, Volume
from bids_sr.sr.inference.workspace import Workspace, foreground_box


def test_square_target_is_the_workspace(
    thick: Volume, reference: Volume, acquisition: Acquisition
) -> None:
    work = Workspace.of(thick, 2, reference.grid)
    assert work.grid.same(reference.grid)
    np.testing.assert_array_equal(work.slices.data, thick.data)
    assert work.spacing == pytest.approx(2)
    np.testing.assert_allclose(work.coordinates, (np.arange(60) + 0.5) / 4 - 0.5, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_other_target_is_made_isotropic(axis: int, reference: Volume) -> None:
    affine = reference.affine @ np.diag([1.5, 1.0, 0.5, 1.0])
    target = Grid((32, 56, 120), affine)
    work = Workspace.of(reference, axis, target)
    np.testing.assert_allclose(work.grid.spacings, target.spacings[axis], rtol=0.02)
    np.testing.assert_allclose(work.grid.fov, target.fov, rtol=1e-6)
    assert work.grid.shape[axis] == target.shape[axis]
    assert work.slices.shape[axis] == reference.shape[axis]
    # Voxel edges, not centres, coincide.
    corners = [grid.affine @ [-0.5, -0.5, -0.5, 1] for grid in (work.grid, target)]
    np.testing.assert_allclose(*corners, atol=1e-9)


def test_box_holds_all_that_is_bright() -> None:
    data = np.zeros((20, 30, 8), np.float32)
    data[5, 9:12, 3] = 1
    assert foreground_box(data, 2, margin=2) == (slice(3, 8), slice(7, 14), slice(None))
    assert foreground_box(data, 1, margin=0) == (slice(5, 6), slice(None), slice(3, 4))
    assert foreground_box(0 * data, 2, margin=2) == (slice(None),) * 3
