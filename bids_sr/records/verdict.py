"""A verdict: ``ok`` or ``look``, of each check of an image and of the image as a whole.

``look`` asks a person to look at the image before it is used; it does not say that the image is
bad.  Which checks there are, and what they expect, is in :mod:`bids_sr.records.checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from bids_sr.records.json_values import mapping, number, text

Status = Literal["ok", "look"]
OK: Status = "ok"
LOOK: Status = "look"


@dataclass(frozen=True, kw_only=True)
class Check:
    """Hold one check of an image: a value, what was expected, and what follows."""

    name: str
    """One word, for tables and programs: ``noise``."""
    title: str
    """For readers: ``Noise``."""
    value: float
    unit: str = ""
    low: float | None = None
    """Lowest value that is expected; None where there is no such limit."""
    high: float | None = None
    """Highest value that is expected; None where there is no such limit."""
    status: Status = OK
    reason: str = ""
    """Why, in one line of plain English."""

    @property
    def value_words(self) -> str:
        """Value with its unit: ``1,430 mL``."""
        return _with_unit(_words(self.value), self.unit)

    @property
    def expected_words(self) -> str:
        """Say what was expected: ``800 to 2,000 mL``, ``at most 6 %``."""
        low, high = (None if end is None else _words(end) for end in (self.low, self.high))
        if low is not None and high is not None:
            return _with_unit(low if low == high else f"{low} to {high}", self.unit)
        if high is not None:
            return _with_unit(f"at most {high}", self.unit)
        return _with_unit(f"at least {low}", self.unit) if low is not None else "any"

    @property
    def line(self) -> str:
        """One line: title, value, what was expected, and why."""
        found = f"{self.title.lower()} {self.value_words}, expected {self.expected_words}"
        return f"{found}: {self.reason}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a QC file."""
        return {
            "Name": self.name,
            "Title": self.title,
            "Value": self.value,
            "Unit": self.unit,
            "Expected": [self.low, self.high],
            "Verdict": self.status,
            "Reason": self.reason,
        }

    @classmethod
    def from_dict(cls, values: Any) -> Check | None:
        """Read what :meth:`to_dict` makes; None where name, value or verdict is missing."""
        known = mapping(values)
        name, value, status = (
            text(known.get("Name")),
            number(known.get("Value")),
            known.get("Verdict"),
        )
        if not name or value is None or status not in (OK, LOOK):
            return None
        expected = known.get("Expected")
        ends = expected if isinstance(expected, list) and len(expected) == 2 else [None, None]
        return cls(
            name=name,
            title=text(known.get("Title")) or name,
            value=value,
            unit=text(known.get("Unit")),
            low=number(ends[0]),
            high=number(ends[1]),
            status=cast("Status", status),
            reason=text(known.get("Reason")),
        )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Hold the checks of an image; the worst of them is its verdict."""

    checks: tuple[Check, ...] = ()

    @property
    def status(self) -> Status:
        """``look`` if one of the checks says so, else ``ok``."""
        return LOOK if self.looks else OK

    @property
    def looks(self) -> tuple[Check, ...]:
        """Checks that ask for a look."""
        return tuple(check for check in self.checks if check.status == LOOK)

    @property
    def cell(self) -> str:
        """``ok``, or ``look`` and the names of the checks, for a table."""
        names = ", ".join(check.name for check in self.looks)
        return f"{LOOK}: {names}" if names else OK

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a QC file; ``docs/reference/outputs.md`` documents them."""
        return {"Verdict": self.status, "Checks": [check.to_dict() for check in self.checks]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Verdict | None:
        """Read what :meth:`to_dict` makes; None in files without a verdict."""
        if values.get("Verdict") not in (OK, LOOK):
            return None
        entries = values.get("Checks")
        checks = [
            Check.from_dict(entry) for entry in (entries if isinstance(entries, list) else [])
        ]
        return cls(checks=tuple(check for check in checks if check is not None))


def _words(value: float) -> str:
    """Write a number with three significant digits, thousands whole."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value + 0.0:.3g}"


def _with_unit(words: str, unit: str) -> str:
    return f"{words} {unit}".rstrip()
