from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_sr.sr.networks.thick_slice import Mirror, ThickSliceNet, Upsampling


def network_of(factor: int, blocks: int = 1) -> ThickSliceNet:
    """Return a network whose last layer, zero at the start, has been trained to something."""
    torch.manual_seed(0)
    network = ThickSliceNet(factor=factor, channels=4, blocks=blocks)
    torch.nn.init.normal_(network.body[-1].weight)  # type: ignore[arg-type]
    return network


def test_untrained_network_is_cubic_interpolation() -> None:
    network = ThickSliceNet(factor=3, channels=4, blocks=1)
    upsampling = Upsampling.at(rows(15, 3.0), 5, 3)
    lr = torch.randn(2, 1, 5, 6)
    torch.testing.assert_close(network(lr, upsampling), upsampling.skip @ lr[:, 0])


def rows(count: int, scale: float) -> np.ndarray:
    return (np.arange(count) + 0.5) / scale - 0.5


@pytest.mark.parametrize(("scale", "count"), [(4.0, 32), (2.7, 21), (1.2, 9), (8.0, 64)])
def test_shape_for_any_scale(scale: float, count: int) -> None:
    factor = int(np.ceil(scale))
    network = network_of(factor)
    upsampling = Upsampling.at(rows(count, scale), 8, factor)
    assert network(torch.randn(3, 1, 8, 10), upsampling).shape == (3, count, 10)
    assert (upsampling.phases is None) == (scale == factor)


def test_rows_of_a_slice_come_in_order() -> None:
    """The slow way: phase p of slice k is row k * factor + p."""
    network = network_of(3)
    upsampling = Upsampling.at(rows(15, 3.0), 5, 3)
    lr = torch.randn(2, 1, 5, 6)
    detail = network(lr, upsampling) - upsampling.skip @ lr[:, 0]
    phases = network.body(lr)
    for slice_ in range(5):
        for phase in range(3):
            torch.testing.assert_close(
                detail[:, 3 * slice_ + phase], phases[:, phase, slice_], rtol=1e-4, atol=1e-5
            )


def test_halo_is_what_a_pixel_sees() -> None:
    network = network_of(2, blocks=2)
    upsampling = Upsampling.at(rows(8, 2.0), 4, 2)
    lr = torch.randn(1, 1, 4, 41)
    changed = lr.clone()
    changed[..., 20] += 1
    difference = (network(changed, upsampling) - network(lr, upsampling)).abs().amax((0, 1))
    seen = torch.nonzero(difference > 0)
    assert seen.min() >= 20 - network.halo
    assert seen.max() <= 20 + network.halo
    assert seen.min() < 20


def test_skip_is_cubic_interpolation_of_a_ramp() -> None:
    upsampling = Upsampling.at(rows(30, 3.0), 10, 3)
    ramp = torch.arange(10.0)[:, None]
    inner = slice(9, 21)
    torch.testing.assert_close(
        (upsampling.skip @ ramp)[inner, 0],
        torch.from_numpy(rows(30, 3.0)).float()[inner],
        atol=5e-3,
        rtol=0,
    )


@pytest.mark.parametrize(("mirrored", "axis"), [("columns", 2), ("slices", 1)])
def test_the_mean_with_the_mirror_image_is_as_symmetric_as_the_image(
    mirrored: Mirror, axis: int
) -> None:
    network, lr = network_of(4), torch.rand(1, 1, 6, 10)
    lr = lr + lr.flip(axis + 1)
    upsampling = Upsampling.at((np.arange(21) + 0.5) / 3.5 - 0.5, 6, 4)
    alone = network.detail(lr, upsampling)
    mean = network.detail(lr, upsampling, mirrored=mirrored)
    assert not torch.allclose(alone, alone.flip(axis), atol=1e-3)
    torch.testing.assert_close(mean, mean.flip(axis))
    torch.testing.assert_close(mean, (alone + alone.flip(axis)) / 2)
