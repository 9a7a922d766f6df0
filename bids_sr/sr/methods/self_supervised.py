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
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from bids_sr.exceptions import ConfigError, WeightsError
from bids_sr.imaging import Acquisition, Grid, RobustScaler, Volume, resample
from bids_sr.sr.device import limited_threads, resolve_device
from bids_sr.sr.geometry import TrainedGeometry
from bids_sr.sr.inference import InferenceSettings
from bids_sr.sr.methods.base import CurvePoint, Method, Progress, Reconstruction, require
from bids_sr.sr.networks.thick_slice import ThickSliceNet, ThickSliceUpsampler
from bids_sr.sr.networks.wdsr import WDSR
from bids_sr.sr.training.loop import Schedule
from bids_sr.sr.training.own_slices import LEAST_SLICES_A_PATCH, OwnSlices, has_learnt
from bids_sr.sr.views import Views
from bids_sr.sr.weights import Weights
from bids_sr.sr.workspace import Workspace

LOGGER = logging.getLogger(__name__)
LEAST_SCALE = 1.05
NETWORKS: dict[str, Callable[..., ThickSliceUpsampler]] = {
    "thick_slice": ThickSliceNet,
    "wdsr": WDSR,
}
SMORE: dict[str, Any] = {
    "network": "wdsr",
    "channels": 256,
    "blocks": 16,
    "steps": 7813,  # 1,000,000 patches
    "batch_size": 128,
    "patch_slices": 8,
    "patch_width": 8,
    "learning_rate": 1e-4,
    "optimizer": "adam",
    "warmup": 0.3,
    "averaging": 0.0,
    "loss": "squared",
    "whole_patches": True,
    "sampling": "gradient",
    "fusion": "mean",
    "detail": 1.0,
    "orientations": 1,
    "mirrored": False,
    "data_consistency": False,
}
"""What SMORE v4 does, as the papers tell it; hours on a CPU."""


@dataclass(frozen=True, kw_only=True)
class SelfSupervised(Method):
    """Train a network on the image itself, then apply it across the slices.

    The defaults are chosen for a CPU; the preset ``smore`` is the published system.
    """

    name = "self"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"fast": {}, "smore": SMORE}

    steps: int = 2000
    """Training steps."""
    time_budget: float | None = None
    """Upper bound on the training time, s; the result then depends on the machine's speed."""
    seed: int = 0
    """Seed of weights and patches; the result is the same for the same number of threads."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``."""
    network: str = "thick_slice"
    """``thick_slice`` or ``wdsr``."""
    channels: int = 32
    """Width of the network."""
    blocks: int = 14
    """Residual blocks of the network."""
    batch_size: int = 16
    """Patches a step."""
    patch_slices: int = 12
    """Thick slices a patch; fewer where the image is too small."""
    patch_width: int = 48
    """In-plane voxels a patch."""
    learning_rate: float = 3e-3
    """Highest learning rate."""
    optimizer: Literal["adam", "muon"] = "muon"
    """``adam``, or ``muon`` for the kernels of hidden layers."""
    warmup: float = 0.1
    """Share of the training in which the learning rate rises."""
    averaging: float = 0.99
    """Decay of the running mean of the weights, which is what is used; 0: the last weights."""
    loss: str = "absolute"
    """``absolute`` or ``squared`` differences."""
    whole_patches: bool = False
    """Judge also the outer slice and columns of a patch, which lack neighbours."""
    sampling: str = "depth"
    """Where patches are taken: ``depth`` (edges deep in the body) or ``gradient``."""
    fusion: str = "directional"
    """How the two views are combined: ``directional`` or ``mean``."""
    detail: float = 1.15
    """Factor on the detail found; above 1, as slices to learn from are averages over their
    thickness and so hold less of it than planes across them."""
    orientations: int = 2
    """Pairs of views: the array's own, then pairs turned between them within the slices."""
    mirrored: bool = True
    """Average with the result on the mirror image."""
    data_consistency: bool = True
    """At the end agree with the acquired slices as far as they are more than noise."""
    mixed_precision: bool = True
    """Convolve in half precision where the device does so faster."""
    scale_intensities: bool = True
    """Bring the robust intensity range to 0 to 1; False: the values are such already."""
    reuse: str | None = None
    """Path of weights that were learnt from an image of the same geometry, which are
    used as they are; None trains on the image."""

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        super().__post_init__()
        self._schedule()
        self._own_slices()
        self._views()
        for name, least in (("channels", 1), ("blocks", 1), ("seed", 0)):
            require(getattr(self, name) >= least, name, getattr(self, name), f"{least} or more")
        require(self.network in NETWORKS, "network", self.network, " or ".join(NETWORKS))

    def required_files(self) -> tuple[Path, ...]:
        """Return the file of what is reused, if there is one (WeightsError)."""
        if self.reuse is None:
            return ()
        path = Path(self.reuse)
        TrainedGeometry.from_card(Weights.load(path).card, path)
        return (path,)

    def for_labels(self) -> Method:
        """Return the method for memberships; only what was learnt elsewhere applies to them."""
        if self.reuse is None:
            raise ConfigError(
                "Found a label map and nothing to reuse; expected weights that were learnt from "
                "an image of the same geometry (--sr-reuse-model PATH): a label map has no "
                "detail to learn from. Without any, take the method linear."
            )
        return replace(self, scale_intensities=False, data_consistency=False)

    def _schedule(self) -> Schedule:
        return Schedule(
            steps=self.steps,
            time_budget=self.time_budget,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            warmup=self.warmup,
            averaging=self.averaging,
            half=self.mixed_precision,
        )

    def _own_slices(self) -> OwnSlices:
        return OwnSlices(
            patch_slices=self.patch_slices,
            patch_width=self.patch_width,
            batch_size=self.batch_size,
            sampling=self.sampling,
            loss=self.loss,
            whole_patches=self.whole_patches,
            seed=self.seed,
        )

    def _views(self) -> Views:
        return Views(
            fusion=self.fusion,
            detail=self.detail,
            orientations=self.orientations,
            mirrored=self.mirrored,
        )

    def _reconstruct(
        self, lr: Volume, acquisition: Acquisition, grid: Grid, progress: Progress
    ) -> Reconstruction:
        device = resolve_device(self.device)
        assert acquisition.slice_axis is not None
        work = Workspace.of(lr, acquisition.slice_axis, grid)
        refusal = _refusal(work, acquisition.scale(work.spacing), learns=self.reuse is None)
        if refusal:
            return _interpolated(lr, grid, refusal)
        scaler = RobustScaler(offset=0.0, width=1.0)
        if self.scale_intensities:
            scaler = RobustScaler.fit(work.slices.data)
        scaled = scaler.apply(work.slices.data)
        with limited_threads(self.threads) as threads:
            if self.reuse is None:
                learnt = self._train(scaled, work, acquisition, device, threads, progress)
            else:
                learnt = _load(Path(self.reuse), TrainedGeometry.of(acquisition, work.spacing))
            record = {
                "Threads": threads,
                **learnt.record,
                "NetworkParameters": sum(part.numel() for part in learnt.network.parameters()),
            }
            if learnt.weights is None:
                fallback = _interpolated(lr, grid, "the network is no better than interpolation")
                return replace(fallback, record=record | fallback.record, curve=learnt.curve)
            start = time.perf_counter()
            settings = InferenceSettings(
                device=device,
                halo=learnt.network.halo,
                half=self.mixed_precision,
                threads=threads,
                allow_cpu=not self.device.startswith("cuda"),
            )
            data, used = self._views().apply(learnt.network, scaled, work, settings, progress)
        record["Device"] = used
        record["InferenceSeconds"] = round(time.perf_counter() - start, 2)
        made = Volume(scaler.inverse(data), work.grid.affine)
        return Reconstruction(
            volume=resample(made, grid), record=record, curve=learnt.curve, learned=learnt.weights
        )

    def _train(
        self,
        scaled: npt.NDArray[np.float32],
        work: Workspace,
        acquisition: Acquisition,
        device: torch.device,
        threads: int,
        progress: Progress,
    ) -> _Learnt:
        size = {"channels": self.channels, "blocks": self.blocks}
        size["factor"] = ceil(acquisition.scale(work.spacing) - 1e-3)
        torch.manual_seed(self.seed)
        network = _network(self.network, size).to(device)
        result = self._own_slices().train(
            network,
            scaled,
            work,
            acquisition,
            self._schedule(),
            threads=threads,
            progress=progress,
        )
        record = {
            "Seed": self.seed,
            "Steps": result.steps,
            "StopReason": result.stop_reason,
            "TrainingSeconds": round(result.seconds, 2),
            "ValidationGainDecibel": result.curve[-1].validation if result.curve else None,
        }
        if not has_learnt(result):
            return _Learnt(network, record, result.curve, None)
        card = {
            "Architecture": {"Name": self.network, **size},
            "Geometry": dict(TrainedGeometry.of(acquisition, work.spacing).facts),
            "IntensityScaling": "0 to 1: 0.5th percentile to 99.5th of what is above it",
            "Recipe": {"Name": self.name, **self.parameters()},
            "Data": "the slices of one image",
            "Licence": "that of the image",
            "Seed": self.seed,
            "Curve": [asdict(point) for point in result.curve],
        }
        weights = Weights(tensors=network.state_dict(), card=card)
        return _Learnt(network, record, result.curve, weights)


class _Learnt(NamedTuple):
    """Hold a network that is ready, and where it comes from."""

    network: ThickSliceUpsampler
    record: dict[str, Any]
    curve: tuple[CurvePoint, ...]
    weights: Weights | None
    """None where the network must not be used."""


def _network(name: str, size: Mapping[str, int]) -> ThickSliceUpsampler:
    network = NETWORKS[name](**size)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _load(path: Path, found: TrainedGeometry) -> _Learnt:
    """Read what was learnt from an image of the same geometry."""
    weights = Weights.load(path)
    TrainedGeometry.from_card(weights.card, path).require(found, path)
    name, size = "", dict(weights.card.get("Architecture", {}))
    try:
        name = size.pop("Name")
        network = _network(name, size)
        network.load_state_dict(weights.tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(
            f"Found weights of the network {name!r} in {path} that do not fit it ({error}); "
            f"expected one of {', '.join(NETWORKS)} as --save-model writes it."
        ) from error
    curve = tuple(CurvePoint(**point) for point in weights.card.get("Curve", ()))
    record = {"Model": path.name, "ModelSHA256": weights.digest, "StopReason": "reused"}
    return _Learnt(network, record, curve, weights)


def _refusal(work: Workspace, scale: float, *, learns: bool) -> str | None:
    """Say why this image cannot teach a network, or gains nothing by one, if so."""
    if scale < LEAST_SCALE:
        return f"the scale is {scale:.3g}: nothing to learn"
    data = work.slices.data
    if np.ptp(data) <= 1e-5 * np.abs(data).max():
        return "the image is constant"
    shortest = min(work.in_plane_shape)
    if learns and shortest < LEAST_SLICES_A_PATCH * scale:
        return (
            f"{shortest} in-plane voxels hold fewer than {LEAST_SLICES_A_PATCH} thick slices "
            f"of {scale:.3g} voxels"
        )
    return None


def _interpolated(lr: Volume, grid: Grid, reason: str) -> Reconstruction:
    LOGGER.warning("Interpolated instead of learning: %s", reason)
    record: dict[str, Any] = {"Fallback": "bspline", "FallbackReason": reason, "Device": "cpu"}
    return Reconstruction(volume=resample(lr, grid), record=record)
