"""An acquisition completed by what the image itself tells of its slice profile.

What is stated counts more than what is estimated, and an image that tells nothing
leaves the acquisition as it was assumed.
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
"""Difference of a stated thickness from the estimated FWHM that is told, in-plane voxels."""


@dataclass(frozen=True, kw_only=True)
class EstimatedAcquisition:
    """Hold an acquisition that an image was asked about."""

    acquisition: Acquisition
    estimate: ProfileEstimate | None
    """What the image shows; None where it shows nothing."""
    warning: str = ""
    """That the image shows nothing, or contradicts what is stated; else empty."""

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate as plain values for a record."""
        shown = self.estimate.to_dict() if self.estimate else {}
        return shown | ({"Warning": self.warning} if self.warning else {})


def estimated_acquisition(volume: Volume, acquisition: Acquisition) -> EstimatedAcquisition:
    """Estimate from an image what is not known of its slice profile.

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
        # An image tells the width of a profile, but hardly its kind.
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
