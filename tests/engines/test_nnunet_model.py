"""Model folders that would have nnU-Net import and call what they name."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bids_sr.engines import hd_bet
from bids_sr.engines.nnunet_model import NETWORKS, NnUNetModel, new_predictor
from bids_sr.engines.segmentation import check_segmentations, make_segmentation
from bids_sr.exceptions import WeightsError
from bids_sr.imaging import Volume

pytestmark = pytest.mark.engine

REFUSED = r"expected (what|one of|plans of) .*nnU-Net v2"


@pytest.fixture
def folder(release: Path, tmp_path: Path) -> Path:
    """Copy a release that may be changed."""
    return Path(shutil.copytree(release, tmp_path / "model"))


@pytest.fixture
def volume() -> Volume:
    data = np.random.default_rng(0).normal(20, 5, (24, 24, 24)).astype(np.float32)
    data[6:18, 6:18, 6:18] += 100
    return Volume(data, np.diag([4.0, 4.0, 4.0, 1.0]))


def change_plans(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "plans.json"
    plans = json.loads(path.read_text())
    change(plans)
    path.write_text(json.dumps(plans))


def configuration(plans: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = plans["configurations"]["3d_fullres"]
    return values


def run_hd_bet(folder: Path, volume: Volume) -> Any:
    return hd_bet.brain_mask(volume, weights_dir=folder)


def run_trusting(folder: Path, volume: Volume) -> Any:
    return hd_bet.brain_mask(volume, weights_dir=folder, allow_unverified_weights=True)


def run_nnunet(folder: Path, volume: Volume) -> Any:
    return make_segmentation(f"nnunet={folder}").segment(volume)


@pytest.mark.parametrize("run", [run_hd_bet, run_trusting, run_nnunet])
def test_a_repository_beside_the_plans_is_not_run(
    folder: Path, volume: Volume, tmp_path: Path, run: Callable[[Path, Volume], Any]
) -> None:
    ran = tmp_path / "ran"
    (folder / "hubconf.py").write_text(f"open({str(ran)!r}, 'w')\ndef network(**_): pass\n")
    change_plans(
        folder,
        lambda plans: configuration(plans).update(
            architecture={
                "network_class_name": "torch.hub.load",
                "arch_kwargs": {
                    "repo_or_dir": str(folder),
                    "model": "network",
                    "source": "local",
                    "trust_repo": True,
                    "strides": [],
                },
                "_kw_requires_import": [],
            }
        ),
    )

    with pytest.raises(WeightsError, match=r"network_class_name 'torch.hub.load'; expected what"):
        run(folder, volume)

    assert not ran.exists()


def _network(**changed: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda plans: configuration(plans)["architecture"].update(changed)


def _argument(name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda plans: configuration(plans)["architecture"]["arch_kwargs"].update({name: value})


def _setting(name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda plans: configuration(plans).update({name: value})


def _old_network(plans: dict[str, Any]) -> None:
    del configuration(plans)["architecture"]
    configuration(plans)["UNet_class_name"] = "os.system"


def _another_configuration(plans: dict[str, Any]) -> None:
    plans["configurations"]["base"] = configuration(plans) | {
        "architecture": {"network_class_name": "os.system", "arch_kwargs": {}}
    }
    plans["configurations"]["3d_fullres"] = {"inherits_from": "base"}


@pytest.mark.parametrize(
    "change",
    [
        _network(network_class_name="site"),
        _network(network_class_name="unet.PlainConvUNet"),
        _network(network_class_name=["os.system"]),
        _network(network_class_name=None),
        _network(arch_kwargs=None),
        _network(_kw_requires_import=["conv_op", "norm_op_kwargs"]),
        _network(_kw_requires_import="conv_op"),
        _argument("conv_op", "antigravity"),
        _argument("nonlin", "builtins.exec"),
        _argument("norm_op", {"a": 1}),
        _argument("dropout_op", "torch.hub.load"),
        _setting("normalization_schemes", ["os"]),
        _setting("normalization_schemes", "os"),
        _setting("preprocessor_name", "join"),
        _setting("resampling_fn_data", "partial"),
        _setting("resampling_fn_seg", "np"),
        _setting("resampling_fn_probabilities", 3),
        lambda plans: plans.update(label_manager="join"),
        lambda plans: plans.update(configurations=[]),
        lambda plans: plans["configurations"].update(other=3),
        _old_network,
        _another_configuration,
    ],
)
def test_names_that_nnunet_does_not_write_are_refused(
    folder: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    change_plans(folder, change)

    with pytest.raises(WeightsError, match="expected"):
        NnUNetModel.read(folder)
    with pytest.raises(WeightsError):  # in the plan of a run, before anything is loaded
        check_segmentations([f"nnunet={folder}"])


@pytest.mark.parametrize("trainer", ["join", "os.system", "torch", "NotThere", 3, None])
def test_other_trainers_are_refused(folder: Path, volume: Volume, trainer: Any) -> None:
    path = folder / "fold_all" / "checkpoint_final.pth"
    torch.save(torch.load(path, weights_only=False) | {"trainer_name": trainer}, path)

    with pytest.raises(WeightsError, match=r"names the trainer .*; expected one of"):
        run_nnunet(folder, volume)


def test_what_a_folder_names_for_other_purposes_is_not_handed_on(folder: Path) -> None:
    change_plans(
        folder, lambda plans: plans.update(image_reader_writer="os", experiment_planner_used="sys")
    )
    dataset = json.loads((folder / "dataset.json").read_text())
    dataset["overwrite_image_reader_writer"] = "os"
    (folder / "dataset.json").write_text(json.dumps(dataset))

    model = NnUNetModel.read(folder)

    assert "os" not in json.dumps([model.plans["image_reader_writer"], dict(model.dataset)])
    assert "sys" not in json.dumps(model.plans["experiment_planner_used"])


@pytest.mark.parametrize("trainer", ["nnUNetTrainer_100epochs", "nnUNetTrainerNoMirroring"])
def test_variants_of_the_trainer_still_run(folder: Path, volume: Volume, trainer: str) -> None:
    expected = run_nnunet(folder, volume).labels.data
    path = folder / "fold_all" / "checkpoint_final.pth"
    torch.save(torch.load(path, weights_only=False) | {"trainer_name": trainer}, path)

    np.testing.assert_array_equal(run_nnunet(folder, volume).labels.data, expected)
    assert expected.any()


def test_plans_of_the_first_releases_still_run(folder: Path, volume: Volume) -> None:
    expected = run_nnunet(folder, volume).labels.data

    def make_old(plans: dict[str, Any]) -> None:
        network = configuration(plans).pop("architecture")["arch_kwargs"]
        configuration(plans).update(
            UNet_class_name="PlainConvUNet",
            UNet_base_num_features=network["features_per_stage"][0],
            unet_max_num_features=320,
            n_conv_per_stage_encoder=network["n_conv_per_stage"],
            n_conv_per_stage_decoder=network["n_conv_per_stage_decoder"],
            num_pool_per_axis=[1, 1, 1],
            pool_op_kernel_sizes=network["strides"],
            conv_kernel_sizes=network["kernel_sizes"],
        )

    change_plans(folder, make_old)
    with pytest.warns(UserWarning, match="old nnU-Net plans format"):
        labels = run_nnunet(folder, volume).labels.data

    np.testing.assert_array_equal(labels, expected)


def test_every_known_network_is_there() -> None:
    import pydoc

    for place in NETWORKS.values():
        assert pydoc.locate(place) is not None


def test_every_file_is_on_record(folder: Path, volume: Volume) -> None:
    names = {"plans.json", "dataset.json", "fold_all/checkpoint_final.pth"}

    _, record = run_hd_bet(folder, volume)

    assert set(record["FilesSHA256"]) == names
    assert set(run_nnunet(folder, volume).record["FilesSHA256"]) == names


def test_a_changed_plan_is_no_release(
    folder: Path, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    weights = hd_bet.published_weights("hd-bet")
    known = replace(weights, files=dict(NnUNetModel.read(folder).digests(["all"])))
    monkeypatch.setattr(hd_bet, "published_weights", lambda _: known)
    assert run_hd_bet(folder, volume)[1]["WeightsReleased"] is True
    change_plans(folder, lambda plans: plans.update(plans_name="mine"))
    assert run_hd_bet(folder, volume)[1]["WeightsReleased"] is False
    partly = replace(known, files={**known.files, "plans.json": None})
    monkeypatch.setattr(hd_bet, "published_weights", lambda _: partly)
    assert run_hd_bet(folder, volume)[1]["WeightsReleased"] is None


def test_a_predictor_needs_nnunet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nnunetv2.inference.predict_from_raw_data", None)
    with pytest.raises(hd_bet.EngineError, match="nnunetv2 cannot be imported"):
        new_predictor("nnunetv2")
