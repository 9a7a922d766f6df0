"""The foreground: voxels that hold signal of tissue rather than air.

It says where an engine should look; it is no brain mask.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.imaging import Volume

_SMOOTHING = 1.0  # mm, sigma


def foreground(volume: Volume) -> npt.NDArray[np.bool_]:
    """Find the voxels that hold tissue.

    Half of Otsu's threshold of the smoothed image, with everything above its 99th
    percentile counted as that percentile: one bright vessel or fat must not move it.

    Parameters
    ----------
    volume : Volume

    Returns
    -------
    inside : (X, Y, Z) bool array
        The largest connected piece, holes within each slice filled.
    """
    sigmas = _SMOOTHING / volume.spacings
    smooth = ndimage.gaussian_filter(volume.data.astype(np.float32), sigmas, mode="nearest")
    smooth = np.minimum(smooth, np.percentile(smooth, 99))
    # Halved: the threshold divides bright tissue from the rest, dark tissue counts too.
    inside = smooth > otsu_threshold(smooth) / 2
    inside = largest_component(inside)
    axis = volume.slice_axis
    slices = np.moveaxis(inside, axis, 0)  # (n_slices, a, b)
    filled = np.stack([ndimage.binary_fill_holes(one) for one in slices])
    return np.moveaxis(filled, 0, axis)


def otsu_threshold(values: npt.NDArray[np.floating], bins: int = 256) -> float:
    """Split values in two classes with the largest variance between them (Otsu 1979).

    Parameters
    ----------
    values : array
    bins : int

    Returns
    -------
    threshold : float
    """
    counts, edges = np.histogram(values, bins=bins)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(np.float64)
    above = below[-1] + counts[-1] - below
    sums = np.cumsum(counts * centres)
    mean_below = sums[:-1] / np.maximum(below, 1)
    mean_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * (mean_below - mean_above) ** 2
    return float(edges[1 + int(np.argmax(between))])


def largest_component(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Keep the largest connected piece of a mask (neighbours share a face).

    Parameters
    ----------
    mask : (X, Y, Z) bool array

    Returns
    -------
    piece : (X, Y, Z) bool array
        Empty where the mask is empty.
    """
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask.copy()
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    piece: npt.NDArray[np.bool_] = labels == int(sizes.argmax())
    return piece
