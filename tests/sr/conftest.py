"""A small piece of real anatomy for the methods."""

from __future__ import annotations

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
