"""White-matter hyperintensities on FLAIR: regions much brighter than grey matter.

An unsupervised threshold in two iterations, with rules for regions.  It uses a single
image and no manual lesions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.engines.segmentation.base import Label, Segmentation, SegmentationTool
from bids_sr.engines.segmentation.tissue_priors import TissuePriors, tissue_priors
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume

LESION = Label(index=1, name="white matter hyperintensity", abbreviation="WMH", colour="#dc2626")
_SURELY_GREY = 0.7  # prior
_LEAST_GREY_VOXELS = 1000
_BINS = 256
_FWHM_TO_SD = 1 / 2.3548


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Criteria that make a bright region a lesion."""

    smoothing: float = 0.7
    """SD of the Gaussian that smooths the image first, mm."""
    seed_sd: float = 3.5
    """A region holds a voxel at least this many SD above the mean of grey matter."""
    extent_sd: float = 2.0
    """It reaches as far as voxels this many SD above."""
    least_white: float = 0.3
    """Prior of white matter that each of its voxels has."""
    mean_white: float = 0.7
    """Mean prior of white matter of the region."""
    least_volume: float = 5.0
    """mm3."""


@dataclass(frozen=True, kw_only=True)
class WhiteMatterHyperintensities(SegmentationTool):
    """Find white-matter hyperintensities by a threshold from grey matter.

    References
    ----------
    Roura et al. 2015, A toolbox for multiple sclerosis lesion segmentation, Neuroradiology
    57:1031-1043, doi:10.1007/s00234-015-1552-2.
    """

    contrasts: ClassVar[tuple[str, ...]] = ("FLAIR",)
    needs_mask: ClassVar[bool] = True
    tissue_maps: ClassVar[bool] = True
    masks: ClassVar[tuple[str, ...]] = ("lesion",)
    memory_gb: ClassVar[tuple[float, float]] = (0.45, 0.08)
    text: ClassVar[str] = (
        "White-matter hyperintensities were segmented on the super-resolved FLAIR image after "
        "the threshold method of Roura et al. [@roura2015]: voxels brighter than grey matter by "
        "a number of standard deviations, in two iterations, and rules on the regions; tissues "
        "were told apart by the tissue maps of {template}, registered. "
    )

    def segment(self, volume: Volume, mask: Volume | None = None) -> Segmentation:
        """Segment an image; see :class:`.SegmentationTool`."""
        assert mask is not None
        priors = tissue_priors(
            volume, mask, threads=self.threads, seed=self.seed, template=self.template
        )
        lesions, record = find_hyperintensities(volume, mask, priors)
        labels = volume.with_data(lesions.astype(np.uint8))
        return Segmentation(
            labels=labels, table=(LESION,), masks={"lesion": labels}, record=record
        )


def find_hyperintensities(
    volume: Volume, mask: Volume, priors: TissuePriors, rules: Rules | None = None
) -> tuple[npt.NDArray[np.bool_], dict[str, Any]]:
    """Find regions of white matter that are brighter than grey matter.

    Parameters
    ----------
    volume : Volume
        FLAIR, bias-corrected.
    mask : Volume
        Its brain mask.
    priors : TissuePriors
    rules : Rules, optional

    Returns
    -------
    lesions : (X, Y, Z) bool array
    record : dict
        ``Count``, ``VolumeMl``, ``GreyMatterMean`` and ``GreyMatterSD`` (image units),
        ``Rules``.

    Raises
    ------
    EngineError
        If there is too little grey matter to take a mean of.

    Notes
    -----
    After Roura et al. 2015: mean and SD of normal grey matter on FLAIR come from the peak
    of its histogram and the width at half of its height, which lesions among the voxels do
    not shift.  The first iteration finds voxels that are certainly bright; the second, at a lower
    threshold, the extent of these regions.  Regions must be mostly white matter and of some size.

    Noise would widen the peak and with it every threshold, so that a noisy image has fewer
    lesions than a smooth one of the same brain: both are smoothed a little first.

    Different from the paper: there a T1w image gives the tissues.  Here they are the
    template's, since FLAIR alone shows lesions as grey matter; the second threshold only
    lets regions of the first grow.

    Limits: lesions in the cortex, the deep nuclei and the posterior fossa's grey matter
    are left out, and faint ones below the first threshold are missed.
    """
    rules = rules or Rules()
    inside = mask.data > 0
    data = _smoothed(volume, inside, rules.smoothing)
    mean, spread = grey_statistics(data[inside & (priors.grey > _SURELY_GREY)])
    candidate = inside & (priors.white > rules.least_white)
    candidate &= data > mean + rules.extent_sd * spread
    labels, count = ndimage.label(candidate)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    whites = np.bincount(labels.ravel(), priors.white.ravel(), minlength=count + 1)
    bright = data > mean + rules.seed_sd * spread
    seeds = np.bincount(labels[bright], minlength=count + 1)
    voxel = float(np.prod(volume.spacings))
    large_enough = (
        (seeds > 0) & (sizes * voxel >= rules.least_volume) & (whites >= rules.mean_white * sizes)
    )
    large_enough[0] = False
    lesions = np.asarray(large_enough[labels], dtype=bool)
    record = {
        "Method": "threshold from grey matter, after Roura et al. 2015",
        "Count": int(np.count_nonzero(large_enough)),
        "VolumeMl": round(float(np.count_nonzero(lesions)) * voxel / 1000, 4),
        "GreyMatterMean": round(mean, 4),
        "GreyMatterSD": round(spread, 4),
        "Rules": vars(rules),
    }
    return lesions, record


def _smoothed(
    volume: Volume, inside: npt.NDArray[np.bool_], sigma: float
) -> npt.NDArray[np.float32]:
    """Smooth within a mask; voxels outside have no weight."""
    weights = inside.astype(np.float32)
    sigmas = sigma / volume.spacings
    sums = ndimage.gaussian_filter(volume.data * weights, sigmas)
    within = ndimage.gaussian_filter(weights, sigmas)
    return np.asarray(np.where(inside, sums / np.maximum(within, 1e-3), 0), dtype=np.float32)


def grey_statistics(values: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Measure mean and SD of a peak: its place, and its width at half of its height.

    Parameters
    ----------
    values : (N,) array
        Intensities of grey matter, with whatever else is among them.

    Returns
    -------
    mean, spread : float

    Raises
    ------
    EngineError
        If there are too few values, or they are all the same.
    """
    top = float(np.percentile(values, 99.9)) if values.size else 0.0
    low = float(np.percentile(values, 0.1)) if values.size else 0.0
    if values.size < _LEAST_GREY_VOXELS or top <= low:
        raise EngineError(
            f"Found {values.size} voxels of grey matter with intensities from {low:.4g} to "
            f"{top:.4g}; expected at least {_LEAST_GREY_VOXELS} that differ. Look at the image "
            "and its brain mask in the report."
        )
    counts, edges = np.histogram(values, bins=_BINS, range=(low, top))
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), 3)
    peak = int(smooth.argmax())
    below = smooth < smooth[peak] / 2
    left = np.nonzero(below[:peak])[0]
    right = np.nonzero(below[peak:])[0]
    first = int(left[-1]) + 1 if left.size else 0
    last = peak + int(right[0]) - 1 if right.size else _BINS - 1
    width = float(edges[last + 1] - edges[first])
    return float((edges[peak] + edges[peak + 1]) / 2), width * _FWHM_TO_SD
