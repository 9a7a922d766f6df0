"""Training of an autoencoder on the slices of a dataset, and on slices between neighbours.

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

from bids_sr.exceptions import AcquisitionError, InputDataError, WeightsError
from bids_sr.imaging import Acquisition, Series
from bids_sr.sr.contract.settings import require
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.inference.latent_space import (
    LatentSpace,
)
from bids_sr.sr.learning.loop import Schedule
from bids_sr.sr.learning.neighbour_training import PAPER, NeighbourTraining, training_stack
from bids_sr.sr.learning.sources import leave_out
from bids_sr.sr.networks.autoencoder import Autoencoder
from bids_sr.sr.recipes.base import Job, Recipe

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AutoencoderRecipe(Recipe):
    """Train an autoencoder on slices as acquired, of any anatomy.

    The defaults train in minutes on a CPU; the preset ``paper`` is the published one.
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
    ema_decay: float = 0.99
    """Decay of the exponential moving average of the weights, which is kept in the end."""
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
        named in a warning.

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
            LOGGER.warning("Not used for training: %s", error)
    if not stacks:
        raise InputDataError(
            f"Found {len(files)} files and no image that can be learnt from; expected at least "
            "one. The warnings say what is wrong with each."
        )
    return stacks


def _same_kind(start: LatentSpace, expected: LatentSpace) -> LatentSpace:
    if (start.network.arguments, start.in_plane_spacing) != (
        expected.network.arguments,
        expected.in_plane_spacing,
    ):
        raise WeightsError(
            f"Found weights of an autoencoder with {start.network.arguments} and voxels of "
            f"{start.in_plane_spacing} mm; expected {expected.network.arguments} and "
            f"{expected.in_plane_spacing} mm. Set the recipe to the same."
        )
    return start
