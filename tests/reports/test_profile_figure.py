from __future__ import annotations

from pathlib import Path

import pytest

from bids_sr.imaging import Acquisition, Volume, degrade
from bids_sr.reports.profile_figure import plot_profile_estimate
from bids_sr.sr.slices.estimated_acquisition import completed
from bids_sr.sr.slices.profile_estimation import estimate_slice_profile


@pytest.mark.parametrize("name", ["plot.svg", "plot.png"])
def test_figure_of_an_estimate(mni152_2mm: Volume, tmp_path: Path, name: str) -> None:
    acquisition = Acquisition(spacing=8.0, thickness=6.0, slice_axis=2)
    slices = degrade(mni152_2mm, acquisition)
    estimate = estimate_slice_profile(slices, 2)
    record = completed(Acquisition(spacing=8.0, slice_axis=2), estimate).record
    path = plot_profile_estimate(record, estimate, tmp_path / name)
    assert 5000 < path.stat().st_size < 600_000
    start = path.read_bytes()[:200]
    assert b"<svg" in path.read_bytes()[:2000] if name.endswith("svg") else b"PNG" in start
