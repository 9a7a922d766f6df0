"""Saliency: the weights by which the places of training patches are drawn.

Structure is most informative, but skin, fat and the border to air have the strongest edges
and look like nothing inside the body.  The weights therefore favour edges of any strength
deep inside the body; no anatomy is assumed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

_AIR = 0.1  # of the robust intensity range
_CLOSING = 3  # voxels: gaps in the outline that do not let air in
_LEAST = 0.02  # weight of the surface; the deepest place has 1


def saliency(
    scaled: npt.NDArray[np.float32], spacings: npt.NDArray[np.float64], slice_axis: int
) -> npt.NDArray[np.float32]:
    """Weigh the voxels of a volume for drawing patches.

    Parameters
    ----------
    scaled : (X, Y, Z) float32 array
        Acquired slices, intensities about 0 to 1.
    spacings : (3,) float array, mm
        Voxel spacings.
    slice_axis : int
        Array axis across the slices.

    Returns
    -------
    (X, Y, Z) float32 array
        In-plane gradient magnitude, cut at its median inside, times the square of the
        depth below the surface relative to the deepest place.
    """
    gradient = np.zeros_like(scaled)
    for axis in range(3):
        if axis != slice_axis:
            end = np.take(scaled, [-1], axis=axis)
            gradient += np.abs(np.diff(scaled, axis=axis, append=end))
    inside = _body(scaled, slice_axis)
    if inside.any():
        gradient = np.minimum(gradient, np.median(gradient[inside]))
    if gradient.max() == 0:
        return np.ones_like(scaled)
    if inside.all() or not inside.any():
        return gradient
    depth = ndimage.distance_transform_edt(inside, sampling=spacings)
    relative = (depth / depth.max()).astype(np.float32)
    weights: npt.NDArray[np.float32] = gradient * (relative**2 + np.float32(_LEAST))
    return weights


def _body(scaled: npt.NDArray[np.float32], slice_axis: int) -> npt.NDArray[np.bool_]:
    """Mark what is not air, slice by slice, cavities filled."""
    slices = np.moveaxis(scaled > _AIR, slice_axis, 0)
    margin = _CLOSING + 1  # closing at the border would let it erode
    filled = [
        ndimage.binary_fill_holes(
            ndimage.binary_closing(np.pad(slice_, margin), iterations=_CLOSING)
        )[margin:-margin, margin:-margin]
        for slice_ in slices
    ]
    body: npt.NDArray[np.bool_] = np.moveaxis(np.stack(filled), 0, slice_axis)
    return body


def gradient_magnitude(
    scaled: npt.NDArray[np.float32], spacings: npt.NDArray[np.float64], slice_axis: int
) -> npt.NDArray[np.float32]:
    """Weigh the voxels of a volume by their in-plane gradient alone, skin and all.

    Parameters and return as those of :func:`saliency`; 1 everywhere in a constant image.
    """
    squares = np.zeros_like(scaled)
    for axis in range(3):
        if axis != slice_axis and scaled.shape[axis] > 1:
            squares += (np.gradient(scaled, axis=axis) / np.float32(spacings[axis])) ** 2
    magnitude: npt.NDArray[np.float32] = np.sqrt(squares)
    return magnitude if magnitude.max() > 0 else np.ones_like(scaled)
