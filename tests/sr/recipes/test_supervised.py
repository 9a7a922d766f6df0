from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bids_sr.exceptions import ConfigError, WeightsError
from bids_sr.imaging import Volume
from bids_sr.sr.contract.card import WeightsCard
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.learning.training_volumes import TrainingVolume
from bids_sr.sr.networks.backbone import Backbone
from bids_sr.sr.recipes.supervised import Supervised

TINY: dict[str, Any] = {
    "threads": 1,
    "device": "cpu",
    "channels": 8,
    "blocks": 1,
    "batch_size": 4,
    "patch_width": 16,
    "patch_slices": 4,
    "spacings": (4.0, 12.0),
}


@pytest.fixture(scope="module")
def files(reference: Volume, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("fine")
    halves = {"a": reference.data[:, :28], "b": reference.data[:, 28:]}
    return [
        Volume(data, reference.affine).save(folder / f"sub-{name}_T1w.nii.gz")
        for name, data in halves.items()
    ]


def test_it_learns_what_holds_for_another_subject(files: list[Path]) -> None:
    recipe = Supervised(**TINY, steps=200, report_every=100, ema_decay=0.95, left_out=0.5)
    weights = recipe.train(files)
    card = json.loads(json.dumps(weights.card.to_dict()))
    assert card["Architecture"] == {"Name": "backbone", "factor": 8, "channels": 8, "blocks": 1}
    (left_out,) = card["Data"]["LeftOut"]
    assert [left_out, *card["Data"]["Files"]] == sorted(
        (path.name for path in files), reverse=left_out.startswith("sub-b")
    )
    gains = card["Validation"]["GainOverCubicDecibel"]
    assert len(gains) == 4
    assert all(name.startswith(left_out) for name in gains)
    assert min(gains.values()) > 0
    assert card["Curve"][-1]["validation"] == pytest.approx(sum(gains.values()) / 4, abs=1e-3)


def test_it_begins_with_given_weights_and_goes_on(files: list[Path], tmp_path: Path) -> None:
    first = Supervised(**TINY, steps=3, left_out_subjects=("sub-a",)).train(files)
    assert first.card.to_dict()["Data"]["LeftOut"] == ["sub-a_T1w.nii.gz"]
    still = Supervised(**TINY, steps=1, learning_rate=1e-9).train(files, start=first)
    torch.testing.assert_close(still.tensors, first.tensors, atol=1e-6, rtol=0)

    class StopError(Exception):
        pass

    def stop(step: int, total: int, message: str) -> None:
        if step == 4:
            raise StopError

    recipe = Supervised(**TINY, steps=4, left_out=0.0)
    whole = recipe.train(files)
    with pytest.raises(StopError):
        recipe.train(files, checkpoint=tmp_path / "state", progress=stop)
    again = recipe.train(files, checkpoint=tmp_path / "state")
    torch.testing.assert_close(again.tensors, whole.tensors, atol=0, rtol=0)
    assert Backbone.from_weights(again).arguments["channels"] == 8


def test_label_maps_teach_by_images_synthesised_from_them(
    files: list[Path], reference: Volume, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = np.digitize(reference.data, np.quantile(reference.data, (0.3, 0.6, 0.9)))
    maps = [
        reference.with_data(labels.astype(np.int16)).save(tmp_path / "sub-a_dseg.nii.gz"),
        reference.with_data(labels / 2.0).save(tmp_path / "sub-b_dseg.nii.gz"),
    ]
    recipe = Supervised(**TINY, steps=2, left_out_subjects=("sub-a",), synthetic_images=4)
    weights = recipe.train([*files, *maps])
    assert weights.card.data == {
        "Files": ["sub-b_T1w.nii.gz"],
        "LeftOut": ["sub-a_T1w.nii.gz"],
        "Synthetic": ["from sub-a_dseg.nii.gz"] * 2,
    }
    assert "0.5 in sub-b_dseg.nii.gz; expected the integers" in caplog.text
    without = Supervised(**TINY, steps=2, left_out_subjects=("sub-a",), synthetic_images=0)
    assert without.train([*files, *maps]).card.to_dict()["Data"]["Synthetic"] == []


def test_a_widened_network_begins_as_the_narrow_one(files: list[Path]) -> None:
    recipe = Supervised(**TINY, steps=60, left_out_subjects=("sub-a",))
    narrow = recipe.train(files)
    still = {**TINY, "steps": 1, "learning_rate": 1e-9, "left_out_subjects": ("sub-a",)}
    wide = Supervised(**still, widened_to=16).train(files, start=narrow)
    assert wide.card.to_dict()["Architecture"]["channels"] == 16
    assert wide.card.to_dict()["Validation"] == narrow.card.to_dict()["Validation"]
    with pytest.raises(ConfigError, match="widened_to"):
        Supervised(**still, widened_to=4).train(files, start=narrow)


def test_a_network_learns_to_see_neighbouring_planes(files: list[Path]) -> None:
    """It begins as the one that does not, and what neighbours tell holds for others."""
    settings = {**TINY, "left_out_subjects": ("sub-a",), "ema_decay": 0.95, "patch_planes": 9}
    narrow = Supervised(**settings, steps=60).train(files)
    same = Supervised(**{**settings, "learning_rate": 1e-9}, steps=1, planes=3)
    begun = same.train(files, start=narrow)
    assert begun.card.to_dict()["Architecture"]["planes"] == 3
    centre = begun.tensors["blocks.0.first.weight"][:, :, 1]
    torch.testing.assert_close(centre, narrow.tensors["blocks.0.first.weight"], atol=1e-6, rtol=0)
    seeing = Supervised(**settings, steps=120, planes=3).train(files, start=narrow)
    gains = [
        sum(card.validation["GainOverCubicDecibel"].values()) for card in (begun.card, seeing.card)
    ]
    assert gains[1] > gains[0]
    assert bool(seeing.tensors["blocks.0.first.weight"][:, :, 0].any())
    with pytest.raises(ConfigError, match="planes"):
        Supervised(**settings, steps=1, planes=1).train(files, start=seeing)


def test_rare_files_count_more_often(files: list[Path]) -> None:
    recipe = Supervised(repeats={"sub-b*": 3, "*sub-b_*": 5})
    for path in files:
        volume = TrainingVolume.of(path.name, np.ones((8, 8, 8), np.float32), np.ones(3))
        assert recipe._weighted(volume).repeats == (5 if "sub-b_" in path.name else 1)


def test_wrong_settings_are_refused(files: list[Path]) -> None:
    with pytest.raises(ConfigError, match="profiles"):
        Supervised(profiles=("square",))
    with pytest.raises(ConfigError, match="misstated_fraction"):
        Supervised(misstated_fraction=2.0)
    with pytest.raises(ConfigError, match="repeats"):
        Supervised(repeats={"*knee*": 0})
    with pytest.raises(ConfigError, match="odd number"):
        Supervised(planes=2)
    with pytest.raises(ConfigError, match="patch_planes"):
        Supervised(patch_planes=3)
    with pytest.raises(ConfigError, match="left_out"):
        Supervised(left_out=1.0)
    with pytest.raises(ConfigError, match="no file of sub-c"):
        Supervised(**TINY, left_out_subjects=("sub-c",)).train(files)
    other = Weights({}, WeightsCard(architecture="other"))
    with pytest.raises(WeightsError, match="do not fit"):
        Supervised(**TINY, steps=1).train(files, start=other)
