"""The figure of a segmentation: labels in their colours over the image."""

from __future__ import annotations

import os
from collections.abc import Mapping
from html import escape
from pathlib import Path

import numpy as np

from bids_sr.files.writing import write_text_atomic
from bids_sr.imaging import Volume
from bids_sr.reports import drawing
from bids_sr.reports import montage as mt
from bids_sr.reports.figures import check_same_grid

_TINT = 0.45  # of the colour of a label over the image
_MOST_IN_KEY = 5
_UNNAMED = "#dc2626"


def plot_segmentation(
    volume: Volume,
    labels: Volume,
    table: Mapping[int, tuple[str, str]],
    out_file: str | os.PathLike[str],
) -> Path:
    """Draw labels in their colours over the image, in three planes, with a key.

    Parameters
    ----------
    volume : Volume
        The image.
    labels : Volume
        Whole numbers, 0 where there is nothing; on the same grid.
    table : mapping
        Label -> name and colour (``#rrggbb``); labels without one are red.
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
    check_same_grid(volume, labels, "segmentation")
    image, codes = volume.canonical(), labels.canonical().data
    present = [int(code) for code in np.unique(codes) if code]
    plan = mt.lay_out(image)
    palette = np.zeros((max(present, default=0) + 1, 3))
    for code in present:
        colour = table.get(code, ("", ""))[1] or _UNNAMED
        palette[code] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    grey = mt.rasters(image.data, plan, mt.display_window(image.data))
    tinted = []
    for tile, raster in zip(plan.tiles, grey, strict=True):
        cut = np.asarray(mt.in_display_order(codes, tile.axis, tile.index)[tile.crop], int)
        share = np.where(cut > 0, _TINT, 0.0)[..., None]
        mixed = (1 - share) * raster[..., None] + share * palette[cut]
        tinted.append(np.round(mixed).astype(np.uint8))
    tiles = drawing.encode(tinted)
    key = [(table.get(code, (f"label {code}", ""))[0], palette[code]) for code in present]
    if len(key) <= _MOST_IN_KEY:
        words = "".join(
            f'<tspan fill="#{int(r):02x}{int(g):02x}{int(b):02x}">■</tspan> {escape(name)}  '
            for name, (r, g, b) in key
        )
    else:
        words = f"{len(key)} labels; names and volumes are in the tables"
    size = plan.font_size
    legend = (
        f'<text x="{size * 0.4:.2f}" y="{plan.height + size * 1.15:.2f}" fill="#d8dee6" '
        f'font-size="{size:.2f}">{words or "No label was found."}</text>'
    )
    body = drawing.image_layer(plan, tiles) + drawing.labels(plan) + legend
    title = "Segmentation of the super-resolved image, in colours"
    return write_text_atomic(Path(out_file), drawing.svg_document(plan, body, title=title))
