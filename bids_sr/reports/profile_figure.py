"""The figure of an estimated slice profile: what was compared, and how clear the answer is.

It shows data and judges nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from bids_sr.reports.figures import ACCENT, INK, MUTED, SECOND, new_figure, save_figure
from bids_sr.sr.slices.profile_estimation import ProfileEstimate

COLOURS = {"gaussian": ACCENT, "rect": SECOND, "slr": MUTED}


def plot_profile_estimate(estimate: ProfileEstimate, out_file: str | os.PathLike[str]) -> Path:
    """Draw the misfit over the FWHM, and the detail that is left across the slices.

    Parameters
    ----------
    estimate : ProfileEstimate
        What :func:`.estimate_slice_profile` found.
    out_file : path
        SVG to write, or PNG by its ending.

    Returns
    -------
    Path
        The file written.
    """
    figure, axes = new_figure(9.6, 3.3)
    axes.remove()
    left, right = figure.subplots(1, 2)
    for panel in (left, right):
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(colors=INK, labelsize=9)
        panel.grid(visible=True, color="#e4e7eb", linewidth=0.6)
    least = min(float(fit.misfits.min()) for fit in estimate.fits)
    for fit in estimate.fits:
        left.plot(
            fit.widths,
            fit.misfits / least,
            color=COLOURS.get(fit.kind, INK),
            linewidth=2 if fit.kind == estimate.kind else 1.2,
            label=f"{fit.kind}: {fit.fwhm:.2f} mm",
        )
    spread = (estimate.fwhm - estimate.deviation, estimate.fwhm + estimate.deviation)
    left.axvspan(*spread, color=ACCENT, alpha=0.10, lw=0)
    left.axvline(estimate.fwhm, color=INK, linewidth=0.8, linestyle=":")
    highest = np.percentile([fit.misfits / least for fit in estimate.fits], 80)
    left.set(
        xlabel="FWHM of the slice profile (mm)",
        ylabel="misfit (least = 1)",
        ylim=(1 - 0.05 * (highest - 1), highest),
        title=f"FWHM {estimate.fwhm:.2f} mm, confidence {estimate.confidence:.2f}",
    )
    left.legend(frameon=False, fontsize=9)
    right.plot(estimate.frequencies, estimate.observed, color=INK, marker="o", ms=3, lw=0)
    right.plot(estimate.frequencies, estimate.expected, color=ACCENT, linewidth=2)
    right.set(
        xlabel="frequency across the slices (1/mm)",
        ylabel="fine in-plane detail left",
        title=f"Image (dots) and {estimate.kind} profile (line), aliases included",
    )
    path = Path(out_file)
    if path.suffix.lower() == ".svg":
        return save_figure(figure, path)
    for panel in figure.axes:
        panel.title.set(fontsize=10.5, color=INK)
    figure.savefig(path, dpi=150)
    return path
