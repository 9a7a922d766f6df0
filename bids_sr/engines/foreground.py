"""The foreground: voxels that hold signal of tissue rather than air.

It limits the region that an engine examines; it is not a brain mask.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.filters import threshold_otsu

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
    # The upper edge of Otsu's bin, of 256.  Halved: the threshold divides bright tissue from the
    # rest, dark tissue counts too.
    threshold = threshold_otsu(smooth.ravel(), nbins=256) + np.ptp(smooth) / 512
    inside = smooth > threshold / 2
    inside = largest_component(inside)
    axis = volume.slice_axis
    slices = np.moveaxis(inside, axis, 0)  # (n_slices, a, b)
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in slices])
    return np.moveaxis(filled, 0, axis)


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
