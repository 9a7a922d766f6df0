from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, stats

from bids_sr.exceptions import ConfigError, InputDataError
from bids_sr.imaging import Acquisition, Volume
from bids_sr.sr import (
    FusedReconstruction,
    Stack,
    fuse_stacks,
    super_resolve,
    super_resolve_together,
)
from bids_sr.sr.together.fused import finest

Score = Callable[[np.ndarray], float]
MakeStack = Callable[..., Stack]


def test_a_single_volume_is_what_super_resolve_makes(
    thick: Volume, acquisition: Acquisition
) -> None:
    alone = super_resolve_together([thick], [acquisition], method="bspline")
    expected = super_resolve(thick, acquisition, method="bspline")
    np.testing.assert_array_equal(alone.volume.data, expected.data)
    np.testing.assert_array_equal(alone.volume.affine, expected.affine)
    assert alone.residuals_percent == (None,)


def test_moved_stacks_give_a_better_volume_together(
    planes: list[Stack], fused: FusedReconstruction, motion: np.ndarray, decibels: Score
) -> None:
    best = max(decibels(stack.reconstruction.data) for stack in planes)
    assert decibels(fused.volume.data) > best + 2
    np.testing.assert_allclose(fused.stacks[1].to_frame, motion, atol=0.3)
    assert fused.volume.grid.same(planes[0].reconstruction.grid)
    assert fused.warnings == ()
    assert max(value for value in fused.residuals_percent if value is not None) < 3
    assert fused.record["Stacks"][1]["Used"]


@pytest.mark.slow
def test_the_same_stacks_give_the_same_volume(
    moved: list[Stack], fused: FusedReconstruction
) -> None:
    lines: list[str] = []
    again = fuse_stacks(moved, progress=lambda step, total, text: lines.append(text))
    np.testing.assert_array_equal(again.volume.data, fused.volume.data)
    assert lines


def test_uncertainty_tells_where_the_error_is(
    fused: FusedReconstruction, reference: Volume
) -> None:
    assert fused.uncertainty is not None
    error = ndimage.gaussian_filter((fused.volume.data - reference.data) ** 2, 1.5)
    rank = stats.spearmanr(error.ravel(), fused.uncertainty.data.ravel())[0]
    assert rank > 0.6


def test_a_stack_of_something_else_is_left_out_and_named(planes: list[Stack]) -> None:
    other = planes[1].reconstruction
    flipped = other.with_data(other.data[:, ::-1, ::-1].copy())
    slices = planes[1].slices.with_data(planes[1].slices.data[:, ::-1, ::-1].copy())
    wrong = replace(planes[1], slices=slices, reconstruction=flipped)
    alone = fuse_stacks([planes[0], wrong])
    assert alone.volume is planes[0].reconstruction
    (warning,) = alone.warnings
    assert warning.startswith("stack 2 is left out: ")
    assert alone.residuals_percent == (None, None)


@pytest.mark.slow
def test_the_others_are_fused_without_a_stack_that_is_left_out(planes: list[Stack]) -> None:
    turned = planes[1].reconstruction.data[:, ::-1, ::-1].copy()
    wrong = replace(planes[1], reconstruction=planes[1].reconstruction.with_data(turned))
    rest = fuse_stacks([planes[0], wrong, planes[2]])
    pair = fuse_stacks([planes[0], planes[2]])
    np.testing.assert_array_equal(rest.volume.data, pair.volume.data)
    assert rest.residuals_percent == (pair.residuals_percent[0], None, pair.residuals_percent[1])


@pytest.mark.slow
def test_a_first_stack_to_which_none_fits_does_not_stop_the_others(planes: list[Stack]) -> None:
    turned = planes[1].reconstruction.data[:, ::-1, ::-1].copy()
    wrong = replace(planes[1], reconstruction=planes[1].reconstruction.with_data(turned))
    rest = fuse_stacks([wrong, planes[0], planes[2]])
    pair = fuse_stacks([planes[0], planes[2]])
    assert rest.frame == 1
    np.testing.assert_array_equal(rest.volume.data, pair.volume.data)
    assert [stack["Used"] for stack in rest.record["Stacks"]] == [False, True, True]
    assert rest.warnings[0].startswith("stack 1 is left out: ")


@pytest.mark.slow
def test_a_spoilt_slice_costs_little(
    planes: list[Stack], fused: FusedReconstruction, remake: MakeStack, decibels: Score
) -> None:
    data = planes[1].slices.data.copy()
    data[3] *= 0.4
    spoilt = remake(planes[1].slices.with_data(data), planes[1].acquisition)
    worse = fuse_stacks([planes[0], spoilt, planes[2]])
    assert [one["Slice"] for one in worse.record["Stacks"][1]["OddSlices"]] == [3]
    assert "stack 2: slice 3" in worse.warnings[0]
    whole = decibels(fused.volume.data)
    assert decibels(worse.volume.data) > whole - 0.8  # one of twelve slices


def test_the_finest_stack_is_the_frame(planes: list[Stack], remake: MakeStack) -> None:
    assert finest(planes) == 0
    coarse = planes[0].slices.planes(0, slice(None))
    wide = Volume(coarse.data[::2], coarse.grid.with_planes(0, 24, step=2).affine)
    assert finest([remake(wide, planes[0].acquisition), planes[1]]) == 1


def test_stacks_without_negative_values_give_none(fused: FusedReconstruction) -> None:
    assert fused.volume.data.min() >= 0


def test_what_cannot_be_fused_is_refused(thick: Volume, acquisition: Acquisition) -> None:
    with pytest.raises(InputDataError, match="0 volumes"):
        super_resolve_together([])
    with pytest.raises(InputDataError, match="2 volumes and 1 acquisitions"):
        super_resolve_together([thick, thick], [acquisition])
    with pytest.raises(ConfigError, match="none"):
        super_resolve_together([thick, thick], method="none")
    with pytest.raises(InputDataError, match="no stacks"):
        fuse_stacks([])
