from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bids_sr.records.quality import QualityRecord, read_quality
from bids_sr.records.verdict import Check, Verdict

NOISE = Check(
    name="noise", title="Noise", value=9.25, unit="%", high=8, status="look", reason="It is noisy."
)
MASK = Check(name="mask_volume", title="Mask", value=1430.4, unit="mL", low=800, high=2000)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (800, 2000, "800 to 2,000 mL"),
        (None, 8, "at most 8 mL"),
        (0.5, None, "at least 0.5 mL"),
        (None, 0, "at most 0 mL"),
        (None, None, "any"),
    ],
)
def test_what_is_expected_is_said_in_words(
    low: float | None, high: float | None, words: str
) -> None:
    assert replace(MASK, low=low, high=high).expected_words == words


def test_a_line_says_value_range_and_why() -> None:
    assert NOISE.line == "noise 9.25 %, expected at most 8 %: It is noisy."


def test_the_worst_check_is_the_verdict() -> None:
    assert Verdict(checks=(MASK,)).status == Verdict().status == "ok"
    verdict = Verdict(checks=(MASK, NOISE))
    assert (verdict.status, verdict.cell, verdict.looks) == ("look", "look: noise", (NOISE,))


def test_a_verdict_is_read_as_it_was_written(tmp_path: Path) -> None:
    quality = QualityRecord(image="a_T1w.nii", verdict=Verdict(checks=(MASK, NOISE)))
    path = tmp_path / "qc.json"
    path.write_text(json.dumps(quality.to_dict()))
    read = read_quality(path)
    assert read is not None
    assert read.verdict == quality.verdict


def test_a_file_of_an_earlier_version_has_no_verdict() -> None:
    values = QualityRecord(image="a_T1w.nii").to_dict()
    assert "Verdict" not in values
    read = QualityRecord.from_dict(values)
    assert read is not None
    assert read.verdict is None


@pytest.mark.parametrize(
    "entry", [None, 3, {}, {"Name": "noise"}, {**NOISE.to_dict(), "Value": "x"}]
)
def test_a_check_that_is_not_whole_is_left_out(entry: object) -> None:
    verdict = Verdict.from_dict({"Verdict": "look", "Checks": [entry, NOISE.to_dict()]})
    assert verdict == Verdict(checks=(NOISE,))
