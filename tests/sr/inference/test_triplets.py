from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from bids_sr.sr.inference.triplets import Resizing, antialiased, slices_of, triplets_of


@pytest.mark.parametrize(("rows", "size"), [(5, 30), (5, 20), (6, 14), (4, 4), (7, 3)])
def test_resizing_is_that_of_torch(rows: int, size: int) -> None:
    """Where both cover the same field of view; above and below the factor of the network."""
    enlarged = torch.rand(2, 3, rows * 4, 9 * 4)
    coordinates = (np.arange(size) + 0.5) * rows / size - 0.5
    resized = Resizing(coordinates, rows, 4).apply(enlarged)
    expected = interpolate(enlarged, (size, 9), mode="bilinear", antialias=True)
    torch.testing.assert_close(resized, expected, rtol=1e-5, atol=1e-5)


def test_resizing_takes_any_place() -> None:
    """A ramp stays a ramp at places that no whole scale gives."""
    ramp = ((torch.arange(40) + 0.5) / 4 - 0.5)[None, None, :, None].expand(1, 3, 40, 8)
    places = 0.73 + 0.613 * np.arange(12)
    resized = Resizing(places, 10, 4).apply(ramp)
    np.testing.assert_allclose(resized[0, 1, :, 1], places, atol=0.03)


def test_rows_beyond_the_ends_are_the_ends() -> None:
    matrix = antialiased(np.array([-3.0, -0.4, 4.4, 9.0]), 5, 1.0)
    np.testing.assert_allclose(matrix[:2], [[1, 0, 0, 0, 0]] * 2)
    np.testing.assert_allclose(matrix[2:], [[0, 0, 0, 0, 1]] * 2)


def test_every_slice_comes_back_at_full_weight() -> None:
    stack = torch.rand(6, 4, 5)
    triplets = triplets_of(stack)
    assert triplets.shape == (8, 3, 4, 5)
    torch.testing.assert_close(slices_of(triplets), stack)


def test_overlap_is_the_paper_s() -> None:
    """Inside: half from the triplet around a slice, a quarter from each beside it."""
    triplets = torch.arange(8 * 3.0).reshape(8, 3, 1, 1)
    expected = [
        0.25 * triplets[i + 2, 0, 0, 0]
        + 0.5 * triplets[i + 1, 1, 0, 0]
        + 0.25 * triplets[i, 2, 0, 0]
        for i in range(6)
    ]
    torch.testing.assert_close(slices_of(triplets).ravel(), torch.stack(expected))


def test_two_slices_are_enough() -> None:
    stack = torch.rand(2, 3, 4)
    torch.testing.assert_close(slices_of(triplets_of(stack)), stack)
