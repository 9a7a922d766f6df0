from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_sr.sr.together import support as module
from bids_sr.sr.together.support import across_slices, support

SHAPE = (6, 50, 50)


@pytest.fixture(scope="module")
def scans() -> tuple[np.ndarray, np.ndarray]:
    """Return slices, and a guide in which tissues have other tones."""
    generator = np.random.default_rng(0)
    field = ndimage.gaussian_filter(generator.normal(size=SHAPE), (0, 3, 3))
    slices = 0.5 + 0.15 * field / field.std()
    guide = np.interp(slices, [0.2, 0.5, 0.8], [0.9, 0.4, 0.6])
    noise = generator.normal(0, 0.02, (2, *SHAPE))
    return (slices + noise[0]).astype(np.float32), (guide + noise[1]).astype(np.float32)


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STEPS", 150)


@pytest.mark.parametrize("shows", ["slices", "guide"])
def test_what_only_one_of_them_shows_is_not_supported(
    scans: tuple[np.ndarray, np.ndarray], shows: str
) -> None:
    slices, guide = (scan.copy() for scan in scans)
    rows, columns = np.ogrid[:50, :50]
    spot = np.hypot(rows - 25, columns - 25) <= 2.5
    (slices if shows == "slices" else guide)[3][spot] += 0.6
    where = np.ones(SHAPE, bool)
    where[0] = False
    weights = support(slices, guide, where)
    assert weights[3][spot].mean() < 0.2
    far = np.hypot(rows - 25, columns - 25) > 10
    assert weights[3][far].mean() > 0.9
    assert (weights[0] == 1).all()
    np.testing.assert_array_equal(weights, support(slices, guide, where))


def test_between_slices_the_lesser_weight_counts() -> None:
    weights = np.array([1.0, 0.0, 1.0], np.float32).reshape(3, 1, 1)
    places = np.array([-0.4, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.75, 2.4])
    expected = [1, 1, 0.75, 0.5, 0, 0, 0, 0.75, 1]
    np.testing.assert_allclose(across_slices(weights, places)[:, 0, 0], expected)
