"""Features are what a reconstruction shows of the size of its own errors, voxel by voxel.

Detail that is missing across the slices is like the detail that the same image has within them;
errors are larger where neighbouring slices differ, where much was added to interpolation, and
where the image is noisy.  Nothing here knows the truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse

from bids_sr.imaging import Acquisition, Volume, resample
from bids_sr.imaging.noise import estimate_noise
from bids_sr.imaging.resample import apply_along_axis, interpolation_matrix
from bids_sr.imaging.slice_profile import FWHM_PER_SIGMA

Array = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float32]
AMPLITUDES = (
    "detail",
    "slope_across",
    "curvature_across",
    "slope_within",
    "fine_within",
    "fine_within_around",
    "slice_step",
    "slice_curvature",
    "deviation",
)
"""Sizes in units of intensity; the logarithm of each, relative to that of :data:`SCALE`."""
SCALE = ("slope_across", "fine_within", "slice_step", "noise")
"""Whose root mean square is the first guess of an error's size.  The noise of the slices counts
only here: as a feature it made the intervals of heads left out less even."""
GEOMETRY = ("distance", "scale", "thickness")
"""Distance to the nearest slice centre, in slices; log2 of slices' spacing in voxels; thickness
as a share of the spacing."""
NAMES = (*AMPLITUDES, *GEOMETRY)
_SLAB_VOXELS = 1 << 21
_AROUND = 9  # voxels
_LEAST = 1e-4  # of the range of intensities: smaller errors are none


@dataclass(frozen=True, eq=False)
class ErrorFeatures:
    """Hold the features of a part of a volume, its slice axis first."""

    rows: slice
    """Where the part lies along the first in-plane axis."""
    log_scale: Array
    """(Z, H, W) log of the first guess of the error's size, in units of intensity."""
    values: Array
    """(Z, H, W, F), in the order of :data:`NAMES`."""


def error_features(
    sr: Volume, lr: Volume, acquisition: Acquisition, deviation: Volume
) -> Iterator[ErrorFeatures]:
    """Compute the features of a reconstruction, part by part.

    Parameters
    ----------
    sr : Volume
        The reconstruction.
    lr : Volume
        The acquired slices.
    acquisition : Acquisition
        How they were taken, with the slice axis.
    deviation : Volume
        Standard deviation from the disagreement of the views, on the grid of `sr`.

    Yields
    ------
    ErrorFeatures
        Of slabs that together are the volume.
    """
    axis = acquisition.slice_axis
    assert axis is not None
    slices = resample(lr, sr.grid.with_planes_of(lr.grid, axis))
    noise = estimate_noise(lr, axis)
    least = _LEAST * (float(np.ptp(lr.data)) or 1.0)
    within = [float(sr.spacings[other]) for other in range(3) if other != axis]
    coordinates = slices.grid.coordinates_of(sr.grid, axis)  # (Z,)
    between = _Between.of(slices, axis, coordinates)
    fine, stated = (np.moveaxis(volume.data, axis, 0) for volume in (sr, deviation))
    geometry = (
        np.abs(coordinates - np.clip(np.round(coordinates), 0, lr.shape[axis] - 1)),
        np.full(coordinates.shape, np.log2(acquisition.spacing / float(sr.spacings[axis]))),
        np.full(coordinates.shape, acquisition.slice_profile.fwhm / acquisition.spacing),
    )
    sigmas = [acquisition.slice_profile.fwhm / FWHM_PER_SIGMA / spacing for spacing in within]
    margin = int(np.ceil(3 * max(sigmas))) + _AROUND // 2 + 2
    height = fine.shape[1]
    step = max(1, _SLAB_VOXELS // (fine.shape[0] * fine.shape[2]))
    for first in range(0, height, step):
        rows = slice(first, min(first + step, height))
        wide = slice(max(0, rows.start - margin), min(height, rows.stop + margin))
        inner = slice(rows.start - wide.start, rows.stop - wide.start)
        sizes = _amplitudes(fine[:, wide], stated[:, wide], between.part(wide), sigmas)
        yield _combined(
            rows,
            [values[:, inner] for values in sizes],
            noise=noise,
            least=least,
            geometry=geometry,
        )


@dataclass(frozen=True, eq=False)
class _Between:
    """Hold what the acquired slices tell of each fine plane, slice axis first."""

    slices: Array
    """(K, H, W)"""
    spline: sparse.csr_array
    """(Z, K) cubic interpolation."""
    linear: sparse.csr_array
    """(Z, K)"""
    halfway: sparse.csr_array
    """(Z, K - 1) linear interpolation of what lies halfway between two slices."""

    @classmethod
    def of(cls, slices: Volume, axis: int, coordinates: npt.NDArray[np.float64]) -> _Between:
        count = slices.shape[axis]
        return cls(
            np.moveaxis(slices.data, axis, 0).astype(np.float32, copy=False),
            interpolation_matrix(coordinates, count, "bspline"),
            interpolation_matrix(coordinates, count, "linear"),
            interpolation_matrix(coordinates - 0.5, count - 1, "linear"),
        )

    def part(self, rows: slice) -> tuple[Array, Array, Array]:
        """Return interpolation, and mean squares of steps and curvature between slices."""
        slices = self.slices[:, rows]
        step = np.diff(slices, axis=0)
        curved = np.zeros_like(slices)
        curved[1:-1] = np.diff(step, axis=0)
        if len(slices) > 2:
            curved[0], curved[-1] = curved[1], curved[-2]
        return (
            apply_along_axis(self.spline, slices, 0).astype(np.float32),
            *(
                np.maximum(apply_along_axis(matrix, _mean(part * part, (1, 3, 3)), 0), 0)
                for matrix, part in (
                    (self.halfway, step),
                    (self.linear, curved),
                )
            ),
        )


def _amplitudes(
    fine: Array,
    stated: Array,
    between: tuple[Array, Array, Array],
    sigmas: list[float],
) -> list[Array]:
    """Return the sizes of a slab, in the order of :data:`AMPLITUDES`."""
    interpolated, step, curved = between
    detail = fine - interpolated
    across = np.gradient(fine, axis=0) if len(fine) > 1 else np.zeros_like(fine)
    curvature = ndimage.correlate1d(fine, [1.0, -2.0, 1.0], axis=0, mode="nearest")
    rows, columns = (
        ndimage.correlate1d(fine, [-0.5, 0.0, 0.5], axis=axis, mode="nearest") for axis in (1, 2)
    )
    thin = np.zeros_like(fine)
    for axis, sigma in zip((1, 2), sigmas, strict=True):
        blurred = ndimage.gaussian_filter1d(fine, sigma, axis=axis, mode="nearest", truncate=2.5)
        thin += np.float32(0.5) * (fine - blurred) ** 2
    squares = [
        _mean(detail**2, 3),
        _mean(across**2, 3),
        _mean(curvature**2, 3),
        _mean(rows**2 + columns**2, 3),
        _mean(thin, 3),
        _mean(thin, _AROUND),
        step,
        curved,
        stated**2,
    ]
    return [np.sqrt(np.maximum(square, 0)) for square in squares]


def _combined(
    rows: slice,
    sizes: list[Array],
    *,
    noise: float,
    least: float,
    geometry: tuple[npt.NDArray[np.float64], ...],
) -> ErrorFeatures:
    by_name = dict(zip(AMPLITUDES, sizes, strict=True))
    square = np.float32(noise**2) + sum(by_name[name] ** 2 for name in SCALE[:-1])
    square /= len(SCALE)
    log_scale = np.asarray(0.5 * np.log(square + least**2), np.float32)
    values = np.empty((*log_scale.shape, len(NAMES)), np.float32)
    for number, name in enumerate(AMPLITUDES):
        # 1 % of the scale: below it nothing is told apart
        ratio = by_name[name] * np.exp(-log_scale)
        values[..., number] = np.log(ratio + np.float32(0.01))
    for number, numbers in enumerate(geometry, start=len(AMPLITUDES)):
        values[..., number] = numbers[:, None, None]
    return ErrorFeatures(rows, log_scale, values)


def _mean(values: Array, size: int | tuple[int, ...]) -> Array:
    return np.asarray(ndimage.uniform_filter(values, size, mode="nearest"), np.float32)
