from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bids_sr.sr import Stack
from bids_sr.sr.together.disagreement import weighed

Remake = Callable[..., Stack]


def spoilt(stack: Stack, remake: Remake, change: Callable[[np.ndarray], None]) -> Stack:
    slices = np.moveaxis(stack.slices.data.copy(), stack.slice_axis, 0)
    change(slices)
    data = np.ascontiguousarray(np.moveaxis(slices, 0, stack.slice_axis))
    return remake(stack.slices.with_data(data), stack.acquisition)


def test_good_slices_are_not_accused(planes: list[Stack]) -> None:
    judged, odd = weighed(planes)
    assert odd == [[], [], []]
    assert min(stack.weights.min() for stack in judged) > 0.8


def test_a_slice_without_its_signal_is_named(planes: list[Stack], remake: Remake) -> None:
    def darken(slices: np.ndarray) -> None:
        slices[3] *= 0.4

    judged, odd = weighed([planes[0], spoilt(planes[1], remake, darken), planes[2]])
    assert [[one.number for one in names] for names in odd] == [[], [3], []]
    assert "signal lost" in odd[1][0].what
    assert judged[1].weights[3] < 0.1
    assert np.delete(judged[1].weights, 3).min() > 0.8


def test_a_shifted_slice_is_named(planes: list[Stack], remake: Remake) -> None:
    def shift(slices: np.ndarray) -> None:
        slices[4] = np.roll(slices[4], 2, axis=0)  # 4 mm

    judged, odd = weighed([planes[0], planes[1], spoilt(planes[2], remake, shift)])
    assert [[one.number for one in names] for names in odd] == [[], [], [4]]
    assert odd[2][0].what == "shifted in its plane by about 4 mm"
    assert judged[2].weights[4] < 0.5


def test_of_two_parallel_stacks_the_spoilt_one_is_accused(
    planes: list[Stack], remake: Remake
) -> None:
    def darken(slices: np.ndarray) -> None:
        slices[4] *= 0.3

    _, odd = weighed([planes[0], spoilt(planes[0], remake, darken)])
    assert [[one.number for one in names] for names in odd] == [[], [4]]
