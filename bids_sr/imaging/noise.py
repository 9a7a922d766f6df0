"""Noise: differences between neighbouring voxels of a slice that are not anatomy.

Its standard deviation is estimated from the slices alone.  Empty background carries no
information about it and is left out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.imaging.intensity import RobustScaler
from bids_sr.imaging.volume import Volume

_SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0], np.float32)
_MAD_PER_SIGMA = 1.4826
_SMOOTHING = 1.5  # voxels, before edges are looked for
_FOREGROUND = 0.2  # of the robust range; magnitudes are Gaussian above it for noise up to 7 %
_LEAST_VOXELS = 200


def estimate_noise(volume: Volume, slice_axis: int) -> float:
    """Estimate the standard deviation of the noise within the slices.

    Parameters
    ----------
    volume : Volume
        The acquired slices, noise independent from voxel to voxel.
    slice_axis : int
        Array axis across the slices.

    Returns
    -------
    float
        In units of intensity; 0 where an image has no texture at all.

    Notes
    -----
    The second difference along both in-plane axes leaves mainly noise in flat
    regions; its median absolute deviation over the flatter half of the foreground is
    used.  Rician magnitudes are close to Gaussian there; in the dark background, which is
    left out, they are not.  Texture of the anatomy adds about 1 % of the range at
    most, and an image interpolated in-plane hides a part of its noise.

    References
    ----------
    Immerkaer 1996, Fast noise variance estimation, Computer Vision and Image
    Understanding 64:300-302, doi:10.1006/cviu.1996.0060.
    """
    data = np.moveaxis(volume.data, slice_axis, 0).astype(np.float32, copy=False)
    if min(data.shape[1:]) < 3 or np.ptp(data) == 0:
        return 0.0
    return noise_in(data, flat_foreground(data))


def noise_in(data: npt.NDArray[np.float32], places: npt.NDArray[np.bool_]) -> float:
    """Return the standard deviation of noise at some places of an (N, H, W) stack."""
    response = ndimage.correlate1d(
        ndimage.correlate1d(data, _SECOND_DIFFERENCE, axis=1), _SECOND_DIFFERENCE, axis=2
    ) / np.float32(6)  # root of the summed squares of the weights
    return float(_MAD_PER_SIGMA * np.median(np.abs(response[places])))


def flat_foreground(data: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Return the mask of the flatter half of the bright voxels of an (N, H, W) stack."""
    smooth = ndimage.gaussian_filter(data, (0, _SMOOTHING, _SMOOTHING))
    foreground = np.ones(data.shape, bool)
    offset, end = np.percentile(data, (0.5, 99.5))
    if end > offset:
        scaler = RobustScaler.fit(data)
        foreground = smooth > scaler.offset + _FOREGROUND * scaler.width
    if np.count_nonzero(foreground) < _LEAST_VOXELS:
        foreground = np.ones(data.shape, bool)
    first, second = np.gradient(smooth, axis=(1, 2))
    slope = np.hypot(first, second)
    return np.asarray(foreground & (slope <= np.median(slope[foreground])))
