"""The verdict on an image that was super-resolved alone, without a dataset and a brain mask."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bids_sr.imaging import Acquisition, Volume
from bids_sr.records.checks import verdict_on
from bids_sr.records.json_values import mapping, number
from bids_sr.records.method_record import Output
from bids_sr.records.quality import QualityRecord
from bids_sr.records.step_record import StepRecord
from bids_sr.records.verdict import Verdict
from bids_sr.sr.contract.side_results import side_result

if TYPE_CHECKING:
    from bids_sr.sr import Reconstruction


def verdict_of(result: Reconstruction, acquired: Volume, acquisition: Acquisition) -> Verdict:
    """Return the verdict on a result, by the checks that need no brain mask.

    Parameters
    ----------
    result : Reconstruction
    acquired : Volume
        The slices that it was made from.
    acquisition : Acquisition
        How they were taken, as planned.
    """
    from bids_sr.evaluation.image_measures import MeasuredImage, measures_of

    image = MeasuredImage(
        acquired=acquired,
        result=result.volume,
        acquisition=(result.acquisition or acquisition).for_volume(acquired),
        uncertainty=result.uncertainty,
    )
    measures = side_result("verdict", lambda: measures_of(image)) or {}
    consistency = mapping(result.record.details.get("DataConsistency"))
    output = Output(
        shape=result.volume.shape,
        spacings=tuple(float(spacing) for spacing in result.volume.spacings),
        intensities=(float(result.volume.data.min()), float(result.volume.data.max())),
        residual_percent=number(consistency.get("ResidualPercent")),
    )
    check = {"InputRange": [float(acquired.data.min()), float(acquired.data.max())]}
    return verdict_on(
        QualityRecord(
            image="image",
            steps={"check": StepRecord(check)},
            method=replace(result.record, output=output),
            measures=StepRecord(measures),
        )
    )


def print_verdict(verdict: Verdict) -> None:
    """Print the verdict as the last lines of a command."""
    print(f"verdict: {verdict.status} ({len(verdict.checks)} checks)")
    for check in verdict.looks:
        print(f"  look: {check.line}")
