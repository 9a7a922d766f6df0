"""Fused volumes in the page of a subject: what was combined, and what each stack counted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bids_sr.files import read_json_or_empty
from bids_sr.records.fusion_record import FusedStack, FusionRecord
from bids_sr.reports import wording

SHOWN_SLICES = 12


@dataclass(frozen=True, kw_only=True)
class FusedVolume:
    """Hold what is on disk of one group of stacks."""

    record: FusionRecord
    figures: dict[str, Path]
    """By name: ``fused`` (stacks, mean and fused volume), ``weights``, ``seg<tool>``."""

    @property
    def anchor(self) -> str:
        """Name of its section in the page."""
        return "fused-" + re.sub(r"[^A-Za-z0-9]+", "-", self.record.product)

    @property
    def suffix(self) -> str:
        """``T1w``, ``FLAIR``, ..."""
        return self.record.product.rpartition("_")[2]

    @property
    def rows(self) -> list[dict[str, str]]:
        """One row a stack for the table of the page."""
        return [_row(stack, self.record) for stack in self.record.stacks]

    @property
    def warnings(self) -> list[str]:
        """What a reader must know, where the table does not say it."""
        about_slices = re.compile(r": slice \d+ counts")
        return [text for text in self.record.warnings if not about_slices.search(text)]


def read_fused(root: Path, label: str) -> list[FusedVolume]:
    """Read the QC files of the fused volumes of a subject.

    Parameters
    ----------
    root : Path
        Root of the output dataset.
    label : str
        With ``sub-``.
    """
    volumes = []
    for path in sorted((root / label).rglob("*_desc-fused_qc.json")):
        record = FusionRecord.from_dict(read_json_or_empty(path))
        if record.product and record.status:
            figures = _figures(root / label / "figures", record)
            volumes.append(FusedVolume(record=record, figures=figures))
    return volumes


def group_rows(root: Path, labels: Iterable[str], suffix: str) -> list[dict[str, str]]:
    """Summarise the fused volumes of one suffix for the page of a group.

    Parameters
    ----------
    root : Path
        Root of the output dataset.
    labels : iterable of str
        Subjects, with ``sub-``.
    suffix : str
    """
    return [
        _summary(volume, f"{quote(label)}.html#{volume.anchor}")
        for label in labels
        for volume in read_fused(root, label)
        if volume.suffix == suffix
    ]


def fused_file(root: Path, label: str, record: FusionRecord) -> Path | None:
    """Find the fused volume on disk; None where there is none, or not one.

    Parameters
    ----------
    root : Path
        Root of the output dataset.
    label : str
        With ``sub-``.
    record : FusionRecord
    """
    head, _, suffix = record.product.rpartition("_desc-fused_")
    named = re.fullmatch(rf"{re.escape(label)}[\w+-]*/[A-Za-z0-9]+", f"{head}/{suffix}")
    if record.status != "done" or not named:  # a name that others may have written
        return None
    found = [*(root / label).rglob(f"{head}_res-*_desc-fused_{suffix}.nii.gz")]
    return found[0] if len(found) == 1 else None


def _summary(volume: FusedVolume, address: str) -> dict[str, str]:
    record = volume.record
    used = [stack for stack in record.stacks if stack.used]

    def largest(name: str, unit: str) -> str:
        values = [getattr(stack, name) for stack in used]
        known = [value for value in values if value is not None]
        return f"{wording.number(max(known), 2)} {unit}" if known else wording.DASH

    return {
        "name": record.product,
        "address": address,
        "status": record.status,
        "stacks": f"{len(used)} of {len(record.stacks)}",
        "shift": largest("shift_mm", "mm"),
        "rotation": largest("rotation_degrees", "°"),
        "residual": largest("residual_percent", "%"),
        "slices": str(sum(len(stack.odd_slices) for stack in used)) if used else wording.DASH,
        "verdict": record.verdict.cell if record.verdict else "",
        "message": record.reason or "; ".join(volume.warnings),
    }


def _figures(folder: Path, record: FusionRecord) -> dict[str, Path]:
    """Find the figures of a volume that was fused, by the start of their names."""
    if record.status != "done":
        return {}
    head, _, suffix = record.product.rpartition("_desc-fused_")
    found = sorted(folder.glob(f"{head}_desc-fused*_{suffix}.svg"))
    names = {path: path.name.rpartition("_desc-")[2].partition("_")[0] for path in found}
    return {name.removeprefix("fused") or name: path for path, name in names.items()}


def _row(stack: FusedStack, record: FusionRecord) -> dict[str, str]:
    percent = wording.number(stack.residual_percent, 3)
    noise = wording.number(stack.noise_percent, 3)
    return {
        "stack": stack.stem,
        "used": "yes" if stack.used else "no",
        "motion": _motion_words(stack, record),
        "residual": f"{percent} %" if percent != wording.DASH else percent,
        "noise": f"{noise} %" if noise != wording.DASH else noise,
        "slices": _slice_words(stack) if stack.used else stack.reason or record.reason,
    }


def _motion_words(stack: FusedStack, record: FusionRecord) -> str:
    """Say how a stack was moved to the frame."""
    if stack.image == record.frame:
        return "the frame: not moved"
    if stack.shift_mm is None or stack.rotation_degrees is None:
        return wording.DASH
    shift, turn = (wording.number(value, 2) for value in (stack.shift_mm, stack.rotation_degrees))
    return f"shifted by {shift} mm, turned by {turn}°"


def _slice_words(stack: FusedStack) -> str:
    """Say which slices count less, and why."""
    weights = stack.slice_weights
    if not stack.odd_slices:
        return f"all {len(weights)} slices count"
    words = []
    for place, what in stack.odd_slices[:SHOWN_SLICES]:
        share = f"{100 * weights[place]:.0f} %" if place < len(weights) else wording.DASH
        words.append(f"slice {place + 1} counts {share}: {what}")
    more = len(stack.odd_slices) - len(words)
    return "; ".join([*words, *([f"and {more} more"] if more > 0 else [])])
