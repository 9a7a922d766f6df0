"""PRETTIER's recipe: triplets of simulated thick slices and a perceptual loss.

References
----------
Giraldo et al. 2024, Perceptual super-resolution in multiple sclerosis MRI, Front
Neurosci 18, doi:10.3389/fnins.2024.1473132.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bids_sr.exceptions import ConfigError
from bids_sr.imaging import Acquisition
from bids_sr.records.learning_curve import MINUS_CONTENT_LOSS
from bids_sr.sr.contract.card import WeightsCard
from bids_sr.sr.contract.settings import require
from bids_sr.sr.contract.state_files import State
from bids_sr.sr.contract.trained_geometry import TrainedGeometry
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.inference.triplets import Enlarging, Resizing
from bids_sr.sr.learning.loop import Schedule, Validator, fit
from bids_sr.sr.learning.losses import mean_squared_error
from bids_sr.sr.learning.perceptual_loss import AdversarialLoss, ContentLoss, read_features
from bids_sr.sr.learning.sources import leave_out, read_images
from bids_sr.sr.learning.triplet_pairs import FineImage, TripletPairs, fine_volume
from bids_sr.sr.networks.discriminator import Discriminator
from bids_sr.sr.networks.thick_slice import Upsampling
from bids_sr.sr.networks.triplet_networks import (
    ARCHITECTURES,
    SCALE,
    TripletNetwork,
    load_network,
    network_of,
)
from bids_sr.sr.recipes.base import Job, Recipe

_VALIDATION_SEED = 1_000_003


@dataclass(frozen=True, kw_only=True)
class Rate:
    """State a cosine learning rate with restarts."""

    highest: float
    first_cycle: int
    """Epochs of the first cycle."""
    growth: int
    """Factor by which a cycle is longer than the one before."""


PAPER = {
    "edsr": Rate(highest=2e-4, first_cycle=8, growth=2),
    "realesrgan": Rate(highest=1e-4, first_cycle=6, growth=1),
    "shufflemixer": Rate(highest=2e-4, first_cycle=8, growth=2),
}
"""Learning rates of the paper; it does not state that of ShuffleMixer: as EDSR's."""
DISCRIMINATOR = Rate(highest=5e-6, first_cycle=8, growth=2)


@dataclass(frozen=True, kw_only=True)
class Perceptual(Recipe):
    """Train a network over triplets on high-resolution images."""

    name = "perceptual"

    architecture: str = "edsr"
    """``edsr``, ``realesrgan`` or ``shufflemixer``."""
    pretrained: str | None = None
    """Checkpoint to begin with, of its authors or of PRETTIER: a path, or the name of an
    architecture for what PRETTIER published."""
    vgg: str | None = None
    """File with VGG-19 as torchvision publishes it (vgg19-dcbb9e9d.pth)."""
    perceptual_weight: float = 1.0
    """Weight of the loss on the features of VGG-19; 0 needs no `vgg`."""
    adversarial_weight: float | None = None
    """Weight of the adversarial loss; None: the paper's, 0.05 for ``realesrgan``, else 0."""
    slice_spacing: float = 6.0
    """Of the thick slices that are imitated, mm."""
    slice_thickness: float = 5.0
    """Of the thick slices that are imitated, mm."""
    slice_profile: str = "gaussian"
    """``gaussian``, ``rect``, ``slr`` or the path of a table."""
    voxel: float = 1.0
    """Isotropic voxels that images are brought to, mm."""
    patch_slices: int = 16
    """Thick slices a patch; 16 slices 6 mm apart make patches of 96 x 96 voxels."""
    patches_per_pair: int = 18
    """Patches an epoch from every image in every of three orientations."""
    batch_size: int = 6
    """Patches a step."""
    epochs: int = 100
    """Passes over all patches."""
    time_budget: float | None = None
    """Upper bound on the training time, s; the schedule is then passed through by then."""
    learning_rate: float | None = None
    """Highest learning rate; None: the paper's for the architecture."""
    first_cycle: int | None = None
    """Epochs until the first restart; None: the paper's."""
    cycle_growth: int | None = None
    """Factor by which a cycle is longer than the one before; None: the paper's."""
    left_out: float = 0.3
    """Share of the subjects that is only validated on; a single one is learnt from too."""
    left_out_subjects: tuple[str, ...] = ()
    """Validate on these instead, for example ``sub-01``."""
    channels: int | None = None
    """Width of a new network; None: the published."""
    blocks: int | None = None
    """Blocks of a new network; None: the published."""
    discriminator_channels: int = 64
    """Width of the discriminator."""
    mixed_precision: bool = False
    """Convolve in half precision where the device does so faster."""

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        super().__post_init__()
        known = self.architecture in ARCHITECTURES
        require(known, "architecture", self.architecture, " or ".join(ARCHITECTURES))
        require(
            self.perceptual_weight >= 0, "perceptual_weight", self.perceptual_weight, "0 or more"
        )
        require(self._adversarial >= 0, "adversarial_weight", self._adversarial, "0 or more")
        require(self.voxel > 0, "voxel", self.voxel, "above 0 mm")
        sides = self.patch_slices * self._acquisition.scale(self.voxel)
        if self._adversarial > 0:
            whole = int(sides + 1e-6) % 8 == 0
            require(whole, "patch_slices", self.patch_slices, "patches of a multiple of 8 voxels")
        for name in ("patch_slices", "patches_per_pair", "batch_size", "epochs"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("channels", "blocks", "first_cycle", "cycle_growth"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "1 or more")
        require(0 <= self.left_out < 1, "left_out", self.left_out, "from 0 to below 1")
        if self.perceptual_weight > 0 and self.vgg is None:
            raise ConfigError(
                "Found no file with VGG-19 for the perceptual loss; expected the weights of "
                "torchvision (vgg19-dcbb9e9d.pth from https://download.pytorch.org/models/). "
                "Give its path as vgg, or set perceptual_weight to 0."
            )
        self._schedule(1)

    @property
    def _acquisition(self) -> Acquisition:
        return Acquisition(
            spacing=self.slice_spacing, thickness=self.slice_thickness, profile=self.slice_profile
        )

    @property
    def _adversarial(self) -> float:
        if self.adversarial_weight is not None:
            return self.adversarial_weight
        return 0.05 if self.architecture == "realesrgan" else 0.0

    def _schedule(self, steps_an_epoch: int) -> Schedule:
        paper = PAPER[self.architecture]
        rate = Rate(
            highest=self.learning_rate or paper.highest,
            first_cycle=self.first_cycle or paper.first_cycle,
            growth=self.cycle_growth or paper.growth,
        )
        return self._restarting(rate, steps_an_epoch)

    def _restarting(self, rate: Rate, steps_an_epoch: int) -> Schedule:
        return Schedule(
            steps=self.epochs * steps_an_epoch,
            time_budget=self.time_budget,
            learning_rate=rate.highest,
            decay="restarts",
            first_cycle=rate.first_cycle * steps_an_epoch,
            cycle_growth=rate.growth,
            betas=(0.9, 0.999),
            ema_decay=0.0,
            keep="best",
            report_every=steps_an_epoch,
            half=self.mixed_precision,
        )

    def _train(self, job: Job) -> Weights:
        training, validation = leave_out(
            job.files, self.left_out, self.seed, named=self.left_out_subjects
        )
        images = self._read(training)
        pairs = self._pairs(images, self.seed)
        validation_images = self._read(validation) if validation else images
        validation_pairs = self._pairs(validation_images, self.seed + _VALIDATION_SEED)
        torch.manual_seed(self.seed)
        network = self._network(job).to(job.device)
        task = _Task(
            enlargings={
                upright: Enlarging(
                    Resizing(pairs.geometry.coordinates(), pairs.geometry.slices, SCALE),
                    network.input_range,
                    upright,
                )
                for upright in (True, False)
            },
            pairs=pairs,
            content=self._content(job),
        )
        epoch = self._batches(len(images))
        examples = [
            _Example.of(validation_pairs, job.device)
            for _ in range(self._batches(len(validation_images)))
        ]
        loss: Callable[[Tensor, Tensor], Tensor] = task.content
        threads = job.threads
        if self._adversarial > 0:
            discriminator = Discriminator(channels=self.discriminator_channels).to(job.device)
            falling = self._restarting(DISCRIMINATOR, epoch)
            loss = AdversarialLoss(task.content, discriminator, falling, weight=self._adversarial)
            threads = 1  # the discriminator learns from one batch at a time
        result = fit(
            network,
            task.predict,
            pairs,
            loss,
            self._schedule(epoch),
            threads=threads,
            validator=Validator(
                measure=MINUS_CONTENT_LOSS, score=partial(task.validate, examples)
            ),
            progress=job.progress,
            checkpoint=job.checkpoint,
        )
        card = WeightsCard(
            architecture=network.name,
            arguments=network.arguments,
            geometry=TrainedGeometry.of(self._acquisition, self.voxel).facts,
            intensity_scaling="0 to 0.8: 0 to the 99.5th percentile",
            steps=result.steps,
            stop_reason=result.stop_reason,
            data={
                "Files": [path.name for path in training],
                "LeftOut": [path.name for path in validation],
            },
            validation={
                "ContentLoss": -task.validate(examples, network),
                "GainOverCubicDecibel": round(task.gain(examples, network), 3),
            },
            curve=result.curve,
        )
        return Weights(tensors=network.state_dict(), card=card)

    def _read(self, files: Sequence[Path]) -> list[FineImage]:
        images = read_images(files, prepare=partial(fine_volume, spacing=self.voxel))
        return [
            FineImage.of(image.path.name, image.volume.data, seed=self.seed) for image in images
        ]

    def _pairs(self, images: Sequence[FineImage], seed: int) -> TripletPairs:
        return TripletPairs(
            images,
            self._acquisition,
            spacing=self.voxel,
            slices=self.patch_slices,
            batch=self.batch_size,
            seed=seed,
        )

    def _batches(self, images: int) -> int:
        return math.ceil(images * 3 * self.patches_per_pair / self.batch_size)

    def _content(self, job: Job) -> ContentLoss:
        if self.perceptual_weight == 0 or self.vgg is None:
            return ContentLoss(None, weight=0.0)
        features = read_features(Path(self.vgg)).to(job.device)
        return ContentLoss(features, weight=self.perceptual_weight)

    def _network(self, job: Job) -> TripletNetwork:
        if job.start is not None and self.pretrained is not None:
            raise ConfigError("Found a start and pretrained weights; expected one of them.")
        if job.start is not None:
            start = State(job.start.tensors, Path("the start"), card=job.start.card)
            return network_of(start, self.architecture)
        if self.pretrained is not None:
            return load_network(self.pretrained, architecture=self.architecture).network
        size = {"channels": self.channels, "blocks": self.blocks}
        arguments: dict[str, Any] = {name: value for name, value in size.items() if value}
        return ARCHITECTURES[self.architecture](**arguments)


@dataclass(frozen=True, eq=False)
class _Example:
    """Hold a batch to validate on."""

    lr: Tensor
    hr: Tensor
    upright: bool

    @classmethod
    def of(cls, pairs: TripletPairs, device: torch.device) -> _Example:
        lr, hr = next(pairs)
        return cls(lr.to(device), hr.to(device), pairs.upright)


@dataclass(frozen=True, eq=False)
class _Task:
    """Predict fine triplets and judge them."""

    enlargings: dict[bool, Enlarging]
    pairs: TripletPairs
    content: ContentLoss

    def predict(self, network: nn.Module, lr: Tensor) -> Tensor:
        """Predict the batch that was drawn last."""
        return self.enlargings[self.pairs.upright](network, lr)

    @torch.inference_mode()
    def validate(self, examples: Sequence[_Example], network: nn.Module) -> float:
        """Return the mean content loss with its sign turned: higher is better."""
        losses = [
            float(self.content(self.enlargings[example.upright](network, example.lr), example.hr))
            for example in examples
        ]
        return -float(np.mean(losses))

    @torch.inference_mode()
    def gain(self, examples: Sequence[_Example], network: nn.Module) -> float:
        """Return the gain over cubic interpolation, dB."""
        geometry = self.pairs.geometry
        upsampling = Upsampling.at(geometry.coordinates(), geometry.slices, SCALE)
        gains = []
        for example in examples:
            cubic = upsampling.skip.to(example.lr.device) @ example.lr
            estimate = self.enlargings[example.upright](network, example.lr)
            before, after = (mean_squared_error(rows, example.hr) for rows in (cubic, estimate))
            gains.append(float(10 * torch.log10(before / after.clamp_min(1e-12))))
        return float(np.mean(gains))
