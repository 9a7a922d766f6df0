"""A strip plot: all values of one measure as points side by side, over a box of the quartiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from bids_sr.reports import wording
from bids_sr.reports.measures import Metric

PLOT_WIDTH, PLOT_HEIGHT, MARGIN = 320.0, 104.0, 14.0
_MANY = 200
"""More points than this are drawn smaller."""


def strip_plot(
    metric: Metric,
    values: Sequence[float | None],
    rows: Sequence[tuple[str, str]],
    outliers: Mapping[int, float] | None = None,
) -> Markup:
    """Draw the values of one metric; their heap shows the distribution, as a violin does.

    Parameters
    ----------
    metric : Metric
        Says which range is expected, if any.
    values : sequence of float or None
        One an image.
    rows : sequence of tuple of str
        Name and address of each image, for tip and link.
    outliers : mapping of int to float, optional
        Robust z-scores of the images that stand out, by their places in `values`.

    Returns
    -------
    Markup
        SVG; a sentence where there is no value.
    """
    known = [(value, n) for n, value in enumerate(values) if value is not None]
    if not known:
        return Markup('<p class="missing">not measured</p>')
    outliers = outliers or {}
    numbers = np.array([value for value, _ in known])
    low, high = float(numbers.min()), float(numbers.max())
    reach = high - low or abs(high) * 0.1 or 1.0
    scale = (PLOT_WIDTH - 2 * MARGIN) / (1.1 * reach)

    def place(value: float) -> float:
        return PLOT_WIDTH / 2 + (value - (low + high) / 2) * scale

    radius = 3.0 if len(known) < _MANY else 1.7
    shifts = _heap([place(value) for value, _ in known], radius, PLOT_HEIGHT - 18 - 2 * radius)
    parts = [_frame(numbers), *_limits(metric, place)]
    first, median, third = (float(q) for q in np.quantile(numbers, [0.25, 0.5, 0.75]))
    middle = (PLOT_HEIGHT - 18) / 2
    parts.append(
        Markup(
            '<rect class="box" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2"/>'
        ).format(place(first), middle - 34, max(1.0, place(third) - place(first)), 68.0)
    )
    for (value, n), shift in zip(known, shifts, strict=True):
        name, address = rows[n]
        tip = f"{name}: {wording.number(value)}"
        if n in outliers:
            tip += f"; stands out, robust z {wording.number(outliers[n], 2)}"
        point = Markup(
            '<circle{} data-n="{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>'
        ).format(
            Markup(' class="outlier"') if n in outliers else "",
            n, place(value), middle + shift, radius + (n in outliers), tip,
        )  # fmt: skip
        parts.append(Markup('<a href="{}">{}</a>').format(address, point) if address else point)
    parts.append(
        Markup('<path class="median" d="M{:.1f} {:.1f}v{:.1f}"/></svg>').format(
            place(median), middle - 34, 68.0
        )
    )
    return Markup("").join(parts)


def _frame(numbers: npt.NDArray[np.float64]) -> Markup:
    """Begin the drawing: axis, and lowest, median and highest value below it."""
    low, median, high = (
        wording.number(float(value), 3)
        for value in (numbers.min(), np.median(numbers), numbers.max())
    )
    baseline = PLOT_HEIGHT - 18
    return Markup(
        '<svg viewBox="0 0 {:.0f} {:.0f}" role="img"><title>{} values, median {}</title>'
        '<path class="axis" d="M{:.1f} {:.1f}H{:.1f}"/>'
        '<text x="{:.1f}" y="{:.1f}">{}</text>'
        '<text x="{:.1f}" y="{:.1f}" text-anchor="middle">median {}</text>'
        '<text x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>'
    ).format(
        PLOT_WIDTH, PLOT_HEIGHT, len(numbers), median,
        MARGIN, baseline, PLOT_WIDTH - MARGIN,
        MARGIN, PLOT_HEIGHT - 4, low,
        PLOT_WIDTH / 2, PLOT_HEIGHT - 4, median,
        PLOT_WIDTH - MARGIN, PLOT_HEIGHT - 4, high,
    )  # fmt: skip


def _limits(metric: Metric, place: Callable[[float], float]) -> list[Markup]:
    """Draw the ends of the expected range that lie within the plot."""
    ends = [("at least", metric.low), ("at most", metric.high)]
    return [
        Markup(
            '<path class="limit" d="M{:.1f} 2v{:.1f}"><title>expected: {} {}</title></path>'
        ).format(place(end), PLOT_HEIGHT - 20, words, wording.number(end, 3))
        for words, end in ends
        if end is not None and 0 <= place(end) <= PLOT_WIDTH
    ]


def _heap(places: Sequence[float], radius: float, height: float) -> list[float]:
    """Shift points up and down so that those with near values lie side by side.

    Returns
    -------
    list of float
        For each point, from the middle; points overlap where more are near than fit.
    """
    columns: dict[int, list[int]] = {}
    for n in sorted(range(len(places)), key=lambda n: (places[n], n)):
        columns.setdefault(int(places[n] // (2 * radius)), []).append(n)
    shifts = [0.0] * len(places)
    for members in columns.values():
        step = min(2 * radius, height / len(members))
        for order, n in enumerate(members):
            side = (order + 1) // 2 * (1 if order % 2 else -1)
            shifts[n] = side * step
    return shifts
