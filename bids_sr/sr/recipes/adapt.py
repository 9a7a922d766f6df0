"""Stage 3 of Wang et al. 2024 on a dataset: train on its thick slices themselves.

No high-resolution image is needed: the slices are degraded along an in-plane axis, which
stands in for the axis across the slices.  The same on one image is the method ``finetuned``.

References
----------
Wang et al. 2024, Inter-slice super-resolution of magnetic resonance images by pre-training
and self-supervised fine-tuning, ISBI, doi:10.48550/arXiv.2406.05974.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Acquisition, lay_out_grid
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.inference.workspace import Workspace
from bids_sr.sr.learning.protocols import Protocols
from bids_sr.sr.learning.sources import TrainingImage, leave_out, read_images
from bids_sr.sr.learning.training_volumes import TrainingVolume
from bids_sr.sr.recipes.backbone import BackboneRecipe
from bids_sr.sr.recipes.base import Job

LOGGER = logging.getLogger(__name__)
_LEAST_SCALE = 1.25
_LEAST_SLICES = 4  # that an image must hold in-plane


@dataclass(frozen=True, kw_only=True)
class Adapt(BackboneRecipe):
    """Adapt weights to a dataset of thick-slice images."""

    name = "adapt"

    steps: int = 2000
    """Training steps."""
    batch_size: int = 16
    """Patches a step."""
    learning_rate: float = 3e-4
    """Highest learning rate."""
    warmup: float = 0.1
    """Share of the training in which the rate rises."""
    ema_decay: float = 0.99
    """Decay of the exponential moving average of the weights, which is kept in the end."""
    mixture: float = 0.5
    """Weight of the trained weights in their mean with the weights that training began with."""
    report_every: int = 100
    """Steps between points of the learning curve."""
    spacing: float | None = None
    """Voxel size that images are worked on at, mm; None: in-plane, but not below 1 mm."""

    def _train(self, job: Job) -> Weights:
        training, validation = leave_out(
            job.files, self.left_out, self.seed, named=self.left_out_subjects
        )
        volumes = self._volumes(training, job.acquisitions)
        if not volumes:
            raise InputDataError(
                f"Found {len(training)} images and none with slices to learn from; expected "
                f"slices at least {_LEAST_SCALE:g} voxels apart that hold {_LEAST_SLICES} such "
                "distances. The warnings say what is wrong with each."
            )
        left_out = self._volumes(validation, job.acquisitions) if validation else []
        noiseless = Protocols(noise_fraction=0.0)
        weights = self._learn(job, volumes, left_out, noiseless, varied=False)
        data = {
            "Files": [volume.name for volume in volumes],
            "LeftOut": [volume.name for volume in left_out],
        }
        return replace(weights, card=replace(weights.card, data=data, thick_planes=True))

    def _volumes(
        self, files: Sequence[Path], acquisitions: Mapping[Path, Acquisition]
    ) -> list[TrainingVolume]:
        candidates = [self._volume(image) for image in read_images(files, acquisitions)]
        return [volume for volume in candidates if volume is not None]

    def _volume(self, image: TrainingImage) -> TrainingVolume | None:
        axis, acquisition = image.slice_axis, image.acquisition
        grid = lay_out_grid(image.volume, slice_axis=axis, output_resolution=self.spacing)
        work = Workspace.of(image.volume, axis, grid)
        scale = acquisition.scale(work.spacing)
        shortest = min(work.in_plane_shape)
        if scale < _LEAST_SCALE or shortest < _LEAST_SLICES * scale:
            LOGGER.warning(
                "Not used for training: %s: slices are %.3g voxels apart and %d voxels long",
                image.path,
                scale,
                shortest,
            )
            return None
        return TrainingVolume.of(
            image.path.name, work.slices.data, work.slices.spacings, acquisition
        )
