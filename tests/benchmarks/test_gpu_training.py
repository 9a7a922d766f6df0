"""The training of the kit for a GPU: its packed set, and what it leaves, on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bids_sr.imaging import RobustScaler, Volume
from bids_sr.sr.contract.card import WeightsCard
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.networks.backbone import Backbone

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu"


@pytest.fixture(scope="module")
def training_set(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("gpu/training_set")


@pytest.fixture(scope="module")
def images(mni152_2mm: Volume, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("fine")
    return [
        Volume(mni152_2mm.data[part] * np.float32(900), mni152_2mm.affine).save(
            folder / f"sub-{name}_T1w.nii.gz"
        )
        for name, part in (("a", np.s_[:, :50]), ("b", np.s_[:, 50:]))
    ]


@pytest.fixture(scope="module")
def packed(
    training_set: ModuleType, images: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("set") / "set.tar.bz2"
    assert training_set.main([str(path), *map(str, images), "--left-out", "sub-b"]) == 0
    return path


def test_packed_images_are_those_that_were_given(
    training_set: ModuleType, images: list[Path], packed: Path, tmp_path: Path
) -> None:
    """Eight bits, cropped to the head: as they were to within half a step."""
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    for path in images:
        before, after = Volume.load(path), Volume.load(tmp_path / path.name.removesuffix(".gz"))
        first = np.linalg.solve(before.affine, after.affine)[:3, 3].round().astype(int)
        box = tuple(
            slice(start, start + size) for start, size in zip(first, after.shape, strict=True)
        )
        expected = RobustScaler.fit(before.data).apply(before.data)[box].clip(0, 1.59)
        assert np.abs(after.data.clip(0, 1.59) - expected).max() < 0.51 / training_set.LEVELS
    assert (tmp_path / "sub-a_T1w.nii").stat().st_size < images[0].stat().st_size * 20
    middle = training_set.packed(Volume.load(images[1]), validates=True)
    assert max(middle.shape) <= training_set.VALIDATED


@pytest.mark.slow
def test_a_training_that_is_killed_leaves_its_mean_and_goes_on(
    packed: Path, tiny_settings: str, tmp_path: Path
) -> None:
    start, config, out = tmp_path / "start.safetensors", tmp_path / "c.toml", tmp_path / "out"
    Backbone(factor=8, channels=8, blocks=1, planes=3).weights(WeightsCard()).save(start)
    config.write_text(tiny_settings)

    def command(seconds: int) -> list[str]:
        words = [sys.executable, FOLDER / "train.py", packed, start, out]
        return [*map(str, words), "--seconds", str(seconds), "--config", str(config)]

    with pytest.raises(subprocess.TimeoutExpired):  # as a machine that is taken away
        subprocess.run(command(600), timeout=100, check=False)
    assert (out / "training.checkpoint").is_file()
    assert (out / "mean.safetensors").is_file()
    subprocess.run(command(120), check=True)
    weights = Weights.load(out / "weights.safetensors")
    card = json.loads((out / "card.json").read_text())
    assert weights.card.to_dict()["Steps"] == card["Steps"] > 20
    assert card["StopReason"] == "time"
    assert card["Curve"][0]["step"] == 20  # the points before the kill
    assert card["Data"]["LeftOut"] == ["sub-b_T1w.nii"]
    assert not (out / "mean.safetensors").exists()
