"""WDSR-B on thick slices: wide before every activation, low-rank after it, weight norm.

References
----------
Yu et al. 2018, Wide activation for efficient and accurate image super-resolution,
doi:10.48550/arXiv.1808.08718 (the blocks; trained with weight normalisation).
Salimans and Kingma 2016, Weight normalization: a simple reparameterization to
accelerate training of deep neural networks, NeurIPS, doi:10.48550/arXiv.1602.07868.
Remedios et al. 2023, Self-supervised super-resolution for anisotropic MR images with
and without slice gap, SASHIMI, doi:10.1007/978-3-031-44689-4_12 (one axis, any scale,
a cubic skip in place of the convolutional one).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from bids_sr.sr.networks.thick_slice import ThickSliceUpsampler

EXPANSION = 4
LINEAR = 0.8


class WideBlock(nn.Module):
    """A residual block of a wide activation and a linear low-rank bottleneck."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide, low_rank = channels * EXPANSION, max(1, int(channels * LINEAR))
        self.body = nn.Sequential(
            weight_norm(nn.Conv2d(channels, wide, 1)),
            nn.ReLU(inplace=True),
            weight_norm(nn.Conv2d(wide, low_rank, 1)),
            weight_norm(nn.Conv2d(low_rank, channels, 3, padding=1)),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, K, W) to the same."""
        detail: Tensor = self.body(features)
        return features + detail


class WDSR(ThickSliceUpsampler):
    """Stack wide blocks; with 16 of 256 channels the network of SMORE v4, 15 M parameters."""

    def __init__(self, *, factor: int, channels: int, blocks: int) -> None:
        """Make the network; parameters as those of :class:`.ThickSliceNet`."""
        body = nn.Sequential(
            weight_norm(nn.Conv2d(1, channels, 3, padding=1)),
            *(WideBlock(channels) for _ in range(blocks)),
            weight_norm(nn.Conv2d(channels, factor, 3, padding=1)),
        )
        super().__init__(body, factor=factor, halo=blocks + 2)
