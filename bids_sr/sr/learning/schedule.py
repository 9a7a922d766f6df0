"""A schedule: how long and how fast a network trains, and which weights are kept."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bids_sr.sr.contract.settings import require

_LEAST_RATE = 1e-3  # of the highest learning rate, at the end


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """State how long and how fast to train."""

    steps: int
    """Number of updates."""
    time_budget: float | None = None
    """Upper bound on the time, s; the learning rate then falls over this time."""
    learning_rate: float = 2e-3
    """Highest learning rate."""
    optimizer: Literal["adam", "muon"] = "adam"
    """``muon``: Muon for the kernels of hidden layers, Adam for the rest."""
    warmup: float = 0.1
    """Share of the training in which the rate rises; it falls as a cosine after."""
    decay: Literal["cosine", "restarts"] = "cosine"
    """``restarts``: no warm-up, and the cosine restarts after every cycle."""
    first_cycle: int = 1000
    """Steps of the first cycle, with restarts."""
    cycle_growth: int = 1
    """Factor by which a cycle is longer than the one before."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decays of the two running means of Adam."""
    ema_decay: float = 0.99
    """Decay of the exponential moving average (EMA) of the weights; 0: no average."""
    keep: Literal["average", "best", "last"] = "average"
    """Weights of the network in the end: the average at the last step, the average at the
    best validation score, or the weights of the last step themselves."""
    half: bool = True
    """Use the device's half precision where that is faster."""
    report_every: int = 100
    """Steps between points of the learning curve."""
    checkpoint_every: float = 60.0
    """Least time between two checkpoints, s."""

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        require(self.steps >= 1, "steps", self.steps, "1 or more")
        budget = self.time_budget
        require(budget is None or budget > 0, "time_budget", budget, "more than 0 s")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        require(self.optimizer in ("adam", "muon"), "optimizer", self.optimizer, "adam or muon")
        decays, kept = ("cosine", "restarts"), ("average", "best", "last")
        require(self.decay in decays, "decay", self.decay, " or ".join(decays))
        require(self.keep in kept, "keep", self.keep, ", ".join(kept))
        require(self.first_cycle >= 1, "first_cycle", self.first_cycle, "1 or more")
        require(self.cycle_growth >= 1, "cycle_growth", self.cycle_growth, "1 or more")
        fine = all(0 <= beta < 1 for beta in self.betas)
        require(fine, "betas", self.betas, "two numbers from 0 to below 1")

    def rate(self, progress: float) -> float:
        """Return the learning rate when this share of the training is done."""
        if self.decay == "restarts":
            share = self._share_of_cycle(progress * self.steps)
            return self.learning_rate * max(0.5 * (1 + math.cos(math.pi * share)), _LEAST_RATE)
        if progress < self.warmup:
            return self.learning_rate * max(progress / self.warmup, _LEAST_RATE)
        falling = 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))
        return self.learning_rate * max(falling, _LEAST_RATE)

    def _share_of_cycle(self, step: float) -> float:
        length = float(self.first_cycle)
        while step >= length:
            step -= length
            length *= self.cycle_growth
        return step / length

    def identity(self) -> dict[str, Any]:
        """Return the settings that must be equal for an interrupted training to resume."""
        values = asdict(self)
        for name in ("time_budget", "checkpoint_every"):
            del values[name]
        return values
