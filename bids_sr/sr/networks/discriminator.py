"""A U-Net that discriminates, pixel by pixel, generated images from real ones.

References
----------
Wang et al. 2021, Real-ESRGAN: training real-world blind super-resolution with pure
synthetic data, ICCV Workshops, doi:10.1109/ICCVW54120.2021.00217.
Schonfeld et al. 2020, A U-Net based discriminator for generative adversarial networks,
CVPR, doi:10.1109/CVPR42600.2020.00823.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

_SLOPE = 0.2
_HALVINGS = 3


class Discriminator(nn.Module):
    """Return a logit of being real for every pixel; sides must be multiples of 8."""

    def __init__(self, *, channels: int = 64) -> None:
        """Make the network with that many channels at full size, twice as many at each half."""
        super().__init__()
        widths = [channels * 2**level for level in range(_HALVINGS + 1)]
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.down = nn.ModuleList(
            spectral_norm(nn.Conv2d(fine, coarse, 4, stride=2, padding=1, bias=False))
            for fine, coarse in pairwise(widths)
        )
        self.up = nn.ModuleList(
            spectral_norm(nn.Conv2d(coarse, fine, 3, padding=1, bias=False))
            for fine, coarse in reversed([*pairwise(widths)])
        )
        self.last = nn.ModuleList(
            spectral_norm(nn.Conv2d(channels, channels, 3, padding=1, bias=False))
            for _ in range(2)
        )
        self.judge = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 1, H, W) logits."""
        features = functional.leaky_relu(self.first(images), _SLOPE)
        finer = []
        for convolution in self.down:
            finer.append(features)
            features = functional.leaky_relu(convolution(features), _SLOPE)
        for convolution in self.up:
            larger = functional.interpolate(
                features, scale_factor=2.0, mode="bilinear", align_corners=False
            )
            features = functional.leaky_relu(convolution(larger), _SLOPE) + finer.pop()
        for convolution in self.last:
            features = functional.leaky_relu(convolution(features), _SLOPE)
        logits: Tensor = self.judge(features)
        return logits
