"""Train an autoencoder on stacks of slices, to restore them and what lies between.

The method ``latent`` does so with the slices of one image, the recipe ``autoencoder`` with
those of a dataset.

References
----------
Sander et al. 2020, Unsupervised super-resolution: creating high-resolution medical
images from low-resolution anisotropic examples, doi:10.48550/arXiv.2010.13172.
Sander et al. 2022, Autoencoding low-resolution MRI for semantically smooth interpolation of
anisotropic MRI, Med Image Anal 78:102393, doi:10.1016/j.media.2022.102393 (synthesis loss).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_sr.compute.progress import Progress
from bids_sr.imaging import Acquisition, View, Volume
from bids_sr.records.learning_curve import GAIN_OVER_LINEAR
from bids_sr.seed import DEFAULT_SEED
from bids_sr.sr.contract.settings import require
from bids_sr.sr.inference.latent_space import (
    clamped,
    clamping_scaler,
    in_plane_resampled,
)
from bids_sr.sr.learning.loop import FitResult, Schedule, Validator, fit
from bids_sr.sr.learning.neighbours import (
    Augmentation,
    NeighbourLearning,
    NeighbourPatches,
    Neighbours,
    neighbours_in,
)
from bids_sr.sr.networks.autoencoder import Autoencoder

_VALIDATION_PATCHES = 48
PAPER: dict[str, Any] = {
    "width": 32,
    "depth": 4,
    "latent_channels": 16,
    "patch_size": 128,
    "learning_rate": 1e-5,
    "warmup": 0.0,
    "ema_decay": 0.0,
    "synthesis": 0.0,
    "steps": 300_000,
    "batch_size": 16,
}
"""The settings of the paper, which states neither the batch size nor the training time."""


@dataclass(frozen=True, kw_only=True)
class NeighbourTraining:
    """Train an autoencoder on stacks of slices."""

    patch_size: int = 128
    """Rows and columns of a patch; slices that are smaller in all stacks bound it."""
    batch_size: int = 4
    """Patches of neighbouring slices a step."""
    synthesis: float = 1.0
    """Weight of the loss on slices between neighbours; 0: the network only restores."""
    keep_detail: bool = True
    """Judge slices between neighbours with what the network cannot restore."""
    zoom: float = 0.0
    """Largest random change of size."""
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        require(self.patch_size >= 8, "patch_size", self.patch_size, "8 or more")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        require(self.synthesis >= 0, "synthesis", self.synthesis, "0 or more")
        require(self.zoom >= 0, "zoom", self.zoom, "0 or more")
        require(self.seed >= 0, "seed", self.seed, "0 or more")

    def train(
        self,
        network: Autoencoder,
        stacks: Sequence[npt.NDArray[np.float32]],
        held_out: Sequence[npt.NDArray[np.float32]],
        schedule: Schedule,
        *,
        threads: int,
        progress: Progress | None = None,
        checkpoint: Path | None = None,
    ) -> FitResult:
        """Train a network in place, on the device where it is.

        Parameters
        ----------
        network : Autoencoder
        stacks : sequence of (N, H, W) arrays
            Slices to learn from, intensities 0 to 1; two slices each at least.
        held_out : sequence of (N, H, W) arrays
            Slices for the learning curve; without any, one in five of `stacks` is never
            trained on as the slice between its neighbours.
        schedule : Schedule
        threads : int
        progress : callable, optional
        checkpoint : Path, optional

        Returns
        -------
        FitResult
            The validation in its curve is the gain over linear interpolation of slices
            left out, dB; none where no stack has three slices.  Where the network is
            trained for it, the weights that were best in it are kept.
        """
        training, validation = neighbours_in([len(stack) for stack in stacks]), []
        validation_stacks = held_out or stacks
        if held_out:
            validation = neighbours_in([len(stack) for stack in held_out])
        else:
            validation = _every_fifth(training)
            training = [triple for triple in training if triple not in validation]
        validation = [triple for triple in validation if 0 < triple.fraction < 1]
        largest = max(min(stack.shape[1:]) for stack in stacks)
        size = min(self.patch_size, -(-largest // network.multiple) * network.multiple)
        patches = NeighbourPatches(
            stacks,
            training,
            size=size,
            batch_size=self.batch_size,
            seed=self.seed,
            augmentation=Augmentation(zoom=self.zoom),
        )
        learning = NeighbourLearning(synthesis=self.synthesis, keep_detail=self.keep_detail)
        validator = None
        if validation:
            validation_patches = NeighbourPatches(
                validation_stacks,
                validation,
                size=size,
                batch_size=_VALIDATION_PATCHES,
                seed=self.seed + 1,
            )
            schedule = replace(schedule, report_every=max(100, schedule.steps // 40))
            if self.synthesis:
                schedule = replace(schedule, keep="best")
            device = next(network.parameters()).device
            inputs, targets = (part.to(device) for part in next(validation_patches))

            validator = Validator(
                measure=GAIN_OVER_LINEAR,
                score=lambda network: learning.gain(network, (inputs, targets)),
            )

        return fit(
            network,
            learning.predict,
            patches,
            learning.loss,
            schedule,
            threads=threads,
            validator=validator,
            progress=progress,
            checkpoint=checkpoint,
        )


def training_stack(
    volume: Volume, acquisition: Acquisition, in_plane_spacing: float | None
) -> npt.NDArray[np.float32]:
    """Return the slices of a volume as the network learns them, (N, H, W)."""
    axis = acquisition.for_volume(volume).slice_axis
    assert axis is not None
    resampled = in_plane_resampled(volume, axis, in_plane_spacing)
    return clamped(View.in_plane(axis).split(resampled.data), clamping_scaler(volume.data))


def _every_fifth(neighbours: Sequence[Neighbours]) -> list[Neighbours]:
    """Choose those to judge by: one in five, one at least, and never the only one."""
    return list(neighbours[2::5]) or list(neighbours[1:2])
