from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bids_sr.compute.progress import Progress
from bids_sr.exceptions import ConfigError, InputDataError, WeightsError
from bids_sr.imaging import Acquisition, Series, Volume
from bids_sr.records.learning_curve import CurvePoint, LearningCurve
from bids_sr.sr.learning.loop import FitResult, Schedule
from bids_sr.sr.networks.autoencoder import Autoencoder
from bids_sr.sr.recipes.autoencoder import (
    AutoencoderRecipe,
    NeighbourTraining,
    read_stacks,
    training_stack,
)
from bids_sr.sr.recipes.base import make_recipe
from bids_sr.sr.recipes.registry import RECIPES

AFFINE = np.diag([2.0, 2.0, 8.0, 1.0])
QUICK: dict[str, Any] = {
    "width": 2,
    "depth": 2,
    "latent_channels": 4,
    "steps": 4,
    "batch_size": 2,
    "patch_size": 16,
    "threads": 1,
    "device": "cpu",
}


def tube(seed: int, slices: int = 5) -> Volume:
    """Return a disc whose place and radius change from slice to slice."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:20, :24]
    data = random.normal(0, 2, (20, 24, slices))
    start, step = random.uniform(8, 14, 2), random.uniform(-1, 1, 2)
    for n in range(slices):
        row, column = start + n * step
        data[..., n] += 100 * ((rows - row) ** 2 + (columns - column) ** 2 < (4 + n / 2) ** 2)
    return Volume(data.astype(np.float32), AFFINE)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [tube(n).save(tmp_path / f"sub-{n}_cine.nii.gz") for n in range(4)]


def recipe(**more: Any) -> AutoencoderRecipe:
    return AutoencoderRecipe(**{**QUICK, **more})


def test_card_says_what_the_weights_are(files: list[Path]) -> None:
    weights = recipe(in_plane_spacing=1.4).train(files)
    card = weights.card.to_dict()
    assert card["Architecture"] == {
        "Name": "autoencoder",
        "width": 2,
        "depth": 2,
        "latent_channels": 4,
    }
    assert card["Geometry"] == {"InPlaneSpacing": 1.4}
    assert (card["Data"]["Stacks"], card["Data"]["Slices"]) == (3, 15)
    assert len(card["Data"]["LeftOut"]) == 1
    assert card["Curve"][-1]["step"] == 4
    assert card["Curve"][-1]["validation"] is not None


def test_same_seed_same_weights(files: list[Path]) -> None:
    first, second, other = (recipe(seed=seed).train(files).digest for seed in (1, 1, 2))
    assert first == second != other


def test_frames_are_stacks(tmp_path: Path) -> None:
    path = Series.of([tube(0), tube(1)]).save(tmp_path / "cine.nii.gz")
    stacks = read_stacks([path], {}, None)
    assert [stack.shape for stack in stacks] == [(5, 20, 24)] * 2
    assert all((stack.min(), stack.max()) == (0, 1) for stack in stacks)
    assert recipe(validation=0.0).train([path]).card.to_dict()["Data"]["Stacks"] == 2


def test_slices_are_those_acquired() -> None:
    volume = tube(0)
    acquisition = Acquisition(spacing=2.0, slice_axis=0)
    assert training_stack(volume, acquisition, None).shape == (20, 24, 5)
    assert training_stack(volume, Acquisition(spacing=8.0), 1.0).shape == (5, 40, 48)


def test_bad_files_are_left_out_with_a_warning(
    files: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    files[0].write_bytes(b"nonsense")
    with caplog.at_level(logging.WARNING):
        stacks = read_stacks(files, {}, None)
    assert len(stacks) == 3
    assert "sub-0_cine" in caplog.text
    with pytest.raises(InputDataError, match="no image that can be learnt from"):
        read_stacks(files[:1], {}, None)


def test_goes_on_from_weights(files: list[Path]) -> None:
    first = recipe().train(files)
    still = recipe(steps=1, learning_rate=1e-12, averaging=0.0).train(files, start=first)
    for name, _ in Autoencoder(width=2, depth=2, latent_channels=4).named_parameters():
        torch.testing.assert_close(still.tensors[name], first.tensors[name])
    assert still.card.to_dict()["Start"]["SHA256"] == first.digest
    with pytest.raises(WeightsError, match=r"expected .*'width': 3"):
        recipe(width=3).train(files, start=first)


def test_interrupted_training_ends_the_same(tmp_path: Path) -> None:
    stacks = [training_stack(tube(n), Acquisition(spacing=8.0), None) for n in range(3)]
    schedule = Schedule(steps=5, half=False, checkpoint_every=0.0)

    def interrupt(step: int, total: int, message: str) -> None:
        if step == 4:
            raise KeyboardInterrupt

    def trained(*parts: Progress | None) -> Autoencoder:
        torch.manual_seed(0)
        network = Autoencoder(width=2, depth=2, latent_channels=4)
        checkpoint = tmp_path / f"{len(parts)}"
        for progress in parts:
            with suppress(KeyboardInterrupt):
                NeighbourTraining(patch_size=16, zoom=0.2).train(
                    network,
                    stacks,
                    (),
                    schedule,
                    threads=1,
                    progress=progress,
                    checkpoint=checkpoint,
                )
        return network

    whole, halved = trained(None).state_dict(), trained(interrupt, None).state_dict()
    for name, tensor in whole.items():
        torch.testing.assert_close(halved[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("slices", [2, 3])
def test_few_slices_teach_what_they_can(tmp_path: Path, slices: int) -> None:
    path = tube(0, slices).save(tmp_path / "few.nii.gz")
    curve = recipe(validation=0.0).train([path]).card.to_dict()["Curve"]
    assert np.isfinite(curve[-1]["loss"])
    assert curve[-1]["validation"] is None


def test_learns_what_lies_between() -> None:
    """Discs that move: their mean has two edges, the slice between has one."""
    torch.manual_seed(0)
    stacks = [training_stack(tube(n), Acquisition(spacing=8.0), None) for n in range(20)]
    network = Autoencoder(width=8, depth=2, latent_channels=16)
    result = NeighbourTraining(patch_size=24, batch_size=4).train(
        network,
        stacks[:16],
        stacks[16:],
        Schedule(steps=100, learning_rate=3e-3),
        threads=1,
    )
    assert result.curve.points[-1].validation is not None
    assert result.curve.points[-1].validation > 0.3


def test_paper_is_a_preset() -> None:
    made = make_recipe(RECIPES, "autoencoder", {"preset": "paper", "steps": 5})
    assert isinstance(made, AutoencoderRecipe)
    assert (made.width, made.depth, made.latent_channels, made.patch_size) == (32, 4, 16, 128)
    assert (made.learning_rate, made.synthesis, made.steps) == (1e-5, 0.0, 5)
    with pytest.raises(ConfigError, match="fast or paper"):
        make_recipe(RECIPES, "autoencoder", {"preset": "slow"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", 0),
        ("depth", 0),
        ("latent_channels", 0),
        ("steps", 0),
        ("patch_size", 4),
        ("batch_size", 0),
        ("synthesis", -1.0),
        ("zoom", -0.1),
        ("in_plane_spacing", 0.0),
        ("validation", 1.0),
    ],
)
def test_impossible_settings_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        recipe(**{name: value})


def result(before: float | None, *scores: float | None) -> FitResult:
    points = tuple(
        CurvePoint(step=number, seconds=0.0, loss=0.0, validation=score)
        for number, score in enumerate(scores)
    )
    return FitResult(
        curve=LearningCurve(points=points),
        steps=len(points),
        seconds=0.0,
        stop_reason="steps",
        before=before,
    )


def test_gain_is_that_of_the_weights_that_were_kept() -> None:
    assert result(0.0, 0.5, 0.3).score_kept == 0.5
    assert result(0.1, -0.5, -0.3).score_kept == 0.1
    assert result(None, 0.5, 0.3).score_kept == 0.3
    assert result(None, None).score_kept is None


def test_best_weights_are_kept_only_where_they_are_trained_for() -> None:
    """An autoencoder that only restores would be judged by what it is not asked for."""
    stacks = [training_stack(tube(n), Acquisition(spacing=8.0), None) for n in range(3)]
    before = []
    for synthesis in (0.0, 1.0):
        network = Autoencoder(width=2, depth=2, latent_channels=4)
        training = NeighbourTraining(patch_size=16, synthesis=synthesis)
        made = training.train(network, stacks, (), Schedule(steps=2), threads=1)
        assert made.curve.points[-1].validation is not None
        before.append(made.before)
    assert before[0] is None
    assert before[1] is not None
