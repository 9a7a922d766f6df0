"""What became of stacks that belong together: fused or not, and what each of them counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bids_sr.records.json_values import mapping, number, numbers, text, texts
from bids_sr.records.method_record import Output
from bids_sr.records.step_record import StepRecord
from bids_sr.records.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class FusedStack:
    """Say what one stack counts in a fused volume."""

    image: str
    """Path of the acquired image below the root of the input dataset."""
    used: bool = False
    reason: str = ""
    """Why it is left out, in words."""
    to_frame: tuple[tuple[float, ...], ...] = ()
    """(4, 4) rigid transform from its world to that of the frame, RAS+, mm."""
    shift_mm: float | None = None
    """By how much its centre moves."""
    rotation_degrees: float | None = None
    overlap: float | None = None
    """Share of it that lies within the frame."""
    registration_residual: float | None = None
    """Relative to that of copies shifted by 6 mm."""
    scale: float | None = None
    """Factor of its intensities."""
    noise_percent: float | None = None
    residual_percent: float | None = None
    """Root mean square difference of the fused volume to its slices."""
    slice_weights: tuple[float, ...] = ()
    odd_slices: tuple[tuple[int, str], ...] = ()
    """Index of each slice that was weighed down, and what is wrong with it."""

    @property
    def stem(self) -> str:
        """File name without its extension."""
        return self.image.rpartition("/")[2].split(".")[0]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a sidecar, without what is not known."""
        values: dict[str, Any] = {
            "Image": self.image,
            "Used": self.used,
            "Reason": self.reason,
            "ToFrame": [list(row) for row in self.to_frame],
            **{key: getattr(self, name) for name, key in _NUMBERS.items()},
            "SliceWeights": list(self.slice_weights),
        }
        known = {key: value for key, value in values.items() if value not in (None, "", [])}
        odd = [{"Slice": place, "What": what} for place, what in self.odd_slices]
        return known | ({"OddSlices": odd} if self.used else {})

    @classmethod
    def from_dict(cls, values: Any) -> FusedStack:
        """Read what :meth:`to_dict` makes, or the record of the library."""
        known = mapping(values)
        rows = known.get("ToFrame")
        weights = numbers(known.get("SliceWeights"))
        slices = known.get("OddSlices")
        odd = [mapping(entry) for entry in (slices if isinstance(slices, list) else [])]
        return cls(
            image=text(known.get("Image")),
            used=known.get("Used") is True,
            reason=text(known.get("Reason")),
            to_frame=tuple(numbers(row) for row in rows) if isinstance(rows, list) else (),
            slice_weights=weights,
            odd_slices=tuple(
                (int(place), text(entry.get("What")))
                for entry in odd
                if (place := number(entry.get("Slice"))) is not None
            ),
            **{name: number(known.get(key)) for name, key in _NUMBERS.items()},
        )


_NUMBERS = {
    "shift_mm": "ShiftMm",
    "rotation_degrees": "RotationDegrees",
    "overlap": "Overlap",
    "registration_residual": "RegistrationResidual",
    "scale": "Scale",
    "noise_percent": "NoisePercent",
    "residual_percent": "ResidualPercent",
}


@dataclass(frozen=True, kw_only=True)
class FusionRecord:
    """Hold what became of one group of stacks."""

    status: str = ""
    """``done``, ``skipped`` (not fused, see the reason) or ``failed``."""
    reason: str = ""
    """Why nothing was fused, in words; empty where it was."""
    product: str = ""
    """Name of the fused volume without its extension and resolution."""
    frame: str = ""
    """Path of the image in whose frame it lies."""
    stacks: tuple[FusedStack, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float | None = None
    output: Output | None = None
    """Grid and range of the fused volume."""
    brain_mask_ml: float | None = None
    """Volume of its brain mask."""
    segmentations: tuple[StepRecord, ...] = ()
    """What each segmentation tool did with it."""
    verdict: Verdict | None = None
    """None where nothing was fused, and in sidecars and files of earlier versions."""
    software: Mapping[str, Any] = field(default_factory=dict)

    @property
    def images(self) -> tuple[str, ...]:
        """Paths of all stacks."""
        return tuple(stack.image for stack in self.stacks)

    @property
    def used(self) -> tuple[str, ...]:
        """Paths of the stacks that were fused."""
        return tuple(stack.image for stack in self.stacks if stack.used)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; ``docs/reference/outputs.md`` documents the names."""
        values = {
            "Status": self.status,
            "Reason": self.reason,
            "Product": self.product,
            "Frame": self.frame,
            "Seconds": self.seconds,
            "BrainMaskVolumeMl": self.brain_mask_ml,
            "Software": dict(self.software),
        }
        values |= self.output.to_dict() if self.output else {}
        values["Segmentations"] = {step.tool: dict(step.facts) for step in self.segmentations}
        known = {key: value for key, value in values.items() if value not in (None, "", {})}
        stacks = [stack.to_dict() for stack in self.stacks]
        verdict = self.verdict.to_dict() if self.verdict else {}
        return {**known, **verdict, "Stacks": stacks, "Warnings": list(self.warnings)}

    @classmethod
    def from_dict(cls, values: Any) -> FusionRecord:
        """Read what :meth:`to_dict` makes."""
        known = mapping(values)
        stacks = known.get("Stacks")
        return cls(
            status=text(known.get("Status")),
            reason=text(known.get("Reason")),
            product=text(known.get("Product")),
            frame=text(known.get("Frame")),
            stacks=tuple(map(FusedStack.from_dict, stacks if isinstance(stacks, list) else ())),
            warnings=texts(known.get("Warnings")),
            seconds=number(known.get("Seconds")),
            output=Output.from_dict(known),
            brain_mask_ml=number(known.get("BrainMaskVolumeMl")),
            verdict=Verdict.from_dict(known),
            segmentations=tuple(
                StepRecord({"Tool": str(tool), **mapping(facts)})
                for tool, facts in mapping(known.get("Segmentations")).items()
            ),
            software=mapping(known.get("Software")),
        )
