"""Measures of one image and its result, for the checks of the verdict.

Each is one number; what range it is expected in is in :mod:`bids_sr.records.checks`.  None of
them needs a reference, and none can say that a detail of the result is true.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bids_sr.evaluation.sharpness import sharpness
from bids_sr.imaging import Acquisition, RobustScaler, Volume

Mask = npt.NDArray[np.bool_]
_BRIGHT = 0.1  # of the robust range


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredImage:
    """Hold what the measures of one image need."""

    acquired: Volume
    """The slices as they were acquired."""
    result: Volume
    """The super-resolved image."""
    acquisition: Acquisition
    """By which it was made."""
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

    def inside(self) -> Mask:
        """Return where the result shows tissue: the brain mask, or what is bright."""
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
    }
    return {
        name: round(float(value), 4)
        for name, value in measures.items()
        if value is not None and np.isfinite(value)
    }


def sharpness_ratio(image: MeasuredImage) -> float | None:
    """Return the fine detail across the slices, relative to that within them."""
    inside = image.inside()
    if not inside.any():
        return None
    cutoff = 0.5 / image.acquisition.spacing
    return sharpness(image.result.data, inside, image.result.spacings, image.slice_axis, cutoff)


def uncertainty_percent(image: MeasuredImage) -> float | None:
    """Return the median uncertainty of the tissue, percent of the robust range of the result."""
    inside = image.inside()
    if image.uncertainty is None or not inside.any():
        return None
    width = RobustScaler.fit(image.result.data).width
    return float(100 * np.median(image.uncertainty.data[inside]) / width)
