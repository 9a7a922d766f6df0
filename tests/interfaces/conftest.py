"""A small thick-slice head, degraded from the template, on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_sr.imaging import Acquisition, Volume, degrade


@pytest.fixture(scope="session")
def thick(mni152_2mm: Volume) -> Volume:
    """Axial stack, 2 mm in-plane, 6 mm spacing, 5 mm thick."""
    acquisition = Acquisition(spacing=6.0, thickness=5.0, profile="gaussian", slice_axis=2)
    return degrade(mni152_2mm, acquisition)


@pytest.fixture
def thick_file(thick: Volume, tmp_path: Path) -> Path:
    return thick.save(tmp_path / "thick.nii.gz")
