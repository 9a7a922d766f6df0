from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from bids_sr.exceptions import ConfigError
from bids_sr.sr.training.loop import FitResult, Schedule, fit
from bids_sr.sr.training.losses import mean_squared_error


def pairs(scale: float = 1.0) -> Iterator[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(0)
    while True:
        given = torch.randn(16, 3, generator=random)
        yield given, scale * (given @ torch.tensor([[1.0], [-2.0], [0.5]]))


def train(network: nn.Module, schedule: Schedule, scale: float = 1.0) -> FitResult:
    return fit(network, lambda n, x: n(x), pairs(scale), mean_squared_error, schedule)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def test_loss_falls_to_the_solution() -> None:
    learner = network()
    result = train(learner, Schedule(steps=300, learning_rate=0.05))
    assert result.stop_reason == "steps"
    assert [point.step for point in result.curve] == [100, 200, 300]
    assert result.curve[-1].loss < 1e-3 < result.curve[0].loss
    torch.testing.assert_close(
        learner.weight.detach(), torch.tensor([[1.0, -2.0, 0.5]]), atol=0.02, rtol=0
    )


def test_time_budget_ends_the_training() -> None:
    result = train(network(), Schedule(steps=10**8, time_budget=0.3))
    assert result.stop_reason == "time"
    assert 0.25 < result.seconds < 3
    assert 0 < result.steps < 10**8


def test_divergence_is_told() -> None:
    result = train(network(), Schedule(steps=50), scale=float("inf"))
    assert result.stop_reason == "diverged"
    assert result.steps == 1


def test_rate_rises_and_falls() -> None:
    schedule = Schedule(steps=10, learning_rate=1.0, warmup=0.2)
    rates = [schedule.rate(share) for share in (0.0, 0.1, 0.2, 0.6, 1.0)]
    assert rates == pytest.approx([1e-3, 0.5, 1.0, 0.5, 1e-3])


def test_validation_and_progress_are_told() -> None:
    seen: list[tuple[int, int]] = []
    result = fit(
        network(),
        lambda n, x: n(x),
        pairs(),
        mean_squared_error,
        Schedule(steps=5, report_every=2),
        validate=lambda n: 1.5,
        progress=lambda step, total, message: seen.append((step, total)),
    )
    assert seen == [(step, 5) for step in range(1, 6)]
    assert [point.step for point in result.curve] == [2, 4, 5]
    assert {point.validation for point in result.curve} == {1.5}


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"steps": 1, "time_budget": 0.0}, {"steps": 1, "learning_rate": 0.0}]
)
def test_impossible_schedule_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=list(wrong)[-1]):
        Schedule(**wrong)  # type: ignore[arg-type]


def test_cores_share_a_batch() -> None:
    """Parts of unequal size weigh as their patches do; torch's threads are put back."""
    before = torch.get_num_threads()
    learners = [network() for _ in range(2)]
    for learner, threads in zip(learners, (1, 3), strict=True):
        schedule = Schedule(steps=20, half=False)
        fit(learner, lambda n, x: n(x), pairs(), mean_squared_error, schedule, threads=threads)
    torch.testing.assert_close(learners[0].weight, learners[1].weight, atol=1e-6, rtol=1e-5)
    assert torch.get_num_threads() == before
