"""HD-BET: brain extraction by a trained nnU-Net, driven in this process.

HD-BET fixes its weights' folder at import, sets torch's threads, replaces ``sys.stdout`` and
starts worker processes; nnU-Net prints and reads the environment.  These side effects are
contained here, and HD-BET's predictor gets a network whose files were checked
(:mod:`.nnunet_model`).  The weights are not part of this package.
"""

from __future__ import annotations

import importlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bids_sr.compute.environment import variables
from bids_sr.engines.nnunet_model import NnUNetModel
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume
from bids_sr.published import published_weights

if TYPE_CHECKING:
    import torch

LOGGER = logging.getLogger(__name__)

CHECKPOINT = "fold_all/checkpoint_final.pth"
ON_CPU = "cpu (GPU memory was too small)"


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
        Searched first for the weights; see :meth:`.PublishedWeights.candidates`.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.  With ``"auto"`` a GPU
        without enough memory is replaced by the CPU, and the record says so.
    threads : int
        Threads of torch on the CPU.
    hdbet_tta : bool
        Average over mirrored copies; eight times slower.
    allow_unverified_weights : bool
        Load a checkpoint that holds more than weights though its folder is not known to be
        the released one.  Such a file can run arbitrary code.  Classes named in the plans are
        imported only if they are nnU-Net's own.

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
    from bids_sr.compute.device import or_on_cpu, resolve_device

    weights = published_weights("hd-bet")
    folder = weights.require(weights_dir)
    model = NnUNetModel.read(folder)
    digests = model.digests(["all"])
    released = weights.verdict(digests)
    canonical = volume.canonical()
    image = canonical.data.astype(np.float32).transpose(2, 1, 0)[None]  # (1, z, y, x)
    spacings = [float(spacing) for spacing in canonical.spacings[::-1]]
    restricted = not (released or allow_unverified_weights)

    def predict(name: str) -> npt.NDArray[Any]:
        predictor = _load(model, resolve_device(name), hdbet_tta, restricted=restricted)
        return np.asarray(predictor.predict_single_npy_array(image, {"spacing": spacings}))

    with fence(threads, restricted=restricted):
        labels, full = or_on_cpu(device, predict)
    mask = (labels.transpose(2, 1, 0) > 0).astype(np.uint8)
    if not mask.any():
        raise EngineError(
            "HD-BET found no brain in the image; expected one. Check that the image shows a "
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
        "Device": ON_CPU if full else str(resolve_device(device)),
        "TTA": hdbet_tta,
        "Threads": threads,
    }
    if full:
        record["Warning"] = f"the brain mask was computed on the {ON_CPU}"
    return volume.with_data(own.data), record


def _load(
    model: NnUNetModel, device: torch.device, hdbet_tta: bool, *, restricted: bool = True
) -> Any:
    """Build HD-BET's own predictor, and its network from files that were checked."""
    from bids_sr.compute.device import limited_threads

    module = _hd_bet_module()

    class Checked(module.nnUNetPredictor):  # type: ignore[name-defined, misc]
        def initialize_from_trained_model_folder(self, _: str, fold: str) -> None:
            model.load_into(self, [fold], restricted=restricted)

    before = module.nnUNetPredictor
    module.nnUNetPredictor = Checked
    try:
        with limited_threads(None):  # HD-BET sets as many as there are cores
            predictor = module.get_hdbet_predictor(use_tta=hdbet_tta, device=device, verbose=False)
    finally:
        module.nnUNetPredictor = before
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
            f"The package hd-bet cannot be imported ({error}); expected it to be installed. "
            "Run: pip install HD_BET, or use --skull-strip-method template."
        ) from error


@contextmanager
def fence(threads: int, *, restricted: bool) -> Iterator[None]:
    """Contain the side effects of HD-BET and nnU-Net.

    With ``restricted`` torch loads plain weights only, and runs no code of a checkpoint.
    """
    import torch

    from bids_sr.compute.checkpoints import plain_values
    from bids_sr.compute.device import limited_threads

    environment = {
        "nnUNet_compile": "F",
        # Read when nnU-Net is first imported: the most threads it gives to torch.
        "nnUNet_def_n_proc": str(threads),
        "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1" if restricted else "0",
    }
    benchmark, stdout, output = torch.backends.cudnn.benchmark, sys.stdout, io.StringIO()
    with variables(environment), limited_threads(threads):
        try:
            with redirect_stdout(output), plain_values():
                yield
        finally:
            sys.stdout = stdout
            torch.backends.cudnn.benchmark = benchmark
            if output.getvalue():
                LOGGER.debug("nnU-Net said: %s", output.getvalue().strip())
