"""What the commands for single images do about a slice profile that is not stated."""

from __future__ import annotations

import argparse
from typing import Any

from bids_sr.bids.sidecar import AcquisitionFacts, AcquisitionOverrides
from bids_sr.imaging import Acquisition, Volume
from bids_sr.method_options import MethodOptions
from bids_sr.records.profile_record import RECORD


def with_estimated_profile(
    volume: Volume, facts: AcquisitionFacts, options: argparse.Namespace, chosen: MethodOptions
) -> tuple[Acquisition, dict[str, Any]]:
    """Return the acquisition with the profile that the image shows, and the record of it."""
    from bids_sr.sr.contract.side_results import side_result
    from bids_sr.sr.slices.estimated_acquisition import estimated_acquisition

    overrides = AcquisitionOverrides(slice_profile=options.slice_profile)
    if chosen.facts.keeps_grid or not overrides.estimates:
        return facts.acquisition, {}
    estimated = side_result(
        "estimate of the slice profile",
        lambda: estimated_acquisition(volume, facts.acquisition, facts.sequence),
    )
    if estimated is None:  # what is assumed stays
        return facts.acquisition, {}
    acquisition, record = estimated.acquisition, estimated.record
    if record.warning:
        print(f"warning: {record.warning}")
    if record.widths:
        print(
            f"estimated from the image: {record.fwhm:g} ± {record.deviation:g} mm thick; used: "
            f"{record.used_profile} profile of {record.used_thickness:g} mm"
        )
    return acquisition, {**acquisition.to_dict(), RECORD: record.to_dict()}
