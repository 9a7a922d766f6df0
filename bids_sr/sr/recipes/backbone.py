"""The common part of the recipes of the backbone: settings, training and validation.

Each recipe provides the images and the acquisitions that their pairs imitate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bids_sr.imaging import Acquisition
from bids_sr.records.learning_curve import GAIN_OVER_CUBIC
from bids_sr.sr.contract.card import WeightsCard
from bids_sr.sr.contract.settings import require
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.learning.loop import Schedule, Validator, fit
from bids_sr.sr.learning.pairs import Pairs, PatchSize, Rows, Slices
from bids_sr.sr.learning.protocols import Draws, Protocols
from bids_sr.sr.learning.sources import SCALING
from bids_sr.sr.learning.training_volumes import TrainingVolume
from bids_sr.sr.networks.backbone import Backbone
from bids_sr.sr.recipes.base import Job, Recipe

VALIDATED = (
    Acquisition(spacing=6.0, thickness=5.0, profile="gaussian"),
    Acquisition(spacing=4.0, thickness=4.0, profile="gaussian"),
    Acquisition(spacing=3.3, thickness=2.5, profile="slr"),
    Acquisition(spacing=5.0, thickness=5.0, profile="rect"),
)
"""Acquisitions by which left-out images are degraded, in units of voxels."""
_MOST_VALIDATED = 6  # images
_VALIDATION_SEED = 1_000_003
_VALIDATION_PATCHES = 32  # of one plane, an acquisition
_VALIDATION_VOLUMES = 6


@dataclass(frozen=True, kw_only=True)
class BackboneRecipe(Recipe):
    """Train the backbone; a subclass brings the images."""

    steps: int = 20_000
    """Training steps."""
    time_budget: float | None = None
    """Upper bound on the training time, s; the schedule is then passed through by then."""
    learning_rate: float = 2e-3
    """Highest learning rate."""
    optimizer: Literal["adam", "muon"] = "muon"
    """``adam``, or ``muon`` for the kernels of hidden layers."""
    warmup: float = 0.05
    """Share of the training in which the rate rises."""
    ema_decay: float = 0.999
    """Decay of the exponential moving average of the weights, which is kept in the end."""
    mixture: float = 1.0
    """Weight of the trained weights in their mean with the weights that training began with."""
    batch_size: int = 32
    """Patches a step, each of an acquisition of its own."""
    patch_slices: int = 12
    """Thick slices a patch."""
    patch_width: int = 48
    """In-plane voxels a patch."""
    patch_planes: int = 20
    """Planes a patch of an image that has thin ones, for a network that sees neighbours."""
    volume_batch: int = 6
    """Such patches a step."""
    factor: int = 8
    """Rows that a new network makes of a slice."""
    channels: int = 32
    """Width of a new network."""
    blocks: int = 14
    """Residual blocks of a new network."""
    left_out: float = 0.15
    """Share of the subjects that are left out for validation."""
    left_out_subjects: tuple[str, ...] = ()
    """Validate on these instead, for example ``sub-01``."""
    report_every: int = 500
    """Steps between points of the learning curve."""
    mixed_precision: bool = True
    """Convolve in half precision where the device does so faster."""

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        super().__post_init__()
        self._schedule()
        self._size(self.patch_planes)
        for name in ("factor", "channels", "blocks", "report_every"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(0 < self.mixture <= 1, "mixture", self.mixture, "above 0, at most 1")
        require(0 <= self.left_out < 1, "left_out", self.left_out, "from 0 to below 1")

    def _schedule(self) -> Schedule:
        return Schedule(
            steps=self.steps,
            time_budget=self.time_budget,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            warmup=self.warmup,
            ema_decay=self.ema_decay,
            report_every=self.report_every,
            half=self.mixed_precision,
        )

    def _size(self, planes: int) -> PatchSize:
        return PatchSize(
            slices=self.patch_slices,
            width=self.patch_width,
            batch=self.batch_size,
            planes=planes,
            volume_batch=self.volume_batch,
        )

    def _network(self, job: Job) -> Backbone:
        torch.manual_seed(self.seed)
        if job.start is not None:
            network = Backbone.from_weights(job.start)
        else:
            network = Backbone(factor=self.factor, channels=self.channels, blocks=self.blocks)
        return network.to(job.device).laid_out()

    def _learn(
        self,
        job: Job,
        volumes: Sequence[TrainingVolume],
        validation: Sequence[TrainingVolume],
        protocols: Draws,
        *,
        varied: bool = True,
    ) -> Weights:
        """Train on pairs of some volumes and validate on others.

        Parameters
        ----------
        job : Job
        volumes, validation : sequences of TrainingVolume
        protocols : Draws
            Acquisitions that pairs imitate, unless a volume has its own.
        varied : bool
            Change contrast and brightness at random.
        """
        network = self._network(job)
        start = {name: weight.clone() for name, weight in network.state_dict().items()}
        if job.start is not None and all(volume.plane_thickness for volume in volumes):
            network.fix_conditions()  # thick slices alone hold nothing about thin planes
        size = self._size(self.patch_planes if network.planes > 1 else 1)
        pairs = Pairs(
            volumes,
            protocols,
            size,
            factor=network.factor,
            seed=self.seed,
            varied=varied,
            device=job.device,
        )
        examples = [
            example.to(job.device)
            for example in self._examples(validation[:_MOST_VALIDATED], size, network.factor)
        ]

        def predict(network: nn.Module, slices: Slices) -> Tensor:
            assert isinstance(network, Backbone)
            return _predicted(network, slices)

        def loss(predicted: Tensor, rows: Rows) -> Tensor:
            return rows.absolute_error(predicted)

        def gain(network: nn.Module) -> float:
            return float(np.mean([example.gain(network) for example in examples]))

        result = fit(
            network,
            predict,
            pairs,
            loss,
            self._schedule(),
            threads=job.threads,
            validator=Validator(measure=GAIN_OVER_CUBIC, score=gain) if examples else None,
            progress=job.progress,
            checkpoint=job.checkpoint,
        )
        if job.start is not None:
            network.interpolate_weights(self.mixture, start=start)
        table = {example.name: round(example.gain(network), 3) for example in examples}
        return network.weights(
            WeightsCard(
                intensity_scaling=SCALING,
                steps=result.steps,
                stop_reason=result.stop_reason,
                validation={"GainOverCubicDecibel": table},
                curve=result.curve,
            )
        )

    def _examples(
        self, volumes: Sequence[TrainingVolume], size: PatchSize, factor: int
    ) -> list[_Example]:
        # A fixed number, whatever the batch size: scores stay comparable.
        size = replace(size, batch=_VALIDATION_PATCHES, volume_batch=_VALIDATION_VOLUMES)
        examples = []
        for volume in volumes:
            noiseless = Protocols(noise_fraction=0.0)
            pairs = Pairs(
                [volume], noiseless, size, factor=factor, seed=_VALIDATION_SEED, varied=False
            )
            own = volume.acquisition
            for acquisition in [own] if own else _in_voxels(volume):
                slices, rows = pairs.draw(volume, acquisition)
                words = (
                    f"{volume.name} {acquisition.nominal_thickness:.3g}/"
                    f"{acquisition.spacing:.3g} mm {acquisition.slice_profile.name}"
                )
                examples.append(_Example(words, slices, rows))
        return examples


class _Example(NamedTuple):
    """Hold pairs of a left-out image."""

    name: str
    slices: Slices
    rows: Rows

    def to(self, device: torch.device) -> _Example:
        slices = Slices(*(part.to(device) for part in self.slices))
        return _Example(self.name, slices, Rows(*(part.to(device) for part in self.rows)))

    @torch.inference_mode()
    def gain(self, network: nn.Module) -> float:
        """Return the gain over cubic interpolation, dB."""
        assert isinstance(network, Backbone)
        after = self.rows.squared_error(_predicted(network, self.slices))
        before = self.rows.squared_error(self.slices.cubic())
        return float(10 * torch.log10(before / after.clamp_min(1e-12)))


def _predicted(network: Backbone, slices: Slices) -> Tensor:
    together = slices.lr.ndim == 5
    memory_format = torch.channels_last_3d if together else torch.channels_last
    lr = slices.lr.contiguous(memory_format=memory_format)
    predicted: Tensor = network.conditioned_on(slices.conditions)(lr, slices.upsampling)
    return predicted


def _in_voxels(volume: TrainingVolume) -> list[Acquisition]:
    return [
        Acquisition(
            spacing=acquisition.spacing * volume.voxel,
            thickness=acquisition.nominal_thickness * volume.voxel,
            profile=acquisition.profile,
        )
        for acquisition in VALIDATED
    ]
