"""Figures of a fused volume: layers to flip through, and how much each slice counts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bids_sr.files.writing import write_text_atomic
from bids_sr.imaging import Volume
from bids_sr.records.fusion_record import FusedStack, FusionRecord
from bids_sr.reports import drawing
from bids_sr.reports import montage as mt
from bids_sr.reports.figures import (
    ACCENT,
    INK,
    MUTED,
    SECOND,
    caption,
    check_same_grid,
    save_figure,
)
from bids_sr.reports.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 4
BYTES_PER_LAYER = 170_000
LAYER_STYLE = (
    "<style>.bids-sr-layers{cursor:pointer}"
    ".bids-sr-layers .layer{visibility:hidden}"
    ".bids-sr-layers .layer.shown{visibility:visible}</style>"
)
_NEXT = (
    "var l=this.querySelectorAll('.layer'),i=0;"
    "while(!l[i].classList.contains('shown')){i++}"
    "l[i].classList.remove('shown');l[(i+1)%l.length].classList.add('shown')"
)
LAYER_ACTIONS = (
    f'class="bids-sr-layers" tabindex="0" onclick="{_NEXT}" '
    "onkeydown=\"if(event.key===' '||event.key==='Enter')"
    '{event.preventDefault();this.onclick()}"'
)


def plot_layers(
    fused: Volume, layers: Iterable[tuple[str, Volume]], out_file: str | os.PathLike[str]
) -> Path:
    """Draw several volumes one over the other and the fused one on top, to flip through.

    A click, the space bar or Enter shows the next.  All have one grey scale, that of `fused`.

    Parameters
    ----------
    fused : Volume
        The fused volume, shown first.
    layers : iterable of (str, Volume)
        Names and volumes on its grid; each is let go before the next is taken.
    out_file : path
        SVG to write.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputDataError
        If they are not on the same grid.
    """
    image = fused.canonical()
    window = mt.display_window(image.data)
    plan = mt.lay_out(image, columns=COLUMNS, large=True)
    names, rasters = [], []
    for name, volume in layers:
        check_same_grid(fused, volume, name)
        names.append(name)
        rasters += mt.rasters(volume.canonical().data, plan, window)
    names.append("Fused")
    rasters += mt.rasters(image.data, plan, window)
    tiles = drawing.encode(rasters, BYTES_PER_LAYER * len(names))
    count = len(plan.tiles)
    scale = f"Grey scale of all: {number(window[0], 3)} to {number(window[1], 3)}"
    body = "".join(
        layer(
            name,
            drawing.image_layer(plan, tiles[place * count : (place + 1) * count])
            + drawing.labels(plan)
            + caption(plan, scale, label=name),
            shown=place == len(names) - 1,
        )
        for place, name in enumerate(names)
    )
    text = drawing.svg_document(
        plan,
        LAYER_STYLE + body,
        title=f"{', '.join(names)}, to flip through",
        attributes=LAYER_ACTIONS,
    )
    return write_text_atomic(Path(out_file), text)


def layer(name: str, body: str, *, shown: bool) -> str:
    """Wrap what a layer shows, on black; its name becomes a button of the page.

    Parameters
    ----------
    name : str
    body : str
        SVG elements.
    shown : bool
        Whether it is the one that is seen at first.
    """
    return (
        f'<g class="layer{" shown" if shown else ""}" aria-label="{escape(name)}">'
        f'<rect width="100%" height="100%" fill="#000"/>{body}</g>'
    )


def plot_slice_weights(record: FusionRecord, out_file: str | os.PathLike[str]) -> Path:
    """Draw how much each slice of each stack counts, and the residual of each stack.

    Parameters
    ----------
    record : FusionRecord
        What became of the stacks.
    out_file : path
        SVG to write.

    Returns
    -------
    Path
        The file written.
    """
    from matplotlib.figure import Figure

    used = [stack for stack in record.stacks if stack.used]
    height = 0.9 + 0.75 * len(used)
    figure = Figure(figsize=(8.2, height), layout="constrained", facecolor="white")
    grid = figure.add_gridspec(len(used), 2, width_ratios=(3, 1))
    longest = max(len(stack.slice_weights) for stack in used)
    for row, stack in enumerate(used):
        axes = figure.add_subplot(grid[row, 0])
        weights = np.asarray(stack.slice_weights, dtype=float)
        places = np.arange(1, len(weights) + 1)
        odd = {place + 1 for place, _ in stack.odd_slices}
        colours = [ACCENT if place in odd else SECOND for place in places]
        axes.bar(places, weights, width=0.8, color=colours)
        axes.plot(places, np.zeros_like(weights), "|", color=MUTED, markersize=4)
        axes.set(ylim=(0, 1.08), xlim=(0, longest + 1), yticks=(0, 1))
        axes.set_title(stack.stem, fontsize=8.5, color=INK, loc="left", pad=3)
        axes.tick_params(colors=INK, labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    axes.set_xlabel("slice", fontsize=9, color=INK)
    _residuals(figure.add_subplot(grid[:, 1]), used)
    return save_figure(figure, Path(out_file))


def _residuals(axes: Axes, used: Sequence[FusedStack]) -> None:
    """Draw the residual of each stack beside the noise of its slices."""
    rows = np.arange(len(used))
    residuals = [stack.residual_percent or 0.0 for stack in used]
    noise = [stack.noise_percent or 0.0 for stack in used]
    axes.barh(rows - 0.18, residuals, height=0.34, color=SECOND, label="residual")
    axes.barh(rows + 0.18, noise, height=0.34, color=MUTED, label="noise")
    axes.set(yticks=[], ylim=(len(used) - 0.5, -0.5))
    axes.set_xlabel("% of the intensity range", fontsize=9, color=INK)
    axes.tick_params(colors=INK, labelsize=8)
    axes.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
