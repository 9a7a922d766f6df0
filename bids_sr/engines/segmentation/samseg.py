"""SAMSEG: brain structures on any contrast, by FreeSurfer's ``run_samseg``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bids_sr.engines.segmentation.base import Segmentation
from bids_sr.engines.segmentation.command import FreeSurferTool
from bids_sr.imaging import Volume


@dataclass(frozen=True, kw_only=True)
class Samseg(FreeSurferTool):
    """Run ``run_samseg``.

    References
    ----------
    Puonti et al. 2016, Fast and sequence-adaptive whole-brain segmentation using parametric
    Bayesian modeling, NeuroImage 143:235-249, doi:10.1016/j.neuroimage.2016.09.011.
    """

    program: ClassVar[str] = "run_samseg"
    memory_gb: ClassVar[tuple[float, float]] = (6.0, 0.5)
    text: ClassVar[str] = (
        "Brain structures were segmented on the super-resolved image with SAMSEG "
        "[FreeSurfer, @puonti2016]. "
    )

    def argv(self, in_file: Path, folder: Path, companion: Path | None = None) -> list[str]:
        """Return the command line; see :class:`.CommandTool`."""
        words = [self.program, "--input", str(in_file), "--output", str(folder)]
        return [*words, "--threads", str(self.threads)]

    def read(self, volume: Volume, folder: Path) -> Segmentation:
        """Read the label map; see :class:`.CommandTool`."""
        return self.labels_of(volume, folder / "seg.mgz")
