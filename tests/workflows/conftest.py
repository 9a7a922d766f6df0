"""Planned images for graphs that are built and not run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_sr.bids.image import AnatImage
from bids_sr.bids.sidecar import AcquisitionFacts
from bids_sr.imaging import Acquisition, Volume, lay_out_grid


@pytest.fixture
def make_image(tmp_path: Path) -> Callable[..., AnatImage]:
    def make(subject: str = "01", suffix: str = "T1w", **changes: Any) -> AnatImage:
        volume = Volume(np.ones((24, 26, 5), np.float32), np.diag([1.0, 1.0, 6.0, 1.0]))
        relpath = f"sub-{subject}/anat/sub-{subject}_{suffix}.nii.gz"
        path = tmp_path / "bids" / relpath
        path.parent.mkdir(parents=True, exist_ok=True)
        volume.save(path)
        acquisition = Acquisition(spacing=6.0, thickness=5.0, slice_axis=2)
        fields: dict[str, Any] = {
            "path": path,
            "relpath": relpath,
            "entities": {"subject": subject},
            "suffix": suffix,
            "action": "super-resolve",
            "reason": "anisotropy 6",
            "facts": AcquisitionFacts(
                acquisition=acquisition, header_spacing=6.0, sources={"spacing": "header"}
            ),
            "source_grid": volume.grid,
            "target_grid": lay_out_grid(
                volume, slice_axis=2, output_resolution=None, output_grid="fov"
            ),
            "target_spacing": 1.0,
            "is_reference": suffix in ("T1w", "T2w"),
        }
        return AnatImage(**{**fields, **changes})

    return make
