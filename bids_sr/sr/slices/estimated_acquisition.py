"""An acquisition completed by what the image itself tells of its slice profile.

What is stated counts more than what is estimated, and an image that tells nothing
leaves the acquisition as it was assumed.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Acquisition, Volume
from bids_sr.sr.slices.profile_estimation import estimate_slice_profile

LOGGER = logging.getLogger(__name__)
NOTABLE_VOXELS = 1.0
"""Difference of a stated thickness from the estimated FWHM that is told, in-plane voxels."""


def estimated_acquisition(
    volume: Volume, acquisition: Acquisition
) -> tuple[Acquisition, dict[str, Any]]:
    """Estimate from an image what is not known of its slice profile.

    Parameters
    ----------
    volume : Volume
        The acquired slices.
    acquisition : Acquisition
        What is stated and what is assumed; a stated thickness is only compared with the image.

    Returns
    -------
    acquisition : Acquisition
    record : dict
        The estimate with its confidence, as plain values; a ``Warning`` where the image
        tells nothing, or contradicts the stated thickness.
    """
    acquisition = acquisition.for_volume(volume)
    assert acquisition.slice_axis is not None
    kind = acquisition.slice_profile.name
    try:
        # An image tells the width of a profile, but hardly its kind.
        estimate = estimate_slice_profile(volume, acquisition.slice_axis, kinds=(kind,))
    except InputDataError as error:
        LOGGER.warning("The slice profile is assumed, not estimated: %s", error)
        return acquisition, {"Warning": f"the slice profile is assumed, not estimated: {error}"}
    record: dict[str, Any] = estimate.to_dict()
    thickness = estimate.fwhm
    if "thickness" not in acquisition.assumed:
        thickness = acquisition.nominal_thickness
        voxel = min(v for a, v in enumerate(volume.spacings) if a != acquisition.slice_axis)
        if abs(thickness - estimate.fwhm) > NOTABLE_VOXELS * voxel + estimate.deviation:
            record["Warning"] = (
                f"the slices are stated to be {thickness:.3g} mm thick, the image suggests "
                f"{estimate.fwhm:.3g} mm (confidence {estimate.confidence:.2f}); the stated "
                "thickness is used"
            )
    return replace(acquisition, thickness=thickness), record
