"""A tiny nnU-Net in the layout of HD-BET's release: plans, dataset and one checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

FEATURES = [4, 8]
PATCH = [48, 48, 48]
CUBE = [32, 32, 32]
ARCHITECTURE = "dynamic_network_architectures.architectures.unet.PlainConvUNet"


def plans() -> dict[str, Any]:
    """Give nnU-Net's plans for 2 mm isotropic voxels."""
    network = {
        "n_stages": 2,
        "features_per_stage": FEATURES,
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [2, 2, 2]],
        "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    resampling = "resample_data_or_seg_to_shape"
    data = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    labels = {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}
    logits = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 1,
        "patch_size": PATCH,
        "median_image_size_in_voxels": [48.0, 48.0, 48.0],
        "spacing": [2.0, 2.0, 2.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": resampling,
        "resampling_fn_data_kwargs": data,
        "resampling_fn_seg": resampling,
        "resampling_fn_seg_kwargs": labels,
        "resampling_fn_probabilities": resampling,
        "resampling_fn_probabilities_kwargs": logits,
        "architecture": {
            "network_class_name": ARCHITECTURE,
            "arch_kwargs": network,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": False,
    }
    return {
        "dataset_name": "Dataset000_Tiny",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [2.0, 2.0, 2.0],
        "original_median_shape_after_transp": [48, 48, 48],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {}},
    }


def dataset() -> dict[str, Any]:
    """Give nnU-Net's description of the data set."""
    return {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "brain": 1},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }


def trained_network() -> torch.nn.Module:
    """Train a network of about 3,000 parameters to find what is bright."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    torch.manual_seed(0)
    network = PlainConvUNet(
        1,
        2,
        FEATURES,
        torch.nn.Conv3d,
        3,
        [1, 2],
        [1, 1],
        2,
        [1],
        conv_bias=True,
        norm_op=torch.nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-2)
    rng = np.random.default_rng(0)
    grid = np.indices(CUBE).astype(np.float32)
    for _ in range(50):
        centre = rng.uniform(8, 24, 3)[:, None, None, None]
        radius = rng.uniform(5, 13)
        ball = ((grid - centre) ** 2).sum(0) < radius**2
        image = ball + 0.05 * rng.standard_normal(CUBE)
        image = (image - image.mean()) / image.std()
        x = torch.from_numpy(image.astype(np.float32))[None, None]
        loss = torch.nn.functional.cross_entropy(network(x), torch.from_numpy(ball[None]).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the three files of a release, with what nnU-Net puts beside the weights."""
    folder = tmp_path_factory.mktemp("weights") / "hd-bet_params" / "release_2.0.0"
    (folder / "fold_all").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans()))
    (folder / "dataset.json").write_text(json.dumps(dataset()))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    network = trained_network()
    torch.set_num_threads(threads)
    checkpoint = {
        "network_weights": network.state_dict(),
        "optimizer_state": None,
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.9), np.float32(0.8)], "epoch": [1]},
        "_best_ema": np.float64(0.9),
        "current_epoch": 1,
        "init_args": {
            "plans": plans(),
            "configuration": "3d_fullres",
            "fold": "all",
            "dataset_json": dataset(),
            "device": torch.device("cpu"),
        },
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    torch.save(checkpoint, folder / "fold_all" / "checkpoint_final.pth")
    return folder
