"""Stage 2 of Wang et al. 2024: train on high-resolution images, degraded on the fly.

Pairs are cut from isotropic images in three orientations, from images of thick slices in the
plane of the slices only, and from images synthesised from label maps.

References
----------
Wang et al. 2024, Inter-slice super-resolution of magnetic resonance images by pre-training
and self-supervised fine-tuning, ISBI, doi:10.48550/arXiv.2406.05974.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from bids_sr.exceptions import InputDataError
from bids_sr.imaging.labels import read_labels
from bids_sr.sr.contract.settings import require
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.learning.protocols import Protocols
from bids_sr.sr.learning.sources import (
    TrainingImage,
    leave_out,
    read_images,
    robustly_scaled,
)
from bids_sr.sr.learning.synthesis import synthesise
from bids_sr.sr.learning.training_volumes import TrainingVolume
from bids_sr.sr.networks.backbone import Backbone
from bids_sr.sr.recipes.backbone import BackboneRecipe
from bids_sr.sr.recipes.base import Job

LOGGER = logging.getLogger(__name__)
_SYNTHETIC = 2  # random numbers of their own


@dataclass(frozen=True, kw_only=True)
class Supervised(BackboneRecipe):
    """Train to undo simulated acquisitions of high-resolution images."""

    name = "supervised"

    widened_to: int | None = None
    """Number of channels to which the initial network is widened."""
    planes: int | None = None
    """Neighbouring planes that a convolution covers, an odd number; None: as before."""
    spacings: tuple[float, float] = (2.0, 8.0)
    """Least and largest slice spacing, mm."""
    thicknesses: tuple[float, float] = (0.6, 1.0)
    """Least and largest slice thickness, as a share of the spacing."""
    profiles: tuple[str, ...] = ("gaussian", "rect", "slr")
    """Slice profiles, each as likely."""
    noise_fraction: float = 0.02
    """Largest standard deviation of noise, as a share of the robust intensity range."""
    misstated_fraction: float = 0.0
    """Share of the patches of which the network is told a wrong thickness or profile."""
    repeats: Mapping[str, int] = field(default_factory=dict)
    """How many times the planes of files count, by name with ``*`` and ``?``, where organs or
    contrasts are rare; the largest of several."""
    label_maps: tuple[str, ...] = ("*_dseg.nii*", "*labelmap*")
    """Names of files that are label maps, with ``*`` and ``?``; they are never validated on."""
    synthetic_images: int = 8
    """Images synthesised from label maps, where there are any."""

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        super().__post_init__()
        self._protocols()
        number = self.synthetic_images
        require(number >= 0, "synthetic_images", number, "0 or more")
        planes = self.planes
        require(planes is None or planes % 2 == 1, "planes", planes, "1, 3 or another odd number")
        sound = all(number >= 1 for number in self.repeats.values())
        require(sound, "repeats", dict(self.repeats), "numbers of 1 or more")

    def _protocols(self) -> Protocols:
        return Protocols(
            spacings=self.spacings,
            thicknesses=self.thicknesses,
            profiles=self.profiles,
            noise_fraction=self.noise_fraction,
            largest_scale=float(self.factor),
            misstated_fraction=self.misstated_fraction,
        )

    def _network(self, job: Job) -> Backbone:
        network = super()._network(job)
        width, planes = network.head.out_channels, network.planes
        if self.widened_to is not None and self.widened_to != width:
            require(self.widened_to > width, "widened_to", self.widened_to, f"at least {width}")
            network = network.widened(self.widened_to)
        if self.planes is not None and self.planes != planes:
            require(self.planes > planes, "planes", self.planes, f"at least {planes}")
            network = network.with_planes(self.planes)
        return network.laid_out()

    def _train(self, job: Job) -> Weights:
        maps = [path for path in job.files if self._is_label_map(path)]
        images = [path for path in job.files if path not in maps]
        training, validation = leave_out(
            images, self.left_out, self.seed, named=self.left_out_subjects
        )
        real = [self._weighted(training_volume_of(image)) for image in read_images(training)]
        synthetic = synthetic_volumes(maps, self.synthetic_images, self.seed)
        weights = self._learn(
            job,
            [*real, *synthetic],
            [training_volume_of(image) for image in read_images(validation)] if validation else [],
            self._protocols(),
        )
        data = {
            "Files": [path.name for path in training],
            "LeftOut": [path.name for path in validation],
            "Synthetic": [volume.name for volume in synthetic],
        }
        return replace(weights, card=replace(weights.card, data=data))

    def _is_label_map(self, path: Path) -> bool:
        return any(fnmatch(path.name, pattern) for pattern in self.label_maps)

    def _weighted(self, volume: TrainingVolume) -> TrainingVolume:
        known = [
            number for pattern, number in self.repeats.items() if fnmatch(volume.name, pattern)
        ]
        return replace(volume, repeats=max(known, default=1))


def training_volume_of(image: TrainingImage) -> TrainingVolume:
    """Return an image as a training volume without an acquisition of its own."""
    return TrainingVolume.of(image.path.name, image.volume.data, image.volume.spacings)


def synthetic_volumes(maps: Sequence[Path], number: int, seed: int) -> list[TrainingVolume]:
    """Synthesise images from label maps.

    Parameters
    ----------
    maps : sequence of Path
        NIfTI files of integers.  Those that cannot be read are left out with a warning.
    number : int
        Images to synthesise; the maps are used in turn, in random order.
    seed : int

    Returns
    -------
    list of TrainingVolume
    """
    random = np.random.default_rng((seed, _SYNTHETIC))
    order = [maps[int(index)] for index in random.permutation(len(maps))]
    volumes = []
    for path in (order * number)[:number]:
        try:
            labels = read_labels(path)
        except (InputDataError, OSError) as error:
            LOGGER.warning("Not used for training: %s", error)
            continue
        image = robustly_scaled(labels.with_data(synthesise(labels.data, random)))
        volumes.append(TrainingVolume.of(f"from {path.name}", image.data, image.spacings))
    return volumes
