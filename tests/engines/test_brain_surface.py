"""A head of balls: the brain's own radius is known, and the surface starts at another."""

from __future__ import annotations

import numpy as np
import pytest

from bids_sr.engines.brain_surface import fit_surface, signed_distance
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume

SPACING = 2.5  # mm
SHAPE = (58, 62, 56)
AXES = np.array([58.0, 64.0, 54.0])  # mm, half axes of the brain


def _radius() -> np.ndarray:
    """Give every voxel its distance from the brain's surface, about, mm."""
    index = np.indices(SHAPE).reshape(3, -1) * SPACING
    centre = (np.array(SHAPE) - 1) / 2 * SPACING
    share = np.linalg.norm((index - centre[:, None]) / AXES[:, None], axis=0)
    return ((share - 1) * AXES.mean()).reshape(SHAPE)


def _head(tissue: tuple[float, float], fluid: float) -> Volume:
    """Draw two tissues, 3 mm of fluid, 6 mm of dark skull and 8 mm of a bright scalp."""
    out = _radius()
    index = np.indices(SHAPE)
    folds = np.sin(index / 3.0).sum(axis=0) > 0
    drawn = np.where(folds, tissue[0], tissue[1])
    drawn[out > 0] = fluid
    drawn[out > 3] = 0.12
    drawn[out > 9] = 0.9
    drawn[out > 17] = 0.02
    noise = np.random.default_rng(0).normal(0, 0.03, SHAPE)
    return Volume((drawn + noise).clip(0, 1).astype(np.float32), np.diag([SPACING] * 3 + [1.0]))


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * np.count_nonzero(first & second) / (first.sum() + second.sum())


@pytest.mark.parametrize(
    ("tissue", "fluid", "edge", "error"),
    [
        ((0.5, 0.75), 0.15, 0.0, -7.0),
        ((0.75, 0.6), 0.15, 0.0, 4.0),
        ((0.45, 0.6), 0.95, 3.0, -7.0),
    ],
    ids=["T1w", "FLAIR", "T2w"],
)
def test_a_surface_too_small_or_too_large_goes_to_the_edge(
    tissue: tuple[float, float], fluid: float, edge: float, error: float
) -> None:
    start = signed_distance(_radius() < error, SPACING)
    free = np.full(SHAPE, 8.0)
    fitted = fit_surface(_head(tissue, fluid), start, free, bright_fluid=fluid > max(tissue)) < 0
    brain = _radius() < 0
    assert _dice(start < 0, brain) < 0.92
    if edge:  # bright fluid may be taken along, of the brain little may be missing
        assert _dice(fitted, brain) > 0.96
        assert np.count_nonzero(fitted & brain) > 0.98 * brain.sum()
    else:
        assert _dice(fitted, brain) > 0.97
    assert np.count_nonzero(fitted & (_radius() < edge + 2)) > 0.99 * fitted.sum()


def test_where_it_is_held_it_stays() -> None:
    start = signed_distance(_radius() < -7.0, SPACING)
    head = _head((0.5, 0.75), 0.15)
    held = fit_surface(head, start, np.full(SHAPE, 0.3)) < 0
    assert _dice(held, start < 0) > 0.97


def test_without_evidence_nothing_moves() -> None:
    start = signed_distance(_radius() < 0, SPACING)
    flat = Volume(np.full(SHAPE, 0.5, np.float32), np.diag([SPACING] * 3 + [1.0]))
    assert _dice(fit_surface(flat, start, np.full(SHAPE, 8.0)) < 0, start < 0) > 0.98


@pytest.mark.parametrize("sign", [-1, 1])
def test_no_surface_in_the_image_is_said_plainly(sign: int) -> None:
    image = Volume(np.ones((9, 9, 9), np.float32), np.eye(4))
    distance = np.full((9, 9, 9), sign * 5.0, np.float32)
    with pytest.raises(EngineError, match="no surface of a brain within the 9 x 9 x 9 voxels"):
        fit_surface(image, distance, np.ones((9, 9, 9)))


def test_the_surface_lies_half_way_between_two_voxels() -> None:
    mask = np.zeros((9, 3, 3), bool)
    mask[3:6] = True
    np.testing.assert_allclose(signed_distance(mask, 2.0)[:, 1, 1], [5, 3, 1, -1, -3, -1, 1, 3, 5])
