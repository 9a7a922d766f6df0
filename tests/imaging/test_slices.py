"""Views: the right slices, and back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import View

DATA = np.arange(2 * 3 * 4).reshape(2, 3, 4)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_split_and_join(axes: tuple[int, int, int]) -> None:
    view = View(*axes)
    stack = view.split(DATA)
    assert stack.shape == tuple(DATA.shape[axis] for axis in axes)
    index = [0, 0, 0]
    index[view.across], index[view.rows], index[view.columns] = 1, 1, 1
    assert stack[1, 1, 1] == DATA[tuple(index)]
    assert np.array_equal(view.join(stack), DATA)


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_through_plane_rows_run_across_the_slices(slice_axis: int) -> None:
    views = View.through_plane(slice_axis)
    assert [view.rows for view in views] == [slice_axis, slice_axis]
    assert {view.across for view in views} == {0, 1, 2} - {slice_axis}
    assert View.in_plane(slice_axis).across == slice_axis


def test_axes_that_are_no_permutation_are_refused() -> None:
    with pytest.raises(InputDataError, match="each of 0, 1 and 2 once"):
        View(0, 1, 1)
