"""EDSR, a residual network without normalisation that enlarges four times.

It takes three neighbouring slices as channels.  Names and shapes of its parameters are
those of the checkpoints that its authors and PRETTIER published.

References
----------
Lim et al. 2017, Enhanced deep residual networks for single image super-resolution,
CVPR Workshops, doi:10.1109/CVPRW.2017.151.
Giraldo et al. 2024, Perceptual super-resolution in multiple sclerosis MRI, Front
Neurosci 18, doi:10.3389/fnins.2024.1473132.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

_COLOUR_MEANS = (0.4488, 0.4371, 0.4040)  # of the photographs that the authors trained on


class _Residual(nn.Module):
    """A residual block of two convolutions, of which a share is added."""

    def __init__(self, channels: int, share: float) -> None:
        super().__init__()
        self.share = share
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, K, W) to the same."""
        residual: Tensor = self.body(features)
        return features + self.share * residual


class EDSR(nn.Module):
    """Enlarge images of three channels four times along both axes.

    Notes
    -----
    Checkpoints hold ``sub_mean`` and ``add_mean``, which subtract the mean colour of photographs
    and add it again.  The authors' network applies them; PRETTIER's does not use them.
    """

    name: ClassVar[str] = "edsr"
    input_range: ClassVar[float] = 255.0
    """What intensity 1 becomes before the network sees it."""
    mark: ClassVar[str] = "tail.0.2.weight"
    """A parameter that no other architecture has."""

    def __init__(
        self,
        *,
        channels: int = 256,
        blocks: int = 32,
        residual_scale: float = 0.1,
        mean_shift: bool = False,
    ) -> None:
        """Make the network.

        Parameters
        ----------
        channels : int
            Width.
        blocks : int
            Number of residual blocks.
        residual_scale : float
            Share of a block's residual that is added.
        mean_shift : bool
            Apply ``sub_mean`` and ``add_mean``.
        """
        super().__init__()
        self.arguments = {
            "channels": channels,
            "blocks": blocks,
            "residual_scale": residual_scale,
            "mean_shift": mean_shift,
        }
        self.mean_shift = mean_shift
        self.halo = 2 * blocks + 5  # pixels that an output pixel sees on each side
        self.sub_mean = _shift(-self.input_range)
        self.add_mean = _shift(self.input_range)
        self.head = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1))
        self.body = nn.Sequential(
            *(_Residual(channels, residual_scale) for _ in range(blocks)),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        doubling = [
            part
            for _ in range(2)
            for part in (nn.Conv2d(channels, 4 * channels, 3, padding=1), nn.PixelShuffle(2))
        ]
        self.tail = nn.Sequential(nn.Sequential(*doubling), nn.Conv2d(channels, 3, 3, padding=1))

    @classmethod
    def arguments_of(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read the arguments of the network from a state, as far as its shapes determine them."""
        blocks = sum(key.startswith("body.") and key.endswith(".body.0.weight") for key in state)
        return {"channels": state["head.0.weight"].shape[0], "blocks": blocks}

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, K, W) to (N, 3, 4 K, 4 W)."""
        if self.mean_shift:
            images = self.sub_mean(images)
        features = self.head(images)
        enlarged: Tensor = self.tail(features + self.body(features))
        return self.add_mean(enlarged) if self.mean_shift else enlarged


def _shift(intensity: float) -> nn.Conv2d:
    """Return a fixed convolution that adds the mean colour times `intensity`."""
    shift = nn.Conv2d(3, 3, 1)
    shift.weight.data = torch.eye(3)[:, :, None, None]
    shift.bias.data = intensity * torch.tensor(_COLOUR_MEANS)  # type: ignore[union-attr]
    return shift.requires_grad_(False)
