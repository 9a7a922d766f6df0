"""The record of the slices' brightness is written and read again."""

from __future__ import annotations

import pytest

from bids_sr.records.slice_gain_record import SliceGainRecord

DONE = SliceGainRecord(
    applied=True,
    pattern=("odd-even",),
    before_percent=2.95,
    after_percent=0.3,
    evidence=41.2,
    gains=(0.985, 1.015),
)
KEPT = SliceGainRecord(reason="no banding", before_percent=0.4)


@pytest.mark.parametrize("record", [DONE, KEPT, SliceGainRecord()])
def test_what_is_written_is_read_again(record: SliceGainRecord) -> None:
    assert SliceGainRecord.from_value(record.to_dict()) == record


@pytest.mark.parametrize(
    "value",
    [None, 3, [], {"Applied": True}, {"Applied": 1, "Gains": ["a"]}, {"Status": "failed"}],
)
def test_what_is_no_record_changes_nothing(value: object) -> None:
    record = SliceGainRecord.from_value(value)
    assert not record.applied
    assert not record.known


def test_the_size_is_that_of_the_image_that_goes_on() -> None:
    assert DONE.size_percent == 0.3
    assert KEPT.size_percent == 0.4
    assert DONE.known
    assert KEPT.known
