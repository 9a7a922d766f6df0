from __future__ import annotations

import numpy as np
import pytest

from bids_sr.sr.inference.rotation import InPlaneRotation


def smooth(shape: tuple[int, int, int]) -> np.ndarray:
    grids = np.meshgrid(*[np.linspace(-1, 1, size) for size in shape], indexing="ij")
    return (np.sin(5 * grids[0] + 1) * np.cos(4 * grids[1]) + grids[2]).astype(np.float32)


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(40, 33, 9), (21, 46, 50)])
def test_there_and_back(slice_axis: int, shape: tuple[int, int, int]) -> None:
    data = smooth(shape)
    rotation = InPlaneRotation(angle=45, slice_axis=slice_axis)
    rotated = rotation.apply(data)
    assert rotated.shape[slice_axis] == shape[slice_axis]
    back = rotation.undo(rotated, shape)
    assert back.shape == shape
    np.testing.assert_allclose(back, data, atol=0.05)
    assert np.abs(back - data).mean() < 2e-3


def test_nothing_is_done_for_no_angle() -> None:
    data = smooth((5, 6, 7))
    rotation = InPlaneRotation(angle=0, slice_axis=1)
    assert rotation.undo(rotation.apply(data), data.shape) is data


def test_a_quarter_turn_is_a_rotation_of_the_array() -> None:
    data = smooth((12, 12, 3))
    rotated = InPlaneRotation(angle=90, slice_axis=2).apply(data)
    margin = (rotated.shape[0] - 12) // 2
    inner = rotated[margin:-margin, margin:-margin]
    np.testing.assert_allclose(inner, np.rot90(data, 1, axes=(0, 1)), atol=1e-4)


def test_the_slice_axis_may_have_another_size_on_the_way_back() -> None:
    rotation = InPlaneRotation(angle=45, slice_axis=2)
    assert rotation.undo(rotation.apply(smooth((20, 22, 12))), (20, 22, 3)).shape == (20, 22, 12)
