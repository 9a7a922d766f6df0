"""Self-supervised super-resolution: a network trained on the slices of the image itself.

References
----------
Zhao et al. 2021, SMORE: a self-supervised anti-aliasing and super-resolution algorithm
for MRI using deep learning, IEEE TMI 40:805-817, doi:10.1109/TMI.2020.3037187.
Remedios et al. 2023, Self-supervised super-resolution for anisotropic MR images with
and without slice gap, SASHIMI, doi:10.1007/978-3-031-44689-4_12.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from bids_sr.exceptions import ConfigError, WeightsError
from bids_sr.records.method_record import MethodRecord
from bids_sr.sr.contract.card import RecipeUsed, WeightsCard
from bids_sr.sr.contract.settings import require
from bids_sr.sr.contract.trained_geometry import TrainedGeometry
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.inference.workspace import Workspace
from bids_sr.sr.learning.loop import Schedule
from bids_sr.sr.learning.own_slices import OwnSlices, beats_interpolation
from bids_sr.sr.learning.sources import SCALING
from bids_sr.sr.methods.base import Method
from bids_sr.sr.methods.finetuned import Finetuned
from bids_sr.sr.methods.view_network import (
    ImageJob,
    ReadyNetwork,
    ViewNetwork,
    why_not_own_slices,
)
from bids_sr.sr.networks.thick_slice import ThickSliceNet, ThickSliceUpsampler
from bids_sr.sr.networks.wdsr import WDSR

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
    "ema_decay": 0.0,
    "loss": "squared",
    "whole_patches": True,
    "sampling": "gradient",
    "fusion": "mean",
    "detail": 1.0,
    "matching": 0.0,
    "orientations": 1,
    "mirrored": False,
    "data_consistency": False,
}
"""The settings of SMORE v4 according to the papers; hours on a CPU."""


@dataclass(frozen=True, kw_only=True)
class SelfSupervised(ViewNetwork):
    """Train a network on the image itself, then apply it across the slices.

    The defaults are chosen for a CPU; the preset ``smore`` is the published system.

    Attributes
    ----------
    steps : int
        Training steps.
    time_budget : float, optional
        Upper bound on the training time, s; the result then depends on the machine's speed.
    network : str
        ``thick_slice`` or ``wdsr``.
    channels : int
        Width of the network.
    blocks : int
        Residual blocks of the network.
    batch_size : int
        Patches a step.
    patch_slices : int
        Thick slices a patch; fewer where the image is too small.
    patch_width : int
        In-plane voxels a patch.
    learning_rate : float
        Highest learning rate.
    optimizer : Literal["adam", "muon"]
        ``adam``, or ``muon`` for the kernels of hidden layers.
    warmup : float
        Share of the training in which the learning rate rises.
    ema_decay : float
        Decay of the exponential moving average of the weights; 0: the last weights are
        used.
    loss : str
        ``absolute`` or ``squared`` differences.
    whole_patches : bool
        Include the outer slice and columns of a patch in the loss, which lack neighbours.
    sampling : str
        Where patches are drawn: ``depth`` (edges deep in the body) or ``gradient``.
    detail : float
        Factor on the detail that the network adds; above 1, as the slices of the training
        are averages over their thickness and hold less detail than planes across them.
    matching : float
        Share of the slice thickness over which thin planes are averaged before the network
        sees them.
    reuse : str, optional
        Path of weights trained on an image of the same geometry, used without training;
        None trains on the image.
    """

    name = "self"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"fast": {}, "smore": SMORE}

    steps: int = 2000
    time_budget: float | None = None
    network: str = "thick_slice"
    channels: int = 32
    blocks: int = 14
    batch_size: int = 16
    patch_slices: int = 12
    patch_width: int = 48
    learning_rate: float = 3e-3
    optimizer: Literal["adam", "muon"] = "muon"
    warmup: float = 0.1
    ema_decay: float = 0.99
    loss: str = "absolute"
    whole_patches: bool = False
    sampling: str = "depth"
    detail: float = 1.2
    matching: float = 0.45
    reuse: str | None = None

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        super().__post_init__()
        self._schedule()
        self._own_slices()
        for name, least in (("channels", 1), ("blocks", 1)):
            require(getattr(self, name) >= least, name, getattr(self, name), f"{least} or more")
        require(self.network in NETWORKS, "network", self.network, " or ".join(NETWORKS))

    def required_files(self) -> tuple[Path, ...]:
        """Return the file of what is reused, if there is one (WeightsError)."""
        if self.reuse is None:
            return ()
        path = Path(self.reuse)
        TrainedGeometry.from_card(Weights.load(path).card, path)
        return (path,)

    def tester(self) -> Method | None:
        """Return the pre-trained network, which takes seconds; None where nothing is learnt."""
        if self.reuse is not None or not self.scale_intensities:
            return None
        return Finetuned(
            adapt="none",
            mirrored=False,
            threads=self.threads,
            device=self.device,
            mixed_precision=self.mixed_precision,
        )

    def for_labels(self) -> Method:
        """Return the method for memberships; only what was learnt elsewhere applies to them."""
        if self.reuse is None:
            raise ConfigError(
                "Found a label map and nothing to reuse; expected weights that were learnt from "
                "an image of the same geometry (--sr-reuse-model PATH): a label map has no "
                "detail to learn from. Without them, use the method linear."
            )
        return replace(self, scale_intensities=False, data_consistency=False)

    def _schedule(self) -> Schedule:
        return Schedule(
            steps=self.steps,
            time_budget=self.time_budget,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            warmup=self.warmup,
            ema_decay=self.ema_decay,
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

    def _refusal(self, work: Workspace, scale: float) -> str | None:
        reason = super()._refusal(work, scale)
        return reason or (why_not_own_slices(work, scale) if self.reuse is None else None)

    def _make_ready(self, job: ImageJob) -> ReadyNetwork:
        if self.reuse is None:
            return self._train(job)
        geometry = TrainedGeometry.of(job.acquisition, job.work.spacing)
        return _load(Path(self.reuse), geometry)

    def _train(self, job: ImageJob) -> ReadyNetwork:
        size = {"channels": self.channels, "blocks": self.blocks}
        size["factor"] = ceil(job.scale - 1e-3)
        torch.manual_seed(self.seed)
        network = _network(self.network, size).to(job.device)
        result = self._own_slices().train(
            network,
            job.scaled,
            job.work,
            job.acquisition,
            self._schedule(),
            threads=job.threads,
            progress=job.progress,
        )
        record = MethodRecord(
            stop_reason=result.stop_reason,
            details={
                "Seed": self.seed,
                "Steps": result.steps,
                "TrainingSeconds": round(result.seconds, 2),
                "ValidationGainDecibel": result.curve.last_score,
            },
        )
        if not beats_interpolation(result):
            return ReadyNetwork(network, record, result.curve, None)
        card = WeightsCard(
            architecture=self.network,
            arguments=size,
            geometry=TrainedGeometry.of(job.acquisition, job.work.spacing).facts,
            intensity_scaling=SCALING,
            recipe=RecipeUsed(name=self.name, parameters=self.parameters()),
            data="the slices of one image",
            licence="that of the image",
            seed=self.seed,
            curve=result.curve,
        )
        weights = Weights(tensors=network.state_dict(), card=card)
        return ReadyNetwork(network, record, result.curve, weights)


def _network(name: str, size: Mapping[str, int]) -> ThickSliceUpsampler:
    network = NETWORKS[name](**size)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _load(path: Path, geometry: TrainedGeometry) -> ReadyNetwork:
    """Read what was learnt from an image of the same geometry."""
    weights = Weights.load(path)
    TrainedGeometry.from_card(weights.card, path).require(geometry, path)
    name = weights.card.architecture
    try:
        network = _network(name, weights.card.arguments)
        network.load_state_dict(weights.tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(
            f"Found weights of the network {name!r} in {path} that do not fit it ({error}); "
            f"expected one of {', '.join(NETWORKS)} as --save-model writes it."
        ) from error
    record = MethodRecord(
        model=path.name, stop_reason="reused", details={"ModelSHA256": weights.digest}
    )
    return ReadyNetwork(network, record, weights.card.curve, weights)
