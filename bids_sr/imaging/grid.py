"""Grid: a lattice of voxel centres in the world, given by a shape and an affine.

It holds no intensities and knows no file.  Index 0 is the centre of the first
voxel, so the field of view reaches half a voxel beyond the outer centres.  A plane is
the set of voxels with one index along an axis; all grids derived from another here have
parallel axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nb
import numpy as np
import numpy.typing as npt

from bids_sr.exceptions import InputDataError

SAME_SPACING = 0.01
"""Relative difference below which two spacings count as equal."""
PARALLEL_TOLERANCE_MM = 1e-2


@dataclass(frozen=True, eq=False, repr=False)
class Grid:
    """Describe where the voxels of a 3-D array lie in the world.

    Attributes
    ----------
    shape : tuple[int, int, int]
        Number of voxels along each array axis.
    affine : float64 array
        (4, 4) voxel index to world, RAS+, mm.
    """

    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]

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
                "a finite (4, 4) matrix. Correct the image header."
            )
        norms = np.linalg.norm(affine[:3, :3], axis=0)
        # The determinant of the unit directions is the volume of their cell: 1 when orthogonal.
        flat = norms.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / norms)) < 1e-3
        if flat or not np.allclose(affine[3], (0, 0, 0, 1)):
            raise InputDataError(
                f"Found an affine that cannot be inverted, {affine.tolist()}; expected three "
                "independent axes of positive length. Correct the image header."
            )
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    def __repr__(self) -> str:
        return f"Grid({self.words})"

    @property
    def words(self) -> str:
        """How many voxels it has, and of which size.

        >>> Grid((182, 218, 30), np.diag([1.0, 1.0, 6.0, 1.0])).words
        '182 x 218 x 30 voxels of 1 x 1 x 6 mm'
        """
        shape = " x ".join(str(size) for size in self.shape)
        return f"{shape} voxels of {' x '.join(f'{size:.3g}' for size in self.spacings)} mm"

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

    def coordinates_of(self, other: Grid, axis: int) -> npt.NDArray[np.float64]:
        """Return the planes of another grid along one axis as indices into this one.

        Returns
        -------
        (n,) float64 array
            Index coordinates; 0 is the centre of this grid's first voxel.

        Raises
        ------
        InputDataError
            If the grids' axes are not parallel, in the same order and direction.
        """
        step = np.linalg.solve(self.affine, other.affine)
        across = step[:3, :3] - np.diag(np.diag(step)[:3])
        drift = np.abs(across) @ (np.asarray(other.shape) - 1) * self.spacings
        if drift.max() > PARALLEL_TOLERANCE_MM or np.diag(step).min() <= 0:
            raise InputDataError(
                f"Found grids whose axes are not parallel (drift {drift.max():.3g} mm, "
                f"directions {np.diag(step)[:3].round(3).tolist()}); expected the same order and "
                "direction of axes. Reorient one to the other first."
            )
        return np.asarray(step[axis, 3] + step[axis, axis] * np.arange(other.shape[axis]))

    def rescaled(self, axis: int, factor: float, size: int) -> Grid:
        """Return `size` planes, `factor` times as far apart, from the same edge of the view."""
        affine = self.affine.copy()
        affine[:3, 3] += self.affine[:3, axis] * (factor - 1) / 2
        affine[:, axis] *= factor
        return Grid(self._shape_with(axis, size), affine)

    def tiled(self, axis: int, spacing: float) -> Grid:
        """Return the same field of view in whole planes that are about `spacing` mm apart."""
        size = max(1, round(float(self.fov[axis]) / spacing))
        return self.rescaled(axis, self.shape[axis] / size, size)

    def subdivided(self, axis: int, parts: int) -> Grid:
        """Return the grid with `parts` steps from each plane to the next; all planes stay."""
        affine = self.affine.copy()
        affine[:, axis] /= parts
        return Grid(self._shape_with(axis, (self.shape[axis] - 1) * parts + 1), affine)

    def with_planes(self, axis: int, size: int, *, first: int = 0, step: int = 1) -> Grid:
        """Return `size` planes: every `step`-th from plane `first` on."""
        affine = self.affine.copy()
        affine[:3, 3] += first * self.affine[:3, axis]
        affine[:3, axis] *= step
        return Grid(self._shape_with(axis, size), affine)

    def with_planes_of(
        self, other: Grid, axis: int, *, first: int = 0, size: int | None = None
    ) -> Grid:
        """Return a grid with the planes of another along an axis, and in-plane this one's voxels.

        Parameters
        ----------
        other : Grid
            Parallel to this one.
        axis : int
        first : int
            Plane of `other` to begin with.
        size : int, optional
            Number of planes; None: all of `other`.
        """
        affine = self.affine.copy()
        affine[:3, axis] = other.affine[:3, axis]
        affine[:3, 3] += self.coordinates_of(other, axis)[first] * self.affine[:3, axis]
        return Grid(self._shape_with(axis, other.shape[axis] if size is None else size), affine)

    def with_spacing(self, axis: int, spacing: float) -> Grid:
        """Return as many voxels at another distance (mm) along an axis; the first stays."""
        affine = self.affine.copy()
        affine[:3, axis] *= spacing / self.spacings[axis]
        return Grid(self.shape, affine)

    def _shape_with(self, axis: int, size: int) -> tuple[int, int, int]:
        first, second, third = (size if other == axis else self.shape[other] for other in range(3))
        return first, second, third
