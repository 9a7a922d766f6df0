"""ShuffleMixer, a small network of large depthwise kernels and shuffled channels.

It takes three neighbouring slices as channels and enlarges four times.  Names and shapes
of its parameters are those of the checkpoints that its authors and PRETTIER published
(``upsapling`` is how they spell it).

References
----------
Sun et al. 2022, ShuffleMixer: an efficient ConvNet for image super-resolution, NeurIPS 35,
doi:10.48550/arXiv.2205.15175.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

_GROUPS = 8  # between which channels are shuffled
_EXTRA = 16  # channels that a block's convolution adds inside
_EPSILON = 1e-5


class _ScaledNorm(nn.Module):
    """Bring the channels of every pixel to mean 0 and variance 1, then scale each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, K, W) to the same."""
        variance, mean = torch.var_mean(features, dim=1, keepdim=True, correction=0)
        scale = torch.rsqrt(variance + _EPSILON)
        return (features - mean) * scale * self.weight[:, None, None]


class _Norm(nn.Module):
    """Hold a normalisation under the name that checkpoints have for it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = _ScaledNorm(channels)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, K, W) to the same."""
        normalised: Tensor = self.body(features)
        return normalised


class _HalfMixing(nn.Module):
    """Mix one half of the channels at every pixel, then shuffle both halves."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        half = channels // 2
        self.fc = nn.Sequential(
            nn.Conv2d(half, half * ratio, 1), nn.SiLU(), nn.Conv2d(half * ratio, half, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, K, W) to the same."""
        mixed, unmixed = features.chunk(2, dim=1)
        joined = torch.cat((self.fc(mixed), unmixed), dim=1)
        number, channels, *size = joined.shape
        grouped = joined.reshape(number, _GROUPS, channels // _GROUPS, *size)
        return grouped.transpose(1, 2).reshape(number, channels, *size)


class _Layer(nn.Module):
    """Mix channels, then places, then channels."""

    def __init__(self, channels: int, kernel: int, ratio: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _Norm(channels), _Norm(channels)
        self.spatial = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.mlp1, self.mlp2 = _HalfMixing(channels, ratio), _HalfMixing(channels, ratio)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, K, W) to the same."""
        features = self.spatial(features + self.mlp1(self.norm1(features)))
        mixed: Tensor = self.mlp2(self.norm2(features))
        return features + mixed


class _Block(nn.Module):
    """Chain two layers and a local convolution, the features added after each."""

    def __init__(self, channels: int, kernel: int, ratio: int) -> None:
        super().__init__()
        self.net = nn.Sequential(*(_Layer(channels, kernel, ratio) for _ in range(2)))
        self.conv = nn.Sequential(
            nn.Conv2d(channels, channels + _EXTRA, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels + _EXTRA, channels, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, K, W) to the same."""
        features = features + self.net(features)
        local: Tensor = self.conv(features)
        return features + local


class ShuffleMixer(nn.Module):
    """Enlarge images of three channels four times along both axes."""

    name: ClassVar[str] = "shufflemixer"
    input_range: ClassVar[float] = 1.0
    """What intensity 1 becomes before the network sees it."""
    mark: ClassVar[str] = "blocks.0.net.0.mlp1.fc.0.weight"
    """A parameter that no other architecture has."""

    def __init__(
        self, *, channels: int = 64, blocks: int = 5, kernel: int = 7, mlp_ratio: int = 2
    ) -> None:
        """Make the network.

        Parameters
        ----------
        channels : int
            Width, a multiple of 8.
        blocks : int
            Number of feature mixing blocks.
        kernel : int
            Size of the depthwise kernels, odd.
        mlp_ratio : int
            How much wider the mixing of channels is inside.
        """
        super().__init__()
        self.arguments = {
            "channels": channels,
            "blocks": blocks,
            "kernel": kernel,
            "mlp_ratio": mlp_ratio,
        }
        self.halo = blocks * (2 * (kernel // 2) + 1) + 3
        self.to_feat = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(*(_Block(channels, kernel, mlp_ratio) for _ in range(blocks)))
        self.upsapling = nn.Sequential(
            *(
                part
                for _ in range(2)
                for part in (
                    nn.Conv2d(channels, 4 * channels, 1),
                    nn.PixelShuffle(2),
                    nn.SiLU(),
                )
            )
        )
        self.tail = nn.Conv2d(channels, 3, 3, padding=1)

    @classmethod
    def arguments_of(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read the arguments of the network that a state is of."""
        inside, half = state[cls.mark].shape[:2]
        return {
            "channels": state["to_feat.weight"].shape[0],
            "blocks": sum(key.endswith(".net.0.mlp1.fc.0.weight") for key in state),
            "kernel": state["blocks.0.net.0.spatial.weight"].shape[-1],
            "mlp_ratio": inside // half,
        }

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, K, W) to (N, 3, 4 K, 4 W)."""
        detail: Tensor = self.tail(self.upsapling(self.blocks(self.to_feat(images))))
        larger = functional.interpolate(
            images, scale_factor=4.0, mode="bilinear", align_corners=False
        )
        return larger + detail
