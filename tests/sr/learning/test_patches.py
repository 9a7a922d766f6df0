from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_sr.imaging import Acquisition, Volume, degrade
from bids_sr.sr.learning.patches import PatchGeometry, SlicePatches


def geometry(spacing: float = 6.0, thickness: float = 5.0, width: int = 8) -> PatchGeometry:
    acquisition = Acquisition(spacing=spacing, thickness=thickness, profile="gaussian")
    return PatchGeometry.of(acquisition, 1.0, slices=5, width=width)


@pytest.mark.parametrize("spacing", [6.0, 2.7])
def test_patch_operator_is_the_forward_model(spacing: float) -> None:
    """Degrading the whole column by the imaging core gives the same thick slices."""
    laid = geometry(spacing, 0.8 * spacing)
    column = np.random.default_rng(0).random((1, 1, laid.rows + 2 * laid.margin))
    volume = Volume(column.astype(np.float32), np.eye(4))
    thickness = 0.8 * spacing
    acquisition = Acquisition(
        spacing=spacing, thickness=thickness, profile="gaussian", slice_axis=2
    )
    whole = degrade(volume, acquisition).data[0, 0]
    degraded = laid.matrix @ column[0, 0]
    # The core begins at the window's edge, the patch a margin later.
    if spacing == 6.0 and laid.margin % 6 == 0:
        shift = laid.margin // 6
        np.testing.assert_allclose(degraded[1:-1], whole[shift + 1 : shift + 4], rtol=1e-4)
    np.testing.assert_allclose(laid.matrix.sum(axis=1), 1, rtol=1e-5)
    centres = laid.matrix @ np.arange(laid.rows + 2 * laid.margin) - laid.margin
    np.testing.assert_allclose(centres, (np.arange(5) + 0.5) * spacing - 0.5, atol=2e-3)


def test_margin_holds_the_whole_profile() -> None:
    """No thick slice loses a part of its profile at the window's border."""
    laid = geometry(4.0, 6.0)
    assert laid.matrix[0, 0] < 1e-3
    assert laid.matrix[-1, -1] < 1e-3
    np.testing.assert_allclose(laid.matrix[0].max(), laid.matrix[2].max(), rtol=0.02)


def test_pairs_match_their_operator_and_the_image() -> None:
    stack = np.random.default_rng(1).random((3, 60, 70)).astype(np.float32)
    laid = geometry()
    lr, hr = SlicePatches(stack, stack, laid, seed=0).draw(20)
    assert lr.shape == (20, 1, 5, 8)
    assert hr.shape == (20, 30, 8)
    values = set(np.round(stack, 5).ravel().tolist())
    assert set(np.round(hr[0].numpy(), 5).ravel().tolist()) <= values
    inner = torch.from_numpy(laid.matrix[1:-1, laid.margin : laid.margin + laid.rows])
    torch.testing.assert_close(lr[:, 0, 1:-1], inner @ hr, atol=0.02, rtol=0)


def test_patches_lie_where_the_weights_are() -> None:
    stack = np.zeros((2, 100, 100), np.float32)
    stack[1, 60:90, 60:90] = np.random.default_rng(2).random((30, 30))
    _, hr = SlicePatches(stack, stack, geometry(), seed=0).draw(50)
    assert (hr.amax((1, 2)) > 0).all()


def test_constant_image_still_gives_pairs() -> None:
    stack = np.ones((2, 40, 40), np.float32)
    lr, hr = SlicePatches(stack, 0 * stack, geometry(), seed=0).draw(4)
    torch.testing.assert_close(lr, torch.ones_like(lr))
    torch.testing.assert_close(hr, torch.ones_like(hr))


def test_small_image_is_continued_to_the_patch_size() -> None:
    stack = np.random.default_rng(3).random((2, 31, 33)).astype(np.float32)
    lr, _ = SlicePatches(stack, stack, geometry(width=31), seed=0).draw(4)
    assert lr.shape == (4, 1, 5, 31)


def test_same_seed_draws_the_same() -> None:
    stack = np.random.default_rng(4).random((2, 50, 50)).astype(np.float32)
    first, second, other = (
        SlicePatches(stack, stack, geometry(), seed=s).draw(3)[1] for s in (5, 5, 6)
    )
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert not torch.equal(first, other)
