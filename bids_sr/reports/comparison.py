"""The page of a comparison of methods: tables, plots, and examples with error maps.

One self-contained file.  Everything on it was measured elsewhere; here it is only laid
out.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from bids_sr.files.writing import write_text_atomic
from bids_sr.reports.drawing import encode
from bids_sr.reports.page import render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CALIBRATION = "Calibration of the uncertainty"
PAGE, PLOTS = "index.html", "plots"
INK, MUTED = "#1f2933", "#7b8794"
COLOURS = (
    "#7b8794", "#2563a8", "#c2410c", "#1b7f4b", "#7c3aed", "#b45309", "#0e7490", "#be185d",
)  # fmt: skip
_BYTES_AN_EXAMPLE = 900_000
_ERROR_PERCENTILE = 99.5


def write_comparison(folder: Path, page: Mapping[str, Any]) -> Path:
    """Write the page of a comparison, and its plots as files of their own.

    Parameters
    ----------
    folder : Path
        Of the comparison; example planes are in ``rows/*.npz``.
    page : mapping
        Plain values: ``groups`` with ``protocol``, ``columns``, ``rows``, ``plots`` and
        ``examples``; ``columns`` and ``rows`` of all; ``definitions``, ``notes``, ``failed``.

    Returns
    -------
    Path
        ``index.html``.
    """
    groups = []
    for number, group in enumerate(page["groups"]):
        plots = []
        drawings = [(title, plot_scores(points, title)) for title, points in group["plots"]]
        if group.get("calibration"):
            drawings.append((CALIBRATION, plot_calibration(group["calibration"])))
        for title, svg in drawings:
            name = f"{number + 1:02d}_{title.split(' (')[0].replace(' ', '-')}.svg"
            write_text_atomic(folder / PLOTS / name, svg)
            address = base64.b64encode(svg.encode()).decode("ascii")
            plots.append((title, Markup(f"data:image/svg+xml;base64,{address}")))
        examples = [
            drawn
            for example in group["examples"]
            if (drawn := _example(folder / "rows", example)) is not None
        ]
        groups.append({**group, "plots": plots, "examples": examples})
    html = render("comparison.html.j2", {**page, "groups": groups})
    return write_text_atomic(folder / PAGE, html)


def plot_scores(points: Mapping[str, Mapping[str, float | None]], title: str) -> str:
    """Draw the scores of every image by method, those of an image joined by a line.

    Parameters
    ----------
    points : mapping of str to mapping of str to float
        Method -> image -> score.
    title : str
        Of the vertical axis.

    Returns
    -------
    str
        SVG.
    """
    from matplotlib.figure import Figure

    methods = list(points)
    images = list(dict.fromkeys(image for some in points.values() for image in some))
    figure = Figure(figsize=(1.5 + 0.95 * len(methods), 3.2), layout="constrained")
    axes = figure.add_subplot()
    for image in images:
        values = [points[method].get(image) for method in methods]
        heights = [np.nan if value is None else value for value in values]
        axes.plot(heights, color=MUTED, linewidth=0.7, alpha=0.6, zorder=1)
    for place, method in enumerate(methods):
        known = [value for value in points[method].values() if value is not None]
        colour = COLOURS[place % len(COLOURS)]
        axes.scatter([place] * len(known), known, s=26, color=colour, alpha=0.85, zorder=3)
        if known:
            mean = float(np.mean(known))
            axes.plot([place - 0.28, place + 0.28], [mean, mean], color=INK, linewidth=2, zorder=4)
    axes.set_xticks(range(len(methods)), [_wrapped(method) for method in methods], fontsize=8.5)
    axes.set_xlim(-0.6, len(methods) - 0.4)
    axes.set_ylabel(title, fontsize=9.5)
    axes.tick_params(axis="y", labelsize=8.5)
    axes.grid(visible=True, axis="y", color="#e4e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return _svg(figure)


def plot_calibration(curves: Mapping[str, Sequence[Sequence[Sequence[float]]]]) -> str:
    """Draw by how much methods err against how much they say they may, an image a line.

    Parameters
    ----------
    curves : mapping of str to sequence
        Method -> images -> [stated half-width, error that 90 % stay below], percent.

    Returns
    -------
    str
        SVG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.9, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for place, (method, images) in enumerate(curves.items()):
        for number, points in enumerate(images):
            stated, errors = zip(*points, strict=True)
            colour, label = COLOURS[place % len(COLOURS)], None if number else method
            axes.plot(stated, errors, ".-", color=colour, linewidth=0.9, alpha=0.8, label=label)
    largest = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([0, largest], [0, largest], color=MUTED, linewidth=0.8, zorder=0)
    axes.set_xlabel("Stated half-width, % of the range", fontsize=9)
    axes.set_ylabel("90 % of errors are below, %", fontsize=9)
    axes.tick_params(labelsize=8.5)
    axes.legend(frameon=False, fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return _svg(figure)


def _svg(figure: Figure) -> str:
    """Return a figure as SVG, the same text for the same figure."""
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "bids_sr", "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def _wrapped(name: str, width: int = 13) -> str:
    """Break a long name into lines at its punctuation."""
    lines = [""]
    for word in name.replace(":", ":\0").replace(",", ",\0").replace("_", "_\0").split("\0"):
        if lines[-1] and len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)


def _example(rows: Path, example: Mapping[str, Any]) -> dict[str, Any] | None:
    """Draw one image: a row of pictures and a row of errors for each plane."""
    loaded = []
    for item in example["items"]:
        path = rows / f"{item['file']}.npz"
        if path.is_file():
            with np.load(path) as content:
                loaded.append((item, {key: np.asarray(content[key]) for key in content}))
    if not loaded:
        return None
    first = loaded[0][1]
    planes = []
    number = 0
    while f"truth-{number}" in first:
        planes.append(_plane(loaded, number))
        number += 1
    budget = _BYTES_AN_EXAMPLE // max(1, len(planes))
    return {
        "image": example["image"],
        "planes": [_encoded(plane, budget) for plane in planes],
        "headings": [
            ("Reference", ""),
            *([("Slices", "input of the methods")] if "slices-0" in first else []),
            *((item["method"], item["text"]) for item, _ in loaded),
        ],
    }


def _plane(
    loaded: Sequence[tuple[Mapping[str, Any], Mapping[str, npt.NDArray[Any]]]], number: int
) -> dict[str, Any]:
    truth = loaded[0][1][f"truth-{number}"].astype(np.float32)
    estimates = [parts[f"estimate-{number}"].astype(np.float32) for _, parts in loaded]
    same = [estimate if estimate.shape == truth.shape else None for estimate in estimates]
    errors = [None if error is None else np.abs(error - truth) for error in same]
    known = [
        float(np.percentile(error, _ERROR_PERCENTILE)) for error in errors if error is not None
    ]
    largest = max([*known, 1e-3])
    pictures = [truth]
    if f"slices-{number}" in loaded[0][1]:
        pictures.append(loaded[0][1][f"slices-{number}"].astype(np.float32))
    height, width = loaded[0][1][f"spacings-{number}"].astype(float)
    return {
        "before": len(pictures),
        "pictures": [*pictures, *estimates],
        "errors": errors,
        "largest": largest,
        "ratio": truth.shape[1] * width / (truth.shape[0] * height),
    }


def _encoded(plane: Mapping[str, Any], budget: int) -> dict[str, Any]:
    import matplotlib as mpl

    grey = [
        np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8) for picture in plane["pictures"]
    ]
    colours = mpl.colormaps["inferno"]
    coloured = [
        np.round(255 * colours(np.clip(picture / plane["largest"], 0, 1))[..., :3]).astype(
            np.uint8
        )
        for picture in plane["errors"]
        if picture is not None
    ]
    addresses = encode([*grey, *coloured], budget)
    errors = iter(addresses[len(grey) :])
    return {
        "pictures": [Markup(address) for address in addresses[: len(grey)]],
        "errors": [
            None if picture is None else Markup(next(errors)) for picture in plane["errors"]
        ],
        "before": plane["before"],
        "scale": f"{100 * plane['largest']:.0f}",
        "ratio": f"{plane['ratio']:.4f}",
    }
