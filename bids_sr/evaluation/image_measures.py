"""Measures of one image and its result, for the checks of the verdict.

Each is one number; what range it is expected in is in :mod:`bids_sr.records.checks`.  None of
them needs a reference, and none can say that a detail of the result is true.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bids_sr.evaluation.field_of_view import at_both_edges_percent, brain_cut
from bids_sr.evaluation.mask_fit import brain_outside_percent, dark_rim_percent
from bids_sr.evaluation.sharpness import sharpness
from bids_sr.evaluation.tissue_contrast import tissue_contrast
from bids_sr.imaging import Acquisition, RobustScaler, Volume
from bids_sr.imaging.noise import estimate_noise

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
_BRIGHT = 0.1  # of the robust range
_LEAST_VOXELS = 200
_LEAST_SLICES = 6
_LEAST_HEAD = 0.15  # tissue outside of the brain, of the brain
_MAD_PER_SIGMA = 1.4826
_MEDIAN_ERROR = 1.2533  # standard error of a median, of that of a mean
_NEIGHBOURS = (5 / 6, 7 / 6)  # of the frequency of the slices


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredImage:
    """Hold what the measures of one image need."""

    acquired: Volume
    """The slices as they were acquired."""
    result: Volume
    """The super-resolved image."""
    acquisition: Acquisition
    """By which it was made."""
    prepared: Volume | None = None
    """The slices as they were super-resolved: denoised and corrected; None: as acquired."""
    brain_mask: Volume | None = None
    """On the grid of the acquired slices."""
    result_mask: Volume | None = None
    """Brain mask on the grid of the result."""
    uncertainty: Volume | None = None
    """Expected standard deviation of the result."""

    @property
    def slice_axis(self) -> int:
        """Array axis across the slices."""
        axis = self.acquisition.for_volume(self.acquired).slice_axis
        assert axis is not None
        return axis

    @cached_property
    def tissue(self) -> Mask:
        """Bright voxels of the acquired slices."""
        return bright(self.acquired)

    @cached_property
    def inside(self) -> Mask:
        """Where the result shows tissue: the brain mask, or what is bright."""
        if self.result_mask is not None and self.result_mask.data.any():
            return np.asarray(self.result_mask.data > 0)
        return bright(self.result)


def bright(volume: Volume) -> Mask:
    """Return the voxels above a tenth of the robust intensity range."""
    scaler = RobustScaler.fit(volume.data)
    return np.asarray(volume.data > scaler.offset + _BRIGHT * scaler.width)


def measures_of(image: MeasuredImage) -> dict[str, float]:
    """Return all measures by their names in the QC file; without those that do not apply."""
    measures = {
        "SharpnessRatio": sharpness_ratio(image),
        "UncertaintyPercent": uncertainty_percent(image),
        "StripesDecibel": stripes_decibel(image),
        "NoisePercent": noise_percent(image.acquired, image.slice_axis),
        "ClippedPercent": clipped_percent(image.acquired.data, image.tissue),
        "BandingPercent": banding_percent(
            (image.prepared or image.acquired).data, image.tissue, image.slice_axis
        ),
        **_of_brain(image),
    }
    return {
        name: round(float(value), 4)
        for name, value in measures.items()
        if value is not None and np.isfinite(value)
    }


def _of_brain(image: MeasuredImage) -> dict[str, float | None]:
    """Return the measures that only the image of a brain has."""
    mask = image.brain_mask
    if mask is None or not mask.data.any():
        return {}
    inside = np.asarray(mask.data > 0)
    # Of a skull-stripped image the mask is what is bright, with dark fluid in its rim.
    head = np.count_nonzero(image.tissue & ~inside) > _LEAST_HEAD * np.count_nonzero(inside)
    data, cut = image.acquired.data, brain_cut(mask)
    ratios = tissue_contrast(data[inside], data[~image.tissue & ~inside])
    return {
        "Snr": ratios.snr,
        "SnrAir": ratios.snr_air,
        "Cnr": ratios.cnr,
        "BrainCutPercent": cut.elsewhere_percent,
        "BrainCutBelowPercent": cut.below_percent,
        "BothEdgesPercent": at_both_edges_percent(image.acquired, image.slice_axis),
        "MaskDarkRimPercent": dark_rim_percent(image.acquired, mask) if head else None,
        "BrainOutsideMaskPercent": brain_outside_percent(image.acquired, mask),
        "BrightTail": bright_tail(data[inside]),
    }


def clipped_percent(data: Array, tissue: Mask) -> float:
    """Return the share of the tissue that has exactly the highest intensity, percent.

    Intensities that exceed what a file or a scanner can hold all become the highest one.  The one
    voxel that every image has there does not count.
    """
    count = int(np.count_nonzero(data[tissue] >= data.max()))
    return 100 * max(0, count - 1) / max(1, int(np.count_nonzero(tissue)))


def banding_percent(data: Array, tissue: Mask, slice_axis: int) -> float | None:
    """Return by how much odd and even slices differ in brightness, percent.

    Each slice is compared with the mean of its two neighbours where all three are bright: the
    median of the ratio.  Anatomy changes these ratios too, but does not know odd from even: of
    the ratios less those of the neighbours, with alternating sign, half the median is taken, less
    twice its standard error.
    """
    slices, tissue = np.moveaxis(data, slice_axis, 0), np.moveaxis(tissue, slice_axis, 0)
    ratios: list[float] = []
    for below, here, above in zip(slices, slices[1:], slices[2:], strict=False):
        place = len(ratios)
        common = tissue[place] & tissue[place + 1] & tissue[place + 2]
        if np.count_nonzero(common) < _LEAST_VOXELS:
            ratios.append(np.nan)
            continue
        ratios.append(float(np.median(2 * here[common] / (below[common] + above[common]))))
    values = np.array(ratios)
    beyond = (values[1:-1] - (values[:-2] + values[2:]) / 2) / 2
    known = np.isfinite(beyond)
    if np.count_nonzero(known) < _LEAST_SLICES:
        return None
    alternating = (np.where(np.arange(beyond.size) % 2, 1, -1) * beyond)[known]
    middle = float(np.median(alternating))
    spread = _MAD_PER_SIGMA * float(np.median(np.abs(alternating - middle)))
    error = _MEDIAN_ERROR * spread / np.sqrt(alternating.size)
    return float(100 * max(0.0, abs(middle) - 2 * error))


def noise_percent(acquired: Volume, slice_axis: int) -> float:
    """Return the noise of acquired slices, percent of their robust range."""
    width = RobustScaler.fit(acquired.data).width
    return 100 * estimate_noise(acquired, slice_axis) / width


def bright_tail(inside: Array) -> float | None:
    """Return the 99.5th percentile of a brain relative to its median."""
    middle = float(np.median(inside))
    return float(np.percentile(inside, 99.5)) / middle if middle > 0 else None


def stripes_decibel(image: MeasuredImage) -> float | None:
    """Return how far the power at one cycle a slice spacing stands out in the result, dB.

    It is compared with that of waves a sixth longer and shorter.
    """
    spacing, voxel = image.acquisition.spacing, float(image.result.spacings[image.slice_axis])
    if spacing * _NEIGHBOURS[0] < 2 * voxel:
        return None
    lines = np.moveaxis(image.result.data, image.slice_axis, -1)
    lines = lines[np.moveaxis(image.inside, image.slice_axis, -1).any(axis=-1)]
    if not len(lines):
        return None
    window = np.hanning(lines.shape[1])
    power = (np.abs(np.fft.rfft((lines - lines.mean(axis=1)[:, None]) * window)) ** 2).mean(axis=0)
    frequencies = np.fft.rfftfreq(lines.shape[1], voxel)
    waves = np.array([1.0, *_NEIGHBOURS]) / spacing
    heights = np.interp(waves, frequencies, np.log10(np.maximum(power, 1e-30)))
    return float(10 * (heights[0] - heights[1:].mean()))


def sharpness_ratio(image: MeasuredImage) -> float | None:
    """Return the fine detail across the slices, relative to that within them."""
    inside = image.inside
    if not inside.any():
        return None
    cutoff = 0.5 / image.acquisition.spacing
    return sharpness(image.result.data, inside, image.result.spacings, image.slice_axis, cutoff)


def uncertainty_percent(image: MeasuredImage) -> float | None:
    """Return the median uncertainty of the tissue, percent of the robust range of the result."""
    inside = image.inside
    if image.uncertainty is None or not inside.any():
        return None
    width = RobustScaler.fit(image.result.data).width
    return float(100 * np.median(image.uncertainty.data[inside]) / width)
