"""What was done to slices that differ in brightness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bids_sr.records.json_values import mapping, number, numbers, text, texts


@dataclass(frozen=True, kw_only=True)
class SliceGainRecord:
    """Say how much slices differed from their neighbours, and by what they were multiplied."""

    applied: bool = False
    reason: str = ""
    """Why nothing was changed, in words; empty where slices were."""
    pattern: tuple[str, ...] = ()
    """``odd-even``, ``every third``, ``irregular``, ``single slices``."""
    before_percent: float | None = None
    """Root mean square difference to the mean of both neighbours, without slow changes."""
    after_percent: float | None = None
    """The same of the corrected slices."""
    evidence: float | None = None
    """Logarithm of the likelihood ratio of banding against none."""
    gains: tuple[float, ...] = ()
    """Factor of each slice, first slice first; empty where nothing was changed."""

    @property
    def known(self) -> bool:
        """Whether slices were compared at all."""
        return self.applied or bool(self.reason)

    @property
    def size_percent(self) -> float | None:
        """How far slices of the image that was super-resolved differ from their neighbours."""
        return self.after_percent if self.applied else self.before_percent

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without what is not known."""
        values: dict[str, Any] = {"Applied": self.applied, "Reason": self.reason}
        values |= {"Pattern": list(self.pattern)}
        values |= {key: _rounded(getattr(self, name)) for name, key in _NUMBERS.items()}
        values |= {"Gains": [round(gain, 5) for gain in self.gains]}
        return {key: value for key, value in values.items() if value not in (None, "", [])}

    @classmethod
    def from_value(cls, value: Any) -> SliceGainRecord:
        """Read what :meth:`to_dict` makes; the facts of a step that failed say nothing."""
        known: Mapping[str, Any] = mapping(value)
        gains = numbers(known.get("Gains"))
        return cls(
            applied=known.get("Applied") is True and bool(gains),
            reason=text(known.get("Reason")),
            pattern=texts(known.get("Pattern")),
            gains=gains,
            **{name: number(known.get(key)) for name, key in _NUMBERS.items()},
        )


_NUMBERS = {
    "before_percent": "BeforePercent",
    "after_percent": "AfterPercent",
    "evidence": "Evidence",
}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
