"""How a montage becomes an SVG."""

from __future__ import annotations

import re

import numpy as np
import pytest

from bids_sr.reports import drawing


def boundary_length(mask: np.ndarray) -> int:
    """Count the edges between inside and outside, one by one."""
    inside = np.pad(mask, 1)
    count = 0
    for row in range(inside.shape[0] - 1):
        for column in range(inside.shape[1] - 1):
            count += inside[row, column] != inside[row, column + 1]
            count += inside[row, column] != inside[row + 1, column]
    return count


def path_length(path: str) -> float:
    """Add up the lines of a path made of M, H and V."""
    moves = re.findall(r"M([\d.]+) ([\d.]+)([HV])([\d.]+)", path)
    return sum(abs(float(end) - float(x if kind == "H" else y)) for x, y, kind, end in moves)


@pytest.mark.parametrize("seed", range(5))
def test_outline_is_the_voxels_boundary(seed: int) -> None:
    mask = np.random.default_rng(seed).random((13, 9)) > 0.5
    path = drawing.outline(mask, width=9.0, height=13.0)
    assert path_length(path) == pytest.approx(boundary_length(mask))


def test_outline_is_drawn_in_mm() -> None:
    mask = np.ones((2, 3), bool)
    path = drawing.outline(mask, width=3.0, height=12.0)
    assert path_length(path) == pytest.approx(2 * 3 + 2 * 12)


def test_outline_of_nothing_is_empty() -> None:
    assert drawing.outline(np.zeros((4, 4), bool), 4.0, 4.0) == ""


def test_tiles_are_kept_without_loss_where_that_fits() -> None:
    images = [np.full((30, 30), value, np.uint8) for value in (0, 200)]
    assert all(uri.startswith("data:image/png") for uri in drawing.encode(images))


def test_tiles_share_one_encoding_within_the_budget() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
    uris = drawing.encode([noise, np.zeros((200, 200), np.uint8)], budget=40_000)
    assert all(uri.startswith("data:image/jpeg") for uri in uris)
    assert sum(map(len, uris)) <= 40_000
