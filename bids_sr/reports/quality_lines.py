"""The measures of an image, line by line, as the page of a subject shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bids_sr.records.quality import QualityRecord
from bids_sr.records.slice_gain_record import SliceGainRecord
from bids_sr.reports import wording
from bids_sr.reports.records import ImageRecord


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a table: a name, a value, and what it means."""

    name: str
    value: str
    note: str = ""
    alert: bool = False


def quality_lines(image: ImageRecord) -> list[Line]:
    """Return the measures of an image: residual, intensities, brightness of slices, mask."""
    quality = image.quality
    if quality is None:
        return []
    lines = []
    output, mask = quality.method.output, quality.step("brain_mask")
    residual = wording.number(output.residual_percent if output else None, 3)
    if residual != wording.DASH:
        lines.append(
            Line(
                name="Data-consistency residual",
                value=f"{residual} %",
                note="RMS difference between the acquired slices and the result degraded again, "
                "in percent of the acquired intensity range",
            )
        )
    acquired_range = quality.step("check").input_range
    lines.append(Line(name="Intensities, acquired", value=wording.span(acquired_range)))
    lines.append(_output_range(acquired_range, output.intensities if output else ()))
    measure = quality.curve.validation
    if quality.curve.last_score is not None:
        lines.append(
            Line(
                name=wording.capital(measure.name),
                value=f"{wording.number(quality.curve.last_score, 3)} {measure.unit}".rstrip(),
                note=f"on {measure.held_out}" if measure.held_out else "",
            )
        )
    if (line := _slice_gain_line(quality)) is not None:
        lines.append(line)
    volume = wording.number(mask.volume_ml)
    lines.append(
        Line(
            name="Brain mask",
            value=f"{volume} mL" if volume != wording.DASH else "none",
            note="; ".join(filter(None, [f"method: {mask.method or 'no mask'}", mask.reason])),
        )
    )
    return lines


def _slice_gain_line(quality: QualityRecord) -> Line | None:
    """Say how far slices differ in brightness; None where they were not compared."""
    gain = SliceGainRecord.from_value(quality.step("slice_gain").facts)
    before, after = (wording.number(size, 2) for size in (gain.before_percent, gain.after_percent))
    if not gain.known or before == wording.DASH:
        return None
    about = "RMS difference to the mean of both neighbours, without slow changes"
    if not gain.applied:
        return Line(
            name="Brightness of the slices",
            value=f"{before} %",
            note=f"{about}; {gain.reason}, nothing was changed",
        )
    low, high = (
        wording.number(100 * (value - 1), 2) for value in (min(gain.gains), max(gain.gains))
    )
    return Line(
        name="Brightness of the slices",
        value=f"{before} % before, {after} % after",
        note=f"{about}; {' and '.join(gain.pattern)}: slices were changed by {low} to {high} %",
    )


def _output_range(acquired: Sequence[float], result: Sequence[float]) -> Line:
    note, alert = "", False
    if len(acquired) == 2 == len(result):
        (low, high), (least, most) = acquired, result
        alert = least < 0 <= low
        over = max(low - least, most - high) / (high - low) if high > low else 0.0
        note = "within the acquired range"
        if over > 0:
            note = f"exceeds the acquired range by {wording.number(100 * over, 2)} % of its width"
        if alert:
            note = "negative, where the acquired image is not; " + note
    return Line(name="Intensities, result", value=wording.span(result), note=note, alert=alert)
