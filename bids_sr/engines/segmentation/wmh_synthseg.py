"""WMH-SynthSeg: structures and white-matter hyperintensities, by ``mri_WMHsynthseg``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from bids_sr.engines.segmentation.base import Segmentation
from bids_sr.engines.segmentation.command import FreeSurferTool, read_map
from bids_sr.imaging import Volume

HYPERINTENSITY = 77  # WM-hypointensities in FreeSurfer's table: bright on FLAIR and T2w


@dataclass(frozen=True, kw_only=True)
class WmhSynthSeg(FreeSurferTool):
    """Run ``mri_WMHsynthseg``.

    References
    ----------
    Laso et al. 2023, Quantifying white matter hyperintensity and brain volumes in
    heterogeneous clinical and low-field portable MRI, doi:10.48550/arXiv.2312.05119.
    """

    program: ClassVar[str] = "mri_WMHsynthseg"
    maps: ClassVar[tuple[str, ...]] = ("lesion",)
    masks: ClassVar[tuple[str, ...]] = ("lesion",)
    memory_gb: ClassVar[tuple[float, float]] = (12.0, 1.0)
    text: ClassVar[str] = (
        "Brain structures and white-matter hyperintensities were segmented on the "
        "super-resolved image with WMH-SynthSeg [FreeSurfer, @laso2024]. "
    )

    def argv(self, in_file: Path, folder: Path, companion: Path | None = None) -> list[str]:
        """Return the command line; see :class:`.CommandTool`."""
        device = "cuda" if self.device.startswith("cuda") else "cpu"
        words = [self.program, "--i", str(in_file), "--o", str(folder / "wmh.nii.gz")]
        words += ["--csv_vols", str(folder / "volumes.csv"), "--device", device]
        return [*words, "--threads", str(self.threads), "--save_lesion_probabilities", "--crop"]

    def read(self, volume: Volume, folder: Path) -> Segmentation:
        """Read label map and lesion probabilities; see :class:`.CommandTool`."""
        segmentation = self.labels_of(volume, folder / "wmh.nii.gz")
        lesions = (segmentation.labels.data == HYPERINTENSITY).astype(np.uint8)
        return replace(
            segmentation,
            maps={"lesion": read_map(folder / "wmh.lesion_probs.nii.gz", volume)},
            masks={"lesion": volume.with_data(lesions)},
        )
