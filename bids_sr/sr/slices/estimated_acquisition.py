"""An acquisition completed by a slice profile estimated from the image itself.

A stated thickness takes precedence over an estimated one; if nothing can be estimated, the
acquisition stays as it was assumed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Acquisition, Volume
from bids_sr.sr.slices.profile_estimation import ProfileEstimate, estimate_slice_profile

LOGGER = logging.getLogger(__name__)
NOTABLE_VOXELS = 1.0
"""Difference of a stated thickness from the estimated FWHM that is reported, in-plane voxels."""


@dataclass(frozen=True, kw_only=True)
class EstimatedAcquisition:
    """Hold an acquisition and the estimate from the image."""

    acquisition: Acquisition
    estimate: ProfileEstimate | None
    """None where nothing could be estimated."""
    warning: str = ""
    """If nothing could be estimated, or the estimate contradicts what is stated; else empty."""

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate as plain values for a record."""
        shown = self.estimate.to_dict() if self.estimate else {}
        return shown | ({"Warning": self.warning} if self.warning else {})


def estimated_acquisition(volume: Volume, acquisition: Acquisition) -> EstimatedAcquisition:
    """Estimate from an image those parts of its slice profile that are not stated.

    Parameters
    ----------
    volume : Volume
        The acquired slices.
    acquisition : Acquisition
        What is stated and what is assumed; a stated thickness is only compared with the image.

    Returns
    -------
    EstimatedAcquisition
    """
    acquisition = acquisition.for_volume(volume)
    assert acquisition.slice_axis is not None
    kind = acquisition.slice_profile.name
    try:
        # The width of a profile can be estimated from an image, its kind hardly.
        estimate = estimate_slice_profile(volume, acquisition.slice_axis, kinds=(kind,))
    except InputDataError as error:
        LOGGER.warning("The slice profile is assumed, not estimated: %s", error)
        warning = f"the slice profile is assumed, not estimated: {error}"
        return EstimatedAcquisition(acquisition=acquisition, estimate=None, warning=warning)
    thickness, warning = estimate.fwhm, ""
    if "thickness" not in acquisition.assumed:
        thickness = acquisition.nominal_thickness
        voxel = min(v for a, v in enumerate(volume.spacings) if a != acquisition.slice_axis)
        if abs(thickness - estimate.fwhm) > NOTABLE_VOXELS * voxel + estimate.deviation:
            warning = (
                f"the slices are stated to be {thickness:.3g} mm thick, the image suggests "
                f"{estimate.fwhm:.3g} mm (confidence {estimate.confidence:.2f}); the stated "
                "thickness is used"
            )
    return EstimatedAcquisition(
        acquisition=replace(acquisition, thickness=thickness), estimate=estimate, warning=warning
    )
