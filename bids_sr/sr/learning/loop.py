"""The training loop of all methods and recipes.

It takes any network, batches, loss and schedule.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from bids_sr.compute.device import fastest_convolutions, single_core_workers
from bids_sr.compute.progress import Progress
from bids_sr.records.learning_curve import CurvePoint, LearningCurve, Validation
from bids_sr.sr.contract.settings import require
from bids_sr.sr.learning.checkpoint import (
    Stateful,
    random_state,
    read_checkpoint,
    restore_random_state,
    write_checkpoint,
)
from bids_sr.sr.learning.gradients import Gradients
from bids_sr.sr.learning.muon import Muon, hidden_kernels
from bids_sr.sr.learning.schedule import Schedule

__all__ = ["FitResult", "Schedule", "Validator", "fit"]

_UNREAD = 20  # losses that wait on a GPU before they are read: reading one waits for the GPU


@dataclass(frozen=True, kw_only=True)
class Validator:
    """Score a network on data that it is not trained on."""

    measure: Validation
    """What the score is."""
    score: Callable[[nn.Module], float]
    """Network to a number where higher is better."""


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """The outcome of a training."""

    curve: LearningCurve
    steps: int
    seconds: float
    stop_reason: str
    """``steps``, ``time`` or ``diverged`` (the loss was no longer a number)."""
    before: float | None = None
    """Validation before the first step, where the best is kept."""

    @property
    def score_kept(self) -> float | None:
        """Validation of the weights that were kept; None where it was not measured."""
        if self.before is None:  # the last weights were kept, or nothing was validated
            return self.curve.last_score
        return max([self.before, *self.curve.scores])


@dataclass
class _Losses:
    """Collect the losses since the last point of the curve.

    Those of a GPU are read a few at a time, so that it never waits for the host.
    """

    values: list[float] = field(default_factory=list)
    unread: list[Tensor] = field(default_factory=list)
    last: float = math.nan
    """The last one that was read."""

    def add(self, loss: Tensor) -> None:
        self.unread.append(loss)

    @property
    def full(self) -> bool:
        return len(self.unread) >= (_UNREAD if self.unread[-1].is_cuda else 1)

    def read(self) -> bool:
        """Read all; False if one is no longer a number."""
        if self.unread:
            read = torch.stack(self.unread).tolist()
            self.unread.clear()
            self.values += read
            self.last = read[-1]
            return all(map(math.isfinite, read))
        return True

    def take_mean(self) -> float:
        mean = sum(self.values) / max(len(self.values), 1)
        self.values.clear()
        return mean


def fit(
    network: nn.Module,
    predict: Callable[[nn.Module, Any], Tensor],
    batches: Iterator[tuple[Any, Any]],
    loss: Callable[[Tensor, Any], Tensor],
    schedule: Schedule,
    *,
    threads: int = 1,
    validator: Validator | None = None,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> FitResult:
    """Train a network in place; ``schedule.keep`` states which weights it has in the end.

    Parameters
    ----------
    network : nn.Module
        On the device to train on.
    predict : callable
        (network, input batch) to prediction.
    batches : iterator
        Pairs of input and target: each a tensor, or a named tuple of tensors that have an
        entry for every example.
    loss : callable
        (prediction, target) to a number.
    schedule : Schedule
        How long and how fast.
    threads : int
        On a CPU, number of parts of a batch that are computed at once, one on each core;
        `predict` and `loss`, a mean over the batch, are then called from several threads.
    validator : Validator, optional
        Its score is put into the learning curve.
    progress : callable, optional
        Called after every step.
    checkpoint : Path, optional
        Where the state is written regularly.  If the file is there, the training goes
        on from it, and ends as if it had never stopped; the caller removes it.

    Returns
    -------
    FitResult

    Raises
    ------
    ConfigError
        If the checkpoint is of another schedule, or ``keep`` is ``best`` without
        `validator`.

    Notes
    -----
    A checkpoint holds the state of `batches` and `loss` too if they are
    :class:`.Stateful`; batches that are not are drawn anew from the beginning.
    """
    known = schedule.keep != "best" or validator is not None
    require(known, "keep", schedule.keep, "average or last where nothing validates")
    device = next(network.parameters()).device
    with single_core_workers(threads) as pool, fastest_convolutions(device):
        parts = threads if device.type == "cpu" else 1
        gradients = Gradients(network, predict, loss, pool, parts, schedule.half)
        run = _Run(network, gradients, batches, loss, schedule)
        if checkpoint is not None:
            run.resume(checkpoint)
        return run.until_the_end(validator, progress, checkpoint)


class _Run:
    """Hold all that changes while a network is trained."""

    def __init__(
        self,
        network: nn.Module,
        gradients: Gradients,
        batches: Iterator[tuple[Any, Any]],
        loss: Callable[[Tensor, Any], Tensor],
        schedule: Schedule,
    ) -> None:
        self.network, self.gradients, self.schedule = network, gradients, schedule
        self.batches = batches
        self.loss: object = loss
        self.averaged = copy.deepcopy(network)
        self.optimizers = _optimizers(network, schedule)
        self.device = next(network.parameters()).device
        self.step, self.seconds = 0, 0.0
        self.curve: list[CurvePoint] = []
        self.losses = _Losses()
        self.sound: list[Tensor] = []
        self.before: float | None = None
        self.best: tuple[float, dict[str, Tensor]] | None = None

    def until_the_end(
        self,
        validator: Validator | None,
        progress: Progress | None,
        checkpoint: Path | None,
    ) -> FitResult:
        """Train and leave the network with the weights that are kept."""
        schedule, reason = self.schedule, "steps"
        if self._keeps_best and validator and self.step == 0:
            self.before = validator.score(self.averaged)
            self._keep_if_best(self.before)
        begin, saved = time.monotonic() - self.seconds, time.monotonic()
        while self.step < schedule.steps:
            self.seconds = time.monotonic() - begin
            done = self.step / schedule.steps
            if schedule.time_budget is not None:
                done = max(done, self.seconds / schedule.time_budget)
            if done >= 1:
                reason = "time"
                break
            self._advance(schedule.rate(done))
            ended = self.step == schedule.steps
            reported = ended or self.step % schedule.report_every == 0
            saves = checkpoint and (ended or time.monotonic() - saved > schedule.checkpoint_every)
            if (self.losses.full or reported or saves) and not self._is_sound():
                reason = "diverged"
                break
            self._blend(schedule.ema_decay)
            if reported:
                self._report(validator, time.monotonic() - begin)
            if progress:
                progress(self.step, schedule.steps, f"training, loss {self.losses.last:.5f}")
            if checkpoint and saves:
                self.seconds = time.monotonic() - begin
                self._save(checkpoint)
                saved = time.monotonic()
        if reason == "time" and not self._is_sound():
            reason = "diverged"
        self.seconds = time.monotonic() - begin
        if self._keeps_best and reason == "time" and validator:
            self._report(validator, self.seconds)  # what came after the last point counts too
        self._leave_what_is_kept()
        return FitResult(
            curve=LearningCurve(
                points=tuple(self.curve),
                validation=validator.measure if validator else Validation(),
            ),
            steps=self.step,
            seconds=self.seconds,
            stop_reason=reason,
            before=self.before,
        )

    @property
    def _keeps_best(self) -> bool:
        return self.schedule.keep == "best"

    def _advance(self, rate: float) -> None:
        """Take one step."""
        self.step += 1
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = rate
        self.losses.add(self.gradients.update(self.optimizers, *next(self.batches)))

    def _blend(self, ema_decay: float) -> None:
        # Early on the weights change fast: average over a tenth of the steps so far.
        decay = min(ema_decay, (1 + self.step) / (10 + self.step))
        _blend(self.averaged, self.network, decay)

    def _is_sound(self) -> bool:
        """Tell whether all losses so far are numbers; if not, take the last sound mean."""
        if self.losses.read():
            if self.device.type != "cpu":  # a CPU is asked at every step
                self.sound = [part.clone() for part in self.averaged.parameters()]
            return True
        for part, sound in zip(self.averaged.parameters(), self.sound, strict=False):
            part.data.copy_(sound)
        return False

    def _report(self, validator: Validator | None, seconds: float) -> None:
        if self.curve and self.curve[-1].step == self.step:
            return
        scored = self.network if self.schedule.keep == "last" else self.averaged
        score = validator.score(scored) if validator else None
        self.curve.append(
            CurvePoint(
                step=self.step,
                seconds=round(seconds, 3),
                loss=self.losses.take_mean(),
                validation=score,
            )
        )
        if self._keeps_best and score is not None:
            self._keep_if_best(score)

    def _keep_if_best(self, score: float) -> None:
        if self.best is None or score > self.best[0]:
            state = {name: part.clone() for name, part in self.averaged.state_dict().items()}
            self.best = (score, state)

    def _leave_what_is_kept(self) -> None:
        if self._keeps_best and self.best is not None:
            self.network.load_state_dict(self.best[1])
        elif self.schedule.keep != "last":
            self.network.load_state_dict(self.averaged.state_dict())

    def _save(self, path: Path) -> None:
        state: dict[str, Any] = {
            "schedule": self.schedule.identity(),
            "step": self.step,
            "seconds": self.seconds,
            "curve": [asdict(point) for point in self.curve],
            "losses": list(self.losses.values),
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scaler": self.gradients.scaler.state_dict(),
            "before": self.before,
            "best": self.best,
            "random": random_state(self.device),
        }
        for name in ("batches", "loss"):
            if isinstance(part := getattr(self, name), Stateful):
                state[name] = part.state_dict()
        write_checkpoint(path, state)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint, if there is one."""
        state = read_checkpoint(path, self.schedule.identity())
        if not state:
            return
        self.step, self.seconds = state["step"], state["seconds"]
        self.curve = [CurvePoint(**point) for point in state["curve"]]
        self.losses.values = state["losses"]
        self.before = state["before"]
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        for optimizer, optimizer_state in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(optimizer_state)
        self.gradients.scaler.load_state_dict(state["scaler"])
        if state["best"] is not None:
            self.best = (state["best"][0], state["best"][1])
        if isinstance(self.loss, Stateful):
            self.loss.load_state_dict(state["loss"])
        if isinstance(self.batches, Stateful):
            self.batches.load_state_dict(state["batches"])
        else:
            for _ in range(self.step):
                next(self.batches)
        restore_random_state(state["random"], self.device)


def _optimizers(network: nn.Module, schedule: Schedule) -> list[torch.optim.Optimizer]:
    hidden = hidden_kernels(network) if schedule.optimizer == "muon" else []
    in_muon = {id(kernel) for kernel in hidden}
    remaining = [part for part in network.parameters() if id(part) not in in_muon]
    optimizers: list[torch.optim.Optimizer] = [Muon(hidden)] if hidden else []
    return [*optimizers, torch.optim.Adam(remaining, betas=schedule.betas)]


@torch.no_grad()
def _blend(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    mean = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    mean(list(averaged.parameters()), list(network.parameters()), None)
    for copied, current in zip(averaged.buffers(), network.buffers(), strict=True):
        copied.copy_(current)  # running means of a normalisation are means already
