"""In-plane rotation of a volume, onto a canvas that holds all of it.

Rotated volumes have other through-plane views: planes between those of the array's
axes.  Values between voxels come from cubic splines; beyond the border the edge is
continued.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, cos, radians, sin

import numpy as np
import numpy.typing as npt
from scipy import ndimage

_SLACK = 2  # voxels, for the splines


@dataclass(frozen=True, kw_only=True)
class InPlaneRotation:
    """Rotate slices by an angle and back."""

    angle: float
    """Degrees; 0 changes nothing."""
    slice_axis: int
    """Array axis across the slices."""

    def apply(self, data: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return (X, Y, Z) data rotated on its canvas; the slice axis keeps its size."""
        if self.angle == 0:
            return data
        return self._rotated(np.pad(data, self._padding(data.shape), mode="edge"), self.angle)

    def undo(
        self, data: npt.NDArray[np.float32], shape: tuple[int, ...]
    ) -> npt.NDArray[np.float32]:
        """Return canvas data rotated back and cut to `shape` in-plane."""
        if self.angle == 0:
            return data
        back = self._rotated(data, -self.angle)
        margins = [before for before, _ in self._padding(shape)]
        whole = tuple(
            slice(None) if axis == self.slice_axis else slice(margin, margin + shape[axis])
            for axis, margin in enumerate(margins)
        )
        return np.ascontiguousarray(back[whole])

    def _padding(self, shape: tuple[int, ...]) -> list[tuple[int, int]]:
        """Return the voxels added before and after, equally many, along each axis."""
        first, second = (axis for axis in range(3) if axis != self.slice_axis)
        along, across = abs(cos(radians(self.angle))), abs(sin(radians(self.angle)))
        needed = {
            first: along * shape[first] + across * shape[second],
            second: along * shape[second] + across * shape[first],
        }
        padding = [(0, 0), (0, 0), (0, 0)]
        for axis, length in needed.items():
            margin = max(0, ceil((length - shape[axis]) / 2)) + _SLACK
            padding[axis] = (margin, margin)
        return padding

    def _rotated(self, data: npt.NDArray[np.float32], angle: float) -> npt.NDArray[np.float32]:
        axes = [axis for axis in range(3) if axis != self.slice_axis]
        rotated: npt.NDArray[np.float32] = ndimage.rotate(
            data, angle, axes=axes, reshape=False, order=3, mode="nearest", output=np.float32
        )
        return rotated
