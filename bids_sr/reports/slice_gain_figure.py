"""The figure of slices that were brought to one brightness: the factor of each slice."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from bids_sr.records.slice_gain_record import SliceGainRecord
from bids_sr.reports.figures import ACCENT, INK, SECOND, new_figure, save_figure


def plot_slice_gain(record: SliceGainRecord, out_file: str | os.PathLike[str]) -> Path:
    """Draw by how much each slice was changed, even and odd slices in two colours.

    Slices are counted from 0, as in the names of faults.

    Parameters
    ----------
    record : SliceGainRecord
        Of an image whose slices were changed.
    out_file : path
        SVG to write.

    Returns
    -------
    Path
        The file written.
    """
    change = 100 * (np.array(record.gains) - 1)
    numbers = np.arange(change.size)
    figure, axes = new_figure(7.2, 2.6)
    axes.axhline(0, color=INK, linewidth=0.8)
    for first, colour, label in ((0, ACCENT, "even slices"), (1, SECOND, "odd slices")):
        axes.bar(numbers[first::2], change[first::2], color=colour, width=0.8, label=label)
    axes.set(xlabel="slice number, from 0", ylabel="change (%)", xlim=(-0.7, change.size - 0.3))
    largest = max(float(np.abs(change).max()), 0.1)
    axes.set_ylim(-1.1 * largest, 1.5 * largest)  # room for the legend
    if record.before_percent is not None and record.after_percent is not None:
        axes.set_title(
            f"Slices differed by {record.before_percent:.2g} % (RMS) from their neighbours, "
            f"then by {record.after_percent:.2g} %"
        )
    axes.legend(frameon=False, fontsize=9, loc="upper left", ncols=2)
    return save_figure(figure, Path(out_file))
