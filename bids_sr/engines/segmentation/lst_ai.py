"""LST-AI: lesions of multiple sclerosis on FLAIR with T1w, by the program ``lst``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from bids_sr.engines.segmentation.base import Label, Segmentation
from bids_sr.engines.segmentation.command import CommandTool, read_labels
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume

# LST-AI's own numbers of places.
PLACES = (
    Label(index=1, name="periventricular lesion", abbreviation="PV", colour="#dc2626"),
    Label(index=2, name="juxtacortical lesion", abbreviation="JC", colour="#f59e0b"),
    Label(index=3, name="subcortical lesion", abbreviation="SC", colour="#10b981"),
    Label(index=4, name="infratentorial lesion", abbreviation="IT", colour="#3b82f6"),
)


@dataclass(frozen=True, kw_only=True)
class LstAi(CommandTool):
    """Run ``lst``.

    References
    ----------
    Wiltgen et al. 2024, LST-AI: a deep learning ensemble for accurate MS lesion segmentation,
    NeuroImage Clin 42:103611, doi:10.1016/j.nicl.2024.103611.
    """

    program: ClassVar[str] = "lst"
    how_to_get: ClassVar[str] = "It comes with LST-AI: see https://github.com/CompImg/LST-AI."
    contrasts: ClassVar[tuple[str, ...]] = ("FLAIR",)
    companion: ClassVar[str] = "T1w"
    masks: ClassVar[tuple[str, ...]] = ("lesion",)
    memory_gb: ClassVar[tuple[float, float]] = (8.0, 0.5)
    text: ClassVar[str] = (
        "Lesions were segmented on the super-resolved FLAIR image, with the acquired T1w image "
        "of the same session, with LST-AI [@wiltgen2024]. "
    )

    def argv(self, in_file: Path, folder: Path, companion: Path | None = None) -> list[str]:
        """Return the command line; see :class:`.CommandTool`."""
        words = [self.program, "--t1", str(companion), "--flair", str(in_file)]
        words += ["--output", str(folder), "--temp", str(folder / "temp")]
        device = self.device.partition(":")[2] or "0"
        target = device if self.device.startswith("cuda") else "cpu"
        return [*words, "--device", target, "--threads", str(self.threads)]

    def read(self, volume: Volume, folder: Path) -> Segmentation:
        """Read the lesions by place; see :class:`.CommandTool`."""
        path = folder / "space-flair_desc-annotated_seg-lst.nii.gz"
        try:
            labels = read_labels(path, volume)
        except EngineError:
            if not path.is_file():
                raise
            labels = volume.with_data(np.zeros(volume.shape, np.int32))  # no lesion at all
        lesions = volume.with_data((labels.data > 0).astype(np.uint8))
        record = {"Method": self.program}
        return Segmentation(labels=labels, table=PLACES, masks={"lesion": lesions}, record=record)
