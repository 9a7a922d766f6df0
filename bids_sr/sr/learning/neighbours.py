"""Neighbouring slices: the training samples of an autoencoder that interpolates.

A sample is a patch of two slices and of one between them.  The loss compares the two restored
slices, and the slice decoded from the weighted mean of their latent images, with the acquired
slices.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from bids_sr.sr.networks.autoencoder import Autoencoder

_BRIGHTER = (0.8, 1.2)  # factor on the intensities of a patch, drawn anew for each
_OFFSET = 0.1  # and what is added to them, at most


class Neighbours(NamedTuple):
    """The indices of two slices of a stack and of one between them."""

    stack: int
    below: int
    between: int
    above: int

    @property
    def fraction(self) -> float:
        """Position between the slice below and the one above; 0 to 1."""
        return (self.between - self.below) / (self.above - self.below)


def neighbours_in(slices: Sequence[int]) -> list[Neighbours]:
    """List all slices with the two next to them.

    Parameters
    ----------
    slices : sequence of int
        Number of slices in each stack.

    Returns
    -------
    list of Neighbours
        Of a stack of two slices the pair, with no slice between: it is only used for
        restoration.
    """
    neighbours = []
    for stack, number in enumerate(slices):
        neighbours += [Neighbours(stack, n - 1, n, n + 1) for n in range(1, number - 1)]
        if number == 2:
            neighbours.append(Neighbours(stack, 0, 0, 1))
    return neighbours


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """State how patches are augmented, besides rotation by 90 degrees and mirroring."""

    intensity: bool = True
    """Change brightness and contrast."""
    zoom: float = 0.0
    """Largest change of size, as a share: 0.2 is from 1 / 1.2 to 1.2."""


class NeighbourPatches(Iterator[tuple[Tensor, Tensor]]):
    """Draw batches of patches of neighbouring slices."""

    def __init__(
        self,
        stacks: Sequence[npt.NDArray[np.float32]],
        neighbours: Sequence[Neighbours],
        *,
        size: int,
        batch_size: int,
        seed: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        """Prepare to draw.

        Parameters
        ----------
        stacks : sequence of (N, H, W) float32 arrays
            Slices, intensities 0 to 1.
        neighbours : sequence of Neighbours
            The samples, each as likely.
        size : int
            Rows and columns of a patch; smaller slices are continued by their edges.
        batch_size : int
        seed : int
            The same seed draws the same patches.
        augmentation : Augmentation, optional
            None: only rotation and mirroring.
        """
        self._stacks, self._neighbours = stacks, list(neighbours)
        self._size, self._batch_size = size, batch_size
        self._augmentation = augmentation or Augmentation(intensity=False)
        self._random = np.random.default_rng(seed)

    def __next__(self) -> tuple[Tensor, Tensor]:
        """Return the next batch.

        Returns
        -------
        inputs : (N, 3, size, size) tensor
            The slice below, the one above, and everywhere the fraction of the way.
        targets : (N, 3, size, size) tensor
            The slice between, the one below, the one above.
        """
        inputs, targets = [], []
        for _ in range(self._batch_size):
            chosen = self._neighbours[self._random.integers(len(self._neighbours))]
            patch, fraction = self._cut(chosen), chosen.fraction
            if self._random.random() < 0.5:
                patch, fraction = patch.flip(0), 1 - fraction
            below, between, above = patch
            inputs.append(torch.stack([below, above, torch.full_like(below, fraction)]))
            targets.append(torch.stack([between, below, above]))
        return torch.stack(inputs), torch.stack(targets)

    def state_dict(self) -> dict[str, Any]:
        """Return where the sequence of draws stands."""
        return {"random": json.dumps(self._random.bit_generator.state)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._random.bit_generator.state = json.loads(state_dict["random"])

    def _cut(self, chosen: Neighbours) -> Tensor:
        """Cut a patch out of three slices and vary it, (3, size, size)."""
        random, options = self._random, self._augmentation
        slices = self._stacks[chosen.stack][[chosen.below, chosen.between, chosen.above]]
        size = self._size
        if options.zoom:
            size = round(size * (1 + options.zoom) ** random.uniform(-1, 1))
        missing = [max(0, size - length) for length in slices.shape[1:]]
        if any(missing):
            ends = [(few // 2, few - few // 2) for few in missing]
            slices = np.pad(slices, ((0, 0), *ends), mode="edge")
        top, left = (random.integers(length - size + 1) for length in slices.shape[1:])
        cut = slices[:, top : top + size, left : left + size]
        patch = torch.from_numpy(np.ascontiguousarray(cut))
        if size != self._size:
            patch = functional.interpolate(
                patch[None], (self._size, self._size), mode="bilinear", antialias=True
            )[0]
        patch = torch.rot90(patch, int(random.integers(4)), (1, 2))
        if random.random() < 0.5:
            patch = patch.flip(2)
        if options.intensity:
            patch = patch * random.uniform(*_BRIGHTER) + random.uniform(-_OFFSET, _OFFSET)
        return patch


@dataclass(frozen=True, kw_only=True)
class NeighbourLearning:
    """The prediction and the loss of an autoencoder.

    Notes
    -----
    With D the decoder, z the latent images of the slices x below (0) and above (1) and a
    the fraction of the way, the slice between them is D((1 - a) z0 + a z1), or, keeping
    what the network cannot restore,

        (1 - a) x0 + a x1 + D((1 - a) z0 + a z1) - (1 - a) D(z0) - a D(z1),

    which at a = 0 and a = 1 is the slice itself.
    """

    synthesis: float = 1.0
    """Weight of the slice between, relative to that of the two restored; 0 leaves it out."""
    keep_detail: bool = True
    """Train on the second formula; False on the first."""

    def predict(self, network: nn.Module, inputs: Tensor) -> Tensor:
        """Return the slice between, the one below and the one above, as the network sees them.

        Parameters
        ----------
        network : Autoencoder
        inputs : (N, 3, H, W) tensor
            As :class:`NeighbourPatches` draws it.

        Returns
        -------
        (N, 3, H, W) tensor
            (N, 2, H, W), without the slice between, where that is left out.
        """
        assert isinstance(network, Autoencoder)
        slices, fraction = inputs[:, :2], inputs[:, 2:, :1, :1]
        shape = (int(inputs.shape[2]), int(inputs.shape[3]))
        ends = slices.transpose(0, 1).reshape(-1, 1, *shape)  # (2 N, 1, H, W)
        latent = network.encode(ends.contiguous(memory_format=torch.channels_last))
        below, above = latent.chunk(2)
        if self.synthesis:
            mixed = torch.lerp(below, above, fraction.to(latent.dtype))
            latent = torch.cat([latent, mixed])
        decoded = network.decode(latent, shape).float()
        parts = decoded.reshape(-1, len(inputs), *shape).transpose(0, 1)
        if not self.synthesis:
            return parts
        restored, between = parts[:, :2], parts[:, 2:]
        if self.keep_detail:
            lost = slices - restored
            between = between + torch.lerp(lost[:, :1], lost[:, 1:], fraction)
        return torch.cat([between, restored], dim=1)

    def loss(self, predicted: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error of the restored slices, plus that of the one between."""
        restored = functional.mse_loss(predicted[:, -2:], targets[:, -2:])
        if not self.synthesis:
            return restored
        between = functional.mse_loss(predicted[:, :1], targets[:, :1])
        return restored + self.synthesis * between

    @torch.inference_mode()
    def gain(self, network: nn.Module, samples: tuple[Tensor, Tensor]) -> float:
        """Return by how much the slice between is better than the linear mean, dB.

        Parameters
        ----------
        network : Autoencoder
        samples : (given, wanted)
            On the network's device.
        """
        inputs, targets = samples
        training = network.training
        network.eval()
        # The slice between is scored even where it was not trained on.
        learning = NeighbourLearning(synthesis=1.0, keep_detail=self.keep_detail)
        predicted = learning.predict(network, inputs)[:, 0]
        network.train(training)
        linear = torch.lerp(inputs[:, 0], inputs[:, 1], inputs[:, 2])
        errors = [(estimate - targets[:, 0]).square().mean() for estimate in (linear, predicted)]
        return float(10 * torch.log10(errors[0].clamp_min(1e-12) / errors[1].clamp_min(1e-12)))
