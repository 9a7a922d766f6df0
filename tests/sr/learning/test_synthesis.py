"""Images synthesised from label maps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_sr.sr.learning.synthesis import synthesise


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    """Return a ball (3) in a larger one (1), and a shell of -1, as of what is not known."""
    radius = np.sqrt(sum((axis - 20.0) ** 2 for axis in np.indices((40, 42, 44))))
    return np.where(radius < 8, 3, np.where(radius < 16, 1, np.where(radius < 18, -1, 0)))


def test_every_seed_is_another_contrast_of_the_same_head(labels: np.ndarray) -> None:
    images = [synthesise(labels, np.random.default_rng(seed)) for seed in range(12)]
    contrasts = []
    for image in images:
        assert image.dtype == np.float32
        assert image.shape == labels.shape
        assert image.min() >= 0
        assert np.isfinite(image).all()
        contrasts.append(float(np.median(image[labels == 3]) - np.median(image[labels == 1])))
    assert min(contrasts) < -0.1
    assert max(contrasts) > 0.1
    same = synthesise(labels, np.random.default_rng(3))
    np.testing.assert_array_equal(same, images[3])


def test_edges_lie_where_labels_change(labels: np.ndarray) -> None:
    inner = ndimage.binary_erosion(labels == 3, iterations=3)
    outline = ndimage.binary_dilation(labels == 3) & ~ndimage.binary_erosion(labels == 3)
    steeper = 0
    for seed in range(20):
        slope = ndimage.gaussian_gradient_magnitude(
            synthesise(labels, np.random.default_rng(seed)), 1.0
        )
        steeper += slope[outline].mean() > 2 * slope[inner].mean()
    assert steeper >= 10  # two labels may happen to be as bright


def test_a_map_of_background_alone_has_nothing_in_it() -> None:
    image = synthesise(np.zeros((8, 8, 8), np.int32), np.random.default_rng(1))
    assert np.isfinite(image).all()
