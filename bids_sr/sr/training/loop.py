"""The training loop of every learner.

It knows batches, a loss and a schedule; where the pairs come from and what the
network is, it does not.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bids_sr.sr.device import half_precision, mixed_precision, single_core_workers
from bids_sr.sr.methods.base import CurvePoint, Progress, require

_LONGEST_GRADIENT = 1.0
_LEAST_RATE = 1e-3  # of the highest learning rate, at the end


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """State how long and how fast to learn."""

    steps: int
    """Number of updates."""
    time_budget: float | None = None
    """Upper bound on the time, s; the schedule is then passed through by then."""
    learning_rate: float = 2e-3
    """Highest learning rate (Adam)."""
    warmup: float = 0.1
    """Share of the training in which the rate rises; it falls as a cosine after."""
    averaging: float = 0.99
    """Decay of the running mean of the weights, which is what is kept."""
    half: bool = True
    """Use the device's half precision where that is faster."""
    report_every: int = 100
    """Steps between points of the learning curve."""

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        require(self.steps >= 1, "steps", self.steps, "1 or more")
        budget = self.time_budget
        require(budget is None or budget > 0, "time_budget", budget, "more than 0 s")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")

    def rate(self, progress: float) -> float:
        """Return the learning rate when this share of the training is done."""
        if progress < self.warmup:
            return self.learning_rate * max(progress / self.warmup, _LEAST_RATE)
        falling = 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))
        return self.learning_rate * max(falling, _LEAST_RATE)


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """Say how the training went."""

    curve: tuple[CurvePoint, ...]
    steps: int
    seconds: float
    stop_reason: str
    """``steps``, ``time`` or ``diverged`` (the loss was no longer a number)."""


@dataclass
class _Mean:
    """Average the losses since the last point."""

    values: list[float] = field(default_factory=list)

    def take(self) -> float:
        mean = sum(self.values) / max(len(self.values), 1)
        self.values.clear()
        return mean


def fit(
    network: nn.Module,
    predict: Callable[[nn.Module, Tensor], Tensor],
    batches: Iterator[tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
    schedule: Schedule,
    *,
    threads: int = 1,
    validate: Callable[[nn.Module], float] | None = None,
    progress: Progress | None = None,
) -> FitResult:
    """Train a network in place; at the end it holds the averaged weights.

    Parameters
    ----------
    network : nn.Module
        On the device to train on.
    predict : callable
        (network, input batch) to prediction.
    batches : iterator
        Pairs of input and target.
    loss : callable
        (prediction, target) to a number.
    schedule : Schedule
        How long and how fast.
    threads : int
        On a CPU, so many parts of a batch are computed at once, one on each core;
        `predict` and `loss`, a mean over the batch, are then called from several threads.
    validate : callable, optional
        Network to a number where higher is better; put into the learning curve.
    progress : callable, optional
        Told after every step.

    Returns
    -------
    FitResult
    """
    with single_core_workers(threads) as pool:
        parts = threads if next(network.parameters()).device.type == "cpu" else 1
        gradients = _Gradients(network, predict, loss, pool, parts, schedule.half)
        return _fit(network, gradients, batches, schedule, validate, progress)


def _fit(
    network: nn.Module,
    gradients: _Gradients,
    batches: Iterator[tuple[Tensor, Tensor]],
    schedule: Schedule,
    validate: Callable[[nn.Module], float] | None,
    progress: Progress | None,
) -> FitResult:
    averaged = copy.deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99))
    start, curve, mean, reason, step = time.monotonic(), [], _Mean(), "steps", 0
    for step in range(1, schedule.steps + 1):
        elapsed = time.monotonic() - start
        done = (step - 1) / schedule.steps
        if schedule.time_budget is not None:
            done = max(done, elapsed / schedule.time_budget)
        if done >= 1:
            reason, step = "time", step - 1
            break
        optimizer.param_groups[0]["lr"] = schedule.rate(done)
        mean.values.append(gradients.update(optimizer, *next(batches)))
        if not math.isfinite(mean.values[-1]):
            reason = "diverged"
            break
        # Early on the weights change fast: average over a tenth of the steps so far.
        _blend(averaged, network, min(schedule.averaging, (1 + step) / (10 + step)))
        if step % schedule.report_every == 0 or step == schedule.steps:
            score = validate(averaged) if validate else None
            seconds = round(time.monotonic() - start, 3)
            curve.append(
                CurvePoint(step=step, seconds=seconds, loss=mean.take(), validation=score)
            )
        if progress:
            progress(step, schedule.steps, f"training, loss {gradients.last:.5f}")
    network.load_state_dict(averaged.state_dict())
    seconds = time.monotonic() - start
    return FitResult(curve=tuple(curve), steps=step, seconds=seconds, stop_reason=reason)


class _Gradients:
    """Take the steps of the optimizer, on a CPU with a part of the batch on each core."""

    def __init__(
        self,
        network: nn.Module,
        predict: Callable[[nn.Module, Tensor], Tensor],
        loss: Callable[[Tensor, Tensor], Tensor],
        pool: Executor,
        parts: int,
        half: bool,
    ) -> None:
        self.last = math.nan
        self._network, self._predict, self._loss = network, predict, loss
        self._pool, self._parts = pool, parts
        self._parameters = [part for part in network.parameters() if part.requires_grad]
        self._device = self._parameters[0].device
        self._dtype = half_precision(self._device) if half else None
        # float16 underflows where gradients are small; bfloat16 does not.
        self._scaler = torch.amp.GradScaler(
            self._device.type, enabled=self._dtype == torch.float16
        )

    def update(self, optimizer: torch.optim.Optimizer, lr: Tensor, hr: Tensor) -> float:
        """Change the weights by one batch and return its loss."""
        lr, hr = (part.to(self._device, non_blocking=True) for part in (lr, hr))
        parts = min(self._parts, len(lr))
        pairs = [(lr[first::parts], hr[first::parts]) for first in range(parts)]
        found = list(self._pool.map(self._of, pairs)) if parts > 1 else [self._of(pairs[0])]
        shares = [len(part) / len(lr) for part, _ in pairs]
        for index, parameter in enumerate(self._parameters):
            total = found[0][1][index] * shares[0]
            for share, (_, gradients) in zip(shares[1:], found[1:], strict=True):
                total.add_(gradients[index], alpha=share)
            parameter.grad = total
        self._scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(self._parameters, _LONGEST_GRADIENT)
        self._scaler.step(optimizer)
        self._scaler.update()
        self.last = sum(share * value for share, (value, _) in zip(shares, found, strict=True))
        return self.last

    def _of(self, pair: tuple[Tensor, Tensor]) -> tuple[float, tuple[Tensor, ...]]:
        lr, hr = pair
        with mixed_precision(self._device, self._dtype):
            value = self._loss(self._predict(self._network, lr), hr)
        gradients = torch.autograd.grad(self._scaler.scale(value), self._parameters)
        return float(value.detach()), gradients


@torch.no_grad()
def _blend(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    for kept, new in zip(averaged.parameters(), network.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
