"""Rows of decisions say what the files on disk say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bids_sr.bids.derivatives import assumptions_made
from bids_sr.bids.status import row_as_made, true_row
from bids_sr.files.writing import write_json_atomic
from bids_sr.imaging import Acquisition
from bids_sr.records.method_record import HeldOutSlices, MethodRecord, SlicesUsed
from bids_sr.records.profile_record import RECORD, ProfileRecord
from bids_sr.records.quality import QualityRecord
from bids_sr.records.verdict import Check, Verdict

THICKNESS = "SliceThickness is not given: taken as 0.85 of the slice spacing, 5.1 mm"
PROFILE = "the slice profile is not stated: assumed slr, the profile of a selective pulse"
ROW = {
    "thickness": "5.1",
    "gap": "0.9",
    "profile": "slr",
    "assumptions": f"{THICKNESS}; {PROFILE}",
}
SLICES = SlicesUsed.of(Acquisition(spacing=6.0, thickness=3.0, slice_axis=2))


def quality(**method: Any) -> QualityRecord:
    return QualityRecord(image="sub-01/anat/sub-01_T1w.nii.gz", method=MethodRecord(**method))


@pytest.mark.parametrize("assumption", ["thinner slices", "none: interpolated"])
def test_thinner_slices_than_planned_are_in_the_row_and_in_words(assumption: str) -> None:
    row = row_as_made(ROW, quality(slices=SLICES, held_out=HeldOutSlices(assumption=assumption)))
    assert (row["thickness"], row["gap"], row["profile"]) == ("3", "3", "slr")
    thickness, profile = row["assumptions"].split("; ")
    assert profile == PROFILE
    assert "taken as 3 mm" in thickness
    assert "5.1" not in thickness


@pytest.mark.parametrize("test", [None, HeldOutSlices(assumption="kept")])
def test_an_estimate_has_its_numbers_and_keeps_its_words(test: HeldOutSlices | None) -> None:
    """``--slice-profile auto``: the plan cannot know the width."""
    row = row_as_made(ROW, quality(slices=SLICES, held_out=test))
    assert row == {**ROW, "thickness": "3", "gap": "3"}


def test_an_estimate_is_in_words() -> None:
    estimate = ProfileRecord(
        widths=(3.0, 4.0),
        shares={"slr": (0.5, 0.5)},
        fwhm=3.5,
        deviation=0.5,
        used_thickness=3.4,
        used_profile="rect",
    )
    planned = [THICKNESS, PROFILE, "axis 2 is used"]
    record = quality(details={RECORD: estimate.to_dict()}).method
    assert assumptions_made(planned, record) == [
        "SliceThickness is not given: 3.4 mm, as the image suggests (3.5 ± 0.5 mm)",
        "the slice profile is not stated: rect, as the image suggests",
        "axis 2 is used",
    ]
    test = HeldOutSlices(assumption="thinner slices")
    thinner = assumptions_made(planned, replace(record, slices=SLICES, held_out=test))
    assert "taken as 3 mm" in thinner[0]
    assert thinner[1] == "the slice profile is not stated: slr"


@pytest.mark.parametrize("known", [None, quality()])
def test_a_record_without_numbers_changes_nothing(known: QualityRecord | None) -> None:
    assert row_as_made(ROW, known) == ROW


def test_a_row_has_the_verdict() -> None:
    noisy = Check(name="noise", title="Noise", value=9.0, high=8, status="look")
    judged = replace(quality(), verdict=Verdict(checks=(noisy,)))
    assert row_as_made(ROW, judged) == {**ROW, "verdict": "look: noise"}
    assert row_as_made(ROW, replace(judged, verdict=Verdict()))["verdict"] == "ok"


def test_what_was_stated_is_no_assumption() -> None:
    record = quality(slices=SLICES, held_out=HeldOutSlices(assumption="thinner slices")).method
    assert assumptions_made([PROFILE], record) == [PROFILE]


def test_a_result_without_a_row_has_its_slices_from_the_qc_file(tmp_path: Path) -> None:
    """``--slice-profile auto``, read back from what the run wrote, where it was killed."""
    image = "sub-01/anat/sub-01_T1w.nii.gz"
    folder = tmp_path / "sub-01" / "anat"
    folder.mkdir(parents=True)
    (folder / "sub-01_desc-sr_T1w.nii.gz").touch()
    (folder / "sub-01_desc-sr_T1w.json").write_text(f'{{"Sources": ["bids:raw:{image}"]}}')
    content = quality(slices=SLICES).to_dict()
    write_json_atomic(folder / "sub-01_desc-sr_qc.json", content)
    row = true_row(tmp_path, {**ROW, "image": image, "status": "planned"})
    assert (row["status"], row["thickness"], row["gap"]) == ("done", "3", "3")
