"""The figure of an image's slices: how much each differs from what its neighbours predict.

It shows what the check of the slices measured, and judges nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from bids_sr.exceptions import InputDataError
from bids_sr.records.slice_faults import SliceRecord
from bids_sr.reports.figures import ACCENT, INK, SECOND, new_figure, save_figure


def plot_slices(record: SliceRecord, out_file: str | os.PathLike[str]) -> Path:
    """Draw the difference of each slice to its prediction, by slice number.

    Parameters
    ----------
    record : SliceRecord
        What the check measured.
    out_file : path
        SVG to write.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputDataError
        If no slice was judged.
    """
    values = np.array([np.nan if value is None else value for value in record.differences], float)
    if not np.isfinite(values).any():
        raise InputDataError(
            "No slice was judged, at least 1 is needed to draw them; leave the figure out for "
            "stacks of few slices."
        )
    figure, axes = new_figure(7.2, 3.3)
    numbers = np.arange(values.size)
    axes.bar(numbers, np.nan_to_num(values), color=SECOND, width=0.8)
    top = float(np.nanmax(values))
    for number in sorted({fault.slice_number for fault in record.faults}):
        names = [fault.what for fault in record.faults if fault.slice_number == number]
        height = float(np.nan_to_num(values[number])) if number < values.size else 0.0
        axes.bar([number], [max(height, 0.02 * top)], color=ACCENT, width=0.8)
        axes.annotate(
            ", ".join(names),
            (number, height),
            xytext=(0, 3),
            textcoords="offset points",
            rotation=90,
            ha="center",
            va="bottom",
            fontsize=8,
            color=INK,
        )
    axes.set(
        xlabel="slice number, from 0",
        ylabel="difference to its prediction\n(median of the stack = 1)",
        xlim=(-1, values.size),
        ylim=(0, (1.6 if record.faults else 1.1) * top),
        title="Slices against what their neighbours predict",
    )
    return save_figure(figure, Path(out_file))
