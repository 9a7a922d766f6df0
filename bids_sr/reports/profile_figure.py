"""The figure of an estimated slice profile: how likely each is, and what was compared.

It shows data and judges nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bids_sr.records.profile_record import ProfileRecord
from bids_sr.reports.figures import ACCENT, INK, draw_widths, new_figure, save_figure

if TYPE_CHECKING:
    from bids_sr.sr.slices.profile_estimation import ProfileEstimate


def plot_profile_estimate(
    record: ProfileRecord, estimate: ProfileEstimate, out_file: str | os.PathLike[str]
) -> Path:
    """Draw the detail that is left across the slices, and how likely each width is.

    Parameters
    ----------
    record : ProfileRecord
        What is known of the profile.
    estimate : ProfileEstimate
        What :func:`.estimate_slice_profile` compared.
    out_file : path
        SVG to write, or PNG by its ending.

    Returns
    -------
    Path
        The file written.
    """
    figure, axes = new_figure(7.2, 6.2, rows=2)
    axes.plot(estimate.frequencies, estimate.observed, color=INK, marker="o", ms=3, lw=0)
    axes.plot(estimate.frequencies, estimate.expected, color=ACCENT, linewidth=2)
    kind, _ = estimate.distribution.likeliest
    axes.set(
        xlabel="frequency across the slices (1/mm)",
        ylabel="fine in-plane detail left",
        title=f"Image (dots) and {kind} profile (line), aliases included",
    )
    draw_widths(figure.add_subplot(2, 1, 2), record)
    path = Path(out_file)
    if path.suffix.lower() == ".svg":
        return save_figure(figure, path)
    for panel in figure.axes:
        panel.title.set(fontsize=10.5, color=INK)
    figure.savefig(path, dpi=150)
    return path
