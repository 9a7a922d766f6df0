"""What a step other than super-resolution did: its facts, and typed access to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bids_sr.records.json_values import mapping, number, numbers, text


@dataclass(frozen=True)
class StepRecord:
    """Hold the facts of a step by the names of the QC file."""

    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_value(cls, value: Any) -> StepRecord:
        """Take an object of a file; without facts where it is none."""
        return cls(mapping(value))

    @property
    def method(self) -> str:
        """How it was done."""
        return text(self.facts.get("Method"))

    @property
    def reason(self) -> str:
        """Why it was done so, or not at all."""
        return text(self.facts.get("Reason"))

    @property
    def warning(self) -> str:
        """What a reader of the result must know; empty where all went well."""
        return text(self.facts.get("Warning"))

    @property
    def status(self) -> str:
        """``done``, ``skipped`` or ``failed``, where the step says it."""
        return text(self.facts.get("Status"))

    @property
    def failed(self) -> bool:
        """Whether the image went on without it."""
        return self.status == "failed"

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        return number(self.facts.get("Seconds"))

    @property
    def volume_ml(self) -> float | None:
        """Volume of a brain mask."""
        return number(self.facts.get("VolumeMl"))

    @property
    def input_range(self) -> tuple[float, ...]:
        """Lowest and highest intensity, of the input check."""
        return numbers(self.facts.get("InputRange"))

    @property
    def tool(self) -> str:
        """Name of a segmentation tool."""
        return text(self.facts.get("Tool"))

    @property
    def count(self) -> int | None:
        """Number of regions that a segmentation found."""
        count = number(self.facts.get("Count"))
        return None if count is None else int(count)

    @property
    def lesions(self) -> tuple[int, int] | None:
        """How many lesions were found, and how many of them the acquired slices show."""
        count = number(self.facts.get("Lesions"))
        seen = number(self.facts.get("LesionsSeenInSlices"))
        return None if count is None or seen is None else (int(count), int(seen))

    @property
    def volumes_ml(self) -> dict[str, float]:
        """Volumes of a segmentation by label."""
        volumes = {
            str(name): number(ml) for name, ml in mapping(self.facts.get("VolumesMl")).items()
        }
        return {name: ml for name, ml in volumes.items() if ml is not None}
