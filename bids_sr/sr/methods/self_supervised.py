"""Self-supervised super-resolution: the image's own slices teach what lies between them.

References
----------
Zhao et al. 2021, SMORE: a self-supervised anti-aliasing and super-resolution algorithm
for MRI using deep learning, IEEE TMI 40:805-817, doi:10.1109/TMI.2020.3037187.
Remedios et al. 2023, Self-supervised super-resolution for anisotropic MR images with
and without slice gap, SASHIMI, doi:10.1007/978-3-031-44689-4_12.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bids_sr.imaging import Acquisition, Grid, RobustScaler, View, Volume, resample
from bids_sr.sr.consistency import make_consistent
from bids_sr.sr.device import limited_threads, resolve_device
from bids_sr.sr.fusion import FUSIONS
from bids_sr.sr.inference import InferenceSettings, run_over_slices
from bids_sr.sr.methods.base import Method, Progress, Reconstruction, require
from bids_sr.sr.networks.thick_slice import BRIGHTEST, ThickSliceNet, Upsampling
from bids_sr.sr.rotation import Turn
from bids_sr.sr.training.loop import FitResult, Schedule, fit
from bids_sr.sr.training.losses import mean_absolute_error, mean_squared_error
from bids_sr.sr.training.patches import PatchGeometry, SlicePatches
from bids_sr.sr.training.saliency import saliency
from bids_sr.sr.workspace import Workspace, foreground_box

LOGGER = logging.getLogger(__name__)
LEAST_SCALE = 1.05
LEAST_SLICES_A_PATCH = 4
_VALIDATION_PATCHES = 64
_EDGE_COLUMNS = 2


@dataclass(frozen=True, kw_only=True)
class SelfSupervised(Method):
    """Train a small network on the image itself, then apply it across the slices."""

    name = "self"

    steps: int = 2800
    """Training steps."""
    time_budget: float | None = None
    """Upper bound on the training time, s; the result then depends on the machine's speed."""
    seed: int = 0
    """Seed of weights and patches; the result is the same for the same number of threads."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``."""
    channels: int = 24
    """Width of the network."""
    blocks: int = 14
    """Residual blocks of the network."""
    batch_size: int = 16
    """Patches a step."""
    patch_slices: int = 12
    """Thick slices a patch; fewer where the image is too small."""
    patch_width: int = 48
    """In-plane voxels a patch."""
    learning_rate: float = 2e-3
    """Highest learning rate."""
    fusion: str = "directional"
    """How the two views are combined: ``directional`` or ``mean``."""
    detail: float = 1.1
    """Factor on the detail found; above 1, as slices to learn from are averages over their
    thickness and so hold less of it than planes across them."""
    orientations: int = 2
    """Pairs of views: the array's own, then pairs turned between them within the slices."""
    mirrored: bool = True
    """Average with the result on the mirror image."""
    data_consistency: bool = True
    """At the end agree with the acquired slices."""
    mixed_precision: bool = True
    """Convolve in half precision where the device does so faster."""

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        super().__post_init__()
        self._schedule()
        for name, least in (
            ("channels", 1),
            ("blocks", 1),
            ("batch_size", 1),
            ("patch_slices", LEAST_SLICES_A_PATCH),
            ("patch_width", 8),
            ("orientations", 1),
            ("seed", 0),
        ):
            require(getattr(self, name) >= least, name, getattr(self, name), f"{least} or more")
        require(self.fusion in FUSIONS, "fusion", self.fusion, " or ".join(FUSIONS))
        require(self.detail > 0, "detail", self.detail, "above 0")

    def _schedule(self) -> Schedule:
        return Schedule(
            steps=self.steps,
            time_budget=self.time_budget,
            learning_rate=self.learning_rate,
            half=self.mixed_precision,
        )

    def _reconstruct(
        self, lr: Volume, acquisition: Acquisition, grid: Grid, progress: Progress
    ) -> Reconstruction:
        device = resolve_device(self.device)
        assert acquisition.slice_axis is not None
        work = Workspace.of(lr, acquisition.slice_axis, grid)
        refusal = _refusal(work, acquisition.scale(work.spacing))
        if refusal:
            return _interpolated(lr, grid, refusal)
        scaler = RobustScaler.fit(work.slices.data)
        scaled = scaler.apply(work.slices.data)
        with limited_threads(self.threads) as threads:
            network, result = self._train(scaled, work, acquisition, device, threads, progress)
            record = {
                "Seed": self.seed,
                "Threads": threads,
                "Steps": result.steps,
                "StopReason": result.stop_reason,
                "TrainingSeconds": round(result.seconds, 2),
                "NetworkParameters": sum(part.numel() for part in network.parameters()),
                "ValidationGainDecibel": result.curve[-1].validation if result.curve else None,
            }
            if not _has_learnt(result):
                fallback = _interpolated(lr, grid, "the network is no better than interpolation")
                record = {**record, **fallback.record}
                return Reconstruction(volume=fallback.volume, record=record, curve=result.curve)
            start = time.perf_counter()
            data, used = self._apply(network, scaled, work, device, threads, progress)
        record["Device"] = used
        record["InferenceSeconds"] = round(time.perf_counter() - start, 2)
        made = Volume(scaler.inverse(data), work.grid.affine)
        if self.data_consistency:
            made = make_consistent(made, work.slices, acquisition)
        volume = resample(made, grid)
        return Reconstruction(volume=volume, record=record, curve=result.curve)

    def _train(
        self,
        scaled: npt.NDArray[np.float32],
        work: Workspace,
        acquisition: Acquisition,
        device: torch.device,
        threads: int,
        progress: Progress,
    ) -> tuple[ThickSliceNet, FitResult]:
        stack = View.in_plane(work.slice_axis).split(scaled).clip(-BRIGHTEST, BRIGHTEST)
        longest = int(min(stack.shape[1:]) / acquisition.scale(work.spacing))
        geometry = PatchGeometry.of(
            acquisition,
            work.spacing,
            slices=max(LEAST_SLICES_A_PATCH, min(self.patch_slices, longest)),
            width=min(self.patch_width, *stack.shape[1:]),
        )
        factor = ceil(geometry.scale - 1e-3)
        upsampling = Upsampling.at(geometry.coordinates(), geometry.slices, factor).to(device)
        torch.manual_seed(self.seed)
        network = ThickSliceNet(factor=factor, channels=self.channels, blocks=self.blocks)
        network.to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        weights = View.in_plane(work.slice_axis).split(
            saliency(scaled, work.slices.spacings, work.slice_axis)
        )
        patches = SlicePatches(stack, weights, geometry, seed=self.seed)
        others = SlicePatches(stack, weights, geometry, seed=self.seed + 1)
        held_out = others.draw(_VALIDATION_PATCHES)

        # The outer thick slice and columns lack neighbours that they have in the volume.
        rows = slice(factor, geometry.rows - factor)
        inner = (slice(None), rows, slice(_EDGE_COLUMNS, geometry.width - _EDGE_COLUMNS))

        def predict(network: nn.Module, lr: Tensor) -> Tensor:
            predicted: Tensor = network(
                lr.contiguous(memory_format=torch.channels_last), upsampling
            )
            return predicted

        def loss(predicted: Tensor, target: Tensor) -> Tensor:
            return mean_absolute_error(predicted[inner], target[inner])

        def validate(network: nn.Module) -> float:
            with torch.inference_mode():
                lr, hr = (part.to(device) for part in held_out)
                learnt = mean_squared_error(predict(network, lr)[inner], hr[inner])
                cubic = mean_squared_error((upsampling.skip @ lr[:, 0])[inner], hr[inner])
            return float(10 * torch.log10(cubic / learnt.clamp_min(1e-12)))

        result = fit(
            network,
            predict,
            patches.batches(self.batch_size),
            loss,
            self._schedule(),
            threads=threads,
            validate=validate,
            progress=progress,
        )
        return network, result

    def _apply(
        self,
        network: ThickSliceNet,
        scaled: npt.NDArray[np.float32],
        work: Workspace,
        device: torch.device,
        threads: int,
        progress: Progress,
    ) -> tuple[npt.NDArray[np.float32], str]:
        """Add the detail that the network finds in all views to cubic interpolation."""
        axis = work.slice_axis
        upsampling = Upsampling.at(work.coordinates, scaled.shape[axis], network.factor)
        settings = InferenceSettings(
            device=device,
            halo=network.halo,
            half=self.mixed_precision,
            threads=threads,
            allow_cpu=not self.device.startswith("cuda"),
        )

        def predict(_: nn.Module, lr: Tensor) -> Tensor:
            there = upsampling.to(lr.device)
            found = network.detail(lr, there)
            if self.mirrored:  # rows need not be symmetric to the slices, columns are
                found = (found + network.detail(lr.flip(3), there).flip(2)) / 2
            return found

        data = resample(Volume(scaled, work.slices.affine), work.grid).data
        used = str(device)
        for number in range(self.orientations):
            progress(self.steps, self.steps, f"views {number + 1} of {self.orientations}")
            turn = Turn(angle=90 * number / self.orientations, slice_axis=axis)
            turned = turn.apply(scaled)
            box = foreground_box(turned, axis, margin=network.halo)
            views = []
            for view in View.through_plane(axis):
                stack = torch.from_numpy(view.split(turned[box]))
                found, used = run_over_slices(network, predict, stack, settings)
                views.append((view, view.join(found.numpy())))
            shape = [*turned.shape]
            shape[axis] = data.shape[axis]
            detail = np.zeros(shape, np.float32)
            detail[box] = FUSIONS[self.fusion](views, work.grid.spacings)
            data += np.float32(self.detail / self.orientations) * turn.undo(detail, data.shape)
        return data, used


def _refusal(work: Workspace, scale: float) -> str | None:
    """Say why this image cannot teach a network, if so."""
    if scale < LEAST_SCALE:
        return f"the scale is {scale:.3g}: nothing to learn"
    data = work.slices.data
    if np.ptp(data) <= 1e-5 * np.abs(data).max():
        return "the image is constant"
    shortest = min(work.in_plane_shape)
    if shortest < LEAST_SLICES_A_PATCH * scale:
        return (
            f"{shortest} in-plane voxels hold fewer than {LEAST_SLICES_A_PATCH} thick slices "
            f"of {scale:.3g} voxels"
        )
    return None


def _has_learnt(result: FitResult) -> bool:
    if result.stop_reason == "diverged" or not result.curve:
        return False
    gain = result.curve[-1].validation
    return gain is not None and bool(np.isfinite(gain)) and gain > 0


def _interpolated(lr: Volume, grid: Grid, reason: str) -> Reconstruction:
    LOGGER.warning("Interpolated instead of learning: %s", reason)
    record: dict[str, Any] = {"Fallback": "bspline", "FallbackReason": reason, "Device": "cpu"}
    return Reconstruction(volume=resample(lr, grid), record=record)
