"""Three thick stacks of a small piece of anatomy, reconstructed by interpolation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bids_sr.imaging import Acquisition, Volume, degrade, lay_out_grid
from bids_sr.sr import FusedReconstruction, Stack, fuse_stacks, reconstruct
from bids_sr.sr.together.placement import Matrix, placed, rigid_motion

MakeStack = Callable[..., Stack]
MOTION = rigid_motion(np.deg2rad([2, -1, 1.5]), [1.5, -2, 1], [0, 0, 0])


@pytest.fixture(scope="session")
def remake() -> MakeStack:
    """Return a function that makes a stack of slices, reconstructed by interpolation."""

    def stack(slices: Volume, acquisition: Acquisition) -> Stack:
        axis = acquisition.slice_axis
        assert axis is not None
        grid = lay_out_grid(slices, slice_axis=axis)
        made = reconstruct(slices, acquisition, method="bspline", grid=grid)
        return Stack.of(slices, acquisition, made)

    return stack


@pytest.fixture(scope="session")
def scan(remake: MakeStack) -> MakeStack:
    """Return a function that takes 6 mm slices every 8 mm across an axis, with noise."""

    def stack(volume: Volume, axis: int) -> Stack:
        acquisition = Acquisition(spacing=8.0, thickness=6.0, profile="gaussian", slice_axis=axis)
        return remake(degrade(volume, acquisition, noise_fraction=0.01, seed=axis), acquisition)

    return stack


@pytest.fixture(scope="session")
def planes(reference: Volume, scan: MakeStack) -> list[Stack]:
    """Stacks across the third, the first and the second axis; nobody moved."""
    return [scan(reference, axis) for axis in (2, 0, 1)]


@pytest.fixture(scope="session")
def motion() -> Matrix:
    """Return the motion from the world of the second of the moved planes to the frame."""
    return MOTION


@pytest.fixture(scope="session")
def moved(planes: list[Stack], reference: Volume, scan: MakeStack) -> list[Stack]:
    """Return the same planes; the patient moved before the second."""
    other = reference.with_data(placed(reference, reference.grid, MOTION))
    return [planes[0], scan(other, 0), planes[2]]


@pytest.fixture(scope="session")
def fused(moved: list[Stack]) -> FusedReconstruction:
    """Return what the moved planes give together."""
    return fuse_stacks(moved)


@pytest.fixture(scope="session")
def decibels(reference: Volume) -> Callable[[np.ndarray], float]:
    """Return a function that scores values on the grid of the reference."""

    def score(data: np.ndarray) -> float:
        error = np.sqrt(np.mean((data.astype(np.float64) - reference.data) ** 2))
        return float(20 * np.log10(reference.data.max() / error))

    return score
