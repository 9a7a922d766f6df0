"""The brightness of a slice is compared with its neighbours where anatomy hardly changes."""

from __future__ import annotations

import numpy as np
import pytest

from bids_sr.imaging import Acquisition, Volume, degrade
from bids_sr.sr.slices.neighbour_ratio import neighbour_ratios


@pytest.fixture(scope="module")
def head(mni152_2mm: Volume) -> Volume:
    return degrade(mni152_2mm, Acquisition(spacing=4.0, slice_axis=2), noise_fraction=0.01)


def test_ratio_of_a_brighter_slice_is_its_gain(head: Volume) -> None:
    place = head.shape[2] // 2
    data = head.data.copy()
    data[:, :, place] *= 1.05
    before, after = neighbour_ratios(head, 2), neighbour_ratios(head.with_data(data), 2)
    change = after.values - before.values
    assert change[place - 1] == pytest.approx(np.log(1.05), abs=0.004)
    assert change[place] == pytest.approx(-np.log(1.05) / 2, abs=0.004)
    assert change[place + 5] == pytest.approx(0, abs=0.002)


def test_the_error_covers_what_anatomy_does(head: Volume) -> None:
    ratios = neighbour_ratios(head, 2)
    places = ratios.measured
    rest = ratios.values[places] - np.median(ratios.values[places])
    spread = float(np.sqrt(np.mean((rest / ratios.errors[places]) ** 2)))
    assert 0.3 < spread < 1.5


def test_ends_of_the_head_and_empty_slices_are_not_measured(head: Volume) -> None:
    data = head.data.copy()
    data[:, :, :3] = 0
    ratios = neighbour_ratios(head.with_data(data), 2)
    assert ratios.measured.min() >= 3
    assert ratios.measured.max() < head.shape[2] - 3
    assert np.isnan(ratios.errors[0])
