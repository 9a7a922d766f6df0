from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nb
import numpy as np
import pytest
import torch

from bids_sr.compute import device as compute_device
from bids_sr.engines import hd_bet
from bids_sr.engines.nnunet_model import NnUNetModel
from bids_sr.exceptions import ConfigError, EngineError, WeightsError
from bids_sr.imaging import Volume
from bids_sr.published import published_weights

pytestmark = pytest.mark.engine

FULL = (torch.OutOfMemoryError("full"), RuntimeError("GET was unable to find an engine"))


class Trap:
    """Unpickling it would leave a file behind."""

    target = ""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.target,)


@pytest.fixture(autouse=True)
def _no_other_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BIDS_SR_WEIGHTS", raising=False)


def phantom(orientation: str, spacings: tuple[float, float, float], tilt: float = 0.0) -> Volume:
    """Make a bright body without symmetry, of one place in the world, on any grid."""
    codes = nb.orientations.axcodes2ornt(orientation)
    linear = np.zeros((3, 3))
    for axis, (world, sign) in enumerate(codes.astype(int)):
        linear[world, axis] = sign * spacings[axis]
    cosine, sine = np.cos(tilt), np.sin(tilt)
    linear = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) @ linear
    shape = np.ceil(100 / np.asarray(spacings)).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = -linear @ ((shape - 1) / 2)
    index = np.indices(shape).reshape(3, -1)
    world = (linear @ index + affine[:3, 3:]).reshape(3, *shape)
    noise = np.random.default_rng(0).normal(0, 5, shape)
    return Volume((100 * body(world) + noise + 20).astype(np.float32), affine)


def body(world: np.ndarray) -> np.ndarray:
    large = np.sum(((world.T - [6, -4, 3]) / [22, 30, 26]).T ** 2, axis=0) < 1
    bump = np.sum(((world.T - [20, 18, 20]) / 14).T ** 2, axis=0) < 1
    return large | bump


def truth(volume: Volume) -> np.ndarray:
    index = np.indices(volume.shape).reshape(3, -1)
    world = volume.affine[:3, :3] @ index + volume.affine[:3, 3:]
    return body(world.reshape(3, *volume.shape))


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * np.count_nonzero(first & second) / (first.sum() + second.sum())


@pytest.mark.parametrize(
    ("orientation", "spacings", "tilt"),
    [
        ("RAS", (2.0, 2.0, 2.0), 0.0),
        ("LAS", (2.0, 2.0, 5.0), 0.0),  # axial, thick
        ("PSR", (2.0, 2.0, 4.0), 0.0),  # sagittal, thick
        ("LSP", (2.0, 2.5, 3.0), 0.3),  # coronal, oblique
    ],
)
def test_mask_lies_on_the_own_grid(
    release: Path, orientation: str, spacings: tuple[float, float, float], tilt: float
) -> None:
    volume = phantom(orientation, spacings, tilt)
    mask, record = hd_bet.brain_mask(volume, weights_dir=release)
    assert mask.shape == volume.shape
    np.testing.assert_array_equal(mask.affine, volume.affine)
    assert mask.data.dtype == np.uint8
    assert dice(mask.data > 0, truth(volume)) > 0.9
    assert record["Device"] == "cpu"
    assert record["WeightsReleased"] is None
    assert len(record["WeightsSHA256"]) == 64


def test_same_as_nnunet_reading_the_file(release: Path, tmp_path: Path) -> None:
    volume = phantom("RAS", (2.0, 2.5, 3.0))
    mask, _ = hd_bet.brain_mask(volume, weights_dir=release)
    path = volume.save(tmp_path / "image.nii.gz")
    with hd_bet.fence(1, restricted=True):
        predictor = hd_bet._load(NnUNetModel.read(release), torch.device("cpu"), hdbet_tta=False)
        predictor.predict_from_files_sequential([[str(path)]], [str(tmp_path / "mask")])
    expected = np.asanyarray(nb.load(tmp_path / "mask.nii.gz").dataobj)
    np.testing.assert_array_equal(mask.data, expected)


def test_mirroring_changes_little(release: Path) -> None:
    volume = phantom("RAS", (2.5, 2.5, 2.5))
    mask, record = hd_bet.brain_mask(volume, weights_dir=release, hdbet_tta=True)
    assert record["TTA"] is True
    assert dice(mask.data > 0, truth(volume)) > 0.9


def test_no_global_escapes(release: Path, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    stdout, threads = sys.stdout, torch.get_num_threads()
    environment = dict(os.environ)
    hd_bet.brain_mask(phantom("RAS", (4.0, 4.0, 4.0)), weights_dir=release)
    assert sys.stdout is stdout
    assert torch.get_num_threads() == threads
    assert dict(os.environ) == environment
    assert Path.cwd() == tmp_path
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().out == ""


def test_nothing_found_is_refused(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = SimpleNamespace(
        predict_single_npy_array=lambda image, _: np.zeros(image.shape[1:], np.uint8)
    )
    monkeypatch.setattr(hd_bet, "_load", lambda *_, **__: empty)
    with pytest.raises(EngineError, match="found no brain"):
        hd_bet.brain_mask(phantom("RAS", (4.0, 4.0, 4.0)), weights_dir=release)


def test_missing_file_is_named(release: Path, tmp_path: Path) -> None:
    folder = tmp_path / "release_2.0.0"
    shutil.copytree(release, folder)
    (folder / "plans.json").unlink()
    assert published_weights("hd-bet").find(tmp_path) is None
    with pytest.raises(WeightsError, match=r"lacks plans\.json.*zenodo\.org/records/14445620"):
        published_weights("hd-bet").require(tmp_path)


def test_more_than_weights_needs_a_word(release: Path, tmp_path: Path) -> None:
    Trap.target = str(tmp_path / "ran")
    folder = tmp_path / "trapped"
    shutil.copytree(release, folder)
    file = folder / "fold_all" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    torch.save(checkpoint | {"trap": Trap()}, file)
    volume = phantom("RAS", (4.0, 4.0, 4.0))
    with pytest.raises(WeightsError, match="can run any code"):
        hd_bet.brain_mask(volume, weights_dir=folder)
    assert not Path(Trap.target).exists()
    hd_bet.brain_mask(volume, weights_dir=folder, allow_unverified_weights=True)
    assert Path(Trap.target).exists()


def test_damaged_weights(release: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(release, folder)
    torch.save({"weights": 1}, folder / "fold_all" / "checkpoint_final.pth")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        hd_bet.brain_mask(phantom("RAS", (4.0, 4.0, 4.0)), weights_dir=folder)


def test_unknown_and_absent_device(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = phantom("RAS", (4.0, 4.0, 4.0))
    with pytest.raises(ConfigError, match="expected auto"):
        hd_bet.brain_mask(volume, weights_dir=release, device="abacus")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match="0 CUDA devices"):
        hd_bet.brain_mask(volume, weights_dir=release, device="cuda")
    assert hd_bet.brain_mask(volume, weights_dir=release, device="auto")[1]["Device"] == "cpu"


@pytest.mark.parametrize("error", FULL, ids=str)
def test_gpu_memory(release: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError) -> None:
    load = hd_bet._load

    def full(model: NnUNetModel, device: torch.device, tta: bool, **more: Any) -> Any:
        if device.type == "cuda":
            raise error
        return load(model, device, tta, **more)

    monkeypatch.setattr(hd_bet, "_load", full)
    monkeypatch.setattr(
        compute_device,
        "resolve_device",
        lambda name: torch.device("cpu" if name == "cpu" else "cuda"),
    )
    volume = phantom("RAS", (4.0, 4.0, 4.0))
    _, record = hd_bet.brain_mask(volume, weights_dir=release, device="auto")
    assert record["Device"].startswith("cpu (GPU")
    with pytest.raises(EngineError, match="too little memory"):
        hd_bet.brain_mask(volume, weights_dir=release, device="cuda")


def test_package_absent(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(hd_bet, "importlib", SimpleNamespace(import_module=absent))
    with pytest.raises(EngineError, match="hd-bet cannot be imported"):
        hd_bet.brain_mask(phantom("RAS", (4.0, 4.0, 4.0)), weights_dir=release)
