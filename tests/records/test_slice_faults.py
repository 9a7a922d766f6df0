from __future__ import annotations

import json

import pytest

from bids_sr.records.method_record import MethodRecord
from bids_sr.records.quality import QualityRecord
from bids_sr.records.slice_faults import (
    MISSING,
    MOTION,
    REPEATED,
    REVERSED,
    SIGNAL_LOSS,
    SliceFault,
    SliceRecord,
)
from bids_sr.records.voxel_detail import InterpolatedAxis

MOVED = SliceFault(slice_number=12, what=MOTION, size=2.1, weight=0.0)
ACROSS = InterpolatedAxis(axis=2, voxel_mm=3.0, detail_mm=6.0, through_plane=True, output_mm=1.0)


def test_a_record_is_read_as_it_was_written() -> None:
    record = SliceRecord(faults=(MOVED,), differences=(None, 1.25), interpolated=(ACROSS,))
    assert SliceRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_what_is_no_record_is_left_out() -> None:
    values = {"SliceFaults": [{"What": "motion"}, 3], "InterpolatedAxes": [{"Axis": 1}]}
    assert SliceRecord.from_dict(values) == SliceRecord()


def test_sidecar_and_qc_name_the_slices() -> None:
    slices = SliceRecord(faults=(MOVED,), differences=(1.0,) * 20, interpolated=(ACROSS,))
    method = MethodRecord(method="self", slice_record=slices)
    assert method.to_dict()["SliceFaults"] == [
        {"Slice": 12, "What": "motion", "Size": 2.1, "Weight": 0.0}
    ]
    assert "SliceDifferences" not in method.to_dict()
    assert "slice 12: moved by about 2.1 mm" in method.to_dict()["Warning"]
    quality = QualityRecord.from_dict(
        {"Image": "a.nii.gz", "SuperResolution": method.to_dict(), **slices.to_dict()}
    )
    assert quality is not None
    assert quality.method.slice_record == slices
    assert quality.to_dict()["SliceDifferences"] == [1.0] * 20


def test_a_sound_image_adds_nothing_to_its_sidecar() -> None:
    written = MethodRecord(method="self").to_dict()
    assert "SliceFaults" not in written
    assert "InterpolatedAxes" not in written


def test_weights_follow_from_the_faults() -> None:
    lost = SliceFault(slice_number=3, what=SIGNAL_LOSS, size=20.0, weight=0.4)
    missing = SliceFault(slice_number=1, what=MISSING, size=1.6)
    weights = SliceRecord(faults=(lost, missing), differences=(1.0,) * 5).weights
    assert weights is not None
    assert list(weights) == pytest.approx([1, 1, 1, 0.4, 1])
    assert SliceRecord(faults=(missing,), differences=(1.0,) * 5).weights is None


def test_sentences_say_what_is_only_told() -> None:
    faults = (
        SliceFault(slice_number=4, what=REPEATED, size=3.0),
        SliceFault(slice_number=7, what=MISSING, size=1.7),
        *(SliceFault(slice_number=n, what=REVERSED, size=3.0) for n in (10, 11, 12)),
    )
    repeated, missing, backward = SliceRecord(faults=faults).sentences
    assert "slice 4 shows the same as slice 3" in repeated
    assert "between slices 7 and 8" in missing
    assert "10 to 12" in backward


def test_a_slice_that_counts_in_full_is_not_said_to_count_less() -> None:
    doubtful = SliceFault(slice_number=5, what=MOTION, size=1.5)
    clear, told = SliceRecord(faults=(MOVED, doubtful), differences=(1.0,) * 20).sentences
    assert clear.startswith("slices at fault, which count less in the result")
    assert "slice 12" in clear
    assert told.startswith("slices that may be at fault, and count in full")
    assert "slice 5" in told


def test_interpolation_is_told_only_where_it_matters() -> None:
    within = InterpolatedAxis(axis=0, voxel_mm=0.5, detail_mm=1.1, through_plane=False)
    assert within.warning == ""
    finer = InterpolatedAxis(
        axis=0, voxel_mm=0.5, detail_mm=1.1, through_plane=False, output_mm=0.5
    )
    assert "no detail finer than 1.1 mm" in finer.warning
    assert "--slice-thickness" in ACROSS.warning
