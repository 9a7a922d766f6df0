"""Cards of this version and of earlier ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bids_sr.records.learning_curve import GAIN_OVER_LINEAR, CurvePoint, LearningCurve
from bids_sr.sr.contract.card import RecipeUsed, Start, WeightsCard
from bids_sr.sr.contract.weights import Weights

SHIPPED = Path(__file__).parents[3] / "bids_sr" / "data" / "weights"


def test_a_card_is_read_as_it_was_written() -> None:
    curve = LearningCurve(
        points=(CurvePoint(step=1, seconds=0.5, loss=0.25, validation=0.0),),
        validation=GAIN_OVER_LINEAR,
    )
    first = WeightsCard(architecture="x", arguments={"blocks": 2}, seed=0, curve=curve)
    card = WeightsCard(
        recipe=RecipeUsed(name="latent", parameters={"steps": 3}),
        start=Start(sha256="12", card=first),
        others={"Colour": "blue"},
    )
    assert WeightsCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card


def test_a_method_s_settings_beside_its_name_are_read() -> None:
    card = WeightsCard.from_dict({"Recipe": {"Name": "self", "steps": 3}})
    assert card.recipe == RecipeUsed(name="self", parameters={"steps": 3})


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.safetensors")), ids=lambda path: path.stem)
def test_shipped_cards_and_those_of_their_start_are_read_whole(path: Path) -> None:
    """Those of earlier versions too: weights carry the cards of all that they began with."""
    cards = [Weights.load(path).card]
    while (start := cards[-1].start) is not None:
        cards.append(start.card)
    assert len(cards) == 5
    for card in cards:
        assert card.recipe is not None
        assert card.recipe.name == "supervised"
        assert card.recipe.parameters["factor"] == card.arguments["factor"] == 8
        assert len(card.curve.points) == len(card.curve.scores) > 5
        assert not card.others
    baselines = [card.curve.validation.baseline for card in cards]
    assert baselines == ["cubic interpolation", *4 * [""]], "earlier ones do not say"
