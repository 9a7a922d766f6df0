"""The name of a protocol: stacks of slices, and how the patient moves between them.

``5/6`` is one stack, 5 mm thick every 6 mm.  ``5/6+5/6sagittal+5/6coronal@2mm2deg`` are three,
with 2 mm and 2 degrees of motion between them.  ``5/6+guide=T1w@5mm5deg`` is one stack and
a thin T1w that lies 5 mm and 5 degrees off.  Nothing is simulated here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bids_sr.exceptions import ConfigError
from bids_sr.imaging import Acquisition

SLICES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Orientation of the simulated slices, and the array axis across them in RAS+."""
LEAVE_OUT = "leave-slices-out"
_PROFILE = "gaussian"
"""Of protocols that name none, whatever is assumed of scans: their tables stay comparable."""
_STACK = re.compile(
    rf"(?P<thickness>[\d.]+)(/(?P<spacing>[\d.]+))?(?P<slices>{'|'.join(SLICES)})?(/(?P<profile>.+))?"
)
_MOTION = re.compile(r"@(?P<mm>[\d.]+)mm(?P<degrees>[\d.]+)deg$")
_GUIDE = re.compile(r"\+guide=(?P<suffix>[A-Za-z0-9]+)$")
_NEXT_STACK = re.compile(r"\+(?=[\d.])")


@dataclass(frozen=True, kw_only=True)
class ProtocolName:
    """Hold what the name of a protocol says."""

    stacks: tuple[Acquisition, ...]
    """One for each stack; slice axis None where the name does not say it."""
    shift: float = 0.0
    """How far the patient moves between two stacks, or stack and guide, mm."""
    degrees: float = 0.0
    """How far the patient turns between them."""
    guide: str = ""
    """Suffix of the scan that guides; empty where there is none."""

    @classmethod
    def read(cls, name: str) -> ProtocolName:
        """Read a name.

        Raises
        ------
        ConfigError
            If it cannot be understood.
        """
        try:
            motion = _MOTION.search(name)
            scans = name[: motion.start()] if motion else name
            guide = _GUIDE.search(scans)
            stacks = _NEXT_STACK.split(scans[: guide.start()] if guide else scans)
            if motion and len(stacks) == 1 and not guide:
                raise ValueError("motion between stacks, but a single stack")
            if guide and len(stacks) > 1:
                raise ValueError("a guide helps a single stack")
            return cls(
                stacks=tuple(_acquisition(stack) for stack in stacks),
                shift=float(motion["mm"]) if motion else 0.0,
                degrees=float(motion["degrees"]) if motion else 0.0,
                guide=guide["suffix"] if guide else "",
            )
        except ValueError as error:
            raise ConfigError(
                f"Found the protocol {name!r} ({error}); expected thickness/spacing in mm, such "
                "as 5/6, 5/6/rect or 5/6sagittal, several of them joined by +, with or without "
                "motion, such as 5/6+5/6coronal@2mm2deg; a stack and its guide, such as "
                f"5/6+guide=T1w@5mm5deg; or {LEAVE_OUT}."
            ) from error


def _acquisition(text: str) -> Acquisition:
    match = _STACK.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a stack of slices")
    thickness = float(match["thickness"])
    return Acquisition(
        thickness=thickness,
        spacing=float(match["spacing"] or thickness),
        profile=match["profile"] or _PROFILE,
        slice_axis=SLICES[match["slices"]] if match["slices"] else None,
    )
