"""A grid is a lattice of voxel centres in the world: a shape and an affine.

It holds no intensities and knows no file.  Index 0 is the centre of the first
voxel, so the field of view reaches half a voxel beyond the outer centres.
"""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nb
import numpy as np
import numpy.typing as npt

from bids_sr.exceptions import InputDataError

SAME_SPACING = 0.01
"""Relative difference below which two spacings count as equal."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Describe where the voxels of a 3-D array lie in the world."""

    shape: tuple[int, int, int]
    """Number of voxels along each array axis."""
    affine: npt.NDArray[np.float64]
    """(4, 4) voxel index to world, RAS+, mm."""

    def __post_init__(self) -> None:
        """Check the shape and the affine and freeze them.

        Raises
        ------
        InputDataError
            If the shape is not three positive integers, or the affine is not a
            finite, invertible (4, 4) matrix whose last row is (0, 0, 0, 1).
        """
        shape = tuple(int(size) for size in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise InputDataError(
                f"Found an array of shape {shape}; expected three axes with at least one voxel "
                "each. Give a 3-D image."
            )
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise InputDataError(
                f"Found an affine of shape {affine.shape} with values {affine.tolist()}; expected "
                "a finite (4, 4) matrix. Mend the image header."
            )
        norms = np.linalg.norm(affine[:3, :3], axis=0)
        # The determinant of the unit directions is the volume of their cell: 1 when orthogonal.
        flat = norms.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / norms)) < 1e-3
        if flat or not np.allclose(affine[3], (0, 0, 0, 1)):
            raise InputDataError(
                f"Found an affine that cannot be inverted, {affine.tolist()}; expected three "
                "independent axes of positive length. Mend the image header."
            )
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @property
    def spacings(self) -> npt.NDArray[np.float64]:
        """(3,) distances between neighbouring voxel centres, mm."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0), dtype=np.float64)

    @property
    def fov(self) -> npt.NDArray[np.float64]:
        """(3,) field of view including half voxels at both ends, mm."""
        return np.asarray(self.spacings * np.array(self.shape), dtype=np.float64)

    @property
    def anisotropy(self) -> float:
        """Largest divided by smallest spacing."""
        return float(self.spacings.max() / self.spacings.min())

    @property
    def obliquity(self) -> float:
        """Largest angle of an array axis to its nearest cardinal axis, rad."""
        return float(nb.affines.obliquity(self.affine).max())

    @property
    def slice_axis(self) -> int:
        """Array axis of the largest spacing; of nearly equal ones (1 %) the last."""
        spacings = self.spacings
        return int(np.flatnonzero(spacings >= spacings.max() * (1 - SAME_SPACING))[-1])

    def same(self, other: Grid, tolerance_mm: float = 1e-2) -> bool:
        """Tell whether both grids hold the same voxels, to `tolerance_mm` at every corner."""
        return self.shape == other.shape and self.distance_mm(other.affine) <= tolerance_mm

    def distance_mm(self, affine: npt.NDArray[np.float64]) -> float:
        """Return how far the farthest corner moves under another affine, mm."""
        corners = np.array(np.meshgrid(*[(0, size - 1) for size in self.shape])).reshape(3, -1)
        homogeneous = np.vstack([corners, np.ones(corners.shape[1])])
        offsets = ((self.affine - affine) @ homogeneous)[:3]
        return float(np.linalg.norm(offsets, axis=0).max())
