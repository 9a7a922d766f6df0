"""SynthSeg: brain structures on any contrast, by FreeSurfer's ``mri_synthseg``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bids_sr.engines.segmentation.base import Segmentation
from bids_sr.engines.segmentation.command import FreeSurferTool
from bids_sr.imaging import Volume


@dataclass(frozen=True, kw_only=True)
class SynthSeg(FreeSurferTool):
    """Run ``mri_synthseg``.

    References
    ----------
    Billot et al. 2023, SynthSeg: segmentation of brain MRI scans of any contrast and
    resolution without retraining, Med Image Anal 86:102789,
    doi:10.1016/j.media.2023.102789.
    """

    program: ClassVar[str] = "mri_synthseg"
    memory_gb: ClassVar[tuple[float, float]] = (12.0, 1.0)
    text: ClassVar[str] = (
        "Brain structures were segmented on the super-resolved image with SynthSeg "
        "[FreeSurfer, @billot2023]. "
    )

    def argv(self, in_file: Path, folder: Path, companion: Path | None = None) -> list[str]:
        """Return the command line; see :class:`.CommandTool`."""
        words = [self.program, "--i", str(in_file), "--o", str(folder / "synthseg.nii.gz")]
        words += ["--vol", str(folder / "volumes.csv"), "--threads", str(self.threads)]
        return words if self.device.startswith("cuda") else [*words, "--cpu"]

    def read(self, volume: Volume, folder: Path) -> Segmentation:
        """Read the label map; see :class:`.CommandTool`."""
        return self.labels_of(volume, folder / "synthseg.nii.gz")
