from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from bids_sr.imaging import Acquisition, Volume, resample
from bids_sr.records.slice_faults import (
    LOCAL_LOSS,
    MISSING,
    MOTION,
    REPEATED,
    REVERSED,
    SIGNAL_EXCESS,
    SIGNAL_LOSS,
)
from bids_sr.sr import reconstruct
from bids_sr.sr.slices.slice_faults import SliceCheck, check_slices

Spoilt = Callable[[Callable[[np.ndarray], "np.ndarray | None"]], Volume]


def named(check: SliceCheck) -> list[tuple[int, str]]:
    return [(fault.slice_number, fault.what) for fault in check.record.faults]


def test_a_good_stack_is_not_accused(head: Volume, head_acquisition: Acquisition) -> None:
    check = check_slices(head, head_acquisition)
    assert check.record.faults == ()
    assert check.weights is None
    assert check.mended(head, 2) is head
    assert len(check.record.differences) == head.shape[2]


@pytest.mark.parametrize("places", [[20], [12, 25], [20, 21], [20, 22]])
def test_slices_that_moved_are_named(
    spoilt: Spoilt, head_acquisition: Acquisition, places: Sequence[int]
) -> None:
    def shift(slices: np.ndarray) -> None:
        for number in places:
            slices[number] = np.roll(slices[number], 2, axis=number % 2)  # 4 mm

    check = check_slices(spoilt(shift), head_acquisition)
    assert named(check) == [(number, MOTION) for number in places]
    assert [fault.size for fault in check.record.faults] == pytest.approx(
        [4.0] * len(places), abs=0.8
    )
    assert check.weights is not None
    assert list(np.flatnonzero(check.weights < 0.5)) == list(places)


def test_a_slice_that_turned_is_named(spoilt: Spoilt, head_acquisition: Acquisition) -> None:
    def turn(slices: np.ndarray) -> None:
        slices[22] = ndimage.rotate(slices[22], 3, reshape=False, order=1, mode="nearest")

    assert named(check_slices(spoilt(turn), head_acquisition)) == [(22, MOTION)]


@pytest.mark.parametrize("lost", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("places", [[20], [20, 21], [18, 20]])
def test_lost_signal_is_named_with_its_size(
    spoilt: Spoilt, head_acquisition: Acquisition, lost: float, places: Sequence[int]
) -> None:
    def darken(slices: np.ndarray) -> None:
        slices[list(places)] *= 1 - lost

    check = check_slices(spoilt(darken), head_acquisition)
    assert named(check) == [(number, SIGNAL_LOSS) for number in places]
    assert check.record.faults[0].size == pytest.approx(100 * lost, abs=5)


def test_banding_is_no_fault(spoilt: Spoilt, head_acquisition: Acquisition) -> None:
    def stripe(slices: np.ndarray) -> None:
        slices[::2] *= 0.95

    assert check_slices(spoilt(stripe), head_acquisition).record.faults == ()


def test_a_gradient_along_the_stack_is_no_fault(
    spoilt: Spoilt, head_acquisition: Acquisition
) -> None:
    def fade(slices: np.ndarray) -> None:
        slices *= np.exp(-np.arange(len(slices)) / 12)[:, None, None]

    assert check_slices(spoilt(fade), head_acquisition).record.faults == ()


def test_a_bright_slice_and_a_hole_are_named(
    spoilt: Spoilt, head_acquisition: Acquisition
) -> None:
    def spoil(slices: np.ndarray) -> None:
        slices[15] *= 1.4
        slices[28, 30:60, 40:70] *= 0.1

    check = check_slices(spoilt(spoil), head_acquisition)
    assert named(check) == [(15, SIGNAL_EXCESS), (28, LOCAL_LOSS)]


def test_a_repeated_slice_is_named(spoilt: Spoilt, head_acquisition: Acquisition) -> None:
    def repeat(slices: np.ndarray) -> None:
        slices[20] = slices[19]

    check = check_slices(spoilt(repeat), head_acquisition)
    assert named(check) == [(20, REPEATED)]
    assert check.record.faults[0].size == 19
    assert check.weights is None  # only told


def test_a_missing_slice_is_named(spoilt: Spoilt, head_acquisition: Acquisition) -> None:
    check = check_slices(spoilt(lambda slices: np.delete(slices, 20, axis=0)), head_acquisition)
    assert named(check) == [(19, MISSING)]
    assert check.weights is None


@pytest.mark.parametrize("block", [slice(20, 22), slice(18, 24), slice(0, 15)])
def test_slices_in_reversed_order_are_named(
    spoilt: Spoilt, head_acquisition: Acquisition, block: slice
) -> None:
    def reverse(slices: np.ndarray) -> None:
        slices[block] = slices[block][::-1].copy()

    check = check_slices(spoilt(reverse), head_acquisition)
    places = {fault.slice_number for fault in check.record.faults}
    assert {fault.what for fault in check.record.faults} == {REVERSED}
    judged = {number for number, value in enumerate(check.record.differences) if value is not None}
    assert places & judged == set(range(block.start, block.stop)) & judged


def test_too_few_slices_are_not_judged(thick: Volume, acquisition: Acquisition) -> None:
    few = Volume(thick.data[:, :, :4], thick.affine)
    check = check_slices(few, acquisition)
    assert check.record.faults == ()
    assert check.record.differences == (None,) * 4


def test_a_small_motion_is_told_but_the_slice_counts(
    spoilt: Spoilt, head_acquisition: Acquisition
) -> None:
    def shift(slices: np.ndarray) -> None:
        slices[20] = np.roll(slices[20], 1, axis=0)  # 2 mm

    check = check_slices(spoilt(shift), head_acquisition)
    assert named(check) == [(20, MOTION)]
    assert check.weights is None or check.weights[20] > 0.7


@pytest.mark.parametrize("remaining", [0.7, 0.3])
def test_a_slice_of_a_short_stack_is_told_but_counts(
    spoilt: Spoilt, head_acquisition: Acquisition, remaining: float
) -> None:
    def darken(slices: np.ndarray) -> None:
        slices[20] *= remaining

    whole = spoilt(darken)
    short = Volume(np.ascontiguousarray(whole.data[:, :, 16:26]), whole.affine)
    check = check_slices(short, head_acquisition)
    assert named(check) == [(4, SIGNAL_LOSS)]
    assert (check.weights is None) == (remaining == 0.7)  # so much can only be lost signal


def test_air_alone_is_not_judged(head: Volume, head_acquisition: Acquisition) -> None:
    assert check_slices(head.with_data(np.zeros_like(head.data)), head_acquisition).weights is None


def test_along_another_axis(spoilt: Spoilt, head_acquisition: Acquisition) -> None:
    def darken(slices: np.ndarray) -> None:
        slices[20] *= 0.5

    turned = spoilt(darken)
    affine = turned.affine[:, [2, 1, 0, 3]]
    turned = Volume(np.ascontiguousarray(turned.data.transpose(2, 1, 0)), affine)
    check = check_slices(turned, replace(head_acquisition, slice_axis=0))
    assert named(check) == [(20, SIGNAL_LOSS)]


def test_a_slice_at_fault_counts_less_in_the_result(
    head: Volume, mni152_2mm: Volume, spoilt: Spoilt, head_acquisition: Acquisition
) -> None:
    def darken(slices: np.ndarray) -> None:
        slices[20] *= 0.4

    dark, grid = spoilt(darken), mni152_2mm.grid
    planes = grid.coordinates_of(head.grid, 2)[20]
    near = slice(int(planes), int(planes) + 2)

    def error(volume: Volume, *, judge_slices: bool = True) -> float:
        from bids_sr.sr.registry import make_method

        method = make_method("bspline", {"data_consistency": True})
        result = method.reconstruct(
            volume, head_acquisition, grid, judge_slices=judge_slices
        ).volume
        return float(np.abs(result.data - mni152_2mm.data)[:, :, near].mean())

    ignorant = error(dark, judge_slices=False)
    assert error(dark) < 0.35 * ignorant
    assert error(dark) < 2.5 * error(head)


def test_nothing_found_changes_no_bit(
    head: Volume, mni152_2mm: Volume, head_acquisition: Acquisition
) -> None:
    from bids_sr.sr.registry import make_method

    method = make_method("bspline", {"data_consistency": True})
    results = [
        method.reconstruct(head, head_acquisition, mni152_2mm.grid, judge_slices=check).volume.data
        for check in (True, False)
    ]
    assert np.array_equal(*results)


def test_the_record_of_a_result_names_the_slice(
    head: Volume, spoilt: Spoilt, head_acquisition: Acquisition
) -> None:
    def darken(slices: np.ndarray) -> None:
        slices[20] *= 0.4

    result = reconstruct(spoilt(darken), head_acquisition, method="linear", grid=head.grid)
    (warning,) = result.record.warnings
    assert "slice 20: 60 % of its signal lost" in warning
    assert result.record.to_dict()["SliceFaults"][0]["Slice"] == 20


def test_a_check_that_fails_costs_no_result(
    head: Volume, head_acquisition: Acquisition, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> SliceCheck:
        raise MemoryError

    monkeypatch.setattr("bids_sr.sr.methods.base.check_slices", fail)
    result = reconstruct(head, head_acquisition, method="linear", grid=head.grid)
    assert np.array_equal(result.volume.data, resample(head, head.grid, kernel="linear").data)
