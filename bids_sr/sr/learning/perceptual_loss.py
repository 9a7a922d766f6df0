"""Perceptual and adversarial losses: on features of an image, not on pixels alone.

References
----------
Giraldo et al. 2024, Perceptual super-resolution in multiple sclerosis MRI, Front
Neurosci 18, doi:10.3389/fnins.2024.1473132, equation 2.
Johnson et al. 2016, Perceptual losses for real-time style transfer and super-resolution,
ECCV, doi:10.1007/978-3-319-46475-6_43.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bids_sr.exceptions import WeightsError
from bids_sr.sr.contract.state_files import read_state
from bids_sr.sr.learning.losses import mean_absolute_error
from bids_sr.sr.learning.schedule import Schedule
from bids_sr.sr.networks.discriminator import Discriminator
from bids_sr.sr.networks.vgg import VGGFeatures

LAYER_WEIGHTS = (0.1, 0.1, 1.0, 1.0, 1.0)
"""Of the five stages of VGG-19, as in the training of Real-ESRGAN."""


class ContentLoss:
    """Mean absolute difference of pixels plus that of features."""

    def __init__(self, features: VGGFeatures | None, *, weight: float = 1.0) -> None:
        """Set the features; None or weight 0: pixels alone."""
        self.features, self.weight = features, weight

    def __call__(self, predicted: Tensor, target: Tensor) -> Tensor:
        """(N, 3, H, W) images of about 0 to 1 to a number."""
        total = mean_absolute_error(predicted, target)
        if self.features is None or self.weight == 0:
            return total
        with torch.no_grad():
            target_features = self.features(target)
        predicted_features = self.features(predicted.float())
        for share, predicted_layer, target_layer in zip(
            LAYER_WEIGHTS, predicted_features, target_features, strict=True
        ):
            total = total + self.weight * share * functional.l1_loss(predicted_layer, target_layer)
        return total


class AdversarialLoss:
    """Content loss plus an adversarial loss.

    The discriminator is trained at every call, on the same images; its optimiser and its
    step are part of the state.
    """

    def __init__(
        self,
        content: ContentLoss,
        discriminator: Discriminator,
        schedule: Schedule,
        *,
        weight: float = 0.05,
    ) -> None:
        self.content, self.discriminator = content, discriminator.train()
        self.weight, self._schedule, self._step = weight, schedule, 0
        self._optimizer = torch.optim.Adam(discriminator.parameters(), betas=schedule.betas)
        self.last = 0.0
        """Loss of the discriminator at the last call."""

    def __call__(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Train the discriminator by one step, then return the loss of (N, 3, H, W) images."""
        self._train_discriminator(predicted.detach().float(), target)
        logits = self.discriminator(predicted.float())
        adversarial = _crossentropy(logits, real=True)
        return self.content(predicted, target) + self.weight * adversarial

    def state_dict(self) -> dict[str, Any]:
        """Return the discriminator and the state of its training."""
        return {
            "discriminator": copy.deepcopy(self.discriminator.state_dict()),
            "optimizer": self._optimizer.state_dict(),
            "step": self._step,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state."""
        self.discriminator.load_state_dict(state_dict["discriminator"])
        self._optimizer.load_state_dict(state_dict["optimizer"])
        self._step = state_dict["step"]

    def _train_discriminator(self, generated: Tensor, real: Tensor) -> None:
        done = min(self._step / self._schedule.steps, 1.0)
        self._optimizer.param_groups[0]["lr"] = self._schedule.rate(done)
        self._step += 1
        # A real and a generated batch apart, as in the training of Real-ESRGAN.
        loss = _crossentropy(self.discriminator(real), real=True)
        loss = loss + _crossentropy(self.discriminator(generated), real=False)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.last = float(loss.detach())


def read_features(path: Path) -> VGGFeatures:
    """Read VGG-19 from a file of torchvision, executing nothing.

    Raises
    ------
    WeightsError
        If the file is not such a state.
    """
    state = read_state(path)
    try:
        return VGGFeatures(state.tensors)
    except (KeyError, RuntimeError, IndexError) as error:
        raise WeightsError(
            f"Found {path}, which is no VGG-19 in the layout of torchvision ({error}); expected "
            "features.0.weight to features.34.bias."
        ) from error


def _crossentropy(logits: Tensor, *, real: bool) -> Tensor:
    return functional.binary_cross_entropy_with_logits(
        logits, torch.full_like(logits, float(real))
    )
