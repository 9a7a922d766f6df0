"""Signal-to-noise and contrast-to-noise ratio of a brain, as MRIQC defines them.

Tissues are three classes of intensity within the brain mask: enough for a ratio that says whether
an image is unusual, and no segmentation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
_BINS = 256
_ROUNDS = 50
_START = (10.0, 50.0, 85.0)  # percentiles
_DIETRICH = float(np.sqrt(2 / (4 - np.pi)))
_LEAST_VOXELS = 500


@dataclass(frozen=True, kw_only=True)
class TissueContrast:
    """Hold the ratios of one image; a ratio is None where it is not defined."""

    snr: float | None
    """Mean over the classes of their signal-to-noise ratio."""
    snr_air: float | None
    """The same with the noise of the air, after Dietrich."""
    cnr: float | None
    """Contrast between the two largest classes to noise."""


def tissue_contrast(inside: Array, air: Array) -> TissueContrast:
    """Compute the ratios from the intensities of a brain and of the air around the head.

    Parameters
    ----------
    inside : (N,) array
        Intensities within the brain mask.
    air : (M,) array
        Intensities of the background; values of exactly 0 are masked out by scanners and tools
        and are left out.

    Returns
    -------
    TissueContrast

    Notes
    -----
    Of a class F with n voxels, mean m and standard deviation s::

        SNR  = m / (s sqrt(n / (n - 1)))
        SNRd = m / (s_air sqrt(2 / (4 - pi)))
        CNR  = |m_GM - m_WM| / sqrt(s_air^2 + s_GM^2 + s_WM^2)

    MRIQC takes the tissues from a segmentation.  Here they are the three classes that k-means
    finds in the histogram, and grey and white matter are the two that have most voxels, which
    needs no knowledge of the contrast.  A lesion or a bias field widens the classes and lowers
    the ratios.

    References
    ----------
    Esteban et al. 2017, MRIQC: advancing the automatic prediction of image quality in MRI
    from unseen sites, PLoS ONE 12:e0184661, doi:10.1371/journal.pone.0184661.
    Magnotta et al. 2006, Measurement of signal-to-noise and contrast-to-noise in the fBIRN
    multicenter imaging study, J Digit Imaging 19:140-147, doi:10.1007/s10278-006-0264-x (CNR).
    Dietrich et al. 2007, Measurement of signal-to-noise ratios in MR images: influence of
    multichannel coils, parallel imaging, and reconstruction filters, J Magn Reson Imaging
    26:375-385, doi:10.1002/jmri.20969 (SNRd).
    """
    if inside.size < _LEAST_VOXELS or np.ptp(inside) == 0:
        return TissueContrast(snr=None, snr_air=None, cnr=None)
    classes = [values for values in _classes(inside) if values.size > 1 and np.std(values) > 0]
    means = np.array([values.mean() for values in classes])
    deviations = np.array([values.std() for values in classes])
    counts = np.array([values.size for values in classes])
    noise = air[air != 0]
    air_deviation = float(noise.std()) if noise.size >= _LEAST_VOXELS else 0.0
    cnr = None
    if len(classes) > 1:
        first, second = np.argsort(counts)[-2:]
        spread = np.sqrt(air_deviation**2 + deviations[first] ** 2 + deviations[second] ** 2)
        cnr = float(abs(means[first] - means[second]) / spread)
    snr = (
        float(np.mean(means / (deviations * np.sqrt(counts / (counts - 1))))) if counts.size else 0
    )
    return TissueContrast(
        snr=snr or None,
        snr_air=float(means.mean() / (_DIETRICH * air_deviation)) if air_deviation > 0 else None,
        cnr=cnr,
    )


def _classes(values: Array) -> list[Array]:
    """Split intensities into three classes by k-means on their histogram."""
    low, high = (float(end) for end in np.percentile(values, (0.5, 99.5)))
    if high <= low:
        return [values]
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    middles = (edges[:-1] + edges[1:]) / 2
    centres = np.percentile(values, _START)
    for _ in range(_ROUNDS):
        nearest = np.abs(middles[:, None] - centres[None, :]).argmin(axis=1)
        sums = np.array([np.sum((counts * middles)[nearest == k]) for k in range(3)])
        sizes = np.array([np.sum(counts[nearest == k]) for k in range(3)])
        moved = np.where(sizes > 0, sums / np.maximum(sizes, 1), centres)
        if np.allclose(moved, centres):
            break
        centres = moved
    centres = np.sort(centres)
    labels = np.digitize(values, (centres[:-1] + centres[1:]) / 2)
    return [values[labels == k] for k in range(3)]
