"""Perceptual measures of planes: VIF, FSIM, VSI, HaarPSI and DISTS, by the package piq.

They were designed for 2-D pictures, so volumes are compared plane by plane.  The package is
optional (``pip install bids_sr[metrics]``); without it there are no such numbers, and
:func:`available` says why.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

PERCEPTUAL = ("vif", "fsim", "vsi", "haarpsi", "dists")
"""All of them, in the order of PRETTIER's Table 2.  DISTS is a distance: lower is better."""
INSTALL = "pip install bids_sr[metrics]"
_SMALLEST = 41  # voxels: what VIF's four scales need
_DISTS_FILES = ("vgg16-397923af.pth", "dists_weights.pt")


@dataclass(frozen=True, kw_only=True)
class Availability:
    """Say which measures can be computed here, and why others cannot."""

    measures: tuple[str, ...]
    """Names out of :data:`PERCEPTUAL`."""
    notes: tuple[str, ...]
    """One sentence for what is missing."""


def available() -> Availability:
    """Find out which measures can be computed here; nothing is downloaded."""
    try:
        _piq()
    except (ImportError, RuntimeError, OSError) as error:
        missing = ", ".join(PERCEPTUAL)
        reason = str(error).splitlines()[0]
        return Availability(
            measures=(), notes=(f"{missing}: n/a, piq cannot be imported ({reason}): {INSTALL}",)
        )
    absent = _missing_dists_files()
    if not absent:
        return Availability(measures=PERCEPTUAL, notes=())
    note = f"dists: n/a, its network is not installed: put {' and '.join(map(str, absent))} there"
    return Availability(measures=PERCEPTUAL[:-1], notes=(note,))


def perceptual(
    pairs: Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]], measures: Sequence[str]
) -> dict[str, float]:
    """Return the mean of each measure over planes.

    Parameters
    ----------
    pairs : sequence of ((rows, columns) array, (rows, columns) array)
        Estimate and reference, scaled so that the reference is within 0 to 1; values
        outside are clipped.  Planes below 41 pixels on a side are enlarged by zeros.
    measures : sequence of str
        Out of :func:`available`.

    Returns
    -------
    dict of str to float
        NaN without planes that have contents.

    References
    ----------
    Kastryulin et al. 2022, PyTorch Image Quality: metrics for image quality assessment,
    doi:10.48550/arXiv.2208.14818.
    """
    functions = {name: _functions()[name] for name in measures}
    values_of: dict[str, list[float]] = {name: [] for name in measures}
    for pair in pairs:
        estimate, reference = (_tensor(plane) for plane in pair)
        for name, function in functions.items():
            value = float(function(estimate, reference))
            if np.isfinite(value):  # HaarPSI divides by zero where both are empty
                values_of[name].append(value)
    return {
        name: float(np.mean(values)) if values else np.nan for name, values in values_of.items()
    }


def _functions() -> dict[str, Callable[[Any, Any], Any]]:
    piq = _piq()
    return {
        "vif": piq.vif_p,
        "fsim": lambda estimate, reference: piq.fsim(estimate, reference, chromatic=False),
        "vsi": lambda estimate, reference: _vsi(piq, estimate, reference),
        "haarpsi": piq.haarpsi,
        "dists": lambda estimate, reference: _dists()(_rgb(estimate), _rgb(reference)),
    }


def _vsi(piq: Any, estimate: Any, reference: Any) -> Any:
    # An empty corner has no saliency and gives 0 / 0 without a trace of signal.
    return piq.vsi(_rgb(estimate), _rgb(reference)).nan_to_num(nan=1.0)


@cache
def _dists() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the way in which piq asks torchvision is deprecated
        return _piq().DISTS()


def _missing_dists_files() -> list[Path]:
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return [folder / name for name in _DISTS_FILES if not (folder / name).is_file()]


def _tensor(plane: npt.NDArray[Any]) -> Any:
    import torch

    short = [max(0, _SMALLEST - size) for size in plane.shape]
    padded = np.pad(plane, [(lack // 2, lack - lack // 2) for lack in short])
    clipped = np.ascontiguousarray(np.clip(padded, 0, 1), np.float32)
    return torch.from_numpy(clipped)[None, None]  # (1, 1, rows, columns)


def _rgb(grey: Any) -> Any:
    return grey.expand(-1, 3, -1, -1)


@cache
def _piq() -> Any:
    """Import piq, also where torchvision was built for another torch.

    piq wants torchvision for its networks only.  A torchvision of the package index next to
    a torch for CPUs lacks its compiled operators and stops where it describes them; with a
    declaration of those operators, which nothing here calls, it can be imported.
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("nms", "qnms"):
            try:
                importlib.import_module("torchvision")
            except RuntimeError as error:
                if f"torchvision::{name} " not in str(error):
                    raise
                library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
                schema = f"{name}(Tensor dets, Tensor scores, float threshold) -> Tensor"
                library.define(schema)  # type: ignore[no-untyped-call]
                _declared.append(library)
        return importlib.import_module("piq")


_declared: list[Any] = []  # a library object ends its declarations with its life
