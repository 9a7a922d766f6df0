"""A small piece of real anatomy for the methods."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bids_sr.imaging import Acquisition, Volume, degrade


@pytest.fixture(scope="session")
def reference(mni152_2mm: Volume) -> Volume:
    """Middle of the template: 48 x 56 x 60 voxels of 2 mm."""
    data = np.ascontiguousarray(mni152_2mm.data[24:72, 28:84, 20:80])
    return Volume(data, mni152_2mm.affine)


@pytest.fixture(scope="session")
def acquisition() -> Acquisition:
    return Acquisition(spacing=8.0, thickness=6.0, profile="gaussian", slice_axis=2)


@pytest.fixture(scope="session")
def thick(reference: Volume, acquisition: Acquisition) -> Volume:
    return degrade(reference, acquisition)


@pytest.fixture(scope="session")
def tube() -> Callable[..., Volume]:
    """Return a function that makes a moving disc, by seed and number of slices."""
    return _tube


def _tube(seed: int, slices: int = 5) -> Volume:
    """Return a disc whose place and radius change from slice to slice."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:20, :24]
    data = random.normal(0, 2, (20, 24, slices))
    start, step = random.uniform(8, 14, 2), random.uniform(-1, 1, 2)
    for n in range(slices):
        row, column = start + n * step
        data[..., n] += 100 * ((rows - row) ** 2 + (columns - column) ** 2 < (4 + n / 2) ** 2)
    return Volume(data.astype(np.float32), np.diag([2.0, 2.0, 8.0, 1.0]))
