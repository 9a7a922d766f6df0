from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bids_sr.exceptions import ConfigError
from bids_sr.method_options import MethodOptions
from bids_sr.seed import DEFAULT_SEED


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method": "self", "preset": "paper"},
            r"--sr-preset paper does not go with --sr-method self",
        ),
        (
            {"method": "linear", "preset": "fast"},
            "leave it out, or use --sr-method self or latent",
        ),
        ({"preset": "smore"}, "leave it out, or use --sr-method self$"),
        (
            {"method": "self", "adapt": "image"},
            r"--sr-adapt image does not go with --sr-method self",
        ),
        ({"method": "self", "model": "edsr"}, r"--sr-model does not go with --sr-method self"),
        ({"method": "latent", "reuse_model": Path("m")}, "expected self"),
        ({"method": "bspline", "save_model": True}, "expected self or finetuned or latent"),
        ({"method": "latent", "adapt": "none"}, "leaves no weights to apply"),
        ({"method": "magic"}, "--sr-method is 'magic': expected 'self' or"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MethodOptions(**options)


def test_only_what_was_asked_is_handed_on() -> None:
    assert MethodOptions(seed=3).parameters() == {"seed": 3, "device": "auto"}
    options = MethodOptions(
        method="self", preset="smore", steps=9, data_consistency=False, offline=True
    )
    assert options.parameters() == {
        "seed": DEFAULT_SEED,
        "device": "auto",
        "preset": "smore",
        "steps": 9,
        "data_consistency": False,
        "offline": True,
    }


def test_a_path_becomes_absolute_and_a_name_stays() -> None:
    model = MethodOptions(method="finetuned", model="m.safetensors").model
    assert model == os.path.abspath("m.safetensors")
    assert MethodOptions(method="pretrained", model="edsr").model == "edsr"


@pytest.mark.parametrize(
    ("options", "recipe", "adapt"),
    [
        ({"method": "finetuned"}, None, None),
        ({"method": "finetuned", "adapt": "dataset"}, "adapt", "none"),
        ({"method": "finetuned", "adapt": "both"}, "adapt", "image"),
        ({"method": "finetuned", "adapt": "image"}, None, "image"),
        ({"method": "latent"}, "autoencoder", "none"),
        ({"method": "latent", "model": "m.pth"}, None, None),
        ({"method": "latent", "alone": True}, None, None),
    ],
)
def test_who_learns_from_what(
    options: dict[str, Any], recipe: str | None, adapt: str | None
) -> None:
    chosen = MethodOptions(**options)
    assert (chosen.recipe and chosen.recipe.name) == recipe
    assert chosen.parameters().get("adapt") == adapt


def test_words() -> None:
    assert MethodOptions(method="linear").words() == "linear"
    text = MethodOptions(method="finetuned", model="m", adapt="both").words()
    assert text == "finetuned (model m, adapted to the dataset and each image)"
    assert MethodOptions(adapt="none").words() == "finetuned (bundled model, not adapted)"
    assert "adapted to each image" in MethodOptions(method="latent", alone=True).words()
    assert MethodOptions(method="self", preset="smore").words() == "self (preset smore)"


@pytest.mark.parametrize(
    ("options", "idle"),
    [
        ({"adapt": "none"}, True),
        ({}, False),
        ({"adapt": "dataset"}, False),
        ({"method": "self"}, False),
        ({"method": "self", "reuse_model": Path("m.safetensors")}, True),
        ({"method": "latent"}, False),
        ({"method": "linear"}, True),
    ],
)
def test_a_limit_of_a_training_that_is_none_is_told(options: dict[str, Any], idle: bool) -> None:
    words = MethodOptions(**options, steps=5).words()
    assert ("nothing is trained: --sr-steps without effect" in words) == idle
