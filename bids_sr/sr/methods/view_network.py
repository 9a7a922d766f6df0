"""The common part of the methods that apply one network to the views of a volume.

The slices are resampled to a workspace and scaled, a network is loaded or trained, and the
detail that it predicts in all views is added to interpolation.  Each method provides the
network.
"""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from bids_sr.compute.device import limited_threads, resolve_device
from bids_sr.compute.progress import Progress
from bids_sr.imaging import Acquisition, Grid, RobustScaler, Volume, resample
from bids_sr.records.learning_curve import LearningCurve
from bids_sr.records.method_record import MethodRecord
from bids_sr.seed import DEFAULT_SEED
from bids_sr.sr.contract.results import Reconstruction
from bids_sr.sr.contract.settings import require
from bids_sr.sr.contract.side_results import side_result
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.inference.tiles import InferenceSettings
from bids_sr.sr.inference.views import Views
from bids_sr.sr.inference.workspace import Workspace
from bids_sr.sr.learning.own_slices import LEAST_SLICES_A_PATCH
from bids_sr.sr.methods.base import Method, interpolated
from bids_sr.sr.networks.thick_slice import Mirror, ThickSliceUpsampler

LOGGER = logging.getLogger(__name__)
LEAST_SCALE = 1.05


class ImageJob(NamedTuple):
    """Hold the image that a network is loaded or trained for."""

    scaled: npt.NDArray[np.float32]
    """Acquired slices, intensities about 0 to 1."""
    work: Workspace
    acquisition: Acquisition
    device: torch.device
    threads: int
    progress: Progress

    @property
    def scale(self) -> float:
        """Slice spacing / voxel size of the workspace."""
        return self.acquisition.scale(self.work.spacing)


class ReadyNetwork(NamedTuple):
    """Hold a network that is ready to be applied, and its record."""

    network: ThickSliceUpsampler
    record: MethodRecord
    curve: LearningCurve
    weights: Weights | None
    """None where the network must not be used."""
    from_thick_planes: bool = True
    """Whether it was last trained on planes as thick as the slices."""


@dataclass(frozen=True, kw_only=True)
class ViewNetwork(Method):
    """Apply a network to both through-plane views; a subclass loads or trains it.

    Attributes
    ----------
    seed : int
        Seed of weights and patches; the result is the same for the same number of threads.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    fusion : str
        How the two views are combined: ``directional`` or ``mean``.
    detail : float
        Factor on the detail that the network adds to interpolation.
    matching : float
        Share of the slice thickness over which thin planes are averaged before the network
        sees them; only if it was trained on planes as thick as the slices.
    orientations : int
        Pairs of views: those along the array axes, then pairs rotated in-plane between them.
    mirrored : bool
        Average with the result on the mirror image.
    data_consistency : bool
        Correct the result to agree with the acquired slices, except for their noise.
    mixed_precision : bool
        Convolve in half precision where the device does so faster.
    scale_intensities : bool
        Scale the robust intensity range to 0 to 1; False: it is such already.
    """

    mirror: ClassVar[Mirror] = "columns"
    """Along what planes are mirrored."""

    seed: int = DEFAULT_SEED
    device: str = "auto"
    fusion: str = "directional"
    detail: float = 1.0
    matching: float = 0.0
    orientations: int = 2
    mirrored: bool = True
    data_consistency: bool = True
    mixed_precision: bool = True
    scale_intensities: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        super().__post_init__()
        self._views(self.matching)
        require(self.seed >= 0, "seed", self.seed, "0 or more")

    def _views(self, plane_thickness: float) -> Views:
        return Views(
            fusion=self.fusion,
            detail=self.detail,
            orientations=self.orientations,
            mirrored=self.mirror if self.mirrored else "",
            plane_thickness=plane_thickness,
        )

    @abstractmethod
    def _make_ready(self, job: ImageJob) -> ReadyNetwork:
        """Return the network for this image."""

    def _refusal(self, work: Workspace, scale: float) -> str | None:
        """Say why no network can help this image, if so."""
        if scale < LEAST_SCALE:
            return f"the scale is {scale:.3g}: nothing to learn"
        data = work.slices.data
        if np.ptp(data) <= 1e-5 * np.abs(data).max():
            return "the image is constant"
        return None

    def _reconstruct(
        self, lr: Volume, acquisition: Acquisition, grid: Grid, progress: Progress
    ) -> Reconstruction:
        device = resolve_device(self.device)
        assert acquisition.slice_axis is not None
        work = Workspace.of(lr, acquisition.slice_axis, grid)
        refusal = self._refusal(work, acquisition.scale(work.spacing))
        if refusal:
            return interpolated(lr, grid, refusal)
        scaler = RobustScaler(offset=0.0, width=1.0)
        if self.scale_intensities:
            scaler = RobustScaler.fit(work.slices.data)
        scaled = scaler.apply(work.slices.data)
        with limited_threads(self.threads) as threads:
            job = ImageJob(scaled, work, acquisition, device, threads, progress)
            ready = self._make_ready(job)
            record = ready.record.with_details(
                Threads=threads,
                NetworkParameters=sum(part.numel() for part in ready.network.parameters()),
            )
            if ready.weights is None:
                fallback = interpolated(lr, grid, "the network is no better than interpolation")
                return replace(fallback, record=record.joined(fallback.record), curve=ready.curve)
            start = time.perf_counter()
            settings = InferenceSettings(
                device=device,
                halo=ready.network.halo,
                plane_halo=ready.network.plane_halo,
                half=self.mixed_precision,
                threads=threads,
                allow_cpu=not self.device.startswith("cuda"),
            )
            share = self.matching if ready.from_thick_planes else 0.0
            views = self._views(share * acquisition.slice_profile.fwhm)
            fused = views.apply(ready.network, scaled, work, settings, progress)
        record = record.with_details(
            Fusion=views.fusion,
            Orientations=views.orientations,
            InferenceSeconds=round(time.perf_counter() - start, 2),
        )
        fine = Volume(scaler.inverse(fused.data), work.grid.affine)
        uncertainty = side_result(
            "uncertainty", lambda: _uncertainty(fused.uncertainty, scaler, work, grid)
        )
        missing = () if uncertainty else ("uncertainty",)
        record = replace(record, device=fused.device, not_measured=missing)
        return Reconstruction(
            volume=resample(fine, grid),
            record=record,
            curve=ready.curve,
            uncertainty=uncertainty,
            learned=ready.weights,
        )


def _uncertainty(
    deviation: npt.NDArray[np.float32] | None, scaler: RobustScaler, work: Workspace, grid: Grid
) -> Volume | None:
    if deviation is None:
        return None
    scaled = Volume(deviation * np.float32(scaler.width), work.grid.affine)
    return resample(scaled, grid, kernel="linear")


def why_not_own_slices(work: Workspace, scale: float) -> str | None:
    """Say why an image's own slices are too small to learn from, if so."""
    shortest = min(work.in_plane_shape)
    if shortest >= LEAST_SLICES_A_PATCH * scale:
        return None
    return (
        f"{shortest} in-plane voxels hold fewer than {LEAST_SLICES_A_PATCH} thick slices "
        f"of {scale:.3g} voxels"
    )
