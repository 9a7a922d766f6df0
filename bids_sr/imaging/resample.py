"""Resampling evaluates a volume on another grid; it does not deblur.

The grids' axes are parallel, so one small matrix per axis is enough for any real scale
and any offset, and the field of view is kept exactly.  Beyond the outer voxel centres the
value of the nearest voxel is used; nothing is filled with zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse, special

from bids_sr.exceptions import AcquisitionError, InputDataError
from bids_sr.imaging.grid import Grid
from bids_sr.imaging.slice_profile import FWHM_PER_SIGMA
from bids_sr.imaging.volume import Volume

Kernel = Literal["nearest", "linear", "bspline", "lanczos"]
KERNELS: tuple[Kernel, ...] = ("nearest", "linear", "bspline", "lanczos")
MOST_VOXELS = 32767
"""Along an axis: NIfTI-1 counts them in 16 bits."""
DEFAULT_SPACING_MM = 1.0
"""Finest spacing that is chosen by default."""
_LANCZOS_LOBES = 3
_SPLINE_PAD = 12  # the prefilter's response has fallen to 1e-7 there


def lay_out_grid(
    volume: Volume | Grid,
    *,
    slice_axis: int,
    output_resolution: float | Literal["native"] | None = None,
    output_grid: Literal["fov", "slice"] = "fov",
) -> Grid:
    """Lay out the grid of a reconstruction.

    Parameters
    ----------
    volume : Volume or Grid
        The acquired image.
    slice_axis : int
        Array axis across the slices.
    output_resolution : float, mm, or "native" or None
        Requested isotropic spacing.  None: the finer in-plane spacing, but at least 1 mm.
        ``native``: the in-plane grid stays as acquired, the slice axis gets the finer
        in-plane spacing.
    output_grid : {"fov", "slice"}
        ``fov``: round(fov / spacing) voxels tile the acquired field of view exactly, so
        the spacing is the nearest that divides it.  ``slice``: along the slice axis the
        acquired slice centres lie on the grid, which runs from the first to the last.

    Returns
    -------
    Grid

    Raises
    ------
    AcquisitionError
        If the spacing is not a positive length, or so small that no NIfTI file holds the
        result; or if grid or axis are unknown.
    TypeError
        If the resolution is neither a number, ``native`` nor None.
    """
    source = volume.grid if isinstance(volume, Volume) else volume
    if output_grid not in ("fov", "slice") or slice_axis not in (0, 1, 2):
        raise AcquisitionError(
            f"Found the output grid {output_grid!r} and slice axis {slice_axis}; expected fov or "
            "slice and 0 to 2."
        )
    in_plane = float(np.delete(source.spacings, slice_axis).min())
    stated = output_resolution
    if stated not in (None, "native") and (
        isinstance(stated, bool) or not isinstance(stated, Real)
    ):
        raise TypeError(f"Found the output resolution {stated!r}; expected mm, 'native' or None.")
    if output_resolution is None:
        spacing = max(DEFAULT_SPACING_MM, in_plane)
    else:
        spacing = in_plane if output_resolution == "native" else float(output_resolution)
    if not (np.isfinite(spacing) and spacing > 0):
        raise AcquisitionError(f"Found a target spacing of {output_resolution} mm; expected > 0.")
    most = float(source.fov.max()) / spacing
    if most > MOST_VOXELS:
        raise AcquisitionError(
            f"Found a target spacing of {spacing:g} mm, which makes {most:.0f} voxels of "
            f"{source.fov.max():.0f} mm; a NIfTI file holds up to {MOST_VOXELS} along an axis. "
            "Give a coarser output resolution."
        )
    grid = source
    for axis in range(3):
        if axis == slice_axis and output_grid == "slice":
            grid = grid.subdivided(axis, max(1, round(float(source.spacings[axis]) / spacing)))
        elif axis == slice_axis or output_resolution != "native":
            grid = grid.tiled(axis, spacing)
    return grid


def resample(
    volume: Volume, grid: Grid, *, kernel: Kernel = "bspline", antialias: bool = True
) -> Volume:
    """Evaluate a volume on another grid with parallel axes.

    Parameters
    ----------
    volume : Volume
        The image; computed in float32, or float64 if it is float64.
    grid : Grid
        Any offset, any real scale.
    kernel : {"nearest", "linear", "bspline", "lanczos"}
        Cubic B-spline interpolates exactly; Lanczos has 3 lobes; nearest is for labels
        and keeps their type.
    antialias : bool
        Blur first where the target is coarser (not with nearest): by a Gaussian of
        FWHM ``sqrt(target**2 - source**2)``, what lies between voxels of the two sizes.

    Returns
    -------
    Volume
        On `grid`; along axes where the grids agree the values are untouched.
    """
    data = volume.data
    ratios = grid.spacings / volume.spacings
    # Shrinking axes first leave less to do for the others.
    for axis in np.argsort(np.asarray(grid.shape) / np.asarray(volume.shape)):
        coordinates = volume.grid.coordinates_of(grid, int(axis))
        size = volume.shape[axis]
        if coordinates.size == size and np.allclose(
            coordinates, np.arange(size), rtol=0, atol=1e-5
        ):
            continue
        if kernel == "nearest":
            data = np.take(data, _nearest(coordinates, size), axis=axis)
            continue
        matrix = interpolation_matrix(coordinates, size, kernel)
        if antialias and ratios[axis] > 1:
            sigma = np.sqrt(ratios[axis] ** 2 - 1) / FWHM_PER_SIGMA
            matrix = matrix @ _gaussian_matrix(size, float(sigma))
        data = apply_along_axis(matrix, data, int(axis))
    if kernel != "nearest" and data.dtype.kind != "f":
        data = data.astype(np.float32)
    return Volume(np.ascontiguousarray(data), grid.affine)


def interpolation_matrix(
    coordinates: npt.NDArray[np.float64], size: int, kernel: Kernel
) -> sparse.csr_array:
    """Return the matrix that evaluates `size` samples at index coordinates.

    Parameters
    ----------
    coordinates : (n,) float64 array
        Index coordinates; those outside are moved to the nearest end.
    size : int
        Number of samples.
    kernel : str
        One of :data:`KERNELS`.

    Returns
    -------
    (n, size) sparse array
        Rows sum to 1.

    Raises
    ------
    InputDataError
        If the kernel is unknown.
    """
    inside = np.clip(coordinates, 0, size - 1)
    if kernel == "nearest":
        return sparse.csr_array(sparse.eye_array(size))[_nearest(inside, size)]
    if kernel == "linear":
        return _weighted(inside, np.arange(2), _triangle, size)
    if kernel == "lanczos":
        return _weighted(inside, np.arange(1 - _LANCZOS_LOBES, _LANCZOS_LOBES + 1), _lanczos, size)
    if kernel == "bspline":
        padded = _weighted(
            inside + _SPLINE_PAD, np.arange(-1, 3), _cubic_bspline, size + 2 * _SPLINE_PAD
        )
        return _pruned(padded @ _spline_coefficients(size))
    raise InputDataError(f"Found kernel {kernel!r}; expected one of {', '.join(KERNELS)}.")


def apply_along_axis(
    matrix: sparse.csr_array, data: npt.NDArray[Any], axis: int
) -> npt.NDArray[np.floating]:
    """Multiply every line of a 3-D array along `axis` by a matrix, in float32 or float64."""
    data = data.astype(np.float64 if data.dtype == np.float64 else np.float32, copy=False)
    lines = np.moveaxis(data, axis, 0)
    flat = np.ascontiguousarray(lines).reshape(lines.shape[0], -1)
    product = matrix.astype(data.dtype) @ flat
    return np.moveaxis(product.reshape(matrix.shape[0], *lines.shape[1:]), 0, axis)


def _weighted(
    centres: npt.NDArray[np.float64],
    taps: npt.NDArray[np.int_],
    weight: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    size: int,
) -> sparse.csr_array:
    """Weigh the samples around each centre; taps beyond the ends fall on the end sample."""
    first = np.floor(centres)
    columns = first[:, None] + taps  # (n, taps)
    weights = weight(centres[:, None] - columns)
    weights = weights / weights.sum(axis=1, keepdims=True)
    rows = np.broadcast_to(np.arange(centres.size)[:, None], columns.shape)
    columns = np.clip(columns, 0, size - 1).astype(int)
    entries = (weights.ravel(), (rows.ravel(), columns.ravel()))
    return sparse.csr_array(sparse.coo_array(entries, shape=(centres.size, size)))


def _nearest(coordinates: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.int_]:
    """Return the nearest index, the upper one where rounding errors would decide a tie."""
    return np.clip(np.floor(coordinates + 0.5 + 1e-6), 0, size - 1).astype(int)


def _triangle(offset: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.clip(1 - np.abs(offset), 0, None)


def _lanczos(offset: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    window = np.where(np.abs(offset) < _LANCZOS_LOBES, np.sinc(offset / _LANCZOS_LOBES), 0.0)
    return np.asarray(np.sinc(offset) * window)


def _cubic_bspline(offset: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    distance = np.abs(offset)
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.asarray(np.where(distance < 1, near, far))


def _spline_coefficients(size: int) -> sparse.csr_array:
    """Return the matrix from samples to the coefficients of their padded cubic spline."""
    padded = np.pad(np.eye(size), ((_SPLINE_PAD, _SPLINE_PAD), (0, 0)), mode="edge")
    return sparse.csr_array(ndimage.spline_filter1d(padded, order=3, axis=0, mode="mirror"))


def _gaussian_matrix(size: int, sigma: float) -> sparse.csr_array:
    """Return the blur whose kernel has exactly the variance ``sigma**2`` (voxels).

    Sampling a Gaussian narrower than a voxel misses its variance; the discrete Gaussian has
    it exactly.

    References
    ----------
    Lindeberg 1990, Scale-space for discrete signals, IEEE Trans Pattern Anal Mach Intell
    12:234-254, doi:10.1109/34.49051.
    """
    reach = int(np.ceil(4 * sigma)) + 2
    taps = np.arange(-reach, reach + 1)
    weights = special.ive(np.abs(taps), sigma**2)
    return _weighted(
        np.arange(size, dtype=np.float64), taps, lambda offset: weights[None, :] + 0 * offset, size
    )


def _pruned(matrix: sparse.csr_array) -> sparse.csr_array:
    """Drop entries without effect, so that an empty background stays exactly empty."""
    matrix = sparse.csr_array(matrix)
    matrix.data[np.abs(matrix.data) < 1e-7] = 0.0
    matrix.eliminate_zeros()
    return sparse.csr_array(sparse.diags_array(1 / matrix.sum(axis=1)) @ matrix)
