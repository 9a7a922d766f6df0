from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bids_sr.imaging import Volume
from bids_sr.sr import FusedReconstruction, Stack, fuse_stacks
from bids_sr.sr.together.disagreement import OddSlice, weighed
from bids_sr.sr.together.moved_slices import moved_back
from bids_sr.sr.together.placement import Matrix, placed, rigid_motion

Remake = Callable[..., Stack]
Scan = Callable[[Volume, int], Stack]


def with_slices_of(
    stack: Stack, other: np.ndarray, number: int, remake: Remake, factor: float = 1.0
) -> Stack:
    data = stack.slices.data.copy()
    plane = [slice(None)] * 3
    plane[stack.slice_axis] = slice(number, number + 1)
    data[tuple(plane)] = factor * other[tuple(plane)]
    return remake(stack.slices.with_data(data), stack.acquisition)


def test_without_odd_slices_nothing_is_moved(planes: list[Stack]) -> None:
    assert moved_back(planes, [[], [], []]) == ([], [[], [], []])


def test_a_slice_that_moved_is_laid_back(
    planes: list[Stack], reference: Volume, scan: Scan, remake: Remake
) -> None:
    motion = rigid_motion(np.deg2rad([0, 3, 0]), [4.0, 2.0, -1.0], np.zeros(3))
    elsewhere = scan(reference.with_data(placed(reference, reference.grid, motion)), 2)
    spoilt = with_slices_of(planes[0], elsewhere.slices.data, 7, remake)
    stacks, odd = weighed([spoilt, planes[1], planes[2]])
    assert [[slice_.number for slice_ in names] for names in odd] == [[7], [], []]
    slices, odd = moved_back(stacks, odd)
    assert odd[0][0].mended
    place = np.array([*(reference.affine[:3, :3] @ (np.array(reference.shape) / 2)), 1])
    place[:3] += reference.affine[:3, 3]
    error: Matrix = (slices[0].to_frame - motion) @ place
    assert np.linalg.norm(error) < 1.0
    assert "moved back by" in odd[0][0].words


def test_a_dark_slice_is_brightened_and_noisier(planes: list[Stack], remake: Remake) -> None:
    spoilt = with_slices_of(planes[1], planes[1].slices.data, 3, remake, factor=0.4)
    stacks, odd = weighed([planes[0], spoilt, planes[2]])
    slices, odd = moved_back(stacks, odd)
    assert odd[1][0].gain == np.clip(odd[1][0].gain, 0.35, 0.45)
    assert slices[0].noise > 2 * stacks[1].noise
    assert "brightened" in odd[1][0].words
    assert "moved" not in odd[1][0].words


def test_what_shows_something_else_is_not_used(planes: list[Stack], remake: Remake) -> None:
    stack = planes[0]
    bright = float(np.percentile(stack.slices.data, 95))
    other = np.random.default_rng(0).uniform(0, bright, stack.slices.shape)
    spoilt = with_slices_of(stack, other.astype(np.float32), 7, remake)
    stacks, odd = weighed([spoilt, planes[1], planes[2]])
    assert [slice_.number for slice_ in odd[0]] == [7]
    slices, odd = moved_back(stacks, odd)
    assert slices == []
    assert not odd[0][0].mended


def test_the_fused_volume_gains(
    planes: list[Stack], remake: Remake, decibels: Callable[[np.ndarray], float]
) -> None:
    spoilt = with_slices_of(planes[1], planes[1].slices.data, 3, remake, factor=0.4)
    fused: FusedReconstruction = fuse_stacks([planes[0], spoilt, planes[2]])
    assert [slice_["Slice"] for slice_ in fused.record["Stacks"][1]["OddSlices"]] == [3]
    assert any("brightened" in words for words in fused.warnings)
    before = decibels(fuse_stacks(planes).volume.data)
    assert before - decibels(fused.volume.data) < 0.2


def test_words_of_a_slice_say_what_was_done() -> None:
    plain = OddSlice(number=3, weight=0.0, what="shows something else than the other stacks")
    assert plain.words == plain.what
