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


def _oblique() -> Grid:
    turn = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.7, 0.8, 5.0])
    affine[:3, 3] = 3.0, -20.0, 7.0
    return Grid((10, 21, 6), affine)


def _edges(grid: Grid, axis: int) -> np.ndarray:
    """Return the two ends of the field of view along an axis in the world."""
    step = grid.affine[:3, axis]
    first = grid.affine[:3, 3] - step / 2
    return np.stack([first, first + grid.shape[axis] * step])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_tiles_keep_the_field_of_view(axis: int) -> None:
    grid = _oblique()
    tiled = grid.tiled(axis, 1.3)
    assert tiled.spacings[axis] == pytest.approx(1.3, rel=0.1)
    np.testing.assert_allclose(_edges(tiled, axis), _edges(grid, axis))


def test_rescaling_keeps_the_first_edge() -> None:
    grid = _oblique()
    coarser = grid.rescaled(1, 2.5, 8)
    assert coarser.shape == (10, 8, 6)
    np.testing.assert_allclose(_edges(coarser, 1)[0], _edges(grid, 1)[0])
    np.testing.assert_allclose(coarser.spacings, grid.spacings * [1, 2.5, 1])


def test_subdivided_planes_hold_the_planes() -> None:
    grid = _oblique()
    fine = grid.subdivided(2, 4)
    assert fine.shape == (10, 21, 21)
    np.testing.assert_allclose(fine.coordinates_of(grid, 2), np.arange(6) * 4, atol=1e-12)


def test_planes_from_a_first_one_on() -> None:
    grid = _oblique()
    planes = grid.with_planes(1, 5, first=3, step=2)
    np.testing.assert_allclose(grid.coordinates_of(planes, 1), [3, 5, 7, 9, 11])
    np.testing.assert_allclose(grid.coordinates_of(planes, 0), np.arange(10), atol=1e-12)


def test_planes_of_another_grid() -> None:
    grid = _oblique()
    fine = grid.tiled(0, 0.3).tiled(2, 1.0)
    mixed = fine.with_planes_of(grid, 2, first=1, size=4)
    assert mixed.shape == (fine.shape[0], 21, 4)
    np.testing.assert_allclose(grid.coordinates_of(mixed, 2), [1, 2, 3, 4])
    np.testing.assert_allclose(fine.coordinates_of(mixed, 0), np.arange(fine.shape[0]), atol=1e-12)


def test_another_spacing_leaves_the_first_plane() -> None:
    grid = _oblique()
    spaced = grid.with_spacing(2, 6.0)
    np.testing.assert_allclose(spaced.spacings, [0.7, 0.8, 6.0])
    np.testing.assert_array_equal(spaced.affine[:3, 3], grid.affine[:3, 3])
