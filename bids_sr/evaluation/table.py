"""Rows of a comparison: kept one a file, written as TSV and as Markdown tables.

A row is a mapping of plain values, so that it can come from anywhere: also from a
program that is not ours.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_sr.evaluation.protocol import TOLD_WORDS
from bids_sr.evaluation.scoring import MEASURES
from bids_sr.exceptions import InputDataError
from bids_sr.files import read_json
from bids_sr.files.writing import write_json_atomic

Row = Mapping[str, Any]
FACTS = ("image", "protocol", "slices", "noise", "told", "method", "status")
COSTS = {"seconds": 1, "cpu_seconds": 1, "peak_gb": 2, "peak_gpu_gb": 2}
"""What a row cost, and with how many digits that is shown."""
COLUMNS = (*FACTS, *(measure.name for measure in MEASURES), *COSTS, "mask", "message")
_DIGITS = {measure.name: measure.digits for measure in MEASURES} | COSTS


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Read the rows of a folder, by image, protocol and method; unreadable ones are left out."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        try:
            row = read_json(path)
        except InputDataError:
            continue
        texts = [row.get(name) for name in ("image", "protocol", "method", "status")]
        scored = isinstance(row.get("scores", {}), dict)
        if scored and all(isinstance(text, str) for text in texts):
            rows.append({**row, "file": path.stem})
    return rows


def write_row(path: Path, row: Row) -> Path:
    """Write one row, whole or not at all."""
    return write_json_atomic(path, row)


def value(row: Row, column: str) -> float | None:
    """Return a number of a row; None where it has none."""
    entry = row.get("scores", {}).get(column, row.get(column))
    known = isinstance(entry, int | float) and math.isfinite(entry)
    return float(entry) if known else None


def cell(row: Row, column: str) -> str:
    """Return the text of a row in a column; ``n/a`` where there is none."""
    if column in _DIGITS:
        number = value(row, column)
        return "n/a" if number is None else f"{number:.{_DIGITS[column]}f}"
    text = " ".join(str(row.get(column, "")).split())
    return text or "n/a"


def label_of(row: Row) -> str:
    """Return the protocol of a row in words."""
    noise = f", noise {100 * row['noise']:g} %" if row.get("noise") else ""
    slices = "" if row.get("slices") in (None, "own") else f" {row['slices']}"
    return f"{row['protocol']}{slices}{noise}{TOLD_WORDS[row.get('told', 'all')]}"


def tsv(rows: Iterable[Row]) -> str:
    """Return the table with one row an image, protocol and method."""
    lines = ["\t".join(COLUMNS)]
    lines += ["\t".join(cell(row, column) for column in COLUMNS) for row in rows]
    return "\n".join(lines) + "\n"


def groups(rows: Sequence[Row]) -> dict[str, dict[str, list[Row]]]:
    """Return rows that succeeded by protocol, then by method."""
    grouped: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        if row["status"] == "ok":
            grouped.setdefault(label_of(row), {}).setdefault(row["method"], []).append(row)
    return grouped


def gains(methods: Mapping[str, Sequence[Row]], method: str, baseline: str) -> list[float]:
    """Return PSNR minus that of the baseline, dB, over the images that both have."""
    base = {row["image"]: value(row, "psnr") for row in methods.get(baseline, ())}
    differences = []
    for row in methods[method]:
        own, reference = value(row, "psnr"), base.get(row["image"])
        if own is not None and reference is not None:
            differences.append(own - reference)
    return differences


def mean_sd(numbers: Sequence[float], digits: int) -> str:
    """Return ``mean ± SD``, the SD of the sample; without it for a single number."""
    if not numbers:
        return "n/a"
    mean = f"{statistics.fmean(numbers):.{digits}f}"
    return mean if len(numbers) < 2 else f"{mean} ± {statistics.stdev(numbers):.{digits}f}"


def numbers_of(rows: Sequence[Row], column: str) -> list[float]:
    """Return the numbers that rows have in a column."""
    return [number for row in rows if (number := value(row, column)) is not None]


def shown_measures(rows: Sequence[Row]) -> list[str]:
    """Return the measures that any of the rows has."""
    names = [measure.name for measure in MEASURES]
    return [name for name in names if any(value(row, name) is not None for row in rows)]


def markdown(rows: Sequence[Row], baseline: str, notes: Iterable[str] = ()) -> str:
    """Return a table of mean and SD a protocol and method, and one of every image.

    Parameters
    ----------
    rows : sequence of mapping
    baseline : str
        Label of the method that gains are relative to.
    notes : iterable of str
        Sentences below the tables.
    """
    titles = {measure.name: measure.title for measure in MEASURES}
    shown = shown_measures(rows)
    head = ["protocol", "method", "images", *(titles[name] for name in shown)]
    head += [f"gain over {baseline} (dB)", "least gain", "median s", "median CPU s", "peak GB"]
    lines = ["## Mean ± SD", "", *_head(head)]
    for protocol, methods in groups(rows).items():
        for method, some in methods.items():
            gain = gains(methods, method, baseline)
            cells = [protocol, method, str(len(some))]
            cells += [mean_sd(numbers_of(some, name), _DIGITS[name]) for name in shown]
            cells += [mean_sd(gain, 2), f"{min(gain):.2f}" if gain else "n/a"]
            cells += [median(some, "seconds", 1), median(some, "cpu_seconds", 1)]
            cells.append(largest(some, "peak_gb", 2))
            lines.append(_line(cells))
    lines += ["", "## Every image", "", *_every_image(rows, baseline)]
    failed = [row for row in rows if row["status"] != "ok"]
    if failed:
        lines += ["", "## Without a result", ""]
        lines += [
            f"- {row['image']}, {label_of(row)}, {row['method']}: {cell(row, 'message')}"
            for row in failed
        ]
    lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines).rstrip() + "\n"


def _every_image(rows: Sequence[Row], baseline: str) -> list[str]:
    """Return a table with an image and protocol a line and the methods side by side."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    others = [method for method in methods if method != baseline]
    head = ["image", "protocol", f"{baseline} PSNR"]
    head += [f"{method} {what}" for method in others for what in ("PSNR", "gain")]
    head += [f"SSIM {method}" for method in (baseline, *others)]
    head += [f"{method} {what}" for method in others for what in ("CPU s", "GB")]
    lines = _head(head)
    rows_by_key = {(row["image"], label_of(row), row["method"]): row for row in rows}
    for image, protocol in dict.fromkeys((row["image"], label_of(row)) for row in rows):
        some = {method: rows_by_key.get((image, protocol, method), {}) for method in methods}
        base = some.get(baseline, {})
        cells = [image, protocol, cell(base, "psnr")]
        for method in others:
            own, reference = value(some[method], "psnr"), value(base, "psnr")
            gain = None if own is None or reference is None else own - reference
            cells += [cell(some[method], "psnr"), "n/a" if gain is None else f"{gain:.2f}"]
        cells += [cell(some.get(method, {}), "ssim") for method in (baseline, *others)]
        for method in others:
            cells += [cell(some[method], name) for name in ("cpu_seconds", "peak_gb")]
        lines.append(_line("" if text == "n/a" else text for text in cells))
    return lines


def median(rows: Sequence[Row], column: str, digits: int) -> str:
    """Return the median of a column as text."""
    numbers = numbers_of(rows, column)
    return f"{statistics.median(numbers):.{digits}f}" if numbers else "n/a"


def largest(rows: Sequence[Row], column: str, digits: int) -> str:
    """Return the largest number of a column as text."""
    numbers = numbers_of(rows, column)
    return f"{max(numbers):.{digits}f}" if numbers else "n/a"


def _head(names: Sequence[str]) -> list[str]:
    return [_line(names), "|" + " --- |" * len(names)]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"
