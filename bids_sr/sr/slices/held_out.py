"""A test on slices left out shows whether a wrong assumption about the slices can do harm.

Leaving slices out does not show how thick they are.  It does show how much detail there is
between them, and so how much a wrong thickness matters: if every second slice is left out,
the others are stated to be thicker than they are, and the method still reconstructs the
missing slices better than interpolation does, a wrong thickness does no harm.  Nothing here
knows where an acquisition comes from.

Notes
-----
The numbers were chosen on 90 stacks of hearts with every second slice taken away, on
clinical scans and on simulated heads; ``benchmarks/RESULTS.md`` has them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bids_sr.imaging import Acquisition, Grid, Volume, resample
from bids_sr.imaging.acquisition import ASSUMED_PROFILE
from bids_sr.records.method_record import HeldOutSlices

LOGGER = logging.getLogger(__name__)
Reconstruct = Callable[[Volume, Acquisition, Grid], Volume]
"""From slices, how they were taken and a grid to the reconstruction by a method."""

TESTED_SHARE = 0.7
"""Thickness that is stated in the test, as a share of the doubled spacing; that of slices as
thick as assumed is about 0.43."""
LEAST_GAIN = 0.1
"""Gain over cubic interpolation below which thinner slices are assumed, dB."""
THINNER_SHARE = 0.5
"""Thickness that is assumed then, as a share of the slice spacing."""
WORST_GAIN = -1.5
"""Gain of the test with that thickness below which the image is interpolated, dB.  At twice
the spacing there is about a decibel less to win."""
_LONGEST = 128  # voxels of the fine grid in-plane
_MOST_SLICES = 48
_DARK = 0.1  # of the bright voxels
_LEAST_SCALE = 1.05


@dataclass(frozen=True, kw_only=True)
class AssumptionCheck:
    """State the acquisition by which an image is reconstructed, or why it is interpolated."""

    acquisition: Acquisition
    """As it was given, or with thinner slices."""
    interpolate: str = ""
    """Why the image shall only be interpolated; empty where it need not be."""
    held_out: HeldOutSlices | None = None
    """How the test came out; None where no thickness was assumed."""


def check_assumption(
    lr: Volume, acquisition: Acquisition, voxel: float, reconstruct: Reconstruct
) -> AssumptionCheck:
    """Test what is assumed of an image's slices on slices left out.

    Parameters
    ----------
    lr : Volume
        The acquired slices.
    acquisition : Acquisition
        What is known and what is assumed of them, with the slice axis.
    voxel : float, mm
        Voxel size across the slices that is aimed at.
    reconstruct : callable

    Returns
    -------
    AssumptionCheck
        A stated thickness is never changed; the image is then not even looked at.
    """
    if "thickness" not in acquisition.assumed or acquisition.scale(voxel) < _LEAST_SCALE:
        return AssumptionCheck(acquisition=acquisition)
    part = _part(lr, acquisition.slice_axis or 0, voxel)
    gain = held_out_gain(part, acquisition, voxel, TESTED_SHARE, reconstruct)
    test = HeldOutSlices(assumption="kept", gain=_rounded(gain))
    if gain is None or gain >= LEAST_GAIN:
        return AssumptionCheck(acquisition=acquisition, held_out=test)
    least = THINNER_SHARE * acquisition.spacing
    thin = replace(acquisition, thickness=min(acquisition.nominal_thickness, least))
    if "profile" in acquisition.assumed:
        thin = replace(thin, profile=ASSUMED_PROFILE)
    worst = held_out_gain(part, thin, voxel, THINNER_SHARE, reconstruct)
    test = replace(test, least_gain=_rounded(worst))
    reason = (
        f"reconstructed left-out slices gain {gain:+.2f} dB over interpolation, too little to "
        "rely on an assumed slice thickness"
    )
    if worst is not None and worst < WORST_GAIN:
        test = replace(test, assumption="none: interpolated")
        return AssumptionCheck(acquisition=thin, interpolate=reason, held_out=test)
    warning = (
        f"{reason}: the slices are taken as {thin.nominal_thickness:.4g} mm thick, "
        f"{THINNER_SHARE:g} of their spacing; state their thickness (SliceThickness in the "
        "sidecar, or --slice-thickness)"
    )
    LOGGER.warning("Thinner slices assumed: %s", warning)
    test = replace(test, assumption="thinner slices", reason=warning)
    return AssumptionCheck(acquisition=thin, held_out=test)


def held_out_gain(
    lr: Volume, acquisition: Acquisition, voxel: float, share: float, reconstruct: Reconstruct
) -> float | None:
    """Leave every second slice out, reconstruct it and compare it with the one acquired.

    Parameters
    ----------
    lr : Volume
        The acquired slices, in-plane of about `voxel` mm.
    acquisition : Acquisition
        How they were taken, with the slice axis.
    voxel : float, mm
        Voxel size of the reconstruction across the slices.
    share : float
        Thickness stated to the method, as a share of the doubled spacing; the profile is
        always ``slr``, by which the limits of the gain were chosen.
    reconstruct : callable

    Returns
    -------
    float or None
        Gain over cubic interpolation, dB, over even and odd slices; None for fewer than 3
        slices, or where interpolation leaves nothing to win.
    """
    axis, spacing = acquisition.slice_axis or 0, 2 * acquisition.spacing
    sparse = Acquisition(
        spacing=spacing, thickness=share * spacing, profile=ASSUMED_PROFILE, slice_axis=axis
    )
    gaps = [gap for first in (0, 1) if (gap := _Gaps.of(lr, axis, first, voxel)) is not None]
    cubic = sum(gap.error(resample(gap.remaining, gap.grid)) for gap in gaps)
    if cubic <= 1e-12 * float(np.sum(lr.data.astype(np.float64) ** 2)):
        return None
    error = sum(gap.error(reconstruct(gap.remaining, sparse, gap.grid)) for gap in gaps)
    return float(10 * np.log10(cubic / max(error, 1e-12 * cubic)))


@dataclass(frozen=True, eq=False)
class _Gaps:
    """Hold every second slice, and those between them."""

    remaining: Volume
    truth: npt.NDArray[np.floating]
    """(K, H, W) slices that were left out."""
    grid: Grid
    """A plane lies where each of them does."""
    steps: int
    """From one remaining slice to the next."""
    axis: int

    @classmethod
    def of(cls, lr: Volume, axis: int, first: int, voxel: float) -> _Gaps | None:
        """Keep the slices `first`, `first` + 2, ...; None if nothing lies between them."""
        slices = np.moveaxis(lr.data, axis, 0)[first:]
        truth = slices[1 : 2 * ((len(slices) - 1) // 2) : 2]
        if not len(truth):
            return None
        remaining = lr.planes(axis, slice(first, None, 2))
        # An even number of steps: a plane lies halfway.
        steps = max(2, 2 * round(float(remaining.spacings[axis]) / voxel / 2))
        return cls(remaining, truth, remaining.grid.subdivided(axis, steps), steps, axis)

    def error(self, estimate: Volume) -> float:
        """Return the sum of squared differences where the slices are bright."""
        planes = np.moveaxis(np.maximum(estimate.data, 0), self.axis, 0)
        planes = planes[self.steps // 2 :: self.steps][: len(self.truth)]
        bright = self.truth > _DARK * np.percentile(self.truth, 99)
        return float(np.sum((planes - self.truth)[bright] ** 2))


def _part(lr: Volume, axis: int, voxel: float) -> Volume:
    """Cut out the middle of what is bright, in-plane on voxels of `voxel` mm."""
    data = lr.data.astype(np.float32, copy=False)
    bright = data > _DARK * np.percentile(data, 99.5)
    box = []
    for current in range(3):
        size, spacing = lr.shape[current], float(lr.spacings[current])
        most = _MOST_SLICES if current == axis else round(_LONGEST * voxel / spacing)
        count = min(size, max(2, most))
        first = min(max(0, _middle(bright, current) - count // 2), size - count)
        box.append(slice(first, first + count))
    part = lr.with_data(data).part(box)
    grid = part.grid
    for current in {0, 1, 2} - {axis}:
        grid = grid.tiled(current, voxel)
    return resample(part, grid)


def _middle(bright: npt.NDArray[np.bool_], axis: int) -> int:
    counts = bright.sum(axis=tuple({0, 1, 2} - {axis})).astype(np.float64)
    if not counts.any():
        return int(bright.shape[axis]) // 2
    return int(counts @ np.arange(counts.size) / counts.sum() + 0.5)


def _rounded(gain: float | None) -> float | None:
    return None if gain is None else round(gain, 3)
