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
from bids_sr.imaging.nifti import nifti_image, read_nifti, values_of, write_nifti


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """Hold a 3-D image: an array and its affine.

    Attributes
    ----------
    data : array
        (X, Y, Z) array of real numbers.
    affine : float64 array
        (4, 4) voxel index to world, RAS+, mm.
    """

    data: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        """Check the array and the affine.

        Raises
        ------
        InputDataError
            If the array is not 3-D or not of real numbers, or the affine is not usable.
        """
        if isinstance(self.data, str | os.PathLike):
            raise TypeError(
                f"Found the path {str(self.data)!r} in place of an array; expected voxel values. "
                "Read a file with Volume.load(path)."
            )
        data = np.asarray(self.data)
        if data.dtype.kind not in "biuf":
            raise InputDataError(
                f"Found an array of type {data.dtype}; expected real numbers. "
                "Give a magnitude image."
            )
        grid = Grid(data.shape, self.affine)
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "affine", grid.affine)

    def __repr__(self) -> str:
        return f"Volume({self.grid.words}, {self.data.dtype})"

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

    @classmethod
    def of(cls, image: Image) -> Volume:
        """Return an image as a volume, whichever kind it is.

        Parameters
        ----------
        image : Volume, nibabel image, or path
            A path is read as by :meth:`load`, and a nibabel image checked like a file.  Integers
            become float32: their differences would overflow.

        Raises
        ------
        InputDataError
            If it has not three axes, or not finite, differing, real values.
        TypeError
            If it is none of these.
        """
        if isinstance(image, Volume):
            exact = image.data.dtype.kind == "f"
            return image if exact else image.with_data(image.data.astype(np.float32))
        if isinstance(image, str | os.PathLike):
            return cls.load(image)
        if isinstance(image, nb.spatialimages.SpatialImage):
            return cls(*values_of(image))
        raise TypeError(
            f"Found {_indefinite(type(image))}; expected a Volume, a nibabel image or a path. An "
            "array alone has no voxel size and no position: make Volume(array, affine)."
        )

    def to_nibabel(self) -> nb.Nifti1Image:
        """Return a NIfTI image of the same values: mm, code 1 (scanner), nothing scaled."""
        return nifti_image(self.data, self.affine)

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


def _indefinite(kind: type) -> str:
    """Name a type in a sentence."""
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"an object of type {module}{kind.__name__}"


def _directions(volume: Volume) -> npt.NDArray[np.float64]:
    """Return the unit vectors of the array axes in the world as columns, (3, 3)."""
    return np.asarray(volume.affine[:3, :3] / volume.spacings, dtype=np.float64)


Image = Volume | nb.spatialimages.SpatialImage | str | os.PathLike[str]
"""What a call of the library takes for an image: see :meth:`Volume.of`."""
