from __future__ import annotations

import numpy as np
import pytest

from bids_sr.sr.learning.saliency import gradient_magnitude, saliency


def head() -> np.ndarray:
    """Return a textured ball of radius 20 with a bright skin, in air."""
    grids = np.meshgrid(*[np.arange(size) - size / 2 for size in (64, 60, 20)], indexing="ij")
    radius = np.sqrt(grids[0] ** 2 + grids[1] ** 2 + (3 * grids[2]) ** 2)
    texture = 0.5 + 0.05 * np.random.default_rng(0).standard_normal(radius.shape)
    volume = np.where(radius < 25, texture, 0)
    volume[(radius >= 22) & (radius < 25)] += 0.8
    return volume.astype(np.float32)


def test_inside_outweighs_the_skin_and_air_has_nothing() -> None:
    weights = saliency(head(), np.array([1.0, 1.0, 3.0]), 2)
    middle, skin = weights[24:40, 22:38, 8:12].mean(), weights[7:11, 26:34, 8:12].mean()
    assert middle > 5 * skin
    assert weights[:4].max() == 0


@pytest.mark.parametrize("axes", [(2, 1, 0), (0, 2, 1)])
def test_axes_make_no_difference(axes: tuple[int, int, int]) -> None:
    spacings = np.array([1.0, 1.2, 3.0])
    straight = saliency(head(), spacings, 2)
    turned = saliency(
        np.ascontiguousarray(head().transpose(axes)), spacings[list(axes)], axes.index(2)
    )
    np.testing.assert_allclose(turned, straight.transpose(axes), atol=1e-6)


def test_image_without_air_is_weighed_by_its_edges() -> None:
    data = np.ones((20, 20, 4), np.float32)
    data[:, 10:] = 2
    weights = saliency(data, np.ones(3), 2)
    np.testing.assert_array_equal(weights, 1)  # the median gradient is 0: any place will do
    rough = 1 + np.random.default_rng(0).random((20, 20, 4)).astype(np.float32)
    assert saliency(rough, np.ones(3), 2).std() > 0
    np.testing.assert_array_equal(saliency(np.zeros((4, 5, 6), np.float32), np.ones(3), 1), 1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_gradient_magnitude_of_a_ramp(axis: int) -> None:
    """It is the slope per mm, in-plane; what changes across the slices does not count."""
    places = np.indices((6, 7, 8)).astype(np.float32)
    slopes, spacings = np.array([3.0, 4.0, 12.0]), np.array([1.0, 2.0, 3.0])
    ramp = np.einsum("a,axyz->xyz", slopes * spacings, places).astype(np.float32)
    expected = np.linalg.norm(np.delete(slopes, axis))
    np.testing.assert_allclose(gradient_magnitude(ramp, spacings, axis), expected, rtol=1e-5)
    np.testing.assert_array_equal(gradient_magnitude(0 * ramp, spacings, axis), 1)
