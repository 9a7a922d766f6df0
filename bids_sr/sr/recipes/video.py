"""Stage 1 of Wang et al. 2024: train to interpolate the frames of videos.

Time stands in for the slice axis: one of every few frames is kept, the others are predicted.
Frames are samples, not slabs, so there is nothing to deblur.

References
----------
Wang et al. 2024, Inter-slice super-resolution of magnetic resonance images by pre-training
and self-supervised fine-tuning, ISBI, doi:10.48550/arXiv.2406.05974.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bids_sr.imaging import Acquisition
from bids_sr.sr.contract.settings import require
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.learning.frames import read_shots
from bids_sr.sr.learning.sources import leave_out
from bids_sr.sr.learning.training_volumes import TrainingVolume
from bids_sr.sr.recipes.backbone import BackboneRecipe
from bids_sr.sr.recipes.base import Job

_ALONG_TIME = ((1, 0, 2), (2, 0, 1))  # planes of time and one direction of the frame


@dataclass(frozen=True, kw_only=True)
class FrameSampling:
    """Keep the middle frame of every few frames."""

    every: tuple[int, ...] = (3, 5, 7)
    """Odd numbers, each as likely."""

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        fine = bool(self.every) and all(number >= 3 and number % 2 for number in self.every)
        require(fine, "every", self.every, "odd numbers from 3 on: one of them is in the middle")

    def draw(self, voxel: float, random: np.random.Generator) -> Acquisition:
        """Draw the number of frames of which one is kept."""
        return self.keeping(int(random.choice(self.every)), voxel)

    def state(self, acquisition: Acquisition, random: np.random.Generator) -> Acquisition:
        """Return the acquisition: nothing is misstated of frames."""
        return acquisition

    def draw_noise(self, random: np.random.Generator) -> float:
        """Return 0: videos have noise of their own."""
        return 0.0

    @staticmethod
    def keeping(every: int, voxel: float) -> Acquisition:
        """Return the acquisition that keeps one of `every` frames."""
        return Acquisition(spacing=every * voxel, thickness=voxel, profile="rect")


@dataclass(frozen=True, kw_only=True)
class Video(BackboneRecipe):
    """Predict the frames between the frames that are kept."""

    name = "video"
    suffixes = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg")

    every: tuple[int, ...] = (3, 5, 7)
    """One of this many frames is kept; odd numbers, each as likely."""
    frame_width: int = 192
    """Longest side of a frame, pixels; larger ones are made smaller."""
    most_frames: int = 1500
    """Frames read of each file."""

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        super().__post_init__()
        FrameSampling(every=self.every)
        require(max(self.every) <= self.factor, "every", self.every, f"at most {self.factor}")
        require(self.frame_width >= 16, "frame_width", self.frame_width, "16 or more")
        require(self.most_frames >= 1, "most_frames", self.most_frames, "1 or more")

    def _train(self, job: Job) -> Weights:
        training, validation = leave_out(
            job.files, self.left_out, self.seed, named=self.left_out_subjects
        )
        weights = self._learn(
            job,
            self._volumes(training),
            self._volumes(validation, every=self.every[0]) if validation else [],
            FrameSampling(every=self.every),
        )
        data = {
            "Files": [path.name for path in training],
            "LeftOut": [path.name for path in validation],
        }
        return replace(weights, card=replace(weights.card, data=data))

    def _volumes(self, files: Sequence[Path], every: int | None = None) -> list[TrainingVolume]:
        shots = read_shots(
            files,
            width=self.frame_width,
            most_frames=self.most_frames,
            least_frames=4 * max(self.every),
        )
        own = None if every is None else FrameSampling.keeping(every, 1.0)
        return [
            TrainingVolume.of(name, frames, np.ones(3), own, orders=_ALONG_TIME)
            for name, frames in shots
        ]
