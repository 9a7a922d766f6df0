from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from bids_sr.exceptions import ConfigError, InputDataError
from bids_sr.records.learning_curve import CurvePoint, LearningCurve
from bids_sr.sr.contract.card import WeightsCard
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.recipes.base import Job, Recipe, make_recipe
from bids_sr.sr.recipes.registry import RECIPES


@dataclass(frozen=True, kw_only=True)
class Counting(Recipe):
    """Learn how many files there are."""

    name = "counting"

    factor: float = 1.0

    def _train(self, job: Job) -> Weights:
        number = torch.tensor(float(len(job.files)) * self.factor)
        point = CurvePoint(step=1, seconds=0.5, loss=0.25)
        curve = LearningCurve(points=(point,))
        return Weights({"number": number}, WeightsCard(architecture="number", curve=curve))


def test_card_says_what_was_done() -> None:
    first = Counting(threads=1).train([Path("b.nii"), Path("a.nii.gz"), Path("c.txt")])
    weights = Counting(seed=2, factor=3.0).train([Path("a.nii")], start=first)
    card = json.loads(json.dumps(weights.card.to_dict()))
    assert first.tensors["number"] == 2
    assert first.card.data == {"Files": ["a.nii.gz", "b.nii"]}
    assert first.card.to_dict()["Start"] is None
    assert card["Recipe"]["Name"] == "counting"
    assert card["Recipe"]["Parameters"]["factor"] == 3.0
    assert card["Seed"] == 2
    assert card["Start"]["SHA256"] == first.digest
    assert card["Curve"] == [{"step": 1, "seconds": 0.5, "loss": 0.25, "validation": None}]


def test_nothing_to_read_is_refused() -> None:
    with pytest.raises(InputDataError, match="none of which ends in"):
        Counting().train([Path("a.mp4")])


def test_unknown_names_are_refused() -> None:
    recipes = {"counting": Counting}
    assert make_recipe(recipes, "counting", {"factor": 2.0}) == Counting(factor=2.0)
    with pytest.raises(ConfigError, match="expected one of counting"):
        make_recipe(recipes, "guessing")
    with pytest.raises(ConfigError, match="parameter speed"):
        make_recipe(recipes, "counting", {"speed": 1})
    with pytest.raises(ConfigError, match="seed"):
        make_recipe(recipes, "counting", {"seed": -1})


def test_settings_of_earlier_versions_are_read_by_their_new_names() -> None:
    recipe = make_recipe(RECIPES, "supervised", {"averaging": 0.5, "noise": 0.01})
    assert (recipe.ema_decay, recipe.noise_fraction) == (0.5, 0.01)
    with pytest.raises(ConfigError, match="parameter averaging"):
        make_recipe({"counting": Counting}, "counting", {"averaging": 0.5})


def test_registered_recipes_bear_their_names() -> None:
    assert {name: recipe.name for name, recipe in RECIPES.items()} == {
        name: name for name in RECIPES
    }
