from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bids_sr.exceptions import ConfigError, WeightsError
from bids_sr.imaging import Acquisition, SliceProfile, Volume, degrade, resample
from bids_sr.records.uncertainty import COVERAGE_FACTOR
from bids_sr.sr import Reconstruction, make_method, reconstruct
from bids_sr.sr.contract.card import Start, WeightsCard
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.methods import finetuned
from bids_sr.sr.methods.finetuned import Finetuned, origins
from bids_sr.sr.networks.backbone import Backbone
from bids_sr.sr.recipes.supervised import Supervised

QUICK: dict[str, Any] = {
    "device": "cpu",
    "threads": 1,
    "batch_size": 4,
    "patch_width": 16,
    "patch_slices": 4,
    "orientations": 1,
    "mirrored": False,
    "data_consistency": False,
}


@pytest.fixture(scope="module")
def model(reference: Volume, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on one half of the head; the other is for the tests."""
    folder = tmp_path_factory.mktemp("model")
    half = Volume(reference.data[:24], reference.affine).save(folder / "half.nii.gz")
    recipe = Supervised(
        threads=1,
        device="cpu",
        steps=250,
        channels=8,
        blocks=1,
        factor=4,
        batch_size=4,
        patch_width=16,
        patch_slices=4,
        spacings=(5.0, 9.0),
        ema_decay=0.95,
    )
    return recipe.train([half]).save(folder / "small.safetensors")


@pytest.fixture(scope="module")
def half(reference: Volume) -> Volume:
    affine = reference.affine.copy()
    affine[:3, 3] += 24 * affine[:3, 0]
    return Volume(np.ascontiguousarray(reference.data[24:]), affine)


def run(half: Volume, acquisition: Acquisition, **more: Any) -> Reconstruction:
    lr = degrade(half, acquisition)
    parameters = {**QUICK, **more}
    return reconstruct(lr, acquisition, method="finetuned", grid=half.grid, parameters=parameters)


def test_one_network_serves_every_acquisition(model: Path, half: Volume) -> None:
    for spacing, thickness, profile in ((8.0, 6.0, "gaussian"), (5.4, 5.4, "rect")):
        acquisition = Acquisition(
            spacing=spacing, thickness=thickness, profile=profile, slice_axis=2
        )
        result = run(half, acquisition, model=str(model), adapt="none")
        cubic = resample(degrade(half, acquisition), half.grid).data
        error, before = (
            float(np.square(data - half.data).mean()) for data in (result.volume.data, cubic)
        )
        assert error < 0.98 * before
        assert result.record.adaptation == "none"
        assert result.record.details["ModelSHA256"] == Weights.load(model).digest
        assert result.record.details["ValidationGainDecibel"] > 0  # within its own slices
        assert not result.curve.points


def test_adaptation_improves_the_slices_held_out(
    model: Path, half: Volume, acquisition: Acquisition
) -> None:
    result = run(half, acquisition, model=str(model), steps=60, learning_rate=2e-3)
    details = result.record.details
    assert result.record.adaptation == "image"
    assert details["ValidationGainDecibel"] > details["ValidationGainBeforeDecibel"] > 0
    assert result.learned is not None
    assert result.learned.card.to_dict()["Start"]["SHA256"] == Weights.load(model).digest
    assert Backbone.from_weights(result.learned).arguments["channels"] == 8


def test_an_adaptation_that_gains_too_much_is_refused(
    model: Path, half: Volume, acquisition: Acquisition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetuned, "LARGEST_GAIN", 1e-4)
    result = run(half, acquisition, model=str(model), steps=60, learning_rate=2e-3)
    assert result.record.adaptation == "none"
    assert "would teach to blur" in result.record.adaptation_fallback
    assert result.learned is not None
    assert result.learned.digest == Weights.load(model).digest
    as_it_is = run(half, acquisition, model=str(model), adapt="none")
    np.testing.assert_array_equal(result.volume.data, as_it_is.volume.data)


def test_neighbouring_planes_are_seen(
    model: Path, half: Volume, acquisition: Acquisition, tmp_path: Path
) -> None:
    """By a network that learns from planes alone, as it is and adapted, on any number of cores."""
    seeing = Backbone.from_weights(Weights.load(model)).with_planes(3)
    path = seeing.weights(WeightsCard()).save(tmp_path / "seeing.safetensors")
    exact = {"adapt": "none", "mixed_precision": False, "fusion": "mean"}
    alone = run(half, acquisition, model=str(model), **exact)
    for threads in (1, 2):
        same = run(half, acquisition, model=str(path), **exact, threads=threads)
        np.testing.assert_allclose(same.volume.data, alone.volume.data, atol=1e-4)
    with torch.no_grad():
        seeing.blocks[0].first.weight[:, :, 0] = 0.5 * seeing.blocks[0].first.weight[:, :, 1]
    other = seeing.weights(WeightsCard()).save(tmp_path / "other.safetensors")
    changed = run(half, acquisition, model=str(other), **exact)
    assert np.abs(changed.volume.data - alone.volume.data).max() > 1e-3

    adapted = run(half, acquisition, model=str(path), steps=60, learning_rate=2e-3)
    assert adapted.record.adaptation == "image"
    assert adapted.learned is not None
    assert Backbone.from_weights(adapted.learned).planes == 3


def test_what_is_kept_lies_between_before_and_after(
    model: Path, half: Volume, acquisition: Acquisition
) -> None:
    same = {"model": str(model), "steps": 20}
    whole, mixed = (run(half, acquisition, **same, mixture=share).learned for share in (1.0, 0.25))
    assert whole is not None
    assert mixed is not None
    for name, start in Weights.load(model).tensors.items():
        torch.testing.assert_close(
            mixed.tensors[name], 0.75 * start + 0.25 * whole.tensors[name], atol=1e-6, rtol=0
        )
    with pytest.raises(ConfigError, match="mixture"):
        make_method("finetuned", {"mixture": 0.0})


def test_adaptation_that_does_not_help_is_undone(
    model: Path, half: Volume, acquisition: Acquisition
) -> None:
    """Steps so large that they destroy the network."""
    result = run(half, acquisition, model=str(model), steps=4, learning_rate=10.0)
    assert result.record.adaptation == "none"
    assert result.record.adaptation_fallback == "no gain on the slices held out"
    plain = run(half, acquisition, model=str(model), adapt="none")
    np.testing.assert_array_equal(result.volume.data, plain.volume.data)


def test_weights_that_only_harm_are_not_used(
    half: Volume, acquisition: Acquisition, tmp_path: Path
) -> None:
    """A network of noise, and steps so short that it stays one."""
    torch.manual_seed(0)
    noise = Backbone(factor=4, channels=8, blocks=1)
    with torch.no_grad():
        noise.tail.weight.normal_()
    path = noise.weights(WeightsCard()).save(tmp_path / "noise.safetensors")
    result = run(half, acquisition, model=str(path), steps=1, learning_rate=1e-9)
    assert result.record.fallback == "bspline"
    assert "no better than interpolation" in result.record.fallback_reason
    cubic = resample(degrade(half, acquisition), half.grid).data
    np.testing.assert_array_equal(result.volume.data, np.maximum(cubic, 0))


def test_images_too_small_to_teach_are_still_reconstructed(
    model: Path, half: Volume, acquisition: Acquisition
) -> None:
    small = Volume(np.ascontiguousarray(half.data[6:18, 20:44]), half.affine)
    result = run(small, acquisition, model=str(model))
    assert result.record.adaptation == "none"
    assert "in-plane voxels hold fewer" in result.record.adaptation_fallback
    assert not result.record.fallback


def test_what_was_adapted_can_be_used_again(
    model: Path, half: Volume, acquisition: Acquisition, tmp_path: Path
) -> None:
    first = run(half, acquisition, model=str(model), steps=20)
    assert first.learned is not None
    path = first.learned.save(tmp_path / "adapted.safetensors")
    again = run(half, acquisition, model=str(path), adapt="none")
    np.testing.assert_allclose(again.volume.data, first.volume.data, atol=1e-5)


def test_memberships_are_not_learnt_from(model: Path) -> None:
    method = make_method("finetuned", {"model": str(model)}).for_labels()
    assert method.parameters()["adapt"] == "none"
    assert method.parameters()["scale_intensities"] is False
    assert method.required_files() == (model,)


def test_weights_of_the_package_serve_an_image_they_never_saw(
    reference: Volume, acquisition: Acquisition
) -> None:
    """Even one so coarse, 2 mm voxels and slices 8 mm apart, without adaptation."""
    plain = {"adapt": "none", "device": "cpu", "threads": 1}
    lr = degrade(reference, acquisition)
    result = reconstruct(
        lr, acquisition, method="finetuned", grid=reference.grid, parameters=plain
    )
    cubic = resample(lr, reference.grid).data
    error, before = (
        float(np.square(data - reference.data).mean()) for data in (result.volume.data, cubic)
    )
    assert error < 0.9 * before
    assert result.record.model == "brain-5.safetensors"


def test_weights_must_fit(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no file"):
        make_method("finetuned", {"model": "nothing"}).required_files()
    other = Weights({"a": torch.zeros(1)}, WeightsCard(architecture="other"))
    path = other.save(tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="architecture 'other'"):
        make_method("finetuned", {"model": str(path)}).required_files()
    with pytest.raises(ConfigError, match="adapt"):
        make_method("finetuned", {"adapt": "dataset"})


@pytest.mark.parametrize("profile", ["slr", "rect", SliceProfile.slr(2.0)])
def test_slices_much_thinner_than_their_spacing_are_not_made_up(
    mni152_2mm: Volume, profile: str | SliceProfile
) -> None:
    """Weights have never seen slices of a quarter of their spacing, and made anything of them."""
    true = Acquisition(spacing=8.0, thickness=2.0, profile=profile, slice_axis=2)
    lr = degrade(mni152_2mm, true)
    result = Finetuned(adapt="none", threads=1, device="cpu").reconstruct(
        lr, true, mni152_2mm.grid
    )
    cubic = resample(lr, mni152_2mm.grid)
    gain = [np.mean((volume.data - mni152_2mm.data) ** 2) for volume in (cubic, result.volume)]
    assert gain[1] < gain[0]


@pytest.fixture
def brain_block(mni152_2mm: Volume) -> Volume:
    """Return a part of a head whose voxels are called 1 mm."""
    return Volume(100 * mni152_2mm.data[30:60, 30:70, 25:61], np.eye(4))


def test_the_interval_changes_no_voxel_of_the_result(brain_block: Volume) -> None:
    acquisition = Acquisition(spacing=6.0, thickness=5.0, profile="slr", slice_axis=2)
    stated, views = (
        run(brain_block, acquisition, adapt="none", calibrated_uncertainty=calibrated)
        for calibrated in (True, False)
    )
    np.testing.assert_array_equal(stated.volume.data, views.volume.data)
    meaning, plain = stated.record.uncertainty, views.record.uncertainty
    assert meaning is not None
    assert plain is not None
    assert meaning.calibrated
    assert not plain.calibrated
    assert stated.uncertainty is not None
    assert views.uncertainty is not None
    assert not np.allclose(stated.uncertainty.data, views.uncertainty.data)
    inside = brain_block.data > 0.1 * brain_block.data.max()
    errors = np.abs(stated.volume.data - brain_block.data)[inside]
    coverage = np.mean(errors <= COVERAGE_FACTOR * stated.uncertainty.data[inside])
    assert 0.8 < coverage < 0.99  # another scale of anatomy than it was calibrated on


def test_weights_of_another_origin_are_not_calibrated(model: Path, half: Volume) -> None:
    acquisition = Acquisition(spacing=8.0, thickness=6.0, profile="gaussian", slice_axis=2)
    result = run(half, acquisition, model=str(model), adapt="none")
    meaning = result.record.uncertainty
    assert meaning is not None
    assert not meaning.calibrated
    assert meaning.reason == "it was calibrated with other weights"


def test_origins_go_back_to_the_first_weights() -> None:
    first = WeightsCard(architecture="backbone")
    second = WeightsCard(start=Start(sha256="a", card=first))
    third = WeightsCard(start=Start(sha256="b", card=second))
    assert origins(third) == ("b", "a")
