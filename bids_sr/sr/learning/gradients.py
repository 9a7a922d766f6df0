"""Gradients of a batch, and the step of the optimizers along them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import torch
from torch import Tensor, nn

from bids_sr.compute.device import half_precision, mixed_precision

_LONGEST_GRADIENT = 1.0


class Gradients:
    """Step the optimizers; on a CPU each core computes a part of the batch."""

    def __init__(
        self,
        network: nn.Module,
        predict: Callable[[nn.Module, Any], Tensor],
        loss: Callable[[Tensor, Any], Tensor],
        pool: Executor,
        parts: int,
        half: bool,
    ) -> None:
        self._network, self._predict, self._loss = network, predict, loss
        self._pool, self._parts = pool, parts
        self._parameters = [part for part in network.parameters() if part.requires_grad]
        self._device = self._parameters[0].device
        self._dtype = half_precision(self._device) if half else None
        # float16 underflows where gradients are small; bfloat16 does not.
        self.scaler = torch.amp.GradScaler(self._device.type, enabled=self._dtype == torch.float16)

    def update(self, optimizers: list[torch.optim.Optimizer], inputs: Any, targets: Any) -> Tensor:
        """Change the weights by one batch and return its loss."""
        number = len(inputs if isinstance(inputs, Tensor) else inputs[0])
        parts = min(self._parts, number)
        pairs = [
            (self._every(inputs, first, parts), self._every(targets, first, parts))
            for first in range(parts)
        ]
        results = list(self._pool.map(self._of, pairs)) if parts > 1 else [self._of(pairs[0])]
        shares = [len(range(first, number, parts)) / number for first in range(parts)]
        for index, parameter in enumerate(self._parameters):
            total = results[0][1][index] * shares[0]
            for share, (_, gradients) in zip(shares[1:], results[1:], strict=True):
                total.add_(gradients[index], alpha=share)
            parameter.grad = total
        for optimizer in optimizers:
            self.scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(self._parameters, _LONGEST_GRADIENT)
        for optimizer in optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        return torch.stack(
            [share * value for share, (value, _) in zip(shares, results, strict=True)]
        ).sum()

    def _every(self, batch: Any, first: int, step: int) -> Any:
        """Return every `step`-th example of a batch, on the device."""
        if isinstance(batch, Tensor):
            return batch[first::step].to(self._device, non_blocking=True)
        return type(batch)(*(self._every(part, first, step) for part in batch))

    def _of(self, pair: tuple[Any, Any]) -> tuple[Tensor, tuple[Tensor, ...]]:
        inputs, targets = pair
        with mixed_precision(self._device, self._dtype):
            value = self._loss(self._predict(self._network, inputs), targets)
        gradients = torch.autograd.grad(self.scaler.scale(value), self._parameters)
        return value.detach().double(), gradients
