"""Grids: lengths, comparison, and what is no grid."""

from __future__ import annotations

import numpy as np
import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Grid


def test_lengths_of_an_oblique_grid() -> None:
    angle = np.deg2rad(20)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.7, 0.8, 5.0])
    grid = Grid((10, 20, 30), affine)
    np.testing.assert_allclose(grid.spacings, [0.7, 0.8, 5.0])
    np.testing.assert_allclose(grid.fov, [7.0, 16.0, 150.0])
    assert grid.anisotropy == pytest.approx(5.0 / 0.7)
    assert grid.obliquity == pytest.approx(angle)
    assert grid.slice_axis == 2


@pytest.mark.parametrize(
    ("spacings", "axis"),
    [
        ((6.0, 1.0, 1.0), 0),
        ((1.0, 6.0, 1.0), 1),
        ((1.0, 1.0, 6.0), 2),
        ((1.0, 1.0, 1.0), 2),
        ((1.001, 1.0, 0.999), 2),
        ((3.0, 3.0, 1.0), 1),
    ],
)
def test_slice_axis_is_the_coarsest_and_of_equals_the_last(
    spacings: tuple[float, float, float], axis: int
) -> None:
    assert Grid((4, 4, 4), np.diag([*spacings, 1.0])).slice_axis == axis


def test_same_looks_at_every_corner() -> None:
    grid = Grid((101, 5, 5), np.eye(4))
    turned = np.eye(4)
    turned[1, 0] = 2e-4  # moves the far corner by 0.02 mm, the origin not at all
    assert grid.distance_mm(turned) == pytest.approx(0.02)
    assert not grid.same(Grid(grid.shape, turned))
    assert grid.same(Grid(grid.shape, turned), tolerance_mm=0.03)
    assert not grid.same(Grid((101, 5, 6), np.eye(4)))


def test_affine_is_a_frozen_copy() -> None:
    affine = np.eye(4)
    grid = Grid((2, 2, 2), affine)
    affine[0, 3] = 7
    assert grid.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 3] = 7


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 0), (2, 2, 2, 2)])
def test_refuses_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputDataError, match="three axes"):
        Grid(shape, np.eye(4))  # type: ignore[arg-type]


@pytest.mark.parametrize("affine", [np.eye(3), np.diag([1.0, np.nan, 1.0, 1.0])])
def test_refuses_affines_that_are_none(affine: np.ndarray) -> None:
    with pytest.raises(InputDataError, match=r"finite \(4, 4\)"):
        Grid((2, 2, 2), affine)


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([1.0, 0.0, 1.0, 1.0]),
        np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        np.diag([1.0, 1.0, 1.0, 2.0]),
    ],
)
def test_refuses_affines_without_inverse(affine: np.ndarray) -> None:
    with pytest.raises(InputDataError, match="cannot be inverted"):
        Grid((2, 2, 2), affine)
