"""Denoising by non-local means (ANTs), with a limit to the change of each voxel.

It removes noise from the acquired image before any other step sees it.  It does
not deblur and does not estimate the noise of an interpolated image rightly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.engines.foreground import foreground
from bids_sr.engines.itk import ants_session, to_ants, without_shear
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume
from bids_sr.imaging.intensity import ordinary_factor
from bids_sr.seed import DEFAULT_SEED

_THICK = 1.5
"""An axis whose spacing is this many times the smallest gets small radii."""


def denoise(
    volume: Volume, *, threads: int = 1, seed: int = DEFAULT_SEED
) -> tuple[Volume, dict[str, Any]]:
    """Denoise a magnitude image by adaptive non-local means.

    Parameters
    ----------
    volume : Volume
    threads : int
    seed : int
        Kept for the record; the filter draws nothing at random.

    Returns
    -------
    denoised : Volume
        float32, same grid; not negative where the input is not.
    record : dict
        ``NoiseSigma`` (image units), ``NoiseSigmaPercent`` (of the 99th percentile),
        ``ChangeRMS``, ``LimitedPercent`` (foreground voxels whose change was cut),
        radii, threads and seed.

    Raises
    ------
    EngineError
        If ANTs fails or returns values that are not finite.

    Notes
    -----
    Data model: Rician noise, one level per neighbourhood.  Along an axis much coarser
    than the others the patch has one voxel and the search one neighbour: on thick
    slices a cubic patch mixes structures that lie millimetres apart, and ANTs then
    treats the anatomy as noise.  The change of a voxel is limited to the
    standard deviation of the noise of the whole image, so that a nearly noise-free
    image stays nearly unchanged.  Noise that is correlated (interpolated images) is
    under-estimated and therefore mostly kept.  The filter compares with constants, so
    images whose intensities are far from those of scanners are scaled for it.

    References
    ----------
    Manjon et al. 2010, Adaptive non-local means denoising of MR images with spatially
    varying noise levels, J Magn Reson Imaging 31:192-203, doi:10.1002/jmri.22003.
    """
    thick = volume.spacings > _THICK * volume.spacings.min()
    patch = "x".join("0" if coarse else "1" for coarse in thick)
    search = "x".join("1" if coarse else "2" for coarse in thick)
    factor = np.float32(ordinary_factor(volume.data))
    data = volume.data.astype(np.float32) * factor
    with ants_session(threads=threads, seed=seed) as (ants, threads_used):
        image = to_ants(ants, without_shear(volume.with_data(data)))
        raw = ants.denoise_image(image, p=patch, r=search, noise_model="Rician").numpy()
    if not np.isfinite(raw).all():
        raise EngineError(
            f"Denoising returned {np.count_nonzero(~np.isfinite(raw))} values that are not "
            "finite; expected none. Use --denoise-method none for this image."
        )
    inside = foreground(volume.with_data(data))
    if not inside.any():  # no two classes to tell apart
        inside[...] = True
    sigma = noise_sigma(data, inside, volume.slice_axis)
    change = np.clip(raw - data, -sigma, sigma)
    limited = np.abs(raw - data)[inside] > sigma
    denoised = np.maximum(data + change, min(float(data.min()), 0.0)).astype(np.float32)
    scale = float(np.percentile(data, 99)) or 1.0
    record = {
        "Method": "non-local means (ANTs DenoiseImage)",
        "NoiseModel": "Rician",
        "PatchRadius": patch,
        "SearchRadius": search,
        "NoiseSigma": float(f"{sigma / factor:.4g}"),
        "NoiseSigmaPercent": round(100 * sigma / scale, 2),
        "ChangeRMS": float(f"{np.sqrt(np.mean((denoised - data)[inside] ** 2)) / factor:.4g}"),
        "LimitedPercent": round(100 * float(limited.mean()), 1),
        "Threads": threads_used,
        "Seed": seed,
    }
    return volume.with_data(denoised / factor), record


def noise_sigma(
    data: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_], slice_axis: int
) -> float:
    """Estimate the standard deviation of the noise of the whole image.

    The diagonal Haar detail of each slice is almost free of anatomy; its local
    standard deviation is most often that of noise alone, so the mode is taken.

    Parameters
    ----------
    data : (X, Y, Z) float32 array
    inside : (X, Y, Z) bool array
        Where to look: tissue, so that the noise is nearly Gaussian.
    slice_axis : int
        The axis across which no difference is taken.

    Returns
    -------
    sigma : float
        In the units of the data; 0 where nothing is inside.
    """
    slices = np.moveaxis(data, slice_axis, 2)  # (a, b, n_slices)
    mask = np.moveaxis(inside, slice_axis, 2)[:-1, :-1]
    detail = (slices[:-1, :-1] - slices[1:, :-1] - slices[:-1, 1:] + slices[1:, 1:]) / 2
    power = ndimage.uniform_filter(detail**2, (7, 7, 1))[mask]
    local = np.sqrt(np.maximum(power, 0))  # running sums round below zero
    if not local.size:
        return 0.0
    top = float(np.percentile(local, 95))
    if top <= 0:
        return 0.0
    counts, edges = np.histogram(local, bins=200, range=(0.0, top))
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), 4.0)
    mode = int(np.argmax(smooth))
    return float((edges[mode] + edges[mode + 1]) / 2)
