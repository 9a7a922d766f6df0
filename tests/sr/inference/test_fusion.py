from __future__ import annotations

import numpy as np
import pytest

from bids_sr.imaging import View
from bids_sr.sr.inference.fusion import FUSIONS, fuse_burst, fuse_directional, fuse_mean

SPACINGS = np.array([1.0, 0.8, 1.2])


def wave(shape: tuple[int, int, int], axis: int, period: float) -> np.ndarray:
    """Return a wave along an axis that fades before the borders."""
    grids = np.meshgrid(*[np.linspace(-1, 1, size) for size in shape], indexing="ij")
    window = np.prod([np.exp(-12 * grid**2) for grid in grids], axis=0)
    return (
        window
        * np.sin(np.arange(shape[axis]) * 2 * np.pi / period).reshape(
            [-1 if other == axis else 1 for other in range(3)]
        )
    ).astype(np.float32)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_views_that_agree_are_kept(fusion: str, slice_axis: int) -> None:
    detail = np.random.default_rng(0).standard_normal((21, 18, 15)).astype(np.float32)
    views = [(view, detail) for view in View.through_plane(slice_axis)]
    np.testing.assert_allclose(FUSIONS[fusion](views, SPACINGS), detail, atol=1e-5)


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_a_wave_comes_from_the_view_along_it(slice_axis: int) -> None:
    shape = (41, 50, 45)
    first, second = View.through_plane(slice_axis)
    along = wave(shape, first.columns, 4.0)
    nothing = np.zeros(shape, np.float32)
    fused = fuse_directional([(first, along), (second, nothing)], SPACINGS)
    lost = fuse_directional([(first, nothing), (second, along)], SPACINGS)
    np.testing.assert_allclose(fused, along, atol=0.05)
    np.testing.assert_allclose(lost, 0, atol=0.05)


def test_mean_leaves_the_views_alone() -> None:
    first, second = View.through_plane(2)
    views = [
        (first, np.full((2, 3, 4), 1, np.float32)),
        (second, np.full((2, 3, 4), 6, np.float32)),
    ]
    np.testing.assert_array_equal(fuse_mean(views, SPACINGS), np.full((2, 3, 4), 3.5, np.float32))
    assert views[0][1].max() == 1


@pytest.mark.parametrize("shape", [(7, 8, 9), (8, 9, 10), (9, 7, 7), (6, 6, 6), (1, 5, 3)])
def test_burst_keeps_odd_and_even_sizes(shape: tuple[int, int, int]) -> None:
    detail = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    views = [(view, detail) for view in View.through_plane(2)]
    fused = fuse_burst(views, SPACINGS)
    assert fused.shape == shape
    assert fused.dtype == np.float32
    np.testing.assert_allclose(fused, detail, atol=1e-5)


def test_burst_takes_each_wave_from_the_sharper_view() -> None:
    """Two views blurred along different axes; the truth is sharp along both."""
    from scipy import ndimage

    truth = wave((31, 40, 45), 0, 5.0) + wave((31, 40, 45), 1, 5.0)
    first, second = View.through_plane(2)
    blurred = [ndimage.gaussian_filter1d(truth, 2.0, axis=axis) for axis in (0, 1)]
    views = [(first, blurred[0]), (second, blurred[1])]
    errors = [np.mean((fuse(views, SPACINGS) - truth) ** 2) for fuse in (fuse_burst, fuse_mean)]
    assert errors[0] < 0.1 * errors[1]


def test_burst_weighs_by_magnitude() -> None:
    """A view whose spectrum is larger but negative wins; ordering complex numbers would not."""
    first, second = View.through_plane(2)
    strong, weak = -wave((20, 21, 22), 0, 4.0), 0.3 * wave((20, 21, 22), 0, 4.0)
    fused = fuse_burst([(first, strong), (second, weak)], SPACINGS)
    np.testing.assert_allclose(fused, strong, atol=1e-4)


def test_burst_of_nothing_is_nothing_and_one_view_is_itself() -> None:
    first, second = View.through_plane(2)
    nothing = np.zeros((5, 6, 7), np.float32)
    np.testing.assert_array_equal(fuse_burst([(first, nothing), (second, nothing)], SPACINGS), 0)
    alone = np.random.default_rng(1).standard_normal((5, 6, 7)).astype(np.float32)
    np.testing.assert_allclose(fuse_burst([(first, alone)], SPACINGS), alone, atol=1e-5)
