"""Rows of decisions say what the files on disk say."""

from __future__ import annotations

from typing import Any

import pytest

from bids_sr.bids.derivatives import assumptions_made
from bids_sr.bids.status import row_as_made

THICKNESS = "SliceThickness is not given: taken as 0.85 of the slice spacing, 5.1 mm"
PROFILE = "the slice profile is not given: taken as slr, that of a selective pulse"
ROW = {
    "thickness": "5.1",
    "gap": "0.9",
    "profile": "slr",
    "assumptions": f"{THICKNESS}; {PROFILE}",
}
SLICES = {"SliceThickness": 3.0, "SliceGap": 3.0, "SliceProfile": "slr"}


@pytest.mark.parametrize("found", ["thinner slices", "none: interpolated"])
def test_thinner_slices_than_planned_are_in_the_row_and_in_words(found: str) -> None:
    record = {**SLICES, "HeldOutSlices": {"Assumption": found}}
    row = row_as_made(ROW, {"SuperResolution": record})
    assert (row["thickness"], row["gap"], row["profile"]) == ("3", "3", "slr")
    thickness, profile = row["assumptions"].split("; ")
    assert profile == PROFILE
    assert "taken as 3 mm" in thickness
    assert "5.1" not in thickness


@pytest.mark.parametrize("test", [{}, {"HeldOutSlices": {"Assumption": "kept"}}])
def test_an_estimate_has_its_numbers_and_keeps_its_words(test: dict[str, Any]) -> None:
    """``--slice-profile auto``: the plan cannot know the width."""
    row = row_as_made(ROW, {"SuperResolution": {**SLICES, **test}})
    assert row == {**ROW, "thickness": "3", "gap": "3"}


@pytest.mark.parametrize("quality", [{}, {"SuperResolution": None}, {"SuperResolution": {}}])
def test_a_record_without_numbers_changes_nothing(quality: dict[str, Any]) -> None:
    assert row_as_made(ROW, quality) == ROW


def test_what_was_stated_is_no_assumption() -> None:
    record = {**SLICES, "HeldOutSlices": {"Assumption": "thinner slices"}}
    assert assumptions_made([PROFILE], record) == [PROFILE]
