"""A network applied to the views of a volume, their results fused on the fine grid.

Each through-plane view is a stack of planes that the network sees, one by one or all
together; further views are of the volume rotated in-plane.  Nothing here trains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from bids_sr.compute.progress import Progress
from bids_sr.imaging import View, Volume, resample
from bids_sr.imaging.slice_profile import FWHM_PER_SIGMA
from bids_sr.sr.contract.settings import require
from bids_sr.sr.contract.side_results import side_result
from bids_sr.sr.inference.fusion import FUSIONS
from bids_sr.sr.inference.rotation import InPlaneRotation
from bids_sr.sr.inference.tiles import InferenceSettings, run_over_slices
from bids_sr.sr.inference.uncertainty import Disagreement, half_squared_difference
from bids_sr.sr.inference.workspace import Workspace, foreground_box
from bids_sr.sr.networks.thick_slice import Mirror, ThickSliceUpsampler, Upsampling


class FusedViews(NamedTuple):
    """Hold the reconstruction from all views, on the grid of the workspace."""

    data: npt.NDArray[np.float32]
    uncertainty: npt.NDArray[np.float32] | None
    """Standard deviation to expect, in the units of `data`; None where it failed."""
    device: str
    """The device that made it."""


@dataclass(frozen=True, kw_only=True)
class Views:
    """State which views are reconstructed and how they become one volume."""

    fusion: str = "directional"
    """How the two views of a pair are combined: a name in ``FUSIONS``."""
    detail: float = 1.0
    """Factor on the detail that the network adds to interpolation."""
    orientations: int = 1
    """Pairs of views: those along the array axes, then pairs rotated in-plane between them."""
    mirrored: Mirror = ""
    """Average with the results on mirror images, taken along this; empty: do not."""
    plane_thickness: float = 0.0
    """Width (FWHM, mm) of the Gaussian over which planes are averaged before they are seen."""

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        require(self.fusion in FUSIONS, "fusion", self.fusion, " or ".join(FUSIONS))
        require(self.detail > 0, "detail", self.detail, "above 0")
        require(self.orientations >= 1, "orientations", self.orientations, "1 or more")
        thickness = self.plane_thickness
        require(thickness >= 0, "plane_thickness", thickness, "0 mm or more")

    def apply(
        self,
        network: ThickSliceUpsampler,
        scaled: npt.NDArray[np.float32],
        work: Workspace,
        settings: InferenceSettings,
        progress: Progress,
    ) -> FusedViews:
        """Add the detail that the network finds in all views to cubic interpolation.

        Parameters
        ----------
        network : ThickSliceUpsampler
        scaled : (X, Y, K) array, slice axis where it is
            Acquired slices, intensities about 0 to 1.
        work : Workspace
            Where they lie.
        settings : InferenceSettings
        progress : callable

        Returns
        -------
        FusedViews
        """
        axis = work.slice_axis
        upsampling = Upsampling.at(work.coordinates, scaled.shape[axis], network.factor)

        def predict(_: nn.Module, lr: Tensor) -> Tensor:
            there = upsampling.to(lr.device)
            return network.detail(lr, there, mirrored=self.mirrored)

        data = resample(Volume(scaled, work.slices.affine), work.grid).data
        added, disagreement = np.zeros_like(data), Disagreement()
        views, views_done = 2 * self.orientations, 0
        device = str(settings.device)
        for number in range(self.orientations):
            rotation = InPlaneRotation(angle=90 * number / self.orientations, slice_axis=axis)
            rotated = rotation.apply(scaled)
            box = foreground_box(rotated, axis, margin=network.halo)
            details = []
            for view in View.through_plane(axis):
                stack = torch.from_numpy(self._averaged(view.split(rotated[box]), work.spacing))
                told = replace(settings, report=_share_of(progress, views_done, views))
                rows, device = run_over_slices(network, predict, stack, told)
                views_done += 1
                details.append((view, view.join(rows.numpy())))
            shape = [*rotated.shape]
            shape[axis] = data.shape[axis]
            detail = np.zeros(shape, np.float32)
            detail[box] = FUSIONS[self.fusion](details, work.grid.spacings)
            added += np.float32(self.detail / self.orientations) * rotation.undo(
                detail, data.shape
            )
            detail[box] = half_squared_difference(details[0][1], details[1][1])
            disagreement.add(rotation.undo(detail, data.shape))
        deviation = side_result("uncertainty", lambda: disagreement.standard_deviation(added))
        return FusedViews(data + added, deviation, device)

    def _averaged(
        self, planes: npt.NDArray[np.float32], spacing: float
    ) -> npt.NDArray[np.float32]:
        if self.plane_thickness == 0:
            return planes
        width = self.plane_thickness / FWHM_PER_SIGMA / spacing
        averaged: npt.NDArray[np.float32] = gaussian_filter1d(
            planes, width, axis=0, mode="nearest"
        )
        return averaged


def _share_of(progress: Progress, done: int, views: int) -> Callable[[int, int], None]:
    """Return what tells of the tiles of one view, as percent of all views."""

    def report(tile: int, tiles: int) -> None:
        percent = round(100 * (done + tile / tiles) / views)
        progress(percent, 100, f"applying the network, view {done + 1} of {views}")

    return report
