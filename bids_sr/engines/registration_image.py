"""The registration image: an image with comparable intensities, for finding a pose only.

Isotropic voxels, and intensities spread evenly whatever the contrast, so that one
bright tissue (fat, vessels, contrast agent) does not leave the brain a few grey levels.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from bids_sr.imaging import Volume

FLOOR = 0.1
"""Equalised intensity below which there is air."""
_AIR = 0.06  # of the 99th percentile


def equalised(volume: Volume) -> Volume:
    """Spread the intensities of tissue evenly.

    Parameters
    ----------
    volume : Volume

    Returns
    -------
    image : Volume
        float32 from 0 to 1: air linearly from 0 to 0.1, tissue by its rank above.
    """
    data = volume.data.astype(np.float32)
    data = data - min(float(np.percentile(data, 0.5)), 0.0)
    limit = max(_AIR * float(np.percentile(data, 99)), 1e-12)
    edges = np.percentile(data[data > limit], np.linspace(0, 100, 129))
    ranks = np.interp(data, edges, np.linspace(FLOOR, 1.0, edges.size))
    spread = np.where(data > limit, ranks, FLOOR * np.clip(data / limit, 0, 1))
    return volume.with_data(spread.astype(np.float32))


def isotropic(volume: Volume, spacing: float) -> Volume:
    """Bring an image to isotropic voxels for registration.

    Smoothed where it is finer, interpolated linearly where it is coarser.

    Parameters
    ----------
    volume : Volume
    spacing : float, mm

    Returns
    -------
    image : Volume
        float32, same axes and outer edges up to one voxel.
    """
    data = volume.data.astype(np.float32)
    # Half the new spacing is left unblurred: 0.4 of it as sigma does not alias visibly.
    sigmas = np.where(volume.spacings < spacing, 0.4 * spacing / volume.spacings, 0.0)
    smooth = ndimage.gaussian_filter(data, sigmas, mode="nearest")
    step = spacing / volume.spacings  # new voxel in old voxels
    shape = np.maximum(np.round(np.asarray(volume.shape) / step), 1).astype(int)
    offset = (step - 1) / 2
    index = np.meshgrid(
        *(np.arange(n) * s + o for n, s, o in zip(shape, step, offset, strict=True)),
        indexing="ij",
        sparse=False,
    )
    sampled = ndimage.map_coordinates(smooth, index, order=1, mode="nearest")
    affine = volume.affine @ np.diag([*step, 1.0])
    affine[:3, 3] = volume.affine[:3, :3] @ offset + volume.affine[:3, 3]
    return Volume(sampled.astype(np.float32), affine)
