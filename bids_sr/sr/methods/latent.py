"""New slices between acquired ones, interpolated in the latent space of an autoencoder.

References
----------
Sander et al. 2020, Unsupervised super-resolution: creating high-resolution medical
images from low-resolution anisotropic examples, doi:10.48550/arXiv.2010.13172.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from bids_sr.compute.device import limited_threads, resolve_device
from bids_sr.compute.progress import Progress
from bids_sr.exceptions import ConfigError
from bids_sr.imaging import Acquisition, Grid, Volume, resample
from bids_sr.records.learning_curve import LearningCurve
from bids_sr.records.method_record import MethodRecord
from bids_sr.seed import DEFAULT_SEED
from bids_sr.sr.contract.card import RecipeUsed, Start, WeightsCard
from bids_sr.sr.contract.results import Reconstruction
from bids_sr.sr.contract.settings import require
from bids_sr.sr.contract.weights import Weights, locate
from bids_sr.sr.inference.latent_space import LatentSpace
from bids_sr.sr.learning.loop import FitResult, Schedule
from bids_sr.sr.learning.neighbour_training import PAPER, NeighbourTraining, training_stack
from bids_sr.sr.methods.base import Method
from bids_sr.sr.networks.autoencoder import Autoencoder

LOGGER = logging.getLogger(__name__)
ADAPTATIONS = ("none", "image")


@dataclass(frozen=True, kw_only=True)
class Latent(Method):
    """Interpolate between the latent images of neighbouring slices and decode the result.

    Acquired slices stay as they are, so a grid that holds their centres
    (``lay_out_grid(output_grid="slice")``) holds them too; no slice becomes thinner.  The network
    is pretrained (`model`), or trained on the slices of the image.

    Attributes
    ----------
    model : str, optional
        Trained weights: a path, or a published name; None: train on the image.
    weights_dir : str, optional
        Folder of published weights.
    offline : bool
        Never download weights.
    adapt : str, optional
        ``image``: train on the slices of the image, starting from `model` if there is one;
        ``none``: use `model` as it is; None: ``none`` if there is a `model`.
    weights : Weights, optional
        Weights already loaded, in place of `model`.
    keep_detail : bool
        Interpolate linearly what the network cannot restore: noise and the finest detail.
        False: new slices are as the network decodes them, as in the paper.
    in_plane_spacing : float, optional
        Voxel size that the network works on, mm (1.4 for the hearts of the paper); None: as
        acquired.  Trained weights state their own.
    steps : int
        Training steps.
    time_budget : float, optional
        Upper bound on the training time, s; the result then depends on the machine's speed.
    seed : int
        Seed of weights and patches; the result is the same for the same number of threads.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    width : int
        Kernels of the first block of a new network.
    depth : int
        Blocks of its encoder; the latent image is ``2**depth`` times as coarse.
    latent_channels : int
        Channels of its latent image.
    batch_size : int
        Patches of neighbouring slices a step.
    patch_size : int
        Rows and columns of a patch; fewer where the image is smaller.
    learning_rate : float
        Highest learning rate.
    warmup : float
        Share of the training in which the learning rate rises.
    ema_decay : float
        Decay of the exponential moving average of the weights; 0: the last weights are
        used.
    synthesis : float
        Weight of the loss on the slice between two neighbours; 0: the network is only
        trained to restore slices, as in the paper.
    zoom : float
        Largest random change of size of a patch, as a share.
    mixed_precision : bool
        Train in half precision where the device does so faster.
    """

    name = "latent"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "fast": {},
        "paper": {**PAPER, "keep_detail": False},
    }

    model: str | None = None
    weights_dir: str | None = None
    offline: bool = False
    adapt: str | None = None
    weights: Weights | None = field(default=None, repr=False, compare=False)
    keep_detail: bool = True
    in_plane_spacing: float | None = None
    steps: int = 800
    time_budget: float | None = None
    seed: int = DEFAULT_SEED
    device: str = "auto"
    width: int = 16
    depth: int = 3
    latent_channels: int = 32
    batch_size: int = 4
    patch_size: int = 128
    learning_rate: float = 1e-3
    warmup: float = 0.05
    ema_decay: float = 0.99
    synthesis: float = 1.0
    zoom: float = 0.0
    mixed_precision: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        super().__post_init__()
        self._schedule()
        self._training()
        self._network()
        spacing = self.in_plane_spacing
        require(spacing is None or spacing > 0, "in_plane_spacing", spacing, "more than 0 mm")
        known = self.adapt is None or self.adapt in ADAPTATIONS
        require(known, "adapt", self.adapt, " or ".join(ADAPTATIONS))
        require(
            self.adapt != "none" or self._is_trained,
            "adapt",
            self.adapt,
            "a model, as nothing is learnt from the image",
        )

    def parameters(self) -> dict[str, Any]:
        """Return the hyper-parameters as plain values."""
        return {name: value for name, value in super().parameters().items() if name != "weights"}

    def required_files(self) -> tuple[Path, ...]:
        """Return the file of the trained weights, if there is one (WeightsError)."""
        if self.model is None:
            return ()
        path = locate(self.model, self.weights_dir, offline=self.offline)
        Weights.load(path)
        return (path,)

    def for_labels(self) -> Method:
        """Refuse: an autoencoder of intensities knows no labels (ConfigError)."""
        raise ConfigError(
            "Found a label map for the method 'latent', whose network works on intensities; "
            "expected an image. Use the method linear for label maps."
        )

    def prepared(
        self, frames: Sequence[Volume], acquisition: Acquisition, progress: Progress
    ) -> Method:
        """Return the method with a network that has learnt from all frames of a series."""
        if not self._learns:
            return self
        with limited_threads(self.threads) as threads:
            trained = self._learn(frames, acquisition, threads, progress)
        return replace(self, weights=trained.weights, model=None, adapt="none")

    @property
    def _is_trained(self) -> bool:
        return self.model is not None or self.weights is not None

    @property
    def _learns(self) -> bool:
        return self.adapt == "image" or (self.adapt is None and not self._is_trained)

    def _schedule(self) -> Schedule:
        return Schedule(
            steps=self.steps,
            time_budget=self.time_budget,
            learning_rate=self.learning_rate,
            warmup=self.warmup,
            ema_decay=self.ema_decay,
            half=self.mixed_precision,
        )

    def _training(self) -> NeighbourTraining:
        return NeighbourTraining(
            patch_size=self.patch_size,
            batch_size=self.batch_size,
            synthesis=self.synthesis,
            keep_detail=self.keep_detail,
            zoom=self.zoom,
            seed=self.seed,
        )

    def _network(self) -> Autoencoder:
        torch.manual_seed(self.seed)
        return Autoencoder(
            width=self.width, depth=self.depth, latent_channels=self.latent_channels
        )

    def _reconstruct(
        self, lr: Volume, acquisition: Acquisition, grid: Grid, progress: Progress
    ) -> Reconstruction:
        axis = acquisition.slice_axis
        assert axis is not None
        if _is_constant(lr):
            return _interpolated(lr, grid, "the image is constant")
        device = resolve_device(self.device)
        with limited_threads(self.threads) as threads:
            if self._learns:
                trained = self._learn([lr], acquisition, threads, progress)
            else:
                trained = self._loaded()
            if trained.record.stop_reason == "diverged":
                fallback = _interpolated(lr, grid, "the training diverged")
                return replace(
                    fallback, record=trained.record.joined(fallback.record), curve=trained.curve
                )
            start = time.perf_counter()
            progress(self.steps, self.steps, "slices between slices")
            volume = trained.space.between(
                lr,
                axis,
                grid,
                keep_detail=self.keep_detail,
                device=device,
                threads=threads,
            )
        network = trained.space.network
        record = replace(trained.record, device=str(device)).with_details(
            Threads=threads,
            NetworkParameters=sum(part.numel() for part in network.parameters()),
            NetworkInPlaneSpacing=trained.space.in_plane_spacing,
            InferenceSeconds=round(time.perf_counter() - start, 2),
        )
        return Reconstruction(
            volume=volume, record=record, curve=trained.curve, learned=trained.weights
        )

    def _loaded(self) -> _TrainedSpace:
        """Return the network of the given weights."""
        weights, name = self._given_weights()
        record = MethodRecord(model=name, details={"ModelSHA256": weights.digest})
        space = LatentSpace.from_weights(weights, name)
        return _TrainedSpace(space, record, weights.card.curve, weights)

    def _given_weights(self) -> tuple[Weights, str]:
        if self.weights is not None:
            return self.weights, "weights at hand"
        assert self.model is not None
        path = locate(self.model, self.weights_dir, offline=self.offline)
        return Weights.load(path), path.name

    def _learn(
        self,
        frames: Sequence[Volume],
        acquisition: Acquisition,
        threads: int,
        progress: Progress,
    ) -> _TrainedSpace:
        """Train on the slices of an image, or of all frames of a series."""
        record = MethodRecord(details={"Seed": self.seed})
        space = LatentSpace(network=self._network(), in_plane_spacing=self.in_plane_spacing)
        start: Weights | None = None
        if self._is_trained:
            start, name = self._given_weights()
            space = LatentSpace.from_weights(start, name)
            record = replace(record, model=name).with_details(ModelSHA256=start.digest)
        network = space.network.to(resolve_device(self.device))
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        stacks = [
            training_stack(frame, acquisition, space.in_plane_spacing)
            for frame in frames
            if not _is_constant(frame)
        ]
        result = self._training().train(
            network, stacks, (), self._schedule(), threads=threads, progress=progress
        )
        record = replace(record, stop_reason=result.stop_reason).with_details(
            Steps=result.steps,
            TrainingSeconds=round(result.seconds, 2),
            ValidationGainDecibel=result.score_kept,
        )
        weights = Weights(network.state_dict(), self._card(space, result, len(stacks), start))
        return _TrainedSpace(space, record, result.curve, weights)

    def _card(
        self, space: LatentSpace, result: FitResult, stacks: int, start: Weights | None
    ) -> WeightsCard:
        return replace(
            space.card(),
            recipe=RecipeUsed(name=self.name, parameters=self.parameters()),
            data="the slices of one image" if stacks == 1 else f"{stacks} frames of one image",
            licence="that of the image",
            seed=self.seed,
            start=None if start is None else Start(sha256=start.digest, card=start.card),
            curve=result.curve,
        )


class _TrainedSpace(NamedTuple):
    """Hold a trained latent space and its record."""

    space: LatentSpace
    record: MethodRecord
    curve: LearningCurve
    weights: Weights


def _is_constant(volume: Volume) -> bool:
    return bool(np.ptp(volume.data) <= 1e-5 * np.abs(volume.data).max())


def _interpolated(lr: Volume, grid: Grid, reason: str) -> Reconstruction:
    LOGGER.warning("Interpolated instead of learning: %s", reason)
    record = MethodRecord(fallback="linear", fallback_reason=reason, device="cpu")
    return Reconstruction(volume=resample(lr, grid, kernel="linear"), record=record)
