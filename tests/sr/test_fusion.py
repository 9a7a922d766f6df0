from __future__ import annotations

import numpy as np
import pytest

from bids_sr.imaging import View
from bids_sr.sr.fusion import FUSIONS, fuse_directional, fuse_mean

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
    kept = fuse_directional([(first, along), (second, nothing)], SPACINGS)
    lost = fuse_directional([(first, nothing), (second, along)], SPACINGS)
    np.testing.assert_allclose(kept, along, atol=0.05)
    np.testing.assert_allclose(lost, 0, atol=0.05)


def test_mean_leaves_the_views_alone() -> None:
    first, second = View.through_plane(2)
    views = [
        (first, np.full((2, 3, 4), 1, np.float32)),
        (second, np.full((2, 3, 4), 6, np.float32)),
    ]
    np.testing.assert_array_equal(fuse_mean(views, SPACINGS), np.full((2, 3, 4), 3.5, np.float32))
    assert views[0][1].max() == 1
