"""Small real datasets, made in place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import pytest

from bids_sr.bids.image import AnatImage
from bids_sr.bids.layout import open_layout, plan_images
from bids_sr.bids.selection import Selection


def _write_nifti(
    path: Path,
    shape: tuple[int, ...] = (9, 8, 5),
    spacings: tuple[float, float, float] = (1.0, 1.0, 4.0),
    origin: tuple[float, float, float] = (-4.0, -3.0, -8.0),
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacings, 1.0])
    affine[:3, 3] = origin
    data = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    image = nb.Nifti1Image(data, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    nb.save(image, path)
    return path


@pytest.fixture
def write_nifti() -> Callable[..., Path]:
    """Write a small image: ``write_nifti(path, shape=, spacings=, origin=)``."""
    return _write_nifti


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    description = {"Name": "tiny", "BIDSVersion": "1.9.0", "DatasetType": "raw", "License": "CC0"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    (root / "README").write_text("A dataset for tests, with nothing to see in its images.\n" * 5)
    return root


@pytest.fixture
def add_image(dataset: Path) -> Callable[..., Path]:
    """Add ``sub-..`` with a sidecar: ``add_image("sub-01_T1w", {...}, spacings=(1, 1, 5))``."""

    def add(
        stem: str, sidecar: dict[str, Any] | None = None, extension: str = ".nii.gz", **image: Any
    ) -> Path:
        folder = dataset.joinpath(
            *[part for part in stem.split("_") if part.startswith(("sub-", "ses-"))], "anat"
        )
        path = _write_nifti(folder / f"{stem}{extension}", **image)
        if sidecar is not None:
            (folder / f"{stem}.json").write_text(json.dumps(sidecar))
        return path

    return add


@pytest.fixture
def plan(dataset: Path) -> Callable[..., dict[str, AnatImage]]:
    """Plan the dataset: ``plan(modalities=("T1w",))["sub-01_T1w"].action``."""

    def make(**selection: Any) -> dict[str, AnatImage]:
        images = plan_images(open_layout(dataset), Selection(**selection))
        return {image.stem: image for image in images}

    return make
