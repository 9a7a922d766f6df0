from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from bids_sr.exceptions import ConfigError
from bids_sr.records.learning_curve import GAIN_OVER_CUBIC, Validation
from bids_sr.sr.learning.checkpoint import read_checkpoint
from bids_sr.sr.learning.loop import FitResult, Schedule, Validator, fit
from bids_sr.sr.learning.losses import mean_squared_error


def pairs(scale: float = 1.0) -> Iterator[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(0)
    while True:
        inputs = torch.randn(16, 3, generator=random)
        yield inputs, scale * (inputs @ torch.tensor([[1.0], [-2.0], [0.5]]))


def train(network: nn.Module, schedule: Schedule, scale: float = 1.0) -> FitResult:
    return fit(network, lambda n, x: n(x), pairs(scale), mean_squared_error, schedule)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def test_loss_falls_to_the_solution() -> None:
    learner = network()
    result = train(learner, Schedule(steps=300, learning_rate=0.05))
    assert result.stop_reason == "steps"
    assert [point.step for point in result.curve.points] == [100, 200, 300]
    assert result.curve.points[-1].loss < 1e-3 < result.curve.points[0].loss
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
        validator=Validator(measure=GAIN_OVER_CUBIC, score=lambda n: 1.5),
        progress=lambda step, total, message: seen.append((step, total)),
    )
    assert seen == [(step, 5) for step in range(1, 6)]
    assert [point.step for point in result.curve.points] == [2, 4, 5]
    assert {point.validation for point in result.curve.points} == {1.5}


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"steps": 1, "time_budget": 0.0}, {"steps": 1, "learning_rate": 0.0}]
)
def test_impossible_schedule_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=list(wrong)[-1]):
        Schedule(**wrong)  # type: ignore[arg-type]


class Weighed(NamedTuple):
    """Examples, each with a share of its own."""

    values: Tensor
    shares: Tensor


def weighed(batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Weighed, Weighed]]:
    for inputs, targets in batches:
        shares = torch.linspace(0.5, 1.5, len(inputs))[:, None]
        yield Weighed(inputs, shares), Weighed(targets, shares)


@pytest.mark.parametrize("form", ["tensors", "named tuples"])
def test_cores_share_a_batch(form: str) -> None:
    """Parts of unequal size weigh as their patches do; torch's threads are put back."""
    before = torch.get_num_threads()
    learners = [network() for _ in range(2)]
    for learner, threads in zip(learners, (1, 3), strict=True):
        schedule = Schedule(steps=20, half=False)
        if form == "tensors":
            fit(learner, lambda n, x: n(x), pairs(), mean_squared_error, schedule, threads=threads)
            continue
        fit(
            learner,
            lambda n, x: n(x.values) * x.shares,
            weighed(pairs()),
            lambda predicted, target: mean_squared_error(predicted, target.values * target.shares),
            schedule,
            threads=threads,
        )
    torch.testing.assert_close(learners[0].weight, learners[1].weight, atol=1e-6, rtol=1e-5)
    assert torch.get_num_threads() == before


def test_restarts_begin_anew_with_longer_cycles() -> None:
    schedule = Schedule(
        steps=70, learning_rate=1.0, decay="restarts", first_cycle=10, cycle_growth=2
    )
    rates = [schedule.rate(step / 70) for step in (0, 5, 10, 20, 30, 50)]
    assert rates == pytest.approx([1.0, 0.5, 1.0, 0.5, 1.0, 0.5])


@pytest.mark.parametrize(
    "wrong",
    [{"decay": "steps"}, {"keep": "first"}, {"first_cycle": 0}, {"betas": (0.9, 1.0)}],
)
def test_impossible_choices_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Schedule(steps=1, **wrong)  # type: ignore[arg-type]


def test_best_is_kept() -> None:
    """The validation likes the middle: the weights of step 2 must be left."""
    scores, weights = iter([0.5, 1.0, 3.0, 2.0]), []

    def validate(judged: nn.Module) -> float:
        weights.append(judged.weight.detach().clone())
        return next(scores)

    learner = network()
    schedule = Schedule(steps=3, report_every=1, keep="best", learning_rate=0.1)
    result = fit(
        learner,
        lambda n, x: n(x),
        pairs(),
        mean_squared_error,
        schedule,
        validator=Validator(measure=Validation(), score=validate),
    )
    torch.testing.assert_close(learner.weight.detach(), weights[2], atol=0, rtol=0)
    assert not torch.equal(weights[2], weights[3])
    assert result.before == 0.5
    with pytest.raises(ConfigError, match="keep"):
        train(learner, schedule)


def test_last_is_not_averaged() -> None:
    networks = [network() for _ in range(2)]
    for learner, keep in zip(networks, ("average", "last"), strict=True):
        train(learner, Schedule(steps=5, keep=keep, learning_rate=0.1))  # type: ignore[arg-type]
    assert not torch.equal(networks[0].weight, networks[1].weight)
    raw = network()
    train(raw, Schedule(steps=5, ema_decay=0.0, learning_rate=0.1))
    torch.testing.assert_close(raw.weight, networks[1].weight, atol=1e-6, rtol=0)


class Counted:
    """Batches that know where they stand."""

    def __init__(self) -> None:
        self.random = torch.Generator().manual_seed(3)

    def __iter__(self) -> Counted:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        inputs = torch.randn(8, 3, generator=self.random)
        return inputs, inputs.sum(1, keepdim=True)

    def state_dict(self) -> dict[str, Tensor]:
        return {"random": self.random.get_state()}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        self.random.set_state(state_dict["random"])


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("batches", [Counted, pairs])
@pytest.mark.parametrize(("keep", "optimizer"), [("average", "adam"), ("best", "muon")])
def test_interrupted_training_ends_as_if_it_had_not_been(
    batches: type[Counted], keep: str, optimizer: str, tmp_path: Path
) -> None:
    schedule = Schedule(
        steps=20,
        report_every=5,
        checkpoint_every=0.0,
        keep=keep,  # type: ignore[arg-type]
        optimizer=optimizer,  # type: ignore[arg-type]
        learning_rate=0.05,
    )
    hidden = nn.Sequential(nn.Unflatten(1, (3, 1, 1)), nn.Conv2d(3, 3, 1), nn.Flatten())
    noisy = nn.Sequential(nn.Dropout(0.2), hidden, nn.Linear(3, 1))

    def run(checkpoint: Path | None, stop: int = 99) -> tuple[Tensor, FitResult]:
        torch.manual_seed(0)
        learner = copy.deepcopy(noisy)

        def progress(step: int, total: int, message: str) -> None:
            if step == stop:
                raise StoppedError

        result = fit(
            learner,
            lambda n, x: n(x),
            batches(),
            mean_squared_error,
            schedule,
            validator=Validator(
                measure=Validation(),
                score=lambda n: -float(n[2].weight.detach().sub(1).abs().sum()),
            ),
            progress=progress,
            checkpoint=checkpoint,
        )
        return learner[2].weight.detach(), result

    whole, uninterrupted = run(None)
    with pytest.raises(StoppedError):
        run(tmp_path / "state", stop=8)
    resumed, again = run(tmp_path / "state")
    torch.testing.assert_close(resumed, whole, atol=0, rtol=0)
    assert [point.loss for point in again.curve.points] == [
        point.loss for point in uninterrupted.curve.points
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    finished, _ = run(tmp_path / "state")
    torch.testing.assert_close(finished, whole, atol=0, rtol=0)


def test_checkpoint_with_the_former_name_of_the_decay_goes_on(tmp_path: Path) -> None:
    schedule = Schedule(steps=5).identity()
    former = {
        "averaging" if name == "ema_decay" else name: value for name, value in schedule.items()
    }
    torch.save({"schedule": former}, tmp_path / "state")
    assert read_checkpoint(tmp_path / "state", schedule) == {"schedule": former}


def test_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    def run(steps: int) -> FitResult:
        schedule = Schedule(steps=steps)
        where = tmp_path / "state"
        return fit(
            network(), lambda n, x: n(x), pairs(), mean_squared_error, schedule, checkpoint=where
        )

    run(2)
    with pytest.raises(ConfigError, match="another steps"):
        run(3)
    (tmp_path / "state").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="not a whole checkpoint"):
        run(2)


def test_statistics_of_a_normalisation_are_kept() -> None:
    learner = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1))
    train(learner, Schedule(steps=3))
    assert learner[0].num_batches_tracked == 3
