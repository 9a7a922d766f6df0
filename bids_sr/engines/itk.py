"""A volume as ANTs sees it, and a session in which ANTs is called.

An ITK image has an origin, three spacings and three orthonormal directions in
LPS+ world coordinates; a volume has an affine in RAS+.  This module converts between
the two and contains the settings that ANTs reads from the process.  It calls no
algorithm.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_sr.compute.environment import variables
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume

LOGGER = logging.getLogger(__name__)

_THREADS_VARIABLE = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"
_SEED_VARIABLE = "ANTS_RANDOM_SEED"
_MAX_SHEAR = 1e-2  # rad; rounding of the header's quaternion stays below 1e-4
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


class _ThreadPool:
    """Number of threads ITK started with in this process; 0 before its first call."""

    size = 0


@contextmanager
def ants_session(*, threads: int, seed: int) -> Iterator[tuple[ModuleType, int]]:
    """Import ANTs and call it with a number of threads and a seed.

    Parameters
    ----------
    threads : int
        Threads of ITK's filters.
    seed : int
        Seed of the registration's sampling.

    Yields
    ------
    ants : module
        The package ``ants``.
    threads : int
        Threads really used.

    Raises
    ------
    EngineError
        If ANTs is not installed, or one of its calls inside the block fails.

    Notes
    -----
    ITK reads the number of threads at its first call in a process and keeps it: a
    later session with another number runs with the first one, and says so.  The
    same seed gives the same result with one thread.
    """
    with variables({_THREADS_VARIABLE: str(threads), _SEED_VARIABLE: str(seed)}):
        try:
            import ants
        except ImportError as error:
            raise EngineError(
                f"The package antspyx cannot be imported ({error}); expected it to be installed. "
                "Run: pip install antspyx"
            ) from error
        if not _ThreadPool.size:
            _ThreadPool.size = threads
        elif _ThreadPool.size != threads:
            LOGGER.warning(
                "ANTs runs with %d threads, not %d: ITK fixes the number at its first call "
                "in a process",
                _ThreadPool.size,
                threads,
            )
        # Passed on by ants.registration; with 0 ITK would seed itself from the clock.
        before_seed, ants.config._random_seed = ants.config._random_seed, seed + 1
        try:
            yield ants, _ThreadPool.size
        except RuntimeError as error:
            # antspyx reports every exception of ITK as a RuntimeError.
            raise EngineError(
                f"ANTs failed: {error}. Expected an image it can process; look at the image, or "
                "switch the step off."
            ) from error
        finally:
            ants.config._random_seed = before_seed


def to_ants(ants: ModuleType, volume: Volume) -> Any:
    """Give ANTs a volume with its exact header.

    Parameters
    ----------
    ants : module
        The package, from :func:`ants_session`.
    volume : Volume
        Bool becomes uint8, every other type float32.

    Returns
    -------
    image : ants.ANTsImage

    Raises
    ------
    EngineError
        If the axes of the affine are not orthogonal.
    """
    origin, spacings, directions = itk_header(volume.affine)
    kind = np.uint8 if volume.data.dtype in (np.bool_, np.uint8) else np.float32
    return ants.from_numpy(
        np.ascontiguousarray(volume.data, dtype=kind),
        origin=tuple(origin),
        spacing=tuple(spacings),
        direction=directions,
    )


def without_shear(volume: Volume) -> Volume:
    """Return the volume; if its axes are not orthogonal, the array with orthogonal axes.

    For filters that look at neighbours and at spacings only: the slices of a tilted stack
    are shifted against each other by the same step, which no such filter sees.
    """
    if _shear(volume.affine) <= _MAX_SHEAR:
        return volume
    return Volume(volume.data, np.diag([*volume.spacings, 1.0]))


def _shear(affine: npt.NDArray[np.float64]) -> float:
    """Return how far the axes are from orthogonal, rad."""
    linear = _RAS_TO_LPS @ affine[:3, :3]
    cosines = linear / np.linalg.norm(linear, axis=0)
    left, _, right = np.linalg.svd(cosines)
    return float(np.abs(cosines - left @ right).max())


def itk_header(
    affine: npt.NDArray[np.float64],
) -> tuple[list[float], list[float], npt.NDArray[np.float64]]:
    """Turn an affine into ITK's origin, spacings and directions.

    Parameters
    ----------
    affine : (4, 4) array
        Voxel index to world, RAS+, mm.

    Returns
    -------
    origin : list of 3 float, mm, LPS+
    spacings : list of 3 float, mm
    directions : (3, 3) array
        Orthonormal, the nearest to the axes of the affine.

    Raises
    ------
    EngineError
        If the axes of the affine are not orthogonal.
    """
    linear = _RAS_TO_LPS @ affine[:3, :3]
    spacings = np.linalg.norm(linear, axis=0)
    cosines = linear / spacings
    left, _, right = np.linalg.svd(cosines)
    directions: npt.NDArray[np.float64] = left @ right
    shear = _shear(affine)
    if shear > _MAX_SHEAR:
        raise EngineError(
            f"Found an affine whose axes are not orthogonal (by {shear:.3f} rad); ANTs "
            "needs orthogonal axes. Resample the image to an orthogonal grid."
        )
    origin = _RAS_TO_LPS @ affine[:3, 3]
    return [float(x) for x in origin], [float(x) for x in spacings], directions
