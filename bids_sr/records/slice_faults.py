"""Faults of single slices: which slice, what is wrong with it, how much.

Slices are counted from 0 along the slice axis of the file, as voxel indices in a viewer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bids_sr.records.json_values import mapping, number, text
from bids_sr.records.voxel_detail import InterpolatedAxis

MOTION = "motion"
SIGNAL_LOSS = "signal loss"
LOCAL_LOSS = "local signal loss"
SIGNAL_EXCESS = "too bright"
REPEATED = "repeated"
MISSING = "missing after"
REVERSED = "reversed"
WEIGHED = (MOTION, SIGNAL_LOSS, LOCAL_LOSS, SIGNAL_EXCESS)
"""Faults of a slice that is weighed down; the others can only be reported."""
_CLEAR_WEIGHT = 0.5


@dataclass(frozen=True, kw_only=True)
class SliceFault:
    """Name one fault of one slice."""

    slice_number: int
    """Index along the slice axis, from 0."""
    what: str
    """One of the names of this module."""
    size: float
    """Motion: mm; signal loss, excess: percent of the signal; local: percent of the slice's
    area; repeated: index of the slice that it shows again; missing: times the usual
    difference to the next slice; reversed: slices in the block."""
    weight: float = 1.0
    """What the slice still counts, from 0 to 1."""

    @property
    def clear(self) -> bool:
        """Whether such a fault alone asks for a look: hardly ever is a good slice accused so."""
        return self.what in (REPEATED, REVERSED) or self.weight < _CLEAR_WEIGHT

    @property
    def words(self) -> str:
        """Say what is wrong, without the number of the slice."""
        return {
            MOTION: f"moved by about {self.size:.1f} mm",
            SIGNAL_LOSS: f"{self.size:.0f} % of its signal lost",
            LOCAL_LOSS: f"signal lost in {self.size:.0f} % of its area",
            SIGNAL_EXCESS: f"{self.size:.0f} % brighter than its neighbours",
            REPEATED: f"shows the same as slice {self.size:.0f}",
            MISSING: f"a slice seems to be missing between it and slice {self.slice_number + 1}",
            REVERSED: f"in a block of {self.size:.0f} slices in reversed order",
        }.get(self.what, self.what)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a sidecar."""
        return {
            "Slice": self.slice_number,
            "What": self.what,
            "Size": round(self.size, 2),
            "Weight": round(self.weight, 3),
        }

    @classmethod
    def from_value(cls, value: Any) -> SliceFault | None:
        """Read what :meth:`to_dict` makes; None where it names no slice."""
        known: Mapping[str, Any] = mapping(value)
        place, what = number(known.get("Slice")), text(known.get("What"))
        if place is None or not what:
            return None
        size, weight = number(known.get("Size")), number(known.get("Weight"))
        return cls(
            slice_number=int(place),
            what=what,
            size=0.0 if size is None else size,
            weight=1.0 if weight is None else weight,
        )


@dataclass(frozen=True, kw_only=True)
class SliceRecord:
    """Say what the check of an image's slices saw."""

    faults: tuple[SliceFault, ...] = ()
    differences: tuple[float | None, ...] = ()
    """Difference of each slice to what its neighbours predict, over the median of the stack;
    None for slices that are not judged."""
    interpolated: tuple[InterpolatedAxis, ...] = ()
    """Axes whose voxels are finer than the detail."""

    @property
    def weights(self) -> tuple[float, ...] | None:
        """What each slice counts, from 0 to 1; None where all count in full."""
        weights = [1.0] * len(self.differences)
        for fault in self.faults:
            if fault.what in WEIGHED and 0 <= fault.slice_number < len(weights):
                weights[fault.slice_number] = min(weights[fault.slice_number], fault.weight)
        return tuple(weights) if any(weight < 1 for weight in weights) else None

    @property
    def sentences(self) -> tuple[str, ...]:
        """Say for a reader of the result which slices are at fault, and what is interpolated."""
        warnings = tuple(axis.warning for axis in self.interpolated if axis.warning)
        return (*fault_sentences(self.faults), *warnings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the QC file."""
        return {
            "SliceFaults": [fault.to_dict() for fault in self.faults],
            "SliceDifferences": [
                None if value is None else round(value, 3) for value in self.differences
            ],
            "InterpolatedAxes": [axis.to_dict() for axis in self.interpolated],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SliceRecord:
        """Read what :meth:`to_dict` makes."""
        known = values.get("SliceDifferences")
        return cls(
            faults=faults_from(values.get("SliceFaults")),
            differences=tuple(map(number, known)) if isinstance(known, list) else (),
            interpolated=axes_from(values.get("InterpolatedAxes")),
        )


def axes_from(values: Any) -> tuple[InterpolatedAxis, ...]:
    """Read a list of interpolated axes; entries that are none are left out."""
    entries = values if isinstance(values, list) else []
    return tuple(axis for entry in entries if (axis := InterpolatedAxis.from_value(entry)))


def faults_from(values: Any) -> tuple[SliceFault, ...]:
    """Read a list of faults; entries that name no slice are left out."""
    entries = values if isinstance(values, list) else []
    return tuple(fault for entry in entries if (fault := SliceFault.from_value(entry)))


def fault_sentences(faults: Sequence[SliceFault]) -> tuple[str, ...]:
    """Say for a reader of the result which slices are at fault, a sentence for each kind."""
    weighed = [fault for fault in faults if fault.what in WEIGHED]
    clear = [fault for fault in weighed if fault.weight < 1]
    doubtful = [fault for fault in weighed if fault.weight >= 1]
    sentences = []
    for kind, chosen in (
        ("slices at fault, which count less in the result", clear),
        ("slices that may be at fault, and count in full", doubtful),
    ):
        if chosen:
            named = "; ".join(f"slice {fault.slice_number}: {fault.words}" for fault in chosen)
            sentences.append(f"{kind} (counted from 0): {named}")
    repeated = [fault for fault in faults if fault.what == REPEATED]
    if repeated:
        named = "; ".join(f"slice {fault.slice_number} {fault.words}" for fault in repeated)
        sentences.append(
            f"repeated slices (counted from 0): {named}. The result shows the content twice: "
            "check the conversion of the image"
        )
    if missing := [fault.slice_number for fault in faults if fault.what == MISSING]:
        sentences.append(
            "a slice may be missing (counted from 0): "
            + "; ".join(f"between slices {place} and {place + 1}" for place in missing)
            + ". Look there; if one is, the result is too short and every position beyond is "
            "wrong: get the whole series"
        )
    if backward := [fault.slice_number for fault in faults if fault.what == REVERSED]:
        named = ", ".join(_range_words(*block) for block in _blocks(backward))
        sentences.append(
            f"slices in reversed order (counted from 0): {named}. The result is wrong there: "
            "convert the image again with its slices in order"
        )
    return tuple(sentences)


def _blocks(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return first and last number of each block of consecutive numbers."""
    ordered = sorted(set(numbers))
    ends = [index for index, (first, second) in enumerate(pairwise(ordered)) if second > first + 1]
    starts = [0, *(end + 1 for end in ends)]
    return [
        (ordered[start], ordered[end])
        for start, end in zip(starts, [*ends, len(ordered) - 1], strict=True)
    ]


def _range_words(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first} to {last}"
