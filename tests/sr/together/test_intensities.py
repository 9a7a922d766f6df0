from __future__ import annotations

import numpy as np

from bids_sr.imaging import Grid
from bids_sr.sr import Stack
from bids_sr.sr.together.intensities import matched


def shade(grid: Grid) -> np.ndarray:
    """Return a field of factors from about 0.7 to 1.4 over a grid."""
    places = (
        np.moveaxis(np.indices(grid.shape), 0, -1) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    )
    return np.exp(0.3 * np.sin(places[..., 0] / 40) + 0.2 * places[..., 2] / 60).astype(np.float32)


def test_equal_stacks_stay_as_they_are(planes: list[Stack]) -> None:
    same, record = matched(planes[1], planes[1].reconstruction)
    np.testing.assert_allclose(same.slices.data, planes[1].slices.data, rtol=1e-3)
    assert record["Field"] == 0


def test_planes_of_the_same_anatomy_get_no_field(planes: list[Stack]) -> None:
    _, record = matched(planes[1], planes[0].reconstruction)
    assert record["Field"] == 0
    assert abs(record["Scale"] - 1) < 0.02


def test_scale_and_shade_are_undone(planes: list[Stack]) -> None:
    stack = planes[1]
    slices, fine = (shade(volume.grid) for volume in (stack.slices, stack.reconstruction))
    result, record = matched(stack.scaled(5 * slices, 5 * fine), planes[0].reconstruction)
    bright = stack.slices.data > 0.3 * stack.width
    ratio = (result.slices.data / np.maximum(stack.slices.data, 1e-3))[bright]
    assert abs(np.median(ratio) - 1) < 0.02
    assert np.percentile(np.abs(ratio - 1), 90) < 0.05
    assert record["Field"] > 0.05


def test_a_spot_that_one_stack_shows_is_kept(planes: list[Stack]) -> None:
    stack = planes[1]
    data = stack.reconstruction.data.copy()
    data[18:24, 24:30, 28:34] *= 2
    spotted = matched(
        Stack(
            slices=stack.slices,
            acquisition=stack.acquisition,
            reconstruction=stack.reconstruction.with_data(data),
            noise=stack.noise,
        ),
        planes[0].reconstruction,
    )[0]
    ratio = spotted.reconstruction.data[20:22, 26:28, 30:32] / data[20:22, 26:28, 30:32]
    np.testing.assert_allclose(ratio, 1, atol=0.03)
