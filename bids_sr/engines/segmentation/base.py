"""Segmentation tools: each gives every voxel of an image a label, and every label a name.

The contract of all tools and their result.  Tools neither load an image nor name or save a
result.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bids_sr.engines import BUNDLED_TEMPLATE
from bids_sr.engines.template import describe
from bids_sr.imaging import Volume
from bids_sr.seed import DEFAULT_SEED


@dataclass(frozen=True, kw_only=True)
class Label:
    """One row of a label table."""

    index: int
    """Value in the label map."""
    name: str
    abbreviation: str = ""
    colour: str = ""
    """``#rrggbb``."""


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """Result of a tool; every volume is on the image's own grid."""

    labels: Volume
    """Whole numbers; 0 is background."""
    table: tuple[Label, ...]
    """The labels that may occur, without the background."""
    maps: Mapping[str, Volume] = field(default_factory=dict)
    """BIDS label (``GM``) -> probability, 0 to 1."""
    masks: Mapping[str, Volume] = field(default_factory=dict)
    """BIDS label (``lesion``) -> binary mask."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """What was done, for the sidecar."""

    def volumes(self) -> list[dict[str, Any]]:
        """Measure each label: ``index``, ``name``, ``voxels``, ``volume_ml``."""
        voxel = float(np.prod(self.labels.spacings)) / 1000
        counts = np.bincount(self.labels.data.astype(np.int64).ravel())
        return [
            {
                "index": label.index,
                "name": label.name,
                "voxels": (count := int(counts[label.index]) if label.index < counts.size else 0),
                "volume_ml": round(count * voxel, 4),
            }
            for label in self.table
        ]


@dataclass(frozen=True, kw_only=True)
class SegmentationTool(ABC):
    """Contract of a segmentation tool; class attributes are known before it runs."""

    takes_path: ClassVar[bool] = False
    """Whether it is requested as ``NAME=PATH``."""
    contrasts: ClassVar[tuple[str, ...]] = ()
    """BIDS suffixes that it supports; empty: any."""
    companion: ClassVar[str] = ""
    """Suffix of another image of the same subject and session that it needs."""
    needs_mask: ClassVar[bool] = False
    """Whether it works within the brain mask."""
    uses_torch: ClassVar[bool] = False
    """Whether it can use a GPU."""
    maps: ClassVar[tuple[str, ...]] = ()
    """BIDS labels of its probability maps."""
    masks: ClassVar[tuple[str, ...]] = ()
    """BIDS labels of its masks."""
    memory_gb: ClassVar[tuple[float, float]]
    """Peak memory: GB, and GB per million voxels of the image."""
    text: ClassVar[str]
    """Sentence of the methods text, with citation keys; ``{template}`` stands for the template."""
    tissue_maps: ClassVar[bool] = False
    """Whether it uses the tissue maps of the template."""

    name: str
    """On the command line."""
    path: Path | None = None
    threads: int = 1
    seed: int = DEFAULT_SEED
    device: str = "cpu"
    template: str = BUNDLED_TEMPLATE

    @property
    def sentence(self) -> str:
        """Return the sentence of the methods text."""
        return self.text.replace("{template}", describe(self.template))

    @property
    def label(self) -> str:
        """The name as a BIDS label, letters and digits only."""
        return re.sub(r"[^A-Za-z0-9]", "", self.name)

    def files(self) -> tuple[Path, ...]:
        """List the files that its result depends on."""
        return ()

    def check(self) -> None:  # noqa: B027  most tools come with this package
        """Refuse to run if something is missing.

        Raises
        ------
        MissingToolError
        """

    def why_not(self, suffix: str) -> str:
        """Say why an image of a suffix is not segmented; empty where it is."""
        if self.contrasts and suffix not in self.contrasts:
            return f"{self.name} is made for {' and '.join(self.contrasts)}, not for {suffix}"
        return ""

    @abstractmethod
    def segment(self, volume: Volume, mask: Volume | None = None) -> Segmentation:
        """Segment an image.

        Parameters
        ----------
        volume : Volume
        mask : Volume, optional
            Brain mask on its grid; given wherever ``needs_mask``.

        Raises
        ------
        EngineError
            If it fails or finds nothing plausible.
        """


def table_tsv(labels: Sequence[Label]) -> str:
    """Write a label table as BIDS requires."""
    rows = ["index\tname\tabbreviation\tcolor", "0\tbackground\tBG\t#000000"]
    rows += [
        "\t".join(
            [str(label.index), label.name, label.abbreviation or "n/a", label.colour or "n/a"]
        )
        for label in labels
    ]
    return "\n".join(rows) + "\n"


def volumes_tsv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write what :meth:`Segmentation.volumes` measures."""
    columns = ("index", "name", "voxels", "volume_ml")
    lines = ["\t".join(columns)]
    lines += ["\t".join(str(row[column]) for column in columns) for row in rows]
    return "\n".join(lines) + "\n"
