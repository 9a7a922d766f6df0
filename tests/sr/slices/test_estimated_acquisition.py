from __future__ import annotations

import numpy as np
import pytest

from bids_sr.imaging import Acquisition, Volume, degrade
from bids_sr.sr.slices.estimated_acquisition import estimated_acquisition

ASSUMED = Acquisition(spacing=8.0, slice_axis=2)


@pytest.fixture(scope="module")
def thick_head(mni152_2mm: Volume) -> Volume:
    return degrade(mni152_2mm, Acquisition(spacing=8.0, thickness=6.0, slice_axis=2))


def test_what_is_not_stated_is_estimated(thick_head: Volume) -> None:
    estimated = estimated_acquisition(thick_head, ASSUMED)
    acquisition, record = estimated.acquisition, estimated.to_dict()
    assert acquisition.spacing == 8.0
    assert acquisition.nominal_thickness != ASSUMED.nominal_thickness
    assert acquisition.slice_profile.fwhm == pytest.approx(record["FWHMOfKind"], abs=0.02)
    assert acquisition.profile == record["SliceProfile"] == "slr"
    assert set(acquisition.assumed) == {"thickness", "profile"}  # the estimate is tested too
    assert 0 <= record["Confidence"] <= 1


def test_a_stated_thickness_counts_more(thick_head: Volume) -> None:
    stated = Acquisition(spacing=8.0, thickness=2.0, slice_axis=2)
    estimated = estimated_acquisition(thick_head, stated)
    assert estimated.acquisition.nominal_thickness == 2.0
    assert estimated.acquisition == stated
    assert "stated to be 2 mm thick, the image suggests" in estimated.warning


def test_an_image_that_tells_nothing_leaves_the_assumption(thick_head: Volume) -> None:
    flat = thick_head.with_data(np.ones_like(thick_head.data))
    estimated = estimated_acquisition(flat, ASSUMED)
    assert estimated.acquisition == ASSUMED
    assert estimated.warning.startswith("the slice profile is assumed, not estimated")
