"""Sharpness: one for equal directions, small where slices were thick."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_sr.evaluation import sharpness

SPACINGS = np.ones(3)


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    rng = np.random.default_rng(2)
    return np.asarray(100 + ndimage.gaussian_filter(rng.normal(0, 50, (60, 60, 60)), 0.8))


@pytest.fixture(scope="module")
def ball() -> np.ndarray:
    axes = np.meshgrid(*(np.linspace(-1, 1, 60),) * 3, indexing="ij")
    return np.asarray(sum(axis**2 for axis in axes) < 0.7)


def test_equal_directions(texture: np.ndarray, ball: np.ndarray) -> None:
    for axis in range(3):
        assert sharpness(texture, ball, SPACINGS, axis, 0.1) == pytest.approx(1, abs=0.1)


def test_a_blur_across_the_slices_takes_it_away(texture: np.ndarray, ball: np.ndarray) -> None:
    blurred = ndimage.gaussian_filter1d(texture, 2.5, axis=1)
    assert sharpness(blurred, ball, SPACINGS, 1, 0.1) < 0.1
    assert sharpness(blurred, ball, SPACINGS, 0, 0.1) > 1.5


def test_scale_and_offset_do_not_matter(texture: np.ndarray, ball: np.ndarray) -> None:
    ratio = sharpness(texture, ball, SPACINGS, 2, 0.1)
    assert sharpness(1000 + 3 * texture, ball, SPACINGS, 2, 0.1) == pytest.approx(ratio, rel=1e-3)


def test_no_frequency_is_left(texture: np.ndarray, ball: np.ndarray) -> None:
    assert np.isnan(sharpness(texture, ball, SPACINGS, 2, 0.5))
