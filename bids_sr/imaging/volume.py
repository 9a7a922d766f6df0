"""Volume: a 3-D array of intensities with its position in the world.

It joins an array with an affine, changes orientation without changing a
value, and loads and saves itself.  It does not resample and holds no acquisition.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import numpy.typing as npt

from bids_sr.exceptions import InputDataError
from bids_sr.imaging.grid import Grid
from bids_sr.imaging.intensity import ordinary_factor
from bids_sr.imaging.nifti import read_nifti, write_nifti


@dataclass(frozen=True, eq=False)
class Volume:
    """Hold a 3-D image: an array and its affine."""

    data: npt.NDArray[Any]
    """(X, Y, Z) array of real numbers."""
    affine: npt.NDArray[np.float64]
    """(4, 4) voxel index to world, RAS+, mm."""

    def __post_init__(self) -> None:
        """Check the array and the affine.

        Raises
        ------
        InputDataError
            If the array is not 3-D or not of real numbers, or the affine is not usable.
        """
        data = np.asarray(self.data)
        if data.dtype.kind not in "biuf":
            raise InputDataError(
                f"Found an array of type {data.dtype}; expected real numbers. "
                "Give a magnitude image."
            )
        grid = Grid(data.shape, self.affine)
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "affine", grid.affine)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, dtype: npt.DTypeLike = np.float32) -> Volume:
        """Read a NIfTI file; see :func:`.read_nifti` for what is refused.

        Parameters
        ----------
        path : path
            The file.
        dtype : dtype
            A float type for images; an integer type for masks and label maps.
        """
        return cls(*read_nifti(path, dtype))

    def save(self, path: str | os.PathLike[str], *, dtype: npt.DTypeLike | None = None) -> Path:
        """Write a NIfTI file, whole or not at all; see :func:`.write_nifti`."""
        return write_nifti(path, self.data, self.affine, dtype)

    @property
    def grid(self) -> Grid:
        """Shape and affine without the data."""
        return Grid(self.shape, self.affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each array axis."""
        first, second, third = self.data.shape
        return first, second, third

    @property
    def spacings(self) -> npt.NDArray[np.float64]:
        """(3,) distances between neighbouring voxel centres, mm."""
        return self.grid.spacings

    @property
    def fov(self) -> npt.NDArray[np.float64]:
        """(3,) field of view including half voxels at both ends, mm."""
        return self.grid.fov

    @property
    def anisotropy(self) -> float:
        """Largest divided by smallest spacing."""
        return self.grid.anisotropy

    @property
    def obliquity(self) -> float:
        """Largest angle of an array axis to its nearest cardinal axis, rad."""
        return self.grid.obliquity

    @property
    def slice_axis(self) -> int:
        """Array axis of the largest spacing; of nearly equal ones (1 %) the last."""
        return self.grid.slice_axis

    def with_data(self, data: npt.NDArray[Any]) -> Volume:
        """Return other values on the same grid.

        Raises
        ------
        InputDataError
            If the shape of `data` differs.
        """
        if data.shape != self.shape:
            raise InputDataError(
                f"Found data of shape {data.shape}; expected {self.shape}, that of the grid."
            )
        return Volume(data, self.affine)

    def with_ordinary_intensities(self) -> Volume:
        """Return the volume scaled for tools that compare with constants, or itself.

        See :func:`bids_sr.imaging.intensity.ordinary_factor`.
        """
        factor = ordinary_factor(self.data)
        if factor == 1.0:
            return self
        return self.with_data(self.data.astype(np.float32) * np.float32(factor))

    def with_slice_spacing(self, spacing: float, slice_axis: int) -> Volume:
        """Return the same values with another distance between slices, for a wrong header.

        The first slice keeps its position: converters take it from the scanner, and
        the error is in the spacing.

        Parameters
        ----------
        spacing : float, mm
        slice_axis : int
        """
        return Volume(self.data, self.grid.with_spacing(slice_axis, spacing).affine)

    def part(self, box: Sequence[slice]) -> Volume:
        """Return the voxels of a box, one slice an axis, at their places in the world."""
        grid = self.grid
        for axis, span in enumerate(box):
            planes = range(self.shape[axis])[span]
            grid = grid.with_planes(axis, len(planes), first=planes.start, step=planes.step)
        return Volume(np.ascontiguousarray(self.data[tuple(box)]), grid.affine)

    def planes(self, axis: int, span: slice) -> Volume:
        """Return some planes across an axis, at their places in the world."""
        return self.part([span if other == axis else slice(None) for other in range(3)])

    def same_grid(self, other: Volume, tolerance_mm: float = 1e-2) -> bool:
        """Tell whether both volumes have the same voxels, to `tolerance_mm` at every corner."""
        return self.grid.same(other.grid, tolerance_mm)

    def canonical(self) -> Volume:
        """Return the axes nearest to RAS+, by permutation and flips only."""
        return self._reoriented(nb.orientations.io_orientation(self.affine))

    def oriented_like(self, other: Volume) -> Volume:
        """Return the axes ordered and directed as those of `other`, by permutation and flips.

        Undoes :meth:`canonical` for images derived from it: values are restored bit by bit, and
        so is the affine if the grid is that of `other`.
        """
        # Relative to `other`, not by way of RAS: at 45 degrees the nearest RAS axis is a toss-up.
        turns = np.eye(4)
        turns[:3, :3] = np.linalg.solve(_directions(other), _directions(self))
        turned = self._reoriented(nb.orientations.io_orientation(turns))
        # Flipping moves the origin by a sum that floating point does not undo exactly.
        if turned.same_grid(other, tolerance_mm=1e-6):
            return Volume(turned.data, other.affine)
        return turned

    def _reoriented(self, transform: npt.NDArray[np.float64]) -> Volume:
        data = nb.orientations.apply_orientation(self.data, transform)
        step = nb.orientations.inv_ornt_aff(transform, self.shape)
        return Volume(np.ascontiguousarray(data), self.affine @ step)


def _directions(volume: Volume) -> npt.NDArray[np.float64]:
    """Return the unit vectors of the array axes in the world as columns, (3, 3)."""
    return np.asarray(volume.affine[:3, :3] / volume.spacings, dtype=np.float64)
