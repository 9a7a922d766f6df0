"""An acquisition completed by a slice profile estimated from the image itself.

What is stated is used as it is; if nothing can be estimated, the acquisition stays as it was
assumed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Acquisition, SliceProfile, Volume
from bids_sr.imaging.acquisition import PROFILES
from bids_sr.records.profile_record import ProfileRecord
from bids_sr.sr.slices.profile_distribution import ProfileChoice, ProfileDistribution
from bids_sr.sr.slices.profile_estimation import ProfileEstimate, estimate_slice_profile

LOGGER = logging.getLogger(__name__)
NOTABLE_SHARE = 0.25
"""Share by which a stated thickness may exceed the widths of all kinds of profile that the image
suggests, or fall below them, without a warning."""


@dataclass(frozen=True, kw_only=True)
class EstimatedAcquisition:
    """Hold an acquisition, and what is known of its slice profile."""

    acquisition: Acquisition
    record: ProfileRecord


def estimated_acquisition(
    volume: Volume, acquisition: Acquisition, sequence: str = ""
) -> EstimatedAcquisition:
    """Estimate from an image those parts of its slice profile that are not stated.

    Parameters
    ----------
    volume : Volume
        The acquired slices.
    acquisition : Acquisition
        What is stated and what is assumed; a stated thickness is used as it is.
    sequence : str
        ``SE``, ``GR`` or ``3D``, where known: which profiles are usual.

    Returns
    -------
    EstimatedAcquisition
        With the kind and the width that cost least on average over all that are plausible.
    """
    acquisition = acquisition.for_volume(volume)
    assert acquisition.slice_axis is not None
    told = _told(acquisition, sequence)
    kind = told.stated_profile
    if isinstance(acquisition.profile, SliceProfile):  # a table says all
        return EstimatedAcquisition(acquisition=acquisition, record=told)
    try:
        estimate = estimate_slice_profile(
            volume, acquisition.slice_axis, kinds=(kind,) if kind else tuple(PROFILES)
        )
    except InputDataError as error:
        warning = f"the slice profile is assumed, not estimated: {error}"
        if not acquisition.assumed:
            warning = ""
        else:
            LOGGER.warning("%s", warning)
        return EstimatedAcquisition(acquisition=acquisition, record=replace(told, warning=warning))
    return completed(acquisition, estimate, sequence)


def completed(
    acquisition: Acquisition, estimate: ProfileEstimate, sequence: str = ""
) -> EstimatedAcquisition:
    """Complete an acquisition by an estimate; the rest as in :func:`estimated_acquisition`."""
    told = _told(acquisition, sequence)
    stated = told.stated_thickness
    plausible = estimate.distribution.with_prior(sequence)
    if stated is None:
        choice = plausible.least_harmful()
    else:
        choice = plausible.with_stated_width(stated).least_harmful(stated)
    width = round(choice.width, 4) if stated is None else stated
    return EstimatedAcquisition(
        acquisition=replace(acquisition, profile=choice.kind, thickness=width),
        record=_with_estimate(told, plausible, choice),
    )


def _told(acquisition: Acquisition, sequence: str) -> ProfileRecord:
    """Return the record of what is stated, by which the image is reconstructed as it stands."""
    kind, width = acquisition.slice_profile.name, acquisition.nominal_thickness
    return ProfileRecord(
        stated_thickness=None if "thickness" in acquisition.assumed else width,
        stated_profile="" if "profile" in acquisition.assumed else kind,
        sequence=sequence,
        used_thickness=width,
        used_profile=kind,
    )


def _with_estimate(
    told: ProfileRecord, plausible: ProfileDistribution, choice: ProfileChoice
) -> ProfileRecord:
    """Return the record with what the image shows, and which profile is used."""
    rows = zip(plausible.kinds, plausible.shares, strict=True)
    return replace(
        told,
        widths=tuple(round(float(width), 4) for width in plausible.widths),
        shares={kind: tuple(round(float(share), 5) for share in row) for kind, row in rows},
        fwhm=round(plausible.fwhm, 3),
        deviation=round(plausible.deviation, 3),
        interval=tuple(round(width, 3) for width in plausible.interval()),
        used_thickness=round(choice.width, 4),
        used_profile=choice.kind,
        loss=round(choice.loss, 3),
        warning=contradiction(told.stated_thickness, plausible),
    )


def contradiction(stated: float | None, plausible: ProfileDistribution) -> str:
    """Say that no kind of profile of the stated thickness is near what the image shows."""
    if stated is None:
        return ""
    equivalent = plausible.equivalent_widths().values()
    low, high = min(equivalent), max(equivalent)
    thinnest, thickest = plausible.widths[[0, -1]]
    too_thin = stated < low * (1 - NOTABLE_SHARE) and low > thinnest
    too_thick = stated > high * (1 + NOTABLE_SHARE) and high < thickest
    if not (too_thin or too_thick):
        return ""
    suggested = f"{low:.3g}" if high - low < 0.05 else f"{low:.3g} to {high:.3g}"
    return (
        f"the slices are stated to be {stated:.3g} mm thick, the image suggests {suggested} mm, "
        "depending on the slice profile; the stated thickness is used"
    )
