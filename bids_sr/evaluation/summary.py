"""The summary of a comparison as plain values, for a page.

Which numbers are put side by side and which of them is best; how that looks is the
page's matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bids_sr.evaluation import table
from bids_sr.evaluation.scoring import MEASURES, PLANES_DEFINITION

_NEVER_BEST = (
    *("sharpness", "reference_sharpness", "uncertainty_ratio", "uncertainty_coverage"),
    *("lesion_volume_error", "reference_lesion_dice", "reference_lesions"),
)
_PLOTTED = ("psnr", "ssim", "haarpsi", "lesion_psnr", "uncertainty_coverage")


def page_of(
    rows: Sequence[table.Row], baseline: str, notes: Sequence[str], *, examples: int = 3
) -> dict[str, Any]:
    """Return what the page of a comparison shows.

    Parameters
    ----------
    rows : sequence of mapping
        In the order in which methods shall be shown.
    baseline : str
        Label of the method that gains are relative to.
    notes : sequence of str
    examples : int
        Images shown for each protocol, spread over those that all methods managed.

    Returns
    -------
    dict
        For the template ``comparison.html.j2``.
    """
    shown = table.shown_measures(rows)
    facts = ("image", "protocol", "method", *shown, *table.COSTS, "mask")
    facts = tuple(name for name in facts if any(table.cell(row, name) != "n/a" for row in rows))
    definitions = [
        (measure.title, measure.definition) for measure in MEASURES if measure.name in shown
    ]
    if any(name in shown for name in ("vif", "fsim", "vsi", "haarpsi", "dists")):
        definitions.append(("Planes", PLANES_DEFINITION))
    return {
        "baseline": baseline,
        "overview": _overview(table.groups(rows), baseline),
        "notes": list(notes),
        "images": len({row["image"] for row in rows}),
        "methods": len({row["method"] for row in rows}),
        "definitions": definitions,
        "groups": [
            _group(protocol, methods, baseline, examples)
            for protocol, methods in table.groups(rows).items()
        ],
        "failed": [
            (row["image"], table.label_of(row), row["method"], table.cell(row, "message"))
            for row in rows
            if row["status"] != "ok"
        ],
        "columns": [name.replace("_", " ") for name in facts],
        "rows": [
            [
                table.label_of(row) if name == "protocol" else table.cell(row, name)
                for name in facts
            ]
            for row in rows
            if row["status"] == "ok"
        ],
    }


def _overview(
    groups: Mapping[str, Mapping[str, Sequence[table.Row]]], baseline: str
) -> list[tuple[str, list[tuple[str, bool]]]]:
    """Return the mean gain of every method, a protocol a column; the best is marked."""
    methods = list(dict.fromkeys(method for some in groups.values() for method in some))
    means = {
        protocol: {
            method: sum(differences) / len(differences)
            for method in some
            if (differences := table.gains(some, method, baseline))
        }
        for protocol, some in groups.items()
    }
    lines = []
    for method in methods:
        cells = []
        for known in means.values():
            mean = known.get(method)
            best = len(known) > 1 and mean == max(known.values())
            cells.append(("n/a" if mean is None else f"{mean:+.2f}", best))
        lines.append((method, cells))
    return lines


def _group(
    protocol: str, methods: Mapping[str, Sequence[table.Row]], baseline: str, examples: int
) -> dict[str, Any]:
    everything = [row for some in methods.values() for row in some]
    measures = [
        measure for measure in MEASURES if measure.name in table.shown_measures(everything)
    ]
    columns = ["Images", *(measure.title for measure in measures)]
    columns += [f"Gain over {baseline} (dB)", "Median\u00a0s", "Peak\u00a0GB"]
    lines = {method: [(str(len(some)), False)] for method, some in methods.items()}
    for measure in measures:
        means = {
            method: sum(numbers) / len(numbers)
            for method, some in methods.items()
            if (numbers := table.numbers_of(some, measure.name))
        }
        best = None
        if len(means) > 1 and measure.name not in _NEVER_BEST:
            best = (min if measure.lower_is_better else max)(means.values())
        for method, some in methods.items():
            text = table.mean_sd(table.numbers_of(some, measure.name), measure.digits)
            lines[method].append((text, best is not None and means.get(method) == best))
    for method, some in methods.items():
        lines[method].append((table.mean_sd(table.gains(methods, method, baseline), 2), False))
        lines[method].append((table.median(some, "seconds", 1), False))
        lines[method].append((table.largest(some, "peak_gb", 2), False))
    return {
        "protocol": protocol,
        "columns": columns,
        "rows": list(lines.items()),
        "plots": [
            (
                measure.title,
                {
                    method: {row["image"]: table.value(row, measure.name) for row in some}
                    for method, some in methods.items()
                },
            )
            for measure in measures
            if measure.name in _PLOTTED
        ],
        "calibration": {
            method: curves
            for method, some in methods.items()
            if (curves := [row["calibration"] for row in some if row.get("calibration")])
        },
        "examples": _examples(methods, examples),
    }


def _examples(methods: Mapping[str, Sequence[table.Row]], count: int) -> list[dict[str, Any]]:
    """Choose images spread over the baseline's order, of those that most methods have."""
    rows_of = {method: {row["image"]: row for row in some} for method, some in methods.items()}
    images = list(dict.fromkeys(image for some in rows_of.values() for image in some))
    most = max((sum(image in some for some in rows_of.values()) for image in images), default=0)
    images = [image for image in images if sum(image in s for s in rows_of.values()) == most]
    count = min(count, len(images))
    chosen = [images[int((place + 0.5) * len(images) / count)] for place in range(count)]
    return [
        {
            "image": image,
            "items": [
                {
                    "method": method,
                    "file": some[image]["file"],
                    "text": f"{table.cell(some[image], 'psnr')} dB, "
                    f"SSIM {table.cell(some[image], 'ssim')}",
                }
                for method, some in rows_of.items()
                if image in some
            ],
        }
        for image in chosen
    ]
