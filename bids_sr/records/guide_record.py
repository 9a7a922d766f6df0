"""What a guide did for an image: used or not, how it was registered, what it gained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bids_sr.records.json_values import mapping, number, text


@dataclass(frozen=True, kw_only=True)
class GuideRecord:
    """Hold what is decided by, and shown of, the entry ``Guide`` of a sidecar."""

    source: str
    """BIDS URI of the acquired guide."""
    used: bool
    reason: str = ""
    """Why it was not used, in words."""
    shift_mm: float | None = None
    """By how much the centre of the image moves to the place where the guide shows it."""
    rotation_degrees: float | None = None
    gain_decibel: float | None = None
    """On held-out slices, with the guide."""
    gain_without_decibel: float | None = None
    """On the same slices, of what was learnt without the guide."""
    seconds: float | None = None

    @property
    def stem(self) -> str:
        """File name of the guide without its extension."""
        return self.source.rpartition("/")[2].split(".")[0]

    @classmethod
    def from_dict(cls, values: Any) -> GuideRecord | None:
        """Read the entry of a sidecar; None where there is none."""
        known = mapping(values)
        if not known:
            return None
        return cls(
            source=text(known.get("Source")),
            used=known.get("Used") is True,
            reason=text(known.get("Reason")),
            shift_mm=number(known.get("ShiftMm")),
            rotation_degrees=number(known.get("RotationDegrees")),
            gain_decibel=number(known.get("HeldOutGainDecibel")),
            gain_without_decibel=number(known.get("HeldOutGainWithoutGuideDecibel")),
            seconds=number(known.get("Seconds")),
        )
