"""The bias field: a smooth multiplicative inhomogeneity, found by N4 (ANTs).

The field is found on a coarse copy of the image and evaluated on its own grid.
"""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bids_sr.engines.foreground import foreground
from bids_sr.engines.itk import ants_session, to_ants, without_shear
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume
from bids_sr.seed import DEFAULT_SEED

LOGGER = logging.getLogger(__name__)

_CELL = 6.0  # mm: the coarse copy has cells of about this size; the field is far smoother
_MIN_CELLS = 8  # along every axis that has as many voxels
_SPLINE_DISTANCE = 200.0  # mm between control points at the first level
# Each level halves the distance.  A fourth (25 mm) fits anatomy: in the MNI152 template,
# which has no bias field, four find 0.80 to 1.25 and three find 0.89 to 1.10.
_ITERATIONS = (50, 50, 50)
_SLOPPY_ITERATIONS = (5, 5)
_UNCHANGED = 1e-5
_DARKEST = 0.1  # of the 99th percentile: darker cells do not count


class BiasCorrection(NamedTuple):
    """What N4 did to an image."""

    volume: Volume
    """Corrected; float32, same grid, same mean within the mask."""
    field_range: tuple[float, float]
    """Least and largest value of the field within the mask, mean 1."""
    record: dict[str, Any]
    """``Status`` ("corrected" or "unchanged"), ``FieldRange``, ``FieldCV``, ``ShrinkFactors``,
    ``Iterations``, ``Mask``, threads and seed."""


def n4(
    volume: Volume,
    *,
    mask: Volume | None = None,
    threads: int = 1,
    seed: int = DEFAULT_SEED,
    sloppy: bool = False,
) -> BiasCorrection:
    """Remove the bias field from an image.

    Parameters
    ----------
    volume : Volume
    mask : Volume, optional
        Where the field is fitted, on the volume's grid; the foreground by default.
    threads : int
    seed : int
        Kept for the record; N4 draws nothing at random.
    sloppy : bool
        Few iterations, for tests.

    Returns
    -------
    BiasCorrection

    Raises
    ------
    EngineError
        If the mask is empty or on another grid, or N4 fails.

    Notes
    -----
    Each axis is shrunk by itself, by block means, to cells of about 6 mm: a thick
    slice axis is never shrunk, since N4 returns its input unchanged where too few
    slices are left.  If the field is flat, not finite or not positive, N4 runs again
    with half the factors; if that fails too, the image is returned unchanged and the
    record says "unchanged".

    References
    ----------
    Tustison et al. 2010, N4ITK: improved N3 bias correction, IEEE Trans Med Imaging
    29:1310-1320, doi:10.1109/TMI.2010.2046908.
    """
    inside = _fit_region(volume, mask)
    data = volume.data.astype(np.float32)
    iterations = _SLOPPY_ITERATIONS if sloppy else _ITERATIONS
    field = np.ones_like(data)
    status = "unchanged"
    factors = shrink_factors(volume)
    with ants_session(threads=threads, seed=seed) as (ants, threads_used):
        for shrink in dict.fromkeys((factors, tuple(max(f // 2, 1) for f in factors))):
            coarse = _coarse_field(ants, volume.with_data(data), inside, shrink, iterations)
            if _is_plausible(coarse):
                field = _evaluate(coarse, shrink, data.shape)
                factors, status = shrink, "corrected"
                break
            LOGGER.warning("N4 found no field with shrink factors %s", shrink)
    field = field / field[inside].mean()
    corrected = data / field
    mean = float(corrected[inside].mean())
    if mean:
        corrected *= float(data[inside].mean()) / mean
    values = field[inside]
    field_range = (round(float(values.min()), 4), round(float(values.max()), 4))
    record = {
        "Method": "N4 (ANTs)",
        "Status": status,
        "FieldRange": list(field_range),
        "FieldCV": round(float(values.std()), 4),
        "ShrinkFactors": list(factors),
        "Iterations": list(iterations),
        "SplineDistance": _SPLINE_DISTANCE,
        "Mask": "foreground" if mask is None else "given",
        "Threads": threads_used,
        "Seed": seed,
    }
    result = data if status == "unchanged" else corrected.astype(np.float32)
    return BiasCorrection(volume.with_data(result), field_range, record)


def shrink_factors(volume: Volume) -> tuple[int, ...]:
    """Choose the factor of each axis: cells of at most 6 mm, and enough of them.

    Parameters
    ----------
    volume : Volume

    Returns
    -------
    factors : tuple of 3 int
    """
    by_size = np.floor(_CELL / volume.spacings + 1e-6)
    by_count = np.asarray(volume.shape) // _MIN_CELLS
    first, second, third = np.maximum(np.minimum(by_size, by_count), 1).astype(int).tolist()
    return first, second, third


def _fit_region(volume: Volume, mask: Volume | None) -> npt.NDArray[np.bool_]:
    if mask is not None and not mask.same_grid(volume):
        raise EngineError(
            f"Found a mask of shape {mask.shape} on another grid than the image (shape "
            f"{volume.shape}); N4 needs both on the same grid. Resample the mask first."
        )
    inside = foreground(volume) if mask is None else mask.data > 0
    # N4 works on logarithms.
    inside = inside & (volume.data > 0)
    if not inside.any():
        raise EngineError(
            "Found no positive voxel within the mask; N4 needs some. Give a mask that covers "
            "the tissue, or use --anat-biascorrect none."
        )
    return inside


def _coarse_field(
    ants: ModuleType,
    volume: Volume,
    inside: npt.NDArray[np.bool_],
    factors: tuple[int, ...],
    iterations: tuple[int, ...],
) -> npt.NDArray[np.float64]:
    weights = _block_mean(inside.astype(np.float32), factors)
    sums = _block_mean(np.where(inside, volume.data, 0.0), factors)
    # The mean of the tissue within a block, not of tissue and air.
    coarse = sums / np.maximum(weights, 1e-6)
    # N4's histogram is of logarithms: a few cells near zero stretch it until nothing is found.
    fitted = weights > 0.5
    if fitted.any():
        fitted &= coarse > _DARKEST * np.percentile(coarse[fitted], 99)
    blocks = volume.grid
    for axis, factor in enumerate(factors):
        blocks = blocks.rescaled(axis, factor, coarse.shape[axis])
    image = to_ants(ants, without_shear(Volume(coarse.astype(np.float32), blocks.affine)))
    # float32: antspyx reads a uint8 mask as if it held floats.
    mask = to_ants(ants, without_shear(Volume(fitted.astype(np.float32), blocks.affine)))
    field = ants.n4_bias_field_correction(
        image,
        mask=mask,
        shrink_factor=1,
        convergence={"iters": list(iterations), "tol": 1e-7},
        spline_param=_SPLINE_DISTANCE,
        return_bias_field=True,
    )
    return np.asarray(field.numpy(), dtype=np.float64)


def _is_plausible(field: npt.NDArray[np.float64]) -> bool:
    if not np.isfinite(field).all() or field.min() <= 0:
        return False
    return bool(field.max() / field.min() - 1 > _UNCHANGED)


def _block_mean(
    data: npt.NDArray[np.floating], factors: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """Average blocks; the last block of an axis repeats the edge where it is not full."""
    missing = [-size % factor for size, factor in zip(data.shape, factors, strict=True)]
    padded = np.pad(data, [(0, extra) for extra in missing], mode="edge")
    split = [n for s, f in zip(padded.shape, factors, strict=True) for n in (s // f, f)]
    # (x, fx, y, fy, z, fz)
    return np.asarray(padded.reshape(split).mean(axis=(1, 3, 5)), dtype=np.float64)


def _evaluate(
    field: npt.NDArray[np.float64], factors: tuple[int, ...], shape: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """Evaluate the coarse field on the fine grid: cubic spline of its logarithm."""
    result = np.log(field)
    for axis, (factor, size) in enumerate(zip(factors, shape, strict=True)):
        if factor > 1:
            centres = (np.arange(size) - (factor - 1) / 2) / factor
            result = _spline_along(result, centres, axis)
    return np.asarray(np.exp(result), dtype=np.float32)


def _spline_along(
    data: npt.NDArray[np.float64], positions: npt.NDArray[np.float64], axis: int
) -> npt.NDArray[np.float64]:
    from scipy.interpolate import make_interp_spline

    knots = np.arange(data.shape[axis])
    spline = make_interp_spline(knots, data, k=min(3, knots.size - 1), axis=axis)
    inner = np.clip(positions, 0, knots[-1])
    return np.asarray(spline(inner), dtype=np.float64)
