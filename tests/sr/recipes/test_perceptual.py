from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bids_sr.exceptions import ConfigError, InputDataError, WeightsError
from bids_sr.imaging import Acquisition, Volume, degrade, resample
from bids_sr.records.learning_curve import MINUS_CONTENT_LOSS
from bids_sr.sr import reconstruct
from bids_sr.sr.networks.shufflemixer import ShuffleMixer
from bids_sr.sr.recipes.perceptual import Perceptual

TINY: dict[str, Any] = {
    "architecture": "shufflemixer",
    "channels": 8,
    "blocks": 1,
    "voxel": 2.0,
    "slice_spacing": 8.0,
    "slice_thickness": 6.0,
    "patch_slices": 6,
    "batch_size": 3,
    "patches_per_pair": 4,
    "perceptual_weight": 0.0,
    "threads": 1,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def files(reference: Volume, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("fine")
    halves = {"a": reference.data[:, :28], "b": reference.data[:, 28:]}
    return [
        Volume(np.ascontiguousarray(data), reference.affine).save(folder / f"sub-{name}.nii.gz")
        for name, data in halves.items()
    ]


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a random, thin VGG-19 in the layout of torchvision."""
    torch.manual_seed(0)
    state, before = {}, 3
    for place in (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34):
        layer = torch.nn.Conv2d(before, 8, 3)
        state |= {f"features.{place}.{name}": part for name, part in layer.state_dict().items()}
        before = 8
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save(state, path)
    return str(path)


def test_it_learns_and_its_weights_are_a_method_s(
    files: list[Path], reference: Volume, tmp_path: Path
) -> None:
    recipe = Perceptual(**TINY, epochs=8, learning_rate=4e-3, left_out_subjects=("sub-b",))
    weights = recipe.train(files)
    card = json.loads(json.dumps(weights.card.to_dict()))
    assert card["Data"] == {"Files": ["sub-a.nii.gz"], "LeftOut": ["sub-b.nii.gz"]}
    assert card["Architecture"]["Name"] == "shufflemixer"
    assert card["Geometry"]["InPlaneVoxel"] == 2.0
    steps = 4  # 12 patches of one image in batches of 3
    assert [point["step"] for point in card["Curve"]] == [steps * n for n in range(1, 9)]
    scores = [point["validation"] for point in card["Curve"]]
    assert max(scores) > scores[0]
    assert card["Validation"]["ContentLoss"] == pytest.approx(-max(scores), rel=1e-3)

    path = weights.save(tmp_path / "w.safetensors")
    acquisition = Acquisition(spacing=8.0, thickness=6.0, slice_axis=2)
    lr = degrade(reference, acquisition)
    result = reconstruct(
        lr,
        acquisition,
        method="pretrained",
        grid=reference.grid,
        parameters={"model": str(path), "device": "cpu"},
    )
    assert result.record.details["WorkingSpacing"] == pytest.approx(2.0)
    assert result.record.details["WeightsRecipe"]["Name"] == "perceptual"
    assert (
        np.corrcoef(result.volume.data.ravel(), resample(lr, reference.grid).data.ravel())[0, 1]
        > 0.9
    )


def test_perceptual_and_adversarial_together(files: list[Path], vgg: str) -> None:
    settings = {**TINY, "perceptual_weight": 1.0, "vgg": vgg, "architecture": "realesrgan"}
    recipe = Perceptual(**settings, epochs=2, discriminator_channels=4)
    weights = recipe.train(files)
    assert weights.card.to_dict()["Architecture"]["growth"] == 32
    losses = [point.loss for point in weights.card.curve.points]
    assert np.isfinite(losses).all()
    # The validation is that of the content alone, and so below the loss of the training.
    assert weights.card.validation["ContentLoss"] < losses[-1]
    assert weights.card.curve.validation == MINUS_CONTENT_LOSS


def test_edsr_begins_where_a_checkpoint_ended(files: list[Path], tmp_path: Path) -> None:
    settings = {**TINY, "architecture": "edsr", "epochs": 1, "learning_rate": 1e-9}
    first = Perceptual(**settings).train(files)
    torch.save({"model_weights": first.tensors}, tmp_path / "w.pth")
    second = Perceptual(**settings, pretrained=str(tmp_path / "w.pth")).train(files)
    torch.testing.assert_close(second.tensors, first.tensors, atol=1e-6, rtol=0)
    third = Perceptual(**settings).train(files, start=first)
    torch.testing.assert_close(third.tensors, first.tensors, atol=1e-6, rtol=0)
    with pytest.raises(WeightsError, match="a network edsr; expected shufflemixer"):
        Perceptual(**TINY).train(files, start=first)
    with pytest.raises(ConfigError, match="expected one of them"):
        Perceptual(**settings, pretrained="edsr").train(files, start=first)


@pytest.mark.parametrize("adversarial", [0.0, 0.05])
def test_it_goes_on_after_an_interruption(
    files: list[Path], tmp_path: Path, adversarial: float
) -> None:
    class StopError(Exception):
        pass

    def stop(step: int, total: int, message: str) -> None:
        if step == 7:
            raise StopError

    recipe = Perceptual(
        **TINY, epochs=2, adversarial_weight=adversarial, discriminator_channels=4, left_out=0.5
    )
    whole = recipe.train(files)
    with pytest.raises(StopError):
        recipe.train(files, checkpoint=tmp_path / "state", progress=stop)
    again = recipe.train(files, checkpoint=tmp_path / "state")
    torch.testing.assert_close(again.tensors, whole.tensors, atol=1e-6, rtol=1e-5)


def test_the_paper_s_settings_are_the_defaults() -> None:
    recipe = Perceptual(vgg="vgg19.pth")
    schedule = recipe._schedule(100)
    assert (schedule.learning_rate, schedule.first_cycle, schedule.cycle_growth) == (2e-4, 800, 2)
    assert (schedule.decay, schedule.keep, schedule.steps) == ("restarts", "best", 10_000)
    assert (recipe.batch_size, recipe.patches_per_pair, recipe._adversarial) == (6, 18, 0.0)
    gan = Perceptual(vgg="vgg19.pth", architecture="realesrgan")
    schedule = gan._schedule(100)
    assert (schedule.learning_rate, schedule.first_cycle, schedule.cycle_growth) == (1e-4, 600, 1)
    assert gan._adversarial == 0.05


def test_wrong_settings_are_refused(files: list[Path]) -> None:
    with pytest.raises(ConfigError, match=r"vgg19-dcbb9e9d\.pth"):
        Perceptual()
    with pytest.raises(ConfigError, match="architecture"):
        Perceptual(architecture="unet", vgg="x")
    with pytest.raises(ConfigError, match="multiple of 8"):
        Perceptual(vgg="x", adversarial_weight=0.1, patch_slices=5)
    for name, value in {"voxel": 0.0, "left_out": 1.0, "epochs": 0, "channels": 0}.items():
        with pytest.raises(ConfigError, match=name):
            Perceptual(vgg="x", **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="perceptual_weight"):
        Perceptual(perceptual_weight=-1.0)


def test_thick_images_teach_nothing(files: list[Path], tmp_path: Path, thick: Volume) -> None:
    path = thick.save(tmp_path / "sub-c.nii.gz")
    with pytest.raises(InputDataError, match="no image that can be learnt from"):
        Perceptual(**TINY, left_out=0.0).train([path])


def test_network_of_the_card_is_the_network(files: list[Path]) -> None:
    weights = Perceptual(**TINY, epochs=1).train(files)
    ShuffleMixer(**weights.card.arguments).load_state_dict(weights.tensors)
