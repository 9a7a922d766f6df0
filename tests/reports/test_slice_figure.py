from __future__ import annotations

from pathlib import Path

import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.records.slice_faults import MOTION, SliceFault, SliceRecord
from bids_sr.reports.slice_figure import plot_slices


def test_a_slice_at_fault_is_named_in_the_figure(tmp_path: Path) -> None:
    fault = SliceFault(slice_number=3, what=MOTION, size=2.0, weight=0.0)
    record = SliceRecord(faults=(fault,), differences=(None, 1.0, 0.9, 3.2, 1.1, None))
    drawing = plot_slices(record, tmp_path / "slices.svg").read_text(encoding="utf-8")
    assert "slice number, from 0" in drawing
    assert "motion" in drawing


def test_slices_that_were_not_judged_are_not_drawn(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="No slice was judged"):
        plot_slices(SliceRecord(differences=(None, None)), tmp_path / "slices.svg")
