from __future__ import annotations

import numpy as np
import pytest

from bids_sr.imaging import Volume
from bids_sr.imaging.noise import estimate_noise


def head(seed: int, sigma: float, shape: tuple[int, int, int] = (60, 70, 12)) -> np.ndarray:
    """Return smooth anatomy with an edge in an empty background, as a Rician magnitude."""
    grids = np.meshgrid(*[np.linspace(-1, 1, size) for size in shape], indexing="ij")
    inside = sum(grid**2 for grid in grids[:2]) < 0.6
    clean = inside * (100 + 20 * np.sin(3 * grids[0]) + 30 * (grids[1] > 0.2))
    real, imaginary = np.random.default_rng(seed).normal(0, sigma, (2, *shape))
    return np.hypot(clean + real, imaginary).astype(np.float32)


@pytest.mark.parametrize("sigma", [1.0, 3.0, 6.0])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rician_noise_is_found(sigma: float, axis: int) -> None:
    data = np.moveaxis(head(0, sigma), 2, axis)
    assert estimate_noise(Volume(data, np.eye(4)), axis) == pytest.approx(sigma, rel=0.05)


def test_background_does_not_count() -> None:
    data = head(0, 3.0)
    whole = estimate_noise(Volume(data, np.eye(4)), 2)
    emptied = np.where(data > 40, data, 0)
    padded = np.pad(emptied, ((40, 40), (40, 40), (0, 0)))
    assert estimate_noise(Volume(padded, np.eye(4)), 2) == pytest.approx(whole, rel=0.02)


def test_an_offset_makes_no_difference() -> None:
    data = head(0, 3.0)
    values = [estimate_noise(Volume(data + shift, np.eye(4)), 2) for shift in (0, -100)]
    assert values[0] == pytest.approx(values[1], rel=1e-3)


def test_anatomy_without_noise_is_not_noise(mni152_2mm: Volume) -> None:
    assert estimate_noise(mni152_2mm, 2) < 0.03 * np.percentile(mni152_2mm.data, 99)


@pytest.mark.parametrize("shape", [(2, 9, 5), (9, 9, 2)])
def test_tiny_and_constant_images(shape: tuple[int, int, int]) -> None:
    assert estimate_noise(Volume(np.full(shape, 7.0), np.eye(4)), 2) == 0
    random = np.random.default_rng(0).random(shape)
    assert np.isfinite(estimate_noise(Volume(random, np.eye(4)), 2))
