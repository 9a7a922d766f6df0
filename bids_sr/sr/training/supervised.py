"""Stage 2 of Wang et al.: learn from high-resolution images, degraded on the fly.

An isotropic image teaches in three orientations, one of thick slices by its slices
alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from bids_sr.sr.training.backbone import BackboneRecipe
from bids_sr.sr.training.pairs import Teacher
from bids_sr.sr.training.protocols import Protocols
from bids_sr.sr.training.recipe import Job
from bids_sr.sr.training.sources import TrainingImage, leave_out, read_images
from bids_sr.sr.weights import Weights


@dataclass(frozen=True, kw_only=True)
class Supervised(BackboneRecipe):
    """Degrade high-resolution images over the whole range of acquisitions and undo it."""

    name = "supervised"

    spacings: tuple[float, float] = (2.0, 8.0)
    """Least and largest slice spacing, mm."""
    thicknesses: tuple[float, float] = (0.6, 1.0)
    """Least and largest slice thickness, as a share of the spacing."""
    profiles: tuple[str, ...] = ("gaussian", "rect", "slr")
    """Slice profiles, each as likely."""
    noise: float = 0.02
    """Largest standard deviation of noise, as a share of the robust intensity range."""

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        super().__post_init__()
        self._protocols()

    def _protocols(self) -> Protocols:
        return Protocols(
            spacings=self.spacings,
            thicknesses=self.thicknesses,
            profiles=self.profiles,
            noise=self.noise,
            largest_scale=float(self.factor),
        )

    def _train(self, job: Job) -> Weights:
        training, validation = leave_out(
            job.files, self.left_out, self.seed, named=self.left_out_subjects
        )
        learnt = self._learn(
            job,
            [teacher_of(image) for image in read_images(training)],
            [teacher_of(image) for image in read_images(validation)] if validation else [],
            self._protocols(),
        )
        data = {
            "Files": [path.name for path in training],
            "LeftOut": [path.name for path in validation],
        }
        return Weights(tensors=learnt.tensors, card={**learnt.card, "Data": data})


def teacher_of(image: TrainingImage) -> Teacher:
    """Return an image as a teacher of whatever the protocols say."""
    return Teacher.of(image.path.name, image.volume.data, image.volume.spacings)
