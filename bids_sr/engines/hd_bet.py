"""HD-BET: brain extraction by a trained nnU-Net, driven in this process.

HD-BET fixes its weights' folder at import, sets torch's threads, replaces ``sys.stdout`` and
starts worker processes; nnU-Net prints and reads the environment.  All of that is fenced in
here, and HD-BET's predictor gets a network whose files were checked
(:mod:`.nnunet_model`).  The weights are not part of this package.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from bids_sr.engines.nnunet_model import NnUNetModel
from bids_sr.exceptions import EngineError, is_device_full
from bids_sr.imaging import Volume
from bids_sr.published import published_weights

if TYPE_CHECKING:
    import torch

LOGGER = logging.getLogger(__name__)

CHECKPOINT = "fold_all/checkpoint_final.pth"
TOO_SMALL = "GPU memory was too small"
_Made = TypeVar("_Made")


def find_weights(weights_dir: Path | None = None) -> Path | None:
    """Find the folder with HD-BET's weights; imports nothing heavy.

    Parameters
    ----------
    weights_dir : Path, optional
        Sought first, then ``BIDS_SR_WEIGHTS``, ``/opt/bids_sr/weights`` and
        ``~/hd-bet_params``.

    Returns
    -------
    folder : Path or None
        Holds ``plans.json``, ``dataset.json`` and ``fold_all/checkpoint_final.pth``.
    """
    return published_weights("hd-bet").find(weights_dir)


def require_weights(weights_dir: Path | None = None) -> Path:
    """Find the folder with HD-BET's weights, or say what to put where.

    Parameters
    ----------
    weights_dir : Path, optional
        As in :func:`find_weights`.

    Returns
    -------
    folder : Path

    Raises
    ------
    WeightsError
        If files are missing.
    """
    return published_weights("hd-bet").require(weights_dir)


def brain_mask(
    volume: Volume,
    *,
    weights_dir: Path | None = None,
    device: str = "cpu",
    threads: int = 1,
    hdbet_tta: bool = False,
    allow_unverified_weights: bool = False,
) -> tuple[Volume, dict[str, Any]]:
    """Extract the brain with HD-BET.

    Parameters
    ----------
    volume : Volume
        A head of any contrast, spacing and orientation.
    weights_dir : Path, optional
        As in :func:`find_weights`.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.  With ``"auto"`` a GPU
        without enough memory hands over to the CPU, and the record says so.
    threads : int
        Threads of torch on the CPU.
    hdbet_tta : bool
        Average over mirrored copies; eight times slower.
    allow_unverified_weights : bool
        Load a checkpoint that holds more than weights though its folder is not known to be
        the released one.  Such a file can run any code.  What the plans name is never imported
        unless it is nnU-Net's own.

    Returns
    -------
    mask : Volume
        uint8, on the volume's own grid.
    record : dict
        ``Model``, ``Weights``, ``WeightsSHA256``, ``FilesSHA256`` of all files,
        ``WeightsReleased`` (of all files; True, False or None where a released hash is
        unknown), ``VolumeMl``, ``Device``, ``TTA``, ``Threads``.

    Raises
    ------
    WeightsError
        If weights are missing, damaged or not to be trusted.
    EngineError
        If HD-BET is not installed or fails, the device is absent, or no brain is found.

    Notes
    -----
    HD-BET was trained on images oriented like the MNI152 template; the volume is turned
    to the nearest such orientation first and the mask back.  The array goes to nnU-Net
    as its SimpleITK reader gives it: axes and spacings as (z, y, x).

    References
    ----------
    Isensee et al. 2019, Automated brain extraction of multisequence MRI using artificial
    neural networks, Hum Brain Mapp 40:4952-4964, doi:10.1002/hbm.24750.
    """
    weights = published_weights("hd-bet")
    folder = weights.require(weights_dir)
    model = NnUNetModel.read(folder)
    digests = model.digests(["all"])
    released = weights.verdict(digests)
    canonical = volume.canonical()
    image = canonical.data.astype(np.float32).transpose(2, 1, 0)[None]  # (1, z, y, x)
    spacings = [float(spacing) for spacing in canonical.spacings[::-1]]
    restricted = not (released or allow_unverified_weights)
    with fence(threads, restricted=restricted):
        labels, used = on_device(
            "HD-BET",
            device,
            lambda chosen: _predict_on(
                _load(model, chosen, hdbet_tta, restricted=restricted), image, spacings
            ),
        )
    mask = (labels.transpose(2, 1, 0) > 0).astype(np.uint8)
    if not mask.any():
        raise EngineError(
            "HD-BET found no brain in the image; expected one. Look whether the image shows a "
            "head, or use --skull-strip-method template."
        )
    own = canonical.with_data(mask).oriented_like(volume)
    millilitres = float(mask.sum()) * float(np.prod(volume.spacings)) / 1000
    record = {
        "Method": "HD-BET",
        "Model": weights.version,
        "Weights": str(folder),
        "WeightsSHA256": digests[CHECKPOINT],
        "FilesSHA256": digests,
        "WeightsReleased": released,
        "VolumeMl": round(millilitres, 1),
        "Device": used,
        "TTA": hdbet_tta,
        "Threads": threads,
    }
    if TOO_SMALL in used:
        record["Warning"] = f"the brain mask was computed on the {used}"
    return volume.with_data(own.data), record


def on_device(name: str, device: str, work: Callable[[torch.device], _Made]) -> tuple[_Made, str]:
    """Do work on a device; on the CPU where a GPU that nobody insisted on is full.

    Parameters
    ----------
    name : str
        Of what works, for messages.
    device : str
        As for :func:`resolve_device`; with ``auto`` the CPU may take over.
    work : callable
        From the device to what is made there.

    Returns
    -------
    made
        What `work` returned.
    where : str
        The device, and why if it is not the one chosen first.

    Raises
    ------
    EngineError
        If memory ran out on a device that was asked for by name.
    """
    import torch

    chosen = resolve_device(device)
    try:
        return work(chosen), str(chosen)
    except RuntimeError as error:
        if not is_device_full(error):
            raise
        if device != "auto":
            raise EngineError(
                f"The device {chosen} has too little memory for {name} ({error}). "
                "Use --device cpu or --device auto."
            ) from error
        LOGGER.warning("%s does not fit into the memory of %s; using the CPU", name, chosen)
    return work(torch.device("cpu")), f"cpu ({TOO_SMALL})"


def _predict_on(
    predictor: Any, image: npt.NDArray[np.float32], spacings: list[float]
) -> npt.NDArray[Any]:
    return np.asarray(predictor.predict_single_npy_array(image, {"spacing": spacings}))


def resolve_device(device: str) -> torch.device:
    """Return the device that a name stands for (EngineError if it is not there)."""
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise EngineError(
            f"Found the device {device!r}; expected auto, cpu, cuda, cuda:N or mps."
        ) from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise EngineError(
            f"The device {device} was asked for, but torch finds no CUDA GPU. "
            "Use --device cpu or --device auto."
        )
    return chosen


def _load(
    model: NnUNetModel, device: torch.device, hdbet_tta: bool, *, restricted: bool = True
) -> Any:
    """Build HD-BET's own predictor, and its network from files that were checked."""
    module = _hd_bet_module()
    import torch

    class Checked(module.nnUNetPredictor):  # type: ignore[name-defined, misc]
        def initialize_from_trained_model_folder(self, _: str, fold: str) -> None:
            model.load_into(self, [fold], restricted=restricted)

    threads, before = torch.get_num_threads(), module.nnUNetPredictor
    module.nnUNetPredictor = Checked
    try:
        predictor = module.get_hdbet_predictor(use_tta=hdbet_tta, device=device, verbose=False)
    finally:
        module.nnUNetPredictor = before
        torch.set_num_threads(threads)  # HD-BET sets as many as there are cores
    predictor.allow_tqdm = False
    return predictor


def _hd_bet_module() -> Any:
    try:
        with warnings.catch_warnings():
            # HD-BET opens os.devnull as stdout while it is imported, and never closes it.
            warnings.simplefilter("ignore", ResourceWarning)
            return importlib.import_module("HD_BET.hd_bet_prediction")
    except ImportError as error:
        raise EngineError(
            f"The package hd-bet cannot be imported ({error}); expected it installed. "
            "Run: pip install HD_BET, or use --skull-strip-method template."
        ) from error


@contextmanager
def fence(threads: int, *, restricted: bool) -> Iterator[None]:
    """Keep what HD-BET and nnU-Net change from getting out.

    With ``restricted`` torch loads plain weights only, and runs no code of a checkpoint.
    """
    import torch

    wanted = {
        "nnUNet_compile": "F",
        # Read when nnU-Net is first imported: the most threads it gives to torch.
        "nnUNet_def_n_proc": str(threads),
        "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1" if restricted else "0",
    }
    environment = {name: os.environ.get(name) for name in wanted}
    torch_threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    said = io.StringIO()
    stdout = sys.stdout
    os.environ.update(wanted)
    torch.set_num_threads(threads)
    try:
        with redirect_stdout(said), torch.serialization.safe_globals(_harmless_globals()):
            yield
    finally:
        sys.stdout = stdout
        torch.set_num_threads(torch_threads)
        torch.backends.cudnn.benchmark = benchmark
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if said.getvalue():
            LOGGER.debug("nnU-Net said: %s", said.getvalue().strip())


def _harmless_globals() -> list[Any]:
    """NumPy's scalars, which nnU-Net keeps in its training log beside the weights."""
    from numpy._core.multiarray import scalar

    kinds = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")]
    return [
        scalar,
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *kinds,
    ]
