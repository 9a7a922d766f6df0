"""Slices that differ in brightness are brought to one; everything else keeps every bit."""

from __future__ import annotations

import nibabel as nb
import numpy as np
import numpy.typing as npt
import pytest

from bids_sr.imaging import Acquisition, Volume, degrade
from bids_sr.records.slice_faults import SIGNAL_LOSS
from bids_sr.sr import check_slices, correct_slice_gain
from bids_sr.sr.slices.slice_gain import SliceGain, banded, estimate_slice_gain

THICK = Acquisition(spacing=4.0, thickness=4.0, profile="slr", slice_axis=2)


@pytest.fixture(scope="module")
def head(mni152_2mm: Volume) -> Volume:
    return degrade(mni152_2mm, THICK, noise_fraction=0.01)


def odd_even(count: int, percent: float) -> npt.NDArray[np.float64]:
    return 1 + percent / 200 * (-1.0) ** np.arange(count)


def left_percent(gain: SliceGain, gains: npt.NDArray[np.float64]) -> float:
    """Return what alternates in the inner half of the slices once they are corrected."""
    left = np.log(np.array(gain.factors) * gains)
    inner = left[len(left) // 4 : -(len(left) // 4)]
    return float(100 * abs(np.mean(inner * (-1.0) ** np.arange(inner.size))))


def test_an_image_without_banding_is_returned_itself(head: Volume) -> None:
    corrected, gain = correct_slice_gain(head, THICK)
    assert corrected is head
    assert not gain.applied
    assert set(gain.factors) == {1.0}
    assert gain.reason == "no banding"
    assert gain.record.to_dict()["Applied"] is False
    assert "Gains" not in gain.record.to_dict()


@pytest.mark.parametrize("percent", [2.0, 5.0])
def test_odd_and_even_slices_become_alike(head: Volume, percent: float) -> None:
    gains = odd_even(head.shape[2], percent)
    corrected, gain = correct_slice_gain(banded(head, gains, 2), THICK)
    assert gain.applied
    assert gain.pattern == ("odd-even",)
    assert left_percent(gain, gains) < 0.3
    assert gain.before_percent is not None
    assert gain.after_percent is not None
    assert gain.after_percent < 0.5 * gain.before_percent
    assert corrected.data.dtype == np.float32
    assert np.mean(np.abs(corrected.data - head.data)) < 0.01 * head.data.max()


def test_every_third_slice_and_a_single_slice_are_told_apart(head: Volume) -> None:
    count = head.shape[2]
    third = 1 + 0.04 * np.array([1, -0.5, -0.5])[np.arange(count) % 3]
    assert "every third" in estimate_slice_gain(banded(head, third, 2), 2).pattern
    single = np.ones(count)
    single[count // 2] = 1.08
    gain = estimate_slice_gain(banded(head, single, 2), 2)
    assert gain.applied
    changed = np.abs(np.log(gain.factors))
    assert changed.argmax() == count // 2
    assert gain.factors[count // 2] == pytest.approx(1 / 1.08, rel=0.02)
    assert np.median(changed) < 0.004


def test_a_slice_that_lost_its_signal_is_left_to_the_check_of_faults(head: Volume) -> None:
    gains = odd_even(head.shape[2], 4.0)
    gains[20] *= 0.6
    spoilt = banded(head, gains, 2)
    corrected, gain = correct_slice_gain(spoilt, THICK)
    assert gain.applied
    assert gain.factors[20] == pytest.approx(1, abs=0.1)
    faults = check_slices(corrected, THICK).record.faults
    assert [(fault.slice_number, fault.what) for fault in faults] == [(20, SIGNAL_LOSS)]


@pytest.mark.parametrize("lost", [(0.75,), (0.5,), (0.7, 0.7), (0.8, 1, 1, 0.8), (0.5, 1, 1) * 4])
def test_faults_of_slices_are_the_same_before_and_after_the_gain(
    head: Volume, lost: tuple[float, ...]
) -> None:
    """A fault is not divided out, and does not darken the slices beside it."""
    acquisition = Acquisition(spacing=4.0, slice_axis=2)
    first = head.shape[2] // 2 - len(lost) // 2
    gains = odd_even(head.shape[2], 3)
    expected = {first + number for number, gain in enumerate(lost) if gain < 1}
    disturbed = gains.copy()
    disturbed[first : first + len(lost)] *= lost
    corrected, gain = correct_slice_gain(banded(head, disturbed, 2), acquisition)
    faults = check_slices(corrected, acquisition).record.faults
    assert {fault.slice_number for fault in faults if fault.what == SIGNAL_LOSS} == expected
    assert np.abs(np.log(gain.factors * gains)).max() < 0.05


def test_random_gains_become_alike_where_slices_can_be_compared(head: Volume) -> None:
    count = head.shape[2]
    gains = 1 + np.random.default_rng(1).normal(0, 0.04, count)
    corrected, gain = correct_slice_gain(banded(head, gains, 2), THICK)
    assert "irregular" in gain.pattern
    assert gain.before_percent is not None
    assert gain.after_percent is not None
    assert gain.after_percent < 0.2 * gain.before_percent
    assert corrected.shape == head.shape


def test_a_gradient_along_the_slices_is_kept(head: Volume) -> None:
    places = np.linspace(-1, 1, head.shape[2])
    field = np.exp(0.4 * places - 0.3 * places**2)
    assert not estimate_slice_gain(banded(head, field, 2), 2).applied
    both = field * odd_even(head.shape[2], 4.0)
    factors = np.log(estimate_slice_gain(banded(head, both, 2), 2).factors)
    pairs = (factors[1:] + factors[:-1]) / 2
    assert np.abs(pairs[5:-5]).max() < 0.004


@pytest.mark.parametrize("orientation", ["LPS", "PIR", "SAL"])
def test_orientation_does_not_matter(head: Volume, orientation: str) -> None:
    gains = odd_even(head.shape[2], 3.0)
    volume = banded(head, gains, 2)
    codes = nb.orientations.axcodes2ornt(tuple(orientation))
    turn = nb.orientations.ornt_transform(nb.orientations.io_orientation(volume.affine), codes)
    data = np.ascontiguousarray(nb.orientations.apply_orientation(volume.data, turn))
    affine = volume.affine @ nb.orientations.inv_ornt_aff(turn, volume.shape)
    turned = Volume(data, affine)
    first = np.array(estimate_slice_gain(volume, 2).factors)
    second = np.array(estimate_slice_gain(turned, turned.slice_axis).factors)
    assert min(np.abs(first - second).max(), np.abs(first - second[::-1]).max()) < 1e-3


@pytest.mark.parametrize("count", [2, 3, 5, 6])
def test_few_slices_are_left_alone(head: Volume, count: int) -> None:
    some = head.planes(2, slice(15, 15 + count))
    corrected, gain = correct_slice_gain(some, THICK)
    assert corrected is some
    assert len(gain.factors) == count
    assert gain.reason


def test_empty_slices_and_a_large_field_of_view_do_not_count(head: Volume) -> None:
    gains = odd_even(head.shape[2], 4.0)
    padded = np.pad(banded(head, gains, 2).data, ((30, 10), (0, 40), (4, 3)))
    _, gain = correct_slice_gain(Volume(padded, head.affine), THICK)
    assert gain.applied
    inner = SliceGain(factors=gain.factors[4:-3])
    assert left_percent(inner, gains) < 0.3


@pytest.mark.parametrize("value", [0.0, 100.0])
def test_a_constant_image_keeps_its_slices(value: float) -> None:
    volume = Volume(np.full((20, 20, 12), value, np.float32), np.diag([1, 1, 4, 1.0]))
    corrected, gain = correct_slice_gain(volume, THICK)
    assert corrected is volume
    assert not gain.applied


def test_intensities_below_zero_have_no_gain(head: Volume) -> None:
    centred = head.with_data(head.data - head.data.mean())
    assert estimate_slice_gain(centred, 2).reason == "intensities below zero"


def test_the_record_holds_what_was_done(head: Volume) -> None:
    volume = banded(head, odd_even(head.shape[2], 4.0), 2)
    record = correct_slice_gain(volume, THICK)[1].record.to_dict()
    assert record["Applied"] is True
    assert record["Pattern"] == ["odd-even"]
    assert len(record["Gains"]) == head.shape[2]
    assert 3 < record["BeforePercent"] < 5
    assert record["AfterPercent"] < 1
