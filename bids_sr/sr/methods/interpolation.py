"""Interpolation evaluates the acquired image on the grid; it sharpens nothing.

These are the baselines.  Where the grid is coarser in-plane, the image is blurred
first; otherwise values are interpolated along each axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bids_sr.compute.progress import Progress
from bids_sr.imaging import Acquisition, Grid, Volume, resample
from bids_sr.imaging.resample import Kernel
from bids_sr.records.method_record import MethodRecord
from bids_sr.sr.contract.results import Reconstruction
from bids_sr.sr.methods.base import Method


@dataclass(frozen=True, kw_only=True)
class _Interpolation(Method):
    """Resample by one kernel; `threads` makes no difference to it."""

    kernel: ClassVar[Kernel]

    def _reconstruct(
        self, lr: Volume, acquisition: Acquisition, grid: Grid, progress: Progress
    ) -> Reconstruction:
        volume = resample(lr, grid, kernel=self.kernel)
        progress(1, 1, f"{self.name} interpolation")
        return Reconstruction(volume=volume, record=MethodRecord(details={"Kernel": self.kernel}))


@dataclass(frozen=True, kw_only=True)
class Linear(_Interpolation):
    """Interpolate linearly."""

    name = "linear"
    kernel = "linear"


@dataclass(frozen=True, kw_only=True)
class BSpline(_Interpolation):
    """Interpolate by the cubic B-spline through the samples."""

    name = "bspline"
    kernel = "bspline"


@dataclass(frozen=True, kw_only=True)
class Lanczos(_Interpolation):
    """Interpolate by a sinc windowed to three lobes."""

    name = "lanczos"
    kernel = "lanczos"


@dataclass(frozen=True, kw_only=True)
class NoReconstruction(_Interpolation):
    """Keep the image: on its own grid bit by bit, on another the nearest voxel."""

    name = "none"
    kernel = "nearest"
    checks_slices = False
