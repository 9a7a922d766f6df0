from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Acquisition, Volume, degrade
from bids_sr.sr.contract.card import WeightsCard
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.networks.backbone import Backbone
from bids_sr.sr.recipes.adapt import Adapt

QUICK: dict[str, Any] = {
    "threads": 1,
    "device": "cpu",
    "batch_size": 4,
    "patch_width": 16,
    "patch_slices": 4,
    "learning_rate": 2e-3,
}


@pytest.fixture(scope="module")
def start() -> Weights:
    return Backbone(factor=4, channels=8, blocks=1).weights(WeightsCard(licence="none"))


@pytest.fixture(scope="module")
def acquisitions(
    reference: Volume, tmp_path_factory: pytest.TempPathFactory
) -> dict[Path, Acquisition]:
    """Two subjects, each taken in its own way."""
    folder = tmp_path_factory.mktemp("thick")
    protocols = {
        "sub-a": Acquisition(spacing=8.0, thickness=6.0, slice_axis=2),
        "sub-b": Acquisition(spacing=6.0, thickness=6.0, profile="rect", slice_axis=0),
    }
    return {
        degrade(reference, acquisition).save(folder / f"{name}_T2w.nii.gz"): acquisition
        for name, acquisition in protocols.items()
    }


def test_it_learns_from_thick_slices_alone(
    acquisitions: dict[Path, Acquisition], start: Weights
) -> None:
    parameters = {**QUICK, "steps": 120, "report_every": 60, "left_out_subjects": ("sub-b",)}
    weights = Adapt(**parameters).train([*acquisitions], acquisitions=acquisitions, start=start)
    card = weights.card.to_dict()
    assert card["Data"] == {"Files": ["sub-a_T2w.nii.gz"], "LeftOut": ["sub-b_T2w.nii.gz"]}
    assert card["Start"]["SHA256"] == start.digest
    (gain,) = card["Validation"]["GainOverCubicDecibel"].items()
    assert gain[0] == "sub-b_T2w.nii.gz 6/6 mm rect"
    assert gain[1] > 0
    assert Backbone.from_weights(weights).arguments["channels"] == 8


def test_the_mean_of_the_weights_before_and_after_is_kept(
    acquisitions: dict[Path, Acquisition], start: Weights
) -> None:
    def learnt(share: float) -> Weights:
        recipe = Adapt(**QUICK, steps=5, left_out=0, mixture=share)
        return recipe.train([*acquisitions], acquisitions=acquisitions, start=start)

    whole, half = learnt(1.0).tensors, learnt(0.5).tensors
    name = "head.weight"
    assert not torch.equal(whole[name], start.tensors[name])
    torch.testing.assert_close(half[name], (whole[name] + start.tensors[name]) / 2)


def test_images_without_thick_slices_are_left_out_aloud(
    reference: Volume, start: Weights, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fine = reference.save(tmp_path / "fine.nii.gz")
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(InputDataError, match="none with slices to learn from"),
    ):
        Adapt(**QUICK, steps=1).train([fine], start=start)
    assert "fine.nii.gz: slices are 1 voxels apart" in caplog.text
