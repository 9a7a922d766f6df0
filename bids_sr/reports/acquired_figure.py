"""The figure of an image before and after: acquired, interpolated, super-resolved.

Three layers to flip through.  The acquired layer shows the voxels as they were measured, each as
large as it is; it has its own grey scale, as the others are of the image after denoising and bias
correction.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_sr.files.writing import write_text_atomic
from bids_sr.imaging import Volume
from bids_sr.reports import drawing
from bids_sr.reports import montage as mt
from bids_sr.reports.figures import caption, check_same_grid
from bids_sr.reports.stack_figures import LAYER_ACTIONS, LAYER_STYLE, layer
from bids_sr.reports.wording import number

ACQUIRED = "Acquired"
_COLOURS = ("#ffb35c", "#9fc3ea", "#6fd08c")
_MOST_PIXELS = 448
"""Of a side of a tile: the figure shows whole heads, and stays small."""


def plot_acquired_and_result(
    acquired: Volume,
    others: Sequence[tuple[str, Volume]],
    out_file: str | os.PathLike[str],
) -> Path:
    """Draw the acquired voxels and images on the output grid one over the other.

    Parameters
    ----------
    acquired : Volume
        The image as it was acquired, on its own grid.
    others : sequence of (str, Volume)
        Names and images on the grid of the result, which is the last and is shown first.
    out_file : path
        SVG to write.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputDataError
        If the images are not on one grid.
    """
    result = others[-1][1]
    for name, volume in others:
        check_same_grid(result, volume, name.lower())
    shown = [volume.canonical() for _, volume in others]
    window = mt.display_window(shown[0].data)
    plan = mt.lay_out(shown[0], large=True)
    own_window = mt.display_window(acquired.data)
    voxels = [acquired_raster(acquired, shown[0], tile, own_window) for tile in plan.tiles]
    smooth = [raster for volume in shown for raster in mt.rasters(volume.data, plan, window)]
    share = drawing.BYTE_BUDGET // 3
    uris = drawing.encode(voxels, share) + drawing.encode(smooth, share * len(shown))
    names = [ACQUIRED, *(name for name, _ in others)]
    colours = [_COLOURS[0], *_COLOURS[-len(others) :]]
    count = len(plan.tiles)
    layers = [
        layer(
            name,
            drawing.image_layer(
                plan, uris[place * count : (place + 1) * count], pixelated=place == 0
            )
            + drawing.labels(plan)
            + caption(plan, _grey_scale(limits), label=name, colour=colour),
            shown=place == len(names) - 1,
        )
        for place, (name, colour, limits) in enumerate(
            zip(names, colours, [own_window, *[window] * len(others)], strict=True)
        )
    ]
    text = drawing.svg_document(
        plan,
        LAYER_STYLE + "".join(layers),
        title=f"{', '.join(names)}, to flip through",
        attributes=LAYER_ACTIONS,
    )
    return write_text_atomic(Path(out_file), text)


def acquired_raster(
    acquired: Volume, result: Volume, tile: mt.Tile, window: tuple[float, float]
) -> mt.Image8:
    """Show the acquired voxels in the plane of a tile, by nearest neighbours.

    Parameters
    ----------
    acquired : Volume
        On its own grid.
    result : Volume
        In canonical orientation: the grid of the tile.
    tile : Tile
    window : tuple of float
        Intensities shown as black and as white.

    Returns
    -------
    (rows, columns) uint8 array
        Of the part of the body that the tile shows; black outside of the acquired field of view.
    """
    horizontal, vertical = mt.PLANES[tile.axis]
    rows, columns = tile.crop
    size = result.shape[vertical]
    across = _places(columns.start, columns.stop)
    # rows are counted from the top of the display, voxels from the bottom
    down = _places(size - rows.stop, size - rows.start)[::-1]
    places = np.zeros((4, len(down), len(across)))
    places[horizontal], places[vertical] = across[None, :], down[:, None]
    places[tile.axis], places[3] = tile.index, 1.0
    to_acquired = np.linalg.inv(acquired.affine) @ result.affine
    nearest = np.rint(np.tensordot(to_acquired, places, axes=1)[:3]).astype(int)
    limits = np.asarray(acquired.shape)[:, None, None]
    inside = np.all((nearest >= 0) & (nearest < limits), axis=0)
    values = np.asarray(acquired.data, float)[tuple(np.clip(nearest, 0, limits - 1))]
    low, high = window
    grey = np.round(255 * np.clip((values - low) / (high - low), 0, 1))
    return np.where(inside, grey, 0).astype(np.uint8)


def _places(start: int, stop: int) -> npt.NDArray[np.float64]:
    """Place pixels over voxels `start` to `stop`, whole voxels at both ends."""
    count = min(2 * (stop - start), _MOST_PIXELS)  # two pixels a voxel of the result
    return start - 0.5 + (np.arange(count) + 0.5) * (stop - start) / count


def _grey_scale(window: tuple[float, float]) -> str:
    return f"Grey scale: {number(window[0], 3)} to {number(window[1], 3)}"
