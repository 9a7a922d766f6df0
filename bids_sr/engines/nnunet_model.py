"""A model folder of nnU-Net v2: only data are read from it, never code.

nnU-Net imports and calls the classes named in ``plans.json`` and the checkpoints.  Here every
such name must be in a list of names that nnU-Net itself writes; nothing else from the files is
passed to it.  The caller decides what the model is used for.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from bids_sr.exceptions import EngineError, WeightsError
from bids_sr.files import check_stored, file_digest, read_json

CHECKPOINT = "checkpoint_final.pth"
_UNETS = "dynamic_network_architectures.architectures"
_BLOCKS = "dynamic_network_architectures.building_blocks"
NETWORKS = {
    f"{_UNETS}.unet.PlainConvUNet": f"{_UNETS}.unet.PlainConvUNet",
    f"{_UNETS}.unet.ResidualEncoderUNet": f"{_UNETS}.unet.ResidualEncoderUNet",
    f"{_UNETS}.unet.ResidualUNet": f"{_UNETS}.unet.ResidualUNet",
    # where it was once
    f"{_UNETS}.residual_unet.ResidualEncoderUNet": f"{_UNETS}.unet.ResidualEncoderUNet",
}
"""Names of networks that planners of nnU-Net v2 write -> where they are."""
_OLD_NETWORKS = frozenset({"PlainConvUNet", "ResidualEncoderUNet"})
_ACTIVATIONS = ("LeakyReLU", "ReLU", "PReLU", "ELU", "GELU", "SiLU", "Mish")
_DIMENSIONS = ("1d", "2d", "3d")
LAYERS = frozenset(
    [f"{_BLOCKS}.residual.{block}" for block in ("BasicBlockD", "BottleneckD")]
    + [
        f"torch.nn.{module}{kind}{suffix}"
        for kind, file, suffixes in [
            ("Conv", "conv", _DIMENSIONS),
            ("InstanceNorm", "instancenorm", _DIMENSIONS),
            ("BatchNorm", "batchnorm", _DIMENSIONS),
            ("Dropout", "dropout", ("", *_DIMENSIONS)),
            *((name, "activation", ("",)) for name in _ACTIVATIONS),
        ]
        for module in ("", f"modules.{file}.")
        for suffix in suffixes
    ]
)
"""Names of the layers that networks are made of."""
_LAYER_ARGUMENTS = frozenset({"conv_op", "norm_op", "dropout_op", "nonlin", "block"})
_RESAMPLING = frozenset(
    {
        "no_resampling_hack",
        "resample_data_or_seg_to_shape",
        "resample_torch_fornnunet",
        "resample_torch_simple",
    }
)
_NORMALIZATIONS = frozenset(
    f"{name}Normalization" for name in ("ZScore", "CT", "No", "RescaleTo01", "RGBTo01")
)
_OF_CONFIGURATIONS: dict[str, frozenset[str]] = {
    "UNet_class_name": _OLD_NETWORKS,
    "preprocessor_name": frozenset({"DefaultPreprocessor"}),
    "resampling_fn_data": _RESAMPLING,
    "resampling_fn_probabilities": _RESAMPLING,
    "resampling_fn_seg": _RESAMPLING,
}
"""Fields of a configuration that nnU-Net looks up by name, and the allowed names."""
_OF_PLANS = (
    "dataset_name",
    "plans_name",
    "transpose_forward",
    "transpose_backward",
    "foreground_intensity_properties_per_channel",
    "foreground_intensity_properties_by_modality",
)
_OF_DATASET = ("labels", "regions_class_order", "channel_names", "modality", "file_ending")


@dataclass(frozen=True, kw_only=True, eq=False)
class NnUNetModel:
    """Content of a model folder, with every name in it checked."""

    folder: Path
    plans: Mapping[str, Any]
    dataset: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> NnUNetModel:
        """Read plans and dataset of a folder.

        Raises
        ------
        WeightsError
            If one cannot be read, or holds a name that nnU-Net itself does not write.
        """
        plans, dataset = (
            read_json(folder / name, what="the model", error=WeightsError)
            for name in ("plans.json", "dataset.json")
        )
        path = folder / "plans.json"
        _check(path, "label_manager", plans.get("label_manager"), {"LabelManager"})
        configurations = plans.get("configurations")
        if not isinstance(configurations, dict):
            raise WeightsError(f"{path}: found no configurations; expected plans of nnU-Net v2.")
        _check_labels(folder / "dataset.json", dataset)
        fields = {key: plans[key] for key in _OF_PLANS if key in plans}
        return cls(
            folder=folder,
            plans={
                **fields,
                # Nothing is read or planned by them here.
                "image_reader_writer": "SimpleITKIO",
                "experiment_planner_used": "ExperimentPlanner",
                "configurations": {
                    name: _checked(path, settings) for name, settings in configurations.items()
                },
            },
            dataset={key: dataset[key] for key in _OF_DATASET if key in dataset},
        )

    def digests(self, folds: Iterable[str]) -> dict[str, str]:
        """Return the SHA-256 of every file that affects the result, by its path in the folder."""
        checkpoints = [f"fold_{fold}/{CHECKPOINT}" for fold in folds]
        names = ["plans.json", "dataset.json", *checkpoints]
        return {name: file_digest(self.folder / name) for name in names}

    def load_into(self, predictor: Any, folds: Iterable[str], *, restricted: bool) -> Any:
        """Build the network and give it to a predictor of nnU-Net.

        Parameters
        ----------
        predictor : nnunetv2.inference.predict_from_raw_data.nnUNetPredictor
        folds : iterable of str
            Numbers, or ``all``.
        restricted : bool
            Load plain weights only; a checkpoint that holds more is refused.

        Returns
        -------
        predictor

        Raises
        ------
        WeightsError
            If a checkpoint is damaged, belongs to another network, or holds or names code.
        """
        from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        checkpoints = [
            _load(self.folder / f"fold_{fold}" / CHECKPOINT, restricted) for fold in folds
        ]
        try:
            first = checkpoints[0]
            trainer = _trainer(self.folder, first["trainer_name"])
            plans = PlansManager(dict(self.plans))
            configuration = plans.get_configuration(str(first["init_args"]["configuration"]))
            dataset = dict(self.dataset)
            channels = determine_num_input_channels(plans, configuration, dataset)
            heads = plans.get_label_manager(dataset).num_segmentation_heads
            network = _network(trainer, plans, configuration, channels, heads)
            weights = [checkpoint["network_weights"] for checkpoint in checkpoints]
            network.load_state_dict(weights[0])
            predictor.manual_initialization(
                network,
                plans,
                configuration,
                weights,
                dataset,
                first["trainer_name"],
                first.get("inference_allowed_mirroring_axes"),
            )
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise WeightsError(
                f"The model in {self.folder} cannot be loaded ({type(error).__name__}: {error}); "
                "expected one of nnU-Net v2. Download it again."
            ) from error
        return predictor


def new_predictor(package: str, **options: Any) -> Any:
    """Make a predictor of nnU-Net without a network.

    Parameters
    ----------
    package : str
        What brings nnU-Net, for the message.
    **options
        Of ``nnUNetPredictor``.

    Raises
    ------
    EngineError
        If nnU-Net is not installed.
    """
    try:
        module = importlib.import_module("nnunetv2.inference.predict_from_raw_data")
    except ImportError as error:
        raise EngineError(
            f"The package {package} cannot be imported ({error}); expected it to be installed. "
            "Run: pip install bids_sr[hdbet]"
        ) from error
    return module.nnUNetPredictor(verbose=False, allow_tqdm=False, **options)


def _checked(path: Path, settings: Any) -> dict[str, Any]:
    """Return a configuration whose every name is known."""
    if not isinstance(settings, dict):
        raise WeightsError(
            f"{path}: found a configuration that is a {type(settings).__name__}; expected an "
            "object."
        )
    for key, known in _OF_CONFIGURATIONS.items():
        _check(path, key, settings.get(key), known)
    for scheme in _listed(path, settings, "normalization_schemes"):
        _check(path, "normalization_schemes", scheme, _NORMALIZATIONS)
    if "architecture" not in settings:
        return settings
    network = settings["architecture"]
    if not isinstance(network, dict) or not isinstance(network.get("arch_kwargs"), dict):
        raise WeightsError(f"{path}: found no arch_kwargs; expected plans of nnU-Net v2.")
    name, arguments = network.get("network_class_name"), network["arch_kwargs"]
    _check(path, "network_class_name", name, NETWORKS, needed=True)
    for key in _listed(path, network, "_kw_requires_import"):
        _check(path, "_kw_requires_import", key, _LAYER_ARGUMENTS, needed=True)
        _check(path, key, arguments.get(key), LAYERS)
    return settings | {"architecture": network | {"network_class_name": NETWORKS[str(name)]}}


def _check_labels(path: Path, dataset: dict[str, Any]) -> None:
    """Refuse labels that nnU-Net or the table of labels could not use."""
    labels = dataset.get("labels")
    if (
        not isinstance(labels, dict)
        or labels.get("background") != 0
        or len(labels) < 2
        or not all(_is_label(value) or _is_region(value) for value in labels.values())
    ):
        raise WeightsError(
            f"{path}: found labels {str(labels)[:100]}; expected background 0 and a whole number, "
            "or a list of them, for each other name. Download the model again."
        )
    if not any(_is_region(value) for value in labels.values()):
        return
    order = dataset.get("regions_class_order")
    if not _is_region(order) or len(order) != len(labels.keys() - {"background", "ignore"}):
        raise WeightsError(
            f"{path}: found regions_class_order {str(order)[:100]}; expected a whole number for "
            "each region of the labels. Download the model again."
        )


def _is_label(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_region(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and bool(value) and all(map(_is_label, value))


def _listed(path: Path, settings: dict[str, Any], key: str) -> list[Any]:
    values = settings.get(key, [])
    if not isinstance(values, list):
        raise WeightsError(f"{path}: found {key} {str(values)[:100]!r}; expected a list.")
    return values


def _check(path: Path, key: str, name: Any, known: Iterable[str], *, needed: bool = False) -> None:
    if name is None and not needed:
        return
    if not isinstance(name, str) or name not in known:
        listed = ", ".join(sorted(known))
        raise WeightsError(
            f"{path}: found {key} {str(name)[:100]!r}; expected what nnU-Net v2 itself writes "
            f"({listed}). Another name would be imported and could run any code, so the model is "
            "refused. Download the released one."
        )


def _load(path: Path, restricted: bool) -> dict[str, Any]:
    import torch

    try:
        check_stored(path)
        content = torch.load(path, map_location="cpu", weights_only=restricted)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds more than weights ({str(error).splitlines()[0]}), and is not known to "
            "be the released file; such a file can run any code when it is loaded, so it is "
            "refused. Get the released file; for HD-BET, --allow-unverified-weights allows one "
            "whose source you trust."
        ) from error
    except Exception as error:  # a damaged pickle fails in any way
        raise WeightsError(
            f"{path} cannot be loaded ({type(error).__name__}: {error}); expected a checkpoint "
            "of nnU-Net v2. Download it again."
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}; expected a checkpoint.")
    return content


def _trainer(folder: Path, name: Any) -> Any:
    """Return the trainer of nnU-Net's own that has a name."""
    base = importlib.import_module("nnunetv2.training.nnUNetTrainer.nnUNetTrainer").nnUNetTrainer
    if name == base.__name__:
        return base
    package = importlib.import_module("nnunetv2.training.nnUNetTrainer")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        with contextlib.suppress(Exception):  # one that needs what is not installed
            importlib.import_module(module.name)
    trainers = {trainer.__name__: trainer for trainer in _kinds(base)}
    if not isinstance(name, str) or name not in trainers:
        raise WeightsError(
            f"The checkpoint in {folder} names the trainer {str(name)[:100]!r}; expected one of "
            "nnU-Net v2 itself, such as nnUNetTrainer. Another would have to be imported by its "
            "name, which can run any code."
        )
    return trainers[name]


def _kinds(trainer: type) -> list[type]:
    """List a class of nnU-Net and all that are made from it there."""
    own = [trainer] if trainer.__module__.startswith("nnunetv2.") else []
    children: list[type] = trainer.__subclasses__()
    return own + [kind for child in children for kind in _kinds(child)]


def _network(trainer: Any, plans: Any, configuration: Any, channels: int, heads: int) -> Any:
    """Build the network as a trainer does; only checked names are looked up."""
    build = trainer.build_network_architecture
    if "plans_manager" in inspect.signature(build).parameters:
        return build(plans, configuration, channels, heads, enable_deep_supervision=False)
    return build(  # before nnU-Net 2.7
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        channels,
        heads,
        enable_deep_supervision=False,
    )
