from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from bids_sr.imaging import Acquisition, SliceProfile, Volume, degrade
from bids_sr.records.profile_record import ProfileRecord
from bids_sr.sr.slices.estimated_acquisition import estimated_acquisition
from bids_sr.sr.slices.profile_distribution import passed

ASSUMED = Acquisition(spacing=8.0, slice_axis=2)


def thick(mni152_2mm: Volume, kind: str = "slr", thickness: float = 6.0) -> Volume:
    taken = Acquisition(spacing=8.0, thickness=thickness, profile=kind, slice_axis=2)
    return degrade(mni152_2mm, taken, noise_fraction=0.01)


@pytest.fixture(scope="module")
def thick_head(mni152_2mm: Volume) -> Volume:
    return thick(mni152_2mm)


def test_what_is_not_stated_is_estimated(thick_head: Volume) -> None:
    estimated = estimated_acquisition(thick_head, ASSUMED)
    acquisition, record = estimated.acquisition, estimated.record
    assert acquisition.spacing == 8.0
    assert acquisition.nominal_thickness != ASSUMED.nominal_thickness
    assert acquisition.slice_profile.fwhm == pytest.approx(record.used_thickness, abs=0.02)
    assert acquisition.profile == record.used_profile
    assert set(acquisition.assumed) == {"thickness", "profile"}  # the estimate is tested too
    assert (record.stated_thickness, record.stated_profile) == (None, "")


@pytest.mark.parametrize("thickness", [8.0, 7.0])
def test_slices_unlike_those_assumed_are_recognised(mni152_2mm: Volume, thickness: float) -> None:
    """By what counts: the share of slow waves that the profile lets through."""
    slices = thick(mni152_2mm, "gaussian", thickness)
    acquisition = estimated_acquisition(slices, ASSUMED).acquisition
    true, assumed = passed("gaussian", thickness / 8), passed("slr", 0.85)
    used = passed(str(acquisition.profile), acquisition.nominal_thickness / 8)
    assert abs(used - true) < 0.5 * abs(assumed - true)


def test_of_a_known_thickness_the_kind_is_chosen(mni152_2mm: Volume) -> None:
    stated = Acquisition(spacing=8.0, thickness=8.0, slice_axis=2)
    kinds = {
        kind: estimated_acquisition(thick(mni152_2mm, kind, 8.0), stated).acquisition
        for kind in ("gaussian", "rect")
    }
    assert kinds["gaussian"].profile == "gaussian"
    assert kinds["rect"].profile in ("rect", "slr")
    assert {taken.nominal_thickness for taken in kinds.values()} == {8.0}


def test_what_is_stated_is_used(thick_head: Volume) -> None:
    stated = Acquisition(spacing=8.0, thickness=5.5, profile="gaussian", slice_axis=2)
    estimated = estimated_acquisition(thick_head, stated)
    assert estimated.acquisition == stated
    assert list(estimated.record.shares) == ["gaussian"]
    table = replace(stated, profile=SliceProfile.rect(6.0), thickness=6.0)
    assert estimated_acquisition(thick_head, table).acquisition.profile is table.profile


def test_a_contradiction_is_told(thick_head: Volume) -> None:
    stated = Acquisition(spacing=8.0, thickness=2.0, slice_axis=2)
    estimated = estimated_acquisition(thick_head, stated)
    assert estimated.acquisition.nominal_thickness == 2.0
    assert "stated to be 2 mm thick, the image suggests" in estimated.record.warning
    true = replace(stated, thickness=6.0)
    assert estimated_acquisition(thick_head, true).record.warning == ""


def test_an_image_that_tells_nothing_leaves_the_assumption(thick_head: Volume) -> None:
    flat = thick_head.with_data(np.ones_like(thick_head.data))
    estimated = estimated_acquisition(flat, ASSUMED)
    assert estimated.acquisition == ASSUMED
    assert estimated.record.warning.startswith("the slice profile is assumed, not estimated")
    stated = Acquisition(spacing=8.0, thickness=6.0, profile="slr", slice_axis=2)
    assert estimated_acquisition(flat, stated).record.warning == ""


def test_the_record_survives_a_file(thick_head: Volume) -> None:
    record = estimated_acquisition(thick_head, ASSUMED, "GR").record
    values = json.loads(json.dumps(record.to_dict()))
    assert ProfileRecord.from_dict(values) == record
    assert values["Told"] == {"Sequence": "GR"}
    assert sum(values["KindShares"].values()) == pytest.approx(1, abs=0.01)
    low, high = values["FWHMInterval80"]
    assert low < values["SliceProfileFWHM"] < high
    assert ProfileRecord.from_dict(None) == ProfileRecord()
