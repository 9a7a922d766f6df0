"""An autoencoder learns the slices of a dataset, and what lies between neighbours.

References
----------
Sander et al. 2020, Unsupervised super-resolution: creating high-resolution medical
images from low-resolution anisotropic examples, doi:10.48550/arXiv.2010.13172.
Sander et al. 2022, Autoencoding low-resolution MRI for semantically smooth interpolation of
anisotropic MRI, Med Image Anal 78:102393, doi:10.1016/j.media.2022.102393 (synthesis loss).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from bids_sr.compute.progress import Progress
from bids_sr.exceptions import AcquisitionError, InputDataError, WeightsError
from bids_sr.imaging import Acquisition, Series, View, Volume
from bids_sr.records.learning_curve import GAIN_OVER_LINEAR
from bids_sr.sr.contract.settings import require
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.inference.latent_space import (
    LatentSpace,
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
from bids_sr.sr.learning.sources import leave_out
from bids_sr.sr.networks.autoencoder import Autoencoder
from bids_sr.sr.recipes.base import Job, Recipe

LOGGER = logging.getLogger(__name__)
_VALIDATION_PATCHES = 48
PAPER: dict[str, Any] = {
    "width": 32,
    "depth": 4,
    "latent_channels": 16,
    "patch_size": 128,
    "learning_rate": 1e-5,
    "warmup": 0.0,
    "averaging": 0.0,
    "synthesis": 0.0,
    "steps": 300_000,
    "batch_size": 16,
}
"""What the paper does.  It tells neither the batch size nor how long it trained."""


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
    seed: int = 0

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
            learnt as a slice between its neighbours.
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
        learnt, judged = neighbours_in([len(stack) for stack in stacks]), []
        judged_stacks = held_out or stacks
        if held_out:
            judged = neighbours_in([len(stack) for stack in held_out])
        else:
            judged = _every_fifth(learnt)
            learnt = [one for one in learnt if one not in judged]
        judged = [one for one in judged if 0 < one.fraction < 1]
        largest = max(min(stack.shape[1:]) for stack in stacks)
        size = min(self.patch_size, -(-largest // network.multiple) * network.multiple)
        patches = NeighbourPatches(
            stacks,
            learnt,
            size=size,
            batch_size=self.batch_size,
            seed=self.seed,
            augmentation=Augmentation(zoom=self.zoom),
        )
        learning = NeighbourLearning(synthesis=self.synthesis, keep_detail=self.keep_detail)
        validator = None
        if judged:
            others = NeighbourPatches(
                judged_stacks,
                judged,
                size=size,
                batch_size=_VALIDATION_PATCHES,
                seed=self.seed + 1,
            )
            schedule = replace(schedule, report_every=max(100, schedule.steps // 40))
            if self.synthesis:
                schedule = replace(schedule, keep="best")
            device = next(network.parameters()).device
            given, wanted = (part.to(device) for part in next(others))

            validator = Validator(
                measure=GAIN_OVER_LINEAR,
                score=lambda network: learning.gain(network, (given, wanted)),
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


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe(Recipe):
    """Learn the slices of images as acquired: of a heart, a knee, a brain.

    The defaults learn in minutes on a CPU; the preset ``paper`` is the published one.
    """

    name = "autoencoder"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"fast": {}, "paper": PAPER}

    width: int = 16
    """Kernels of the first block."""
    depth: int = 3
    """Blocks of the encoder; the latent image is ``2**depth`` times as coarse."""
    latent_channels: int = 32
    """Channels of the latent image."""
    in_plane_spacing: float | None = None
    """Voxel size that slices are brought to, mm (1.4 for the hearts of the paper); None:
    each as acquired."""
    steps: int = 2000
    """Training steps."""
    time_budget: float | None = None
    """Upper bound on the training time, s."""
    batch_size: int = 4
    """Patches of neighbouring slices a step."""
    patch_size: int = 128
    """Rows and columns of a patch."""
    learning_rate: float = 1e-3
    """Highest learning rate."""
    warmup: float = 0.05
    """Share of the training in which the learning rate rises."""
    averaging: float = 0.99
    """Decay of the running mean of the weights, which is what is kept; 0: the last weights."""
    synthesis: float = 1.0
    """Weight of the loss on the slice between two neighbours, of the later version of the
    method; 0: the network only learns to restore slices."""
    keep_detail: bool = True
    """Judge slices between neighbours with what the network cannot restore, as the method
    makes them by default."""
    zoom: float = 0.0
    """Largest random change of size, as a share."""
    validation: float = 0.1
    """Share of the subjects that are left out, for the learning curve."""
    mixed_precision: bool = True
    """Convolve in half precision where the device does so faster."""

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        super().__post_init__()
        self._schedule()
        self._training()
        self._network()
        spacing = self.in_plane_spacing
        require(spacing is None or spacing > 0, "in_plane_spacing", spacing, "more than 0 mm")
        require(0 <= self.validation < 1, "validation", self.validation, "0 to below 1")

    def _schedule(self) -> Schedule:
        return Schedule(
            steps=self.steps,
            time_budget=self.time_budget,
            learning_rate=self.learning_rate,
            warmup=self.warmup,
            averaging=self.averaging,
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

    def _train(self, job: Job) -> Weights:
        training, validation = leave_out(job.files, self.validation, self.seed)
        space = LatentSpace(network=self._network(), in_plane_spacing=self.in_plane_spacing)
        if job.start is not None:
            space = _same_kind(LatentSpace.from_weights(job.start, "the start"), space)
        stacks = read_stacks(training, job.acquisitions, space.in_plane_spacing)
        held_out = []
        if validation:
            held_out = read_stacks(validation, job.acquisitions, space.in_plane_spacing)
        network = space.network.to(job.device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        result = self._training().train(
            network,
            stacks,
            held_out,
            self._schedule(),
            threads=job.threads,
            progress=job.progress,
            checkpoint=job.checkpoint,
        )
        data = {
            "Files": [path.name for path in job.files],
            "Stacks": len(stacks),
            "Slices": sum(len(stack) for stack in stacks),
            "LeftOut": [path.name for path in validation],
        }
        card = replace(space.card(), data=data, curve=result.curve)
        return Weights(tensors=network.state_dict(), card=card)


def read_stacks(
    files: Sequence[Path],
    acquisitions: Mapping[Path, Acquisition],
    in_plane_spacing: float | None,
) -> list[npt.NDArray[np.float32]]:
    """Read the acquired slices of images; each frame of a 4-D image is a stack.

    Returns
    -------
    list of (N, H, W) arrays
        Intensities 0 to 1, clamped; without images that cannot be read, each of which is
        told by a warning.

    Raises
    ------
    InputDataError
        If not one can be read.
    """
    stacks = []
    for path in files:
        try:
            for frame in Series.load(path).frames():
                acquisition = acquisitions.get(path) or Acquisition.from_volume(frame)
                stacks.append(training_stack(frame, acquisition, in_plane_spacing))
        except (InputDataError, AcquisitionError, OSError) as error:
            LOGGER.warning("Not learnt from: %s", error)
    if not stacks:
        raise InputDataError(
            f"Found {len(files)} files and no image that can be learnt from; expected at least "
            "one. The warnings say what is wrong with each."
        )
    return stacks


def training_stack(
    volume: Volume, acquisition: Acquisition, in_plane_spacing: float | None
) -> npt.NDArray[np.float32]:
    """Return the slices of a volume as the network learns them, (N, H, W)."""
    axis = acquisition.for_volume(volume).slice_axis
    assert axis is not None
    seen = in_plane_resampled(volume, axis, in_plane_spacing)
    return clamped(View.in_plane(axis).split(seen.data), clamping_scaler(volume.data))


def _every_fifth(neighbours: Sequence[Neighbours]) -> list[Neighbours]:
    """Choose those to judge by: one in five, one at least, and never the only one."""
    return list(neighbours[2::5]) or list(neighbours[1:2])


def _same_kind(start: LatentSpace, wanted: LatentSpace) -> LatentSpace:
    if (start.network.arguments, start.in_plane_spacing) != (
        wanted.network.arguments,
        wanted.in_plane_spacing,
    ):
        raise WeightsError(
            f"Found weights of an autoencoder with {start.network.arguments} and voxels of "
            f"{start.in_plane_spacing} mm; expected {wanted.network.arguments} and "
            f"{wanted.in_plane_spacing} mm. Set the recipe to the same."
        )
    return start
