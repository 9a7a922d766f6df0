"""RRDBNet, the generator of Real-ESRGAN: dense blocks in residual blocks, four times larger.

It takes three neighbouring slices as channels.  Names and shapes of its parameters are
those of the checkpoints that Real-ESRGAN's authors and PRETTIER published.

References
----------
Wang et al. 2018, ESRGAN: enhanced super-resolution generative adversarial networks, ECCV
Workshops, doi:10.1007/978-3-030-11021-5_5.
Wang et al. 2021, Real-ESRGAN: training real-world blind super-resolution with pure
synthetic data, ICCV Workshops, doi:10.1109/ICCVW54120.2021.00217.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

_SHARE = 0.2  # of a block's residual that is added
_SLOPE = 0.2  # of the rectifier below 0
_DENSE = 5  # convolutions in a dense block
_FARTHEST = 64  # pixels; beyond it the influence is negligible; its authors overlap tiles by 10


class _DenseBlock(nn.Module):
    """Five convolutions, each over the outputs of all before it."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        for index in range(_DENSE):
            wide = channels + index * growth
            outputs = growth if index < _DENSE - 1 else channels
            self.add_module(f"conv{index + 1}", nn.Conv2d(wide, outputs, 3, padding=1))

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, K, W) to the same."""
        gathered, output = [features], features
        for index, convolution in enumerate(self.children()):
            output = convolution(torch.cat(gathered, 1))
            if index < _DENSE - 1:
                gathered.append(functional.leaky_relu(output, _SLOPE, inplace=True))
        return features + _SHARE * output


class _Block(nn.Module):
    """Three dense blocks and a skip connection around them."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = _DenseBlock(channels, growth)
        self.rdb2 = _DenseBlock(channels, growth)
        self.rdb3 = _DenseBlock(channels, growth)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, K, W) to the same."""
        residual: Tensor = self.rdb3(self.rdb2(self.rdb1(features)))
        return features + _SHARE * residual


class RRDBNet(nn.Module):
    """Enlarge images of three channels four times along both axes."""

    name: ClassVar[str] = "realesrgan"
    input_range: ClassVar[float] = 1.0
    """What intensity 1 becomes before the network sees it."""
    mark: ClassVar[str] = "body.0.rdb1.conv1.weight"
    """A parameter that no other architecture has."""

    def __init__(self, *, channels: int = 64, blocks: int = 23, growth: int = 32) -> None:
        """Make the network.

        Parameters
        ----------
        channels : int
            Width.
        blocks : int
            Number of residual blocks of three dense blocks.
        growth : int
            Channels that a convolution of a dense block adds.
        """
        super().__init__()
        self.arguments = {"channels": channels, "blocks": blocks, "growth": growth}
        reach = 3 * _DENSE * blocks + 6
        self.halo = min(reach, _FARTHEST)
        self.conv_first = nn.Conv2d(3, channels, 3, padding=1)
        self.body = nn.Sequential(*(_Block(channels, growth) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_up1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_up2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_hr = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_last = nn.Conv2d(channels, 3, 3, padding=1)
        with torch.no_grad():  # deep residual stacks begin near the identity
            for module in self.body.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight).mul_(0.1)
                    nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    @classmethod
    def arguments_of(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read the arguments of the network that a state is of."""
        growth, channels = state[cls.mark].shape[:2]
        blocks = sum(key.endswith(".rdb1.conv1.weight") for key in state)
        return {"channels": channels, "blocks": blocks, "growth": growth}

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, K, W) to (N, 3, 4 K, 4 W)."""
        features = self.conv_first(images)
        features = features + self.conv_body(self.body(features))
        for convolution in (self.conv_up1, self.conv_up2):
            larger = functional.interpolate(features, scale_factor=2.0, mode="nearest")
            features = functional.leaky_relu(convolution(larger), _SLOPE, inplace=True)
        last = functional.leaky_relu(self.conv_hr(features), _SLOPE, inplace=True)
        enlarged: Tensor = self.conv_last(last)
        return enlarged
