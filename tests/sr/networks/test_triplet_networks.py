from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from bids_sr.exceptions import WeightsError
from bids_sr.sr.contract.card import RecipeUsed, WeightsCard
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.networks.edsr import EDSR
from bids_sr.sr.networks.rrdb import RRDBNet
from bids_sr.sr.networks.shufflemixer import ShuffleMixer
from bids_sr.sr.networks.triplet_networks import TripletNetwork, load_network

SMALL: list[TripletNetwork] = [
    EDSR(channels=8, blocks=2),
    RRDBNet(channels=8, blocks=1, growth=4),
    ShuffleMixer(channels=8, blocks=1, kernel=3),
]
FILES = {
    "edsr": ("EDSR_finetuned.pth", "model_weights"),
    "realesrgan": ("RealESRGAN_finetuned.pth", "generator_weights"),
    "shufflemixer": ("ShuffleMixer_finetuned.pth", "model_weights"),
}
small = pytest.mark.parametrize("network", SMALL, ids=[network.name for network in SMALL])


@small
@pytest.mark.parametrize("said", ["{name}", "prettier-{name}", "{path}"])
def test_released_layout(network: TripletNetwork, said: str, tmp_path: Path) -> None:
    name, wrapper = FILES[network.name]
    path = tmp_path / "prettier" / name
    path.parent.mkdir()
    torch.save({wrapper: network.state_dict(), "epoch": 3}, path)
    model = said.format(name=network.name, path=path)
    loaded = load_network(model, weights_dir=tmp_path, offline=True)
    images = torch.rand(1, 3, 6, 8)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(images), network.eval()(images), rtol=0, atol=0)
    assert loaded.record == {
        "Architecture": network.name,
        "Weights": name,
        "WeightsSHA256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


@small
def test_own_weights(network: TripletNetwork, tmp_path: Path) -> None:
    arguments = type(network).arguments_of(network.state_dict())
    recipe = RecipeUsed(name="x")
    card = WeightsCard(architecture=network.name, arguments=arguments, recipe=recipe)
    path = Weights(tensors=network.state_dict(), card=card).save(tmp_path / "w.safetensors")
    assert load_network(str(path)).record["WeightsRecipe"] == {
        "Name": "x",
        "Parameters": {},
    }
    wrong = WeightsCard(architecture=network.name, arguments={"depth": 3})
    path = Weights(tensors=network.state_dict(), card=wrong).save(path)
    with pytest.raises(WeightsError, match="depth"):
        load_network(str(path))


def test_card_wins_over_what_shapes_tell(tmp_path: Path) -> None:
    network = EDSR(channels=8, blocks=2, residual_scale=1.0)
    card = WeightsCard(architecture="edsr", arguments={"residual_scale": 1.0})
    path = Weights(tensors=network.state_dict(), card=card).save(tmp_path / "w.safetensors")
    images = torch.rand(1, 3, 6, 8)
    with torch.inference_mode():
        output = load_network(str(path)).network(images)
        torch.testing.assert_close(output, network.eval()(images), rtol=0, atol=0)


def test_only_the_authors_edsr_shifts_the_mean(tmp_path: Path) -> None:
    network = EDSR(channels=8, blocks=1)  # its shift is for intensities to 255, as the authors'
    torch.save(network.state_dict(), tmp_path / "authors.pth")
    torch.save({"model_weights": network.state_dict()}, tmp_path / "prettier.pth")
    bare = {key: part for key, part in network.state_dict().items() if "mean" not in key}
    torch.save(bare, tmp_path / "bare.pth")
    networks = {path.stem: load_network(str(path)).network for path in tmp_path.glob("*.pth")}
    assert {stem for stem, candidate in networks.items() if candidate.mean_shift} == {"authors"}


def test_wrong_architecture_is_told(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(SMALL[0].state_dict(), path)
    assert load_network(str(path), architecture="edsr").network.name == "edsr"
    with pytest.raises(WeightsError, match="a network edsr; expected realesrgan"):
        load_network(str(path), architecture="realesrgan")
    torch.save({"layer.weight": torch.rand(3)}, path)
    with pytest.raises(WeightsError, match=r"parameters layer\.weight.*edsr or realesrgan or"):
        load_network(str(path))
    state = {
        key: part for key, part in SMALL[0].state_dict().items() if key != "body.1.body.2.bias"
    }
    torch.save(state, path)
    with pytest.raises(WeightsError, match=r"lacks body\.1\.body\.2\.bias"):
        load_network(str(path))


def test_unknown_name_and_absent_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BIDS_SR_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(WeightsError, match="expected one of edsr, realesrgan, shufflemixer or"):
        load_network("edrs")
    place = tmp_path / "prettier" / "EDSR_finetuned.pth"
    with pytest.raises(WeightsError, match=f"offline.*so that {place} exists"):
        load_network("edsr", weights_dir=tmp_path, offline=True)


def test_released_digest_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from bids_sr.sr.networks import triplet_networks

    known = replace(
        triplet_networks.published_weights("prettier-edsr"), files={"EDSR_finetuned.pth": "0" * 64}
    )
    monkeypatch.setattr(triplet_networks, "published_weights", lambda name: known)
    (tmp_path / "prettier").mkdir()
    torch.save(SMALL[0].state_dict(), tmp_path / "prettier" / "EDSR_finetuned.pth")
    with pytest.raises(WeightsError, match=r"expected 0000.*the published file"):
        load_network("edsr", weights_dir=tmp_path, offline=True)
