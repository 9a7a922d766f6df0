"""Volumes evaluated where a rigid transform places them on another grid.

Unlike :func:`.resample` the axes of the two grids may point anywhere.  Nothing is blurred:
both grids are fine.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.spatial.transform import Rotation

from bids_sr.imaging import Grid, Volume

Array = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]
_EDGE = 0.5 + 1e-4  # voxels beyond the outer centres that belong to a grid


def rigid_motion(rotation: npt.ArrayLike, shift: npt.ArrayLike, centre: npt.ArrayLike) -> Matrix:
    """Return the (4, 4) transform that turns around a point, then shifts.

    Parameters
    ----------
    rotation : (3,) rotation vector, rad
    shift : (3,) array, mm
    centre : (3,) point that only the shift moves, mm
    """
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(np.asarray(rotation)).as_matrix()
    motion[:3, 3] = np.asarray(shift) + np.asarray(centre) - motion[:3, :3] @ np.asarray(centre)
    return motion


def placed(volume: Volume, grid: Grid, to_volume: Matrix, *, order: int = 3) -> Array:
    """Evaluate a volume on a grid of another world.

    Parameters
    ----------
    volume : Volume
    grid : Grid
    to_volume : (4, 4) array
        From the world of `grid` to that of `volume`.
    order : int
        Of the spline; 1 is linear.

    Returns
    -------
    array of the shape of `grid`
        Beyond the volume its nearest voxel; see :func:`covered`.
    """
    if _same(volume.grid, grid, to_volume):
        return volume.data.astype(np.float32, copy=False)
    step = _indices(volume.grid, grid, to_volume)
    return np.asarray(
        ndimage.affine_transform(
            volume.data.astype(np.float32, copy=False),
            step[:3, :3],
            step[:3, 3],
            output_shape=grid.shape,
            order=order,
            mode="nearest",
            output=np.float32,
        )
    )


def covered(source: Grid, grid: Grid, to_source: Matrix) -> npt.NDArray[np.bool_]:
    """Tell which voxels of a grid lie within the field of view of another, `source`."""
    step = _indices(source, grid, to_source)
    inside = np.ones(grid.shape, bool)
    for axis in range(3):
        index = _coordinate(step, grid, axis)
        inside &= (index > -_EDGE) & (index < source.shape[axis] - 1 + _EDGE)
    return inside


def interpolation(source: Grid, grid: Grid, to_source: Matrix) -> sparse.csr_array | None:
    """Return the matrix of trilinear interpolation from one grid to another.

    Parameters
    ----------
    source : Grid
    grid : Grid
    to_source : (4, 4) array
        From the world of `grid` to that of `source`.

    Returns
    -------
    (voxels of `grid`, voxels of `source`) sparse float32 array, or None
        Rows of voxels outside of `source` are empty.  None: the grids are the same.
        64 bytes a voxel of `grid`.
    """
    if _same(source, grid, to_source):
        return None
    step = _indices(source, grid, to_source)
    inside = covered(source, grid, to_source).ravel()
    lower, share = [], []
    for axis in range(3):
        index = _coordinate(step, grid, axis).ravel()[inside]
        first = np.clip(np.floor(index), 0, max(source.shape[axis] - 2, 0)).astype(np.int32)
        lower.append(first)
        share.append(np.clip(index - first, 0, 1))
    columns = np.empty((lower[0].size, 8), np.int32)
    weights = np.empty((lower[0].size, 8), np.float32)
    for number, corner in enumerate(product((0, 1), repeat=3)):
        ijk = [
            np.minimum(first + offset, size - 1)
            for first, offset, size in zip(lower, corner, source.shape, strict=True)
        ]
        columns[:, number] = (ijk[0] * source.shape[1] + ijk[1]) * source.shape[2] + ijk[2]
        weights[:, number] = np.prod(
            [part if offset else 1 - part for part, offset in zip(share, corner, strict=True)],
            axis=0,
        )
    ends = np.concatenate([[0], np.cumsum(8 * inside)])
    if ends[-1] < np.iinfo(np.int32).max:
        ends = ends.astype(np.int32)  # else scipy widens the columns as well
    shape = (inside.size, int(np.prod(source.shape)))
    return sparse.csr_array((weights.ravel(), columns.ravel(), ends), shape=shape)


def _indices(source: Grid, grid: Grid, to_source: Matrix) -> Matrix:
    """Return the (4, 4) matrix from indices of `grid` to indices of `source`."""
    return np.asarray(np.linalg.solve(source.affine, to_source @ grid.affine))


def _same(source: Grid, grid: Grid, to_source: Matrix) -> bool:
    return source.same(Grid(grid.shape, to_source @ grid.affine), tolerance_mm=1e-4)


def _coordinate(step: Matrix, grid: Grid, axis: int) -> Array:
    """Return one index coordinate of all voxels of a grid."""
    first, second, third = (
        (step[axis, other] * np.arange(size)).astype(np.float32)
        for other, size in enumerate(grid.shape)
    )
    start = first + np.float32(step[axis, 3])
    return np.asarray(start[:, None, None] + second[:, None] + third)
