"""The figure of an uncertainty map: how far off a result may be, and where.

Where the map promises an interval, what may be far off is outlined; elsewhere the map is
shown as it is.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_sr.files.writing import write_text_atomic
from bids_sr.imaging import Volume, resample
from bids_sr.records.uncertainty import COVERAGE_FACTOR
from bids_sr.reports import drawing
from bids_sr.reports import montage as mt
from bids_sr.reports.figures import caption, check_same_grid, outlines
from bids_sr.reports.wording import number

_FAR_OFF = 0.1  # of the range of intensities shown
_DARK = 0.1  # of the brightest voxels


def plot_uncertainty(
    volume: Volume,
    uncertainty: Volume,
    out_file: str | os.PathLike[str],
    *,
    calibrated: bool = False,
    mask: Volume | None = None,
) -> Path:
    """Draw how far each voxel is to be trusted, in the planes of the other figures.

    Parameters
    ----------
    volume : Volume
        The super-resolved image, which decides which planes are shown.
    uncertainty : Volume
        Expected standard deviation, on the same grid.
    out_file : path
        SVG to write.
    calibrated : bool
        Whether it promises an interval: what may be off by more than a tenth of the range is
        then outlined, and its share of the brain told.
    mask : Volume, optional
        Of the brain, on any parallel grid; None: all that is not dark.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputDataError
        If the two are not on the same grid.
    """
    check_same_grid(volume, uncertainty, "uncertainty")
    image, spread = volume.canonical(), uncertainty.canonical()
    plan = mt.lay_out(image)
    low, high = mt.display_window(image.data)
    factor = COVERAGE_FACTOR if calibrated else 1.0
    white = factor * float(np.percentile(spread.data[mt.foreground(image.data)], 99)) or 1.0
    share = 100 * white / (high - low)
    note = f"Black: 0; white: {number(white, 3)} or more, {number(share, 2)} % of the grey scale"
    title = "Expected standard deviation of the super-resolved image"
    lines = label = ""
    if calibrated:
        brain = _brain(image, mask)
        wide = brain & (factor * spread.data > _FAR_OFF * (high - low))
        part = 100 * float(np.mean(wide[brain])) if brain.any() else 0.0
        label = f"Outlined: may be off by over {100 * _FAR_OFF:g} % of the range"
        note = (
            f"{number(part, 2)} % of the brain; white: {number(share, 2)} % of the range or more"
        )
        title = "Half-width of the interval that holds 90 % of the true values"
        lines = outlines(wide, plan)
    budget = max(drawing.BYTE_BUDGET - len(lines), drawing.BYTE_BUDGET // 3)
    tiles = drawing.encode(mt.rasters(factor * spread.data, plan, (0.0, white)), budget)
    body = drawing.image_layer(plan, tiles) + lines + drawing.labels(plan)
    body += caption(plan, note, label=label)
    return write_text_atomic(Path(out_file), drawing.svg_document(plan, body, title=title))


def _brain(image: Volume, mask: Volume | None) -> npt.NDArray[np.bool_]:
    """Return where shares are counted: a mask on the image's grid, or what is not dark."""
    if mask is not None:
        like = mask.oriented_like(image)
        inside = resample(like.with_data(like.data != 0), image.grid, kernel="nearest").data
        if inside.any():
            return np.asarray(inside, bool)
    return np.asarray(image.data > _DARK * np.percentile(image.data, 99.5))
