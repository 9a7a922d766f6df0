"""Losses compare a predicted patch with its target."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]


def mean_squared_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference: minimising it maximises the PSNR."""
    return functional.mse_loss(predicted.float(), target)


def mean_absolute_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference: a few bright edges do not outweigh the rest."""
    return functional.l1_loss(predicted.float(), target)


LOSSES: dict[str, Loss] = {"absolute": mean_absolute_error, "squared": mean_squared_error}
