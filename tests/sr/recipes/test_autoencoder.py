from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bids_sr.exceptions import ConfigError, InputDataError, WeightsError
from bids_sr.imaging import Series, Volume
from bids_sr.records.learning_curve import CurvePoint, LearningCurve
from bids_sr.sr.learning.loop import FitResult
from bids_sr.sr.networks.autoencoder import Autoencoder
from bids_sr.sr.recipes.autoencoder import AutoencoderRecipe, read_stacks
from bids_sr.sr.recipes.base import make_recipe
from bids_sr.sr.recipes.registry import RECIPES

Tube = Callable[..., Volume]

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


@pytest.fixture
def files(tmp_path: Path, tube: Tube) -> list[Path]:
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


def test_frames_are_stacks(tmp_path: Path, tube: Tube) -> None:
    path = Series.of([tube(0), tube(1)]).save(tmp_path / "cine.nii.gz")
    stacks = read_stacks([path], {}, None)
    assert [stack.shape for stack in stacks] == [(5, 20, 24)] * 2
    assert all((stack.min(), stack.max()) == (0, 1) for stack in stacks)
    assert recipe(validation=0.0).train([path]).card.to_dict()["Data"]["Stacks"] == 2


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
    still = recipe(steps=1, learning_rate=1e-12, ema_decay=0.0).train(files, start=first)
    for name, _ in Autoencoder(width=2, depth=2, latent_channels=4).named_parameters():
        torch.testing.assert_close(still.tensors[name], first.tensors[name])
    assert still.card.to_dict()["Start"]["SHA256"] == first.digest
    with pytest.raises(WeightsError, match=r"expected .*'width': 3"):
        recipe(width=3).train(files, start=first)


@pytest.mark.parametrize("slices", [2, 3])
def test_few_slices_teach_what_they_can(tmp_path: Path, slices: int, tube: Tube) -> None:
    path = tube(0, slices).save(tmp_path / "few.nii.gz")
    curve = recipe(validation=0.0).train([path]).card.to_dict()["Curve"]
    assert np.isfinite(curve[-1]["loss"])
    assert curve[-1]["validation"] is None


def test_paper_is_a_preset() -> None:
    preset = make_recipe(RECIPES, "autoencoder", {"preset": "paper", "steps": 5})
    assert isinstance(preset, AutoencoderRecipe)
    assert (preset.width, preset.depth, preset.latent_channels, preset.patch_size) == (
        32,
        4,
        16,
        128,
    )
    assert (preset.learning_rate, preset.synthesis, preset.steps) == (1e-5, 0.0, 5)
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
