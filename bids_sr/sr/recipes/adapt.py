"""Stage 3 of Wang et al. on a dataset: learn from its thick slices themselves.

No high-resolution image is needed: the slices are degraded once more, with an in-plane
direction in the part of the missing one.  The same on one image is the method
``finetuned``.
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
from bids_sr.sr.learning.teachers import Teacher
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
    averaging: float = 0.99
    """Decay of the running mean of the weights, which is what is kept."""
    mixture: float = 0.5
    """Share of what was learnt in the mean of it and the weights that it began with."""
    report_every: int = 100
    """Steps between points of the learning curve."""
    spacing: float | None = None
    """Voxel size that images are worked on at, mm; None: in-plane, but not below 1 mm."""

    def _train(self, job: Job) -> Weights:
        training, validation = leave_out(
            job.files, self.left_out, self.seed, named=self.left_out_subjects
        )
        teachers = self._teachers(training, job.acquisitions)
        if not teachers:
            raise InputDataError(
                f"Found {len(training)} images and none with slices to learn from; expected "
                f"slices at least {_LEAST_SCALE:g} voxels apart that hold {_LEAST_SLICES} such "
                "distances. The warnings say what is wrong with each."
            )
        others = self._teachers(validation, job.acquisitions) if validation else []
        learnt = self._learn(job, teachers, others, Protocols(noise=0.0), varied=False)
        data = {
            "Files": [teacher.name for teacher in teachers],
            "LeftOut": [teacher.name for teacher in others],
        }
        return replace(learnt, card=replace(learnt.card, data=data, thick_planes=True))

    def _teachers(
        self, files: Sequence[Path], acquisitions: Mapping[Path, Acquisition]
    ) -> list[Teacher]:
        made = [self._teacher(image) for image in read_images(files, acquisitions)]
        return [teacher for teacher in made if teacher is not None]

    def _teacher(self, image: TrainingImage) -> Teacher | None:
        axis, acquisition = image.slice_axis, image.acquisition
        grid = lay_out_grid(image.volume, slice_axis=axis, output_resolution=self.spacing)
        work = Workspace.of(image.volume, axis, grid)
        scale = acquisition.scale(work.spacing)
        shortest = min(work.in_plane_shape)
        if scale < _LEAST_SCALE or shortest < _LEAST_SLICES * scale:
            LOGGER.warning(
                "Not learnt from: %s: slices are %.3g voxels apart and %d voxels long",
                image.path,
                scale,
                shortest,
            )
            return None
        return Teacher.of(image.path.name, work.slices.data, work.slices.spacings, acquisition)
