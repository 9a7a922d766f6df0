"""The workspace: the slices resampled in-plane to the voxel size of the result across them.

A network that is trained in-plane and applied across the slices needs one voxel size for both.
The workspace has it, whatever the output grid; the result is resampled to that grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bids_sr.imaging import Grid, Volume, resample

_SPACING_TOLERANCE = 0.05
"""In-plane spacings that differ less from the one across slices are left as they are."""


@dataclass(frozen=True, eq=False)
class Workspace:
    """Hold the acquired slices on the grid that a network works on."""

    slices: Volume
    """The acquired slices, in-plane on `grid`."""
    grid: Grid
    """Isotropic to 5 %; along the slice axis that of the result."""
    slice_axis: int

    @classmethod
    def of(cls, lr: Volume, slice_axis: int, target: Grid) -> Workspace:
        """Resample acquired slices to the workspace of a target grid."""
        grid = _isotropic(target, slice_axis)
        slices = resample(lr, grid.with_planes_of(lr.grid, slice_axis))
        return cls(slices, grid, slice_axis)

    @property
    def spacing(self) -> float:
        """Voxel size, mm."""
        return float(self.grid.spacings[self.slice_axis])

    @property
    def in_plane_shape(self) -> tuple[int, int]:
        """Voxels along the two in-plane axes."""
        first, second = np.delete(self.slices.shape, self.slice_axis)
        return int(first), int(second)

    @property
    def coordinates(self) -> npt.NDArray[np.float64]:
        """(n,) centres of the grid's voxels along the slice axis, in units of slices."""
        return self.slices.grid.coordinates_of(self.grid, self.slice_axis)


def foreground_box(
    scaled: npt.NDArray[np.float32], slice_axis: int, *, margin: int, threshold: float = 0.05
) -> tuple[slice, slice, slice]:
    """Return the in-plane box outside of which all slices are dark.

    Parameters
    ----------
    scaled : (X, Y, Z) array
        Intensities of about 0 to 1.
    slice_axis : int
        The box is whole along it.
    margin : int
        Voxels added on each side.
    threshold : float
        Brightest value that counts as dark.
    """
    box = [slice(None)] * 3
    bright = scaled > threshold
    for axis in range(3):
        other_axes = tuple({0, 1, 2} - {axis})
        occupied = np.flatnonzero(bright.any(axis=other_axes))
        if axis != slice_axis and occupied.size:
            first, last = max(0, int(occupied[0]) - margin), int(occupied[-1]) + 1 + margin
            box[axis] = slice(first, min(last, scaled.shape[axis]))
    return box[0], box[1], box[2]


def _isotropic(grid: Grid, axis: int) -> Grid:
    target = float(grid.spacings[axis])
    for current in range(3):
        if abs(grid.spacings[current] / target - 1) > _SPACING_TOLERANCE:
            grid = grid.tiled(current, target)
    return grid
