"""nnU-Net end to end, with a tiny model in the layout that its training leaves."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bids_sr.compute import device as compute_device
from bids_sr.engines.segmentation import check_segmentations, make_segmentation
from bids_sr.engines.segmentation.nnunet import NnUNet
from bids_sr.exceptions import EngineError, MissingToolError, WeightsError
from bids_sr.imaging import Volume

pytestmark = pytest.mark.engine

FULL = (torch.OutOfMemoryError("full"), RuntimeError("GET was unable to find an engine"))


def body(spacings: tuple[float, float, float], flips: tuple[int, int, int]) -> Volume:
    """Make a bright ellipsoid off the centre on a grid of any spacing and direction."""
    shape = np.ceil(90 / np.asarray(spacings)).astype(int)
    linear = np.diag(np.asarray(spacings) * flips)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = linear, -linear @ ((shape - 1) / 2)
    volume = Volume(np.zeros(shape, np.float32), affine)
    noise = np.random.default_rng(0).normal(0, 4, shape)
    return volume.with_data((100 * inside(volume) + noise + 20).astype(np.float32))


def inside(volume: Volume) -> np.ndarray:
    index = np.indices(volume.shape).reshape(3, -1)
    world = volume.affine[:3, :3] @ index + volume.affine[:3, 3:]
    scaled = (world - np.array([[8], [-5], [4]])) / np.array([[20], [28], [24]])
    return (np.sum(scaled**2, axis=0) < 1).reshape(volume.shape)


@pytest.mark.parametrize(
    ("spacings", "flips"), [((2, 2, 2), (1, 1, 1)), ((2, 2.5, 3), (-1, 1, -1))]
)
def test_labels_lie_on_the_own_grid(
    release: Path, spacings: tuple[float, float, float], flips: tuple[int, int, int]
) -> None:
    volume = body(spacings, flips)
    threads = torch.get_num_threads()
    segmentation = make_segmentation(f"nnunet={release}").segment(volume)
    assert torch.get_num_threads() == threads
    np.testing.assert_array_equal(segmentation.labels.affine, volume.affine)
    labelled, reference = segmentation.labels.data == 1, inside(volume)
    assert 2 * np.count_nonzero(labelled & reference) / (labelled.sum() + reference.sum()) > 0.9
    assert [(label.index, label.name) for label in segmentation.table] == [(1, "brain")]
    assert segmentation.record["Dataset"] == "Dataset000_Tiny"
    assert len(segmentation.record["WeightsSHA256"]["all"]) == 64


@pytest.mark.parametrize("error", FULL, ids=str)
def test_a_full_gpu_hands_over_to_the_cpu_unless_it_was_asked_for(
    release: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    predictor_on = NnUNet._predictor

    def full(tool: NnUNet, device: torch.device) -> Any:
        if device.type == "cuda":
            raise error
        return predictor_on(tool, device)

    monkeypatch.setattr(NnUNet, "_predictor", full)
    monkeypatch.setattr(
        compute_device,
        "resolve_device",
        lambda name: torch.device("cpu" if name == "cpu" else "cuda"),
    )
    volume = body((4, 4, 4), (1, 1, 1))
    record = make_segmentation(f"nnunet={release}", device="auto").segment(volume).record
    assert record["Device"].startswith("cpu (GPU")
    assert record["Warning"] == f"segmented on the {record['Device']}"
    with pytest.raises(EngineError, match="too little memory on cuda"):
        make_segmentation(f"nnunet={release}", device="cuda").segment(volume)


def test_regions_are_named_by_what_they_write(release: Path, tmp_path: Path) -> None:
    folder = tmp_path / "regions"
    shutil.copytree(release, folder)
    dataset = json.loads((folder / "dataset.json").read_text())
    dataset["labels"] = {"background": 0, "whole": [1, 2], "core": [2]}
    dataset["regions_class_order"] = [1, 2]
    (folder / "dataset.json").write_text(json.dumps(dataset))
    tool: Any = make_segmentation(f"nnunet={folder}")
    assert [(label.index, label.name) for label in tool._table()] == [(1, "whole"), (2, "core")]


def test_a_folder_that_is_no_model_is_refused(release: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingToolError, match=r"no plans.json, dataset.json, fold_"):
        check_segmentations([f"nnunet={tmp_path}"])
    folder = tmp_path / "two"
    shutil.copytree(release, folder)
    dataset = json.loads((folder / "dataset.json").read_text())
    dataset["channel_names"] = {"0": "T1w", "1": "FLAIR"}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    with pytest.raises(MissingToolError, match=r"takes 2 images \(T1w, FLAIR\)"):
        check_segmentations([f"nnunet={folder}"])
    (folder / "dataset.json").write_text("{")
    with pytest.raises(MissingToolError, match="cannot be read"):
        check_segmentations([f"nnunet={folder}"])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"labels": None}, "labels None"),
        ({"labels": ["background", "brain"]}, "labels"),
        ({"labels": {"brain": 1}}, "labels"),
        ({"labels": {"background": 0}}, "labels"),
        ({"labels": {"background": 0, "brain": "one"}}, "labels"),
        ({"labels": {"background": 0, "brain": True}}, "labels"),
        ({"labels": {"background": 0, "brain": [1, 1.5]}}, "labels"),
        ({"labels": {"background": 0, "brain": []}}, "labels"),
        ({"labels": {"background": 0, "all": [1, 2], "core": 2}}, "regions_class_order None"),
        (
            {"labels": {"background": 0, "all": [1, 2]}, "regions_class_order": [1, 2]},
            r"regions_class_order \[1, 2\]",
        ),
    ],
)
def test_labels_that_say_nothing_are_refused_in_the_plan(
    release: Path, tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(release, folder)
    dataset = json.loads((folder / "dataset.json").read_text()) | changes
    fields = {key: value for key, value in dataset.items() if value is not None}
    (folder / "dataset.json").write_text(json.dumps(fields))
    with pytest.raises(WeightsError, match=f"dataset.json: found {problem}"):
        check_segmentations([f"nnunet={folder}"])


class Trap:
    """Unpickling it would leave a folder behind."""

    target = ""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.target,)


def test_a_checkpoint_that_holds_code_is_refused(release: Path, tmp_path: Path) -> None:
    folder = tmp_path / "trap"
    shutil.copytree(release, folder)
    Trap.target = str(tmp_path / "sprung")
    path = folder / "fold_all" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    torch.save(content | {"trap": Trap()}, path)
    with pytest.raises(WeightsError, match="can run any code"):
        make_segmentation(f"nnunet={folder}").segment(body((4, 4, 4), (1, 1, 1)))
    assert not Path(Trap.target).exists()


def test_a_damaged_checkpoint_is_refused(release: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(release, folder)
    torch.save({"weights": 1}, folder / "fold_all" / "checkpoint_final.pth")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        make_segmentation(f"nnunet={folder}").segment(body((4, 4, 4), (1, 1, 1)))
