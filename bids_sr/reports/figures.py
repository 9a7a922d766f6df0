"""Figures of a report: each is one self-contained file below about 600 kB.

Anatomy is drawn to scale as a montage; curves by matplotlib without a display and
without its global state.  Figures show data; they judge nothing.
"""

from __future__ import annotations

import io
import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bids_sr.exceptions import InputDataError
from bids_sr.files.writing import write_text_atomic
from bids_sr.imaging import Acquisition, SliceProfile, Volume
from bids_sr.records.learning_curve import LearningCurve
from bids_sr.records.profile_record import ProfileRecord
from bids_sr.reports import drawing
from bids_sr.reports import montage as mt
from bids_sr.reports.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OUTLINE = '<g fill="none" stroke="#ff6b35" stroke-width="1.4" stroke-linecap="square">'
INK, MUTED, ACCENT, SECOND = "#1f2933", "#7b8794", "#c2410c", "#2563a8"

# Hovering shows the other image for as long as the pointer stays; a click keeps it.
FLIP_STYLE = (
    "<style>.bids-sr-flip{cursor:pointer}"
    ".bids-sr-flip .before{visibility:hidden}"
    ".bids-sr-flip.flipped .before{visibility:visible}"
    "@media (hover:hover){.bids-sr-flip:hover .before{visibility:visible}"
    ".bids-sr-flip.flipped:hover .before{visibility:hidden}}"
    "@media print{.bids-sr-flip .before{visibility:hidden!important}}</style>"
)
FLIP_ACTIONS = (
    'class="bids-sr-flip" tabindex="0" '
    "onclick=\"this.classList.toggle('flipped')\" "
    "onkeydown=\"if(event.key===' '||event.key==='Enter')"
    "{event.preventDefault();this.classList.toggle('flipped')}\""
)


def plot_mask(volume: Volume, mask: Volume, out_file: str | os.PathLike[str]) -> Path:
    """Draw the outline of a mask on the image it belongs to, in three planes.

    Parameters
    ----------
    volume : Volume
        The image, shown voxel by voxel on its own grid.
    mask : Volume
        Non-zero inside; on the same grid.
    out_file : path
        SVG to write.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputDataError
        If the two are not on the same grid.
    """
    check_same_grid(volume, mask, "mask")
    image, inside = volume.canonical(), mask.canonical().data != 0
    region = None
    note = "The mask is empty."
    if inside.any():
        region = _bounding_box(inside)
        note = "Outline: boundary of the mask's voxels."
    plan = mt.lay_out(image, region=region)
    window = mt.display_window(image.data)
    lines = outlines(inside, plan)
    budget = max(drawing.BYTE_BUDGET - len(lines), drawing.BYTE_BUDGET // 3)
    tiles = drawing.encode(mt.rasters(image.data, plan, window), budget)
    body = (
        drawing.image_layer(plan, tiles, pixelated=True)
        + lines
        + drawing.labels(plan)
        + caption(plan, note)
    )
    title = "Outline of the mask on the acquired image"
    return write_text_atomic(Path(out_file), drawing.svg_document(plan, body, title=title))


def plot_before_after(
    before: Volume,
    after: Volume,
    out_file: str | os.PathLike[str],
    *,
    labels: tuple[str, str] = ("Acquired, B-spline interpolation", "Super-resolved"),
) -> Path:
    """Draw two images one over the other, to flip between them.

    The second is shown first.  Pointing at the figure shows the other one; a click,
    the space bar or Enter keeps it.  Both have the same grey scale, taken from `before`.

    Parameters
    ----------
    before : Volume
        The acquired image, interpolated on the grid of `after`.
    after : Volume
        The super-resolved image.
    out_file : path
        SVG to write.
    labels : tuple of str
        What the two are called.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputDataError
        If the two are not on the same grid.
    """
    check_same_grid(after, before, "image before super-resolution")
    first, second = before.canonical(), after.canonical()
    window = mt.display_window(first.data)
    plan = mt.lay_out(first, large=True)
    tiles = drawing.encode(
        mt.rasters(first.data, plan, window) + mt.rasters(second.data, plan, window)
    )
    count = len(plan.tiles)
    scale = f"Grey scale of both: {number(window[0], 3)} to {number(window[1], 3)}"
    layers = [
        f'<g class="{name}"><rect width="100%" height="100%" fill="#000"/>'
        + drawing.image_layer(plan, uris)
        + drawing.labels(plan)
        + caption(plan, scale, label=label, colour=colour)
        + "</g>"
        for name, uris, label, colour in (
            ("after", tiles[count:], labels[1], "#6fd08c"),
            ("before", tiles[:count], labels[0], "#ffb35c"),
        )
    ]
    text = drawing.svg_document(
        plan,
        FLIP_STYLE + "".join(layers),
        title=f"{labels[0]} and {labels[1].lower()}, to flip between",
        attributes=FLIP_ACTIONS,
    )
    return write_text_atomic(Path(out_file), text)


def outlines(inside: npt.NDArray[np.bool_], plan: mt.Montage) -> str:
    """Draw the outline of a mask on every tile."""
    lines = []
    for tile in plan.tiles:
        x, y, w, h = tile.box
        cut = mt.in_display_order(inside, tile.axis, tile.index)[tile.crop]
        path = drawing.outline(np.asarray(cut, bool), w, h)
        lines.append(
            f'<path vector-effect="non-scaling-stroke" '
            f'transform="translate({x:.2f} {y:.2f})" d="{path}"/>'
        )
    return _OUTLINE + "".join(lines) + "</g>"


def plot_slice_profile(
    profile: SliceProfile,
    acquisition: Acquisition,
    out_file: str | os.PathLike[str],
    estimate: ProfileRecord | None = None,
) -> Path:
    """Draw the sensitivity across a slice, with its neighbours one spacing away.

    Parameters
    ----------
    profile : SliceProfile
        The profile used in the reconstruction.
    acquisition : Acquisition
        Spacing and thickness, mm.
    out_file : path
        SVG to write.
    estimate : ProfileRecord, optional
        What the image shows: drawn below, if it shows anything.

    Returns
    -------
    Path
        The file written.
    """
    spacing, gap = acquisition.spacing, acquisition.gap
    thickness = spacing - gap
    positions = np.asarray(profile.positions, float)
    weights = np.asarray(profile.weights, float) / np.max(profile.weights)
    estimated = estimate is not None and bool(estimate.widths)
    figure, axes = new_figure(7.2, 5.6 if estimated else 3.3, rows=2 if estimated else 1)
    for shift in (-spacing, spacing):
        axes.plot(positions + shift, weights, color=MUTED, linewidth=1.1)
        axes.axvspan(shift - thickness / 2, shift + thickness / 2, color=MUTED, alpha=0.12, lw=0)
    axes.axvspan(-thickness / 2, thickness / 2, color=ACCENT, alpha=0.10, lw=0)
    axes.plot(positions, weights, color=ACCENT, linewidth=2)
    _dimension(axes, (-profile.fwhm / 2, profile.fwhm / 2), 0.5, f"FWHM {profile.fwhm:.2f} mm")
    _dimension(axes, (0, spacing), 1.16, f"spacing {spacing:g} mm")
    if abs(gap) > 0.005 * spacing:
        left = thickness / 2
        _dimension(
            axes,
            (min(left, left + gap), max(left, left + gap)),
            -0.14,
            f"gap {gap:.3g} mm" if gap > 0 else f"overlap {-gap:.3g} mm",
        )
    reach = max(1.55 * spacing, 0.75 * profile.fwhm)
    axes.set(
        xlim=(-reach, reach),
        ylim=(min(-0.3, weights.min() - 0.1), 1.36),
        xlabel="position across the slice (mm)",
        ylabel="sensitivity (peak = 1)",
        title=f"Slice profile: {profile.name}; slices {thickness:.4g} mm thick (shaded)",
    )
    if estimate is not None and estimated:
        draw_widths(figure.add_subplot(2, 1, 2), estimate)
    return save_figure(figure, Path(out_file))


def draw_widths(axes: Axes, estimate: ProfileRecord) -> None:
    """Draw how likely an image makes each width of a slice, by kind of profile.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    estimate : ProfileRecord
        With the widths that were tried.
    """
    _in_style(axes)
    widths = np.asarray(estimate.widths)
    total = np.zeros(widths.size)
    for (kind, row), colour in zip(estimate.shares.items(), (ACCENT, SECOND, MUTED), strict=False):
        above = total + 100 * np.asarray(row)
        label = f"{kind} ({100 * estimate.kind_shares[kind]:.0f} %)"
        axes.fill_between(widths, total, above, color=colour, alpha=0.55, lw=0, label=label)
        total = above
    highest = 1.25 * float(total.max())
    used = estimate.used_thickness or np.nan
    word = "used" if estimate.stated_thickness is None else "stated, and used"
    axes.axvline(used, color=INK, linewidth=1.4)
    text = f" {word}: {used:.2f} mm, {estimate.used_profile}"
    axes.text(used, highest, text, va="top", color=INK, fontsize=9)
    axes.set(
        xlim=(widths[0], widths[-1]),
        ylim=(0, highest),
        xlabel="thickness of the slices (FWHM, mm)",
        ylabel="probability (%)",
        title=f"Estimated from the image: {estimate.fwhm:.2f} ± {estimate.deviation:.2f} mm",
    )
    axes.legend(frameon=False, fontsize=9, loc="center right")


def plot_learning_curve(curve: LearningCurve, out_file: str | os.PathLike[str]) -> Path:
    """Draw the training loss, and the validation on held-out data.

    Parameters
    ----------
    curve : LearningCurve
        Its validation names itself.
    out_file : path
        SVG to write.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputDataError
        If the curve has no point.
    """
    points = curve.points
    if not points:
        raise InputDataError(
            "The learning curve has no point, at least 1 is needed to draw it; leave the "
            "figure out for methods that learn nothing."
        )
    steps = np.array([point.step for point in points], float)
    loss = np.array([point.loss for point in points], float)
    figure, axes = new_figure(7.2, 3.3)
    axes.plot(steps, loss, color=SECOND, linewidth=1.6, marker="." if len(points) < 40 else None)
    axes.set(xlabel="training step", xlim=(0, max(steps[-1], 1) * 1.02))
    axes.set_ylabel("training loss", color=SECOND)
    if (loss > 0).all():
        axes.set_yscale("log")
    title = f"{steps[-1]:,.0f} steps in {points[-1].seconds:.0f} s"
    if (score := curve.last_score) is not None:
        measure = curve.validation
        gain = axes.twinx()
        gain.spines["top"].set_visible(False)
        gain.plot(
            [point.step for point in points if point.validation is not None],
            curve.scores,
            color=ACCENT,
            linewidth=2,
            marker="o",
            markersize=4,
        )
        gain.axhline(0, color=ACCENT, linewidth=0.8, linestyle=":")
        gain.set_ylabel(measure.title, color=ACCENT)
        title += f"; {measure.name} {score:+.2f} {measure.unit}".rstrip() + ", held out"
    axes.set_title(title)
    return save_figure(figure, Path(out_file))


def check_same_grid(volume: Volume, overlay: Volume, name: str) -> None:
    """Refuse a volume that is not on the grid of the image (InputDataError)."""
    if not volume.same_grid(overlay):
        raise InputDataError(
            f"The {name} has the grid {tuple(overlay.shape)} at "
            f"{np.round(overlay.spacings, 3).tolist()} mm, expected that of the image, "
            f"{tuple(volume.shape)} at {np.round(volume.spacings, 3).tolist()} mm with the "
            "same affine; resample it first."
        )


def _bounding_box(inside: Any) -> tuple[slice, slice, slice]:
    spans = []
    for axis in range(3):
        (where,) = np.nonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        spans.append(slice(int(where[0]), int(where[-1]) + 1))
    return (spans[0], spans[1], spans[2])


def caption(plan: mt.Montage, note: str, *, label: str = "", colour: str = "#d8dee6") -> str:
    """Write a name at the left and a note at the right of the strip below a drawing."""
    size = plan.font_size
    line = f'y="{plan.height + size * 1.15:.2f}" font-size="{size:.2f}"'
    bold = f'<tspan font-weight="700" fill="{colour}">{escape(label)}</tspan>' if label else ""
    return (
        f'<text x="{size * 0.4:.2f}" {line}>{bold}</text>'
        f'<text x="{plan.width - size * 0.4:.2f}" {line} text-anchor="end" fill="#9aa5b1">'
        f"{escape(note)}</text>"
    )


def new_figure(width: float, height: float, rows: int = 1) -> tuple[Figure, Axes]:
    """Begin a figure in the style of the report with the upper plot of one or several rows.

    Sizes are in inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.add_subplot(rows, 1, 1)
    _in_style(axes)
    return figure, axes


def _in_style(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(visible=True, color="#e4e7eb", linewidth=0.6)
    axes.set_axisbelow(True)


def _dimension(axes: Axes, span: tuple[float, float], height: float, text: str) -> None:
    """Draw a dimension line with arrows, as on a technical drawing."""
    axes.annotate(
        "",
        xy=(span[0], height),
        xytext=(span[1], height),
        arrowprops={"arrowstyle": "<->", "color": INK, "linewidth": 1, "shrinkA": 0, "shrinkB": 0},
    )
    axes.text(
        sum(span) / 2,
        height + 0.03,
        text,
        ha="center",
        va="bottom",
        fontsize=9,
        color=INK,
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
    )


def save_figure(figure: Figure, out_file: Path) -> Path:
    """Write a figure of matplotlib as SVG: the same data give the same bytes."""
    import matplotlib as mpl

    for axes in figure.axes:
        axes.title.set(fontsize=10.5, color=INK)
        axes.title.set_horizontalalignment("center")
    stream = io.StringIO()
    # A fixed salt and no date: the same data give the same bytes.
    with mpl.rc_context({"svg.hashsalt": "bids_sr", "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return write_text_atomic(out_file, stream.getvalue())
