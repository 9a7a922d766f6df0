"""A head in slices of 4 mm, and ways to spoil one of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bids_sr.imaging import Acquisition, Volume, degrade

Change = Callable[[np.ndarray], "np.ndarray | None"]


@pytest.fixture(scope="session")
def head_acquisition() -> Acquisition:
    return Acquisition(spacing=4.0, thickness=4.0, profile="slr", slice_axis=2)


@pytest.fixture(scope="session")
def head(mni152_2mm: Volume, head_acquisition: Acquisition) -> Volume:
    """All of the template: 91 x 109 voxels of 2 mm, 45 slices, 1 % of noise."""
    return degrade(mni152_2mm, head_acquisition, noise_fraction=0.01, seed=1)


@pytest.fixture(scope="session")
def spoilt(head: Volume) -> Callable[[Change], Volume]:
    """Return a function that changes the (n, X, Y) slices of the head."""

    def change_slices(change: Change) -> Volume:
        slices = np.moveaxis(head.data.copy(), 2, 0)
        changed = change(slices)
        slices = slices if changed is None else changed
        return Volume(np.ascontiguousarray(np.moveaxis(slices, 0, 2)), head.affine)

    return change_slices
