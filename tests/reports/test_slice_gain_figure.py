"""The figure of slice gains: slices have the numbers that faults have."""

from __future__ import annotations

from pathlib import Path

from bids_sr.records.slice_gain_record import SliceGainRecord
from bids_sr.reports.slice_gain_figure import plot_slice_gain


def test_slices_are_counted_from_0(tmp_path: Path) -> None:
    record = SliceGainRecord(
        applied=True, before_percent=3.0, after_percent=0.2, gains=(0.98, 1.02) * 10
    )
    text = plot_slice_gain(record, tmp_path / "gain.svg").read_text(encoding="utf-8")
    assert "slice number, from 0" in text
    assert text.index("even slices") < text.index("odd slices")
