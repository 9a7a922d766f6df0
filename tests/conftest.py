"""Fixtures that more than one test folder uses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from bids_sr.imaging import Volume

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real scans beside the repository; tests that need it skip without it."""
    folder = Path(os.environ.get("BIDS_SR_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "isotropic-hr").is_dir():
        pytest.skip(f"no real scans at {folder}; set BIDS_SR_SHARED_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def mni152_2mm() -> Volume:
    """Skull-stripped MNI152 T1w template that nilearn bundles, at 2 mm."""
    from nilearn.datasets import load_mni152_template

    from bids_sr.imaging import Volume

    image = load_mni152_template(resolution=2)
    return Volume(data=image.get_fdata(dtype="float32"), affine=image.affine)
