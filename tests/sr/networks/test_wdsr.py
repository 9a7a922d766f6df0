from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from bids_sr.sr.networks.thick_slice import Upsampling
from bids_sr.sr.networks.wdsr import WDSR


def rows_at(scale: float, slices: int) -> np.ndarray:
    return (np.arange(int(slices * scale + 1e-6)) + 0.5) / scale - 0.5


def test_size_of_the_paper() -> None:
    network = WDSR(factor=6, channels=256, blocks=16)
    assert round(sum(part.numel() for part in network.parameters()) / 1e6, 1) == 15.1


def test_against_the_layers_written_out() -> None:
    """The oracle normalises the weights itself: w = g v / |v|, one g an output channel."""
    torch.manual_seed(0)
    network = WDSR(factor=3, channels=10, blocks=2).eval()
    convolutions = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    assert [part.out_channels for part in convolutions] == [10, 40, 8, 10, 40, 8, 10, 3]

    def convolve(features: torch.Tensor, number: int) -> torch.Tensor:
        part = convolutions[number]
        stored = part.parametrizations.weight  # type: ignore[union-attr]
        gain, direction = stored.original0, stored.original1
        norm = direction.flatten(1).norm(dim=1)[:, None, None, None]
        weight = gain * direction / norm
        return functional.conv2d(features, weight, part.bias, padding=part.padding)  # type: ignore[arg-type]

    lr = torch.rand(2, 1, 5, 7)
    features = convolve(lr, 0)
    for first in (1, 4):
        wide = functional.relu(convolve(features, first))
        features = features + convolve(convolve(wide, first + 1), first + 2)
    phases = convolve(features, 7)  # (2, 3, 5, 7)
    rows = torch.stack([phases[:, row % 3, row // 3] for row in range(15)], dim=1)
    upsampling = Upsampling.at(rows_at(3.0, 5), 5, 3)
    torch.testing.assert_close(network(lr, upsampling), upsampling.skip @ lr[:, 0] + rows)


def test_any_scale() -> None:
    upsampling = Upsampling.at(rows_at(2.7, 6), 6, 3)
    rows = WDSR(factor=3, channels=4, blocks=1)(torch.rand(1, 1, 6, 9), upsampling)
    assert rows.shape == (1, 16, 9)


def test_nothing_is_seen_beyond_the_halo() -> None:
    torch.manual_seed(0)
    network = WDSR(factor=2, channels=4, blocks=2)
    upsampling = Upsampling.at(rows_at(2.0, 4), 4, 2)
    lr = torch.rand(1, 1, 4, 31)
    changed = lr.clone()
    changed[..., 15 + network.halo + 1 :] += 1
    torch.testing.assert_close(
        network(lr, upsampling)[..., 15], network(changed, upsampling)[..., 15], rtol=0, atol=0
    )
