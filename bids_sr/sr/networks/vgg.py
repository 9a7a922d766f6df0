"""The features of VGG-19, by which a perceptual loss compares images.

Only the convolutions of a given state are built; names are those of torchvision's files
(``features.0.weight``).  There is no classifier, and weights are not included.

References
----------
Simonyan and Zisserman 2015, Very deep convolutional networks for large-scale image
recognition, ICLR, doi:10.48550/arXiv.1409.1556.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

CONVOLUTIONS = ((0, 2), (5, 7), (10, 12, 14, 16), (19, 21, 23, 25), (28, 30, 32, 34))
"""Places of the convolutions of every stage among all layers; a stage ends with pooling."""
_MEAN = (0.485, 0.456, 0.406)  # of ImageNet, per channel
_DEVIATION = (0.229, 0.224, 0.225)


class VGGFeatures(nn.Module):
    """Return the last features of each of the five stages, before rectification."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        """Make the convolutions that a state holds.

        Parameters
        ----------
        state : mapping
            ``features.N.weight`` and ``features.N.bias`` of all 16 convolutions, of any
            width; KeyError if one is missing.  Other entries are ignored.
        """
        super().__init__()
        self.stages = nn.ModuleList()
        for places in CONVOLUTIONS:
            stage = nn.ModuleList()
            for place in places:
                weight, bias = (state[f"features.{place}.{part}"] for part in ("weight", "bias"))
                convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
                convolution.load_state_dict({"weight": weight, "bias": bias})
                stage.append(convolution)
            self.stages.append(stage)
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None])
        self.register_buffer("deviation", torch.tensor(_DEVIATION)[:, None, None])
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) images of 0 to 1 to five features, each half as fine as the one before."""
        features, outputs = (images - self.mean) / self.deviation, []
        for number, stage in enumerate(self.stages):
            if number:
                features = functional.max_pool2d(functional.relu(features), 2)
            assert isinstance(stage, nn.ModuleList)
            for place, convolution in enumerate(stage):
                features = convolution(functional.relu(features) if place else features)
            outputs.append(features)
        return outputs
