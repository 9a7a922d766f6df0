"""One network for every scale, gap and profile, conditioned on how the slices were taken.

It is also conditioned on the thickness of the planes that it sees.  Planes of the image's own
slices are as thick as the slices, and their detail is weak; planes across the slices are one
voxel thick.  Because the network knows the difference, it can train on the first and be
applied to the second.

It may see neighbouring planes too, all planes of a volume at once.  A single plane is then
treated as if its neighbours were equal to it, so that such a network can still train on thick
slices.

References
----------
Perez et al. 2018, FiLM: visual reasoning with a general conditioning layer, AAAI,
doi:10.1609/aaai.v32i1.11671 (features that depend on a condition).
Wortsman et al. 2022, Robust fine-tuning of zero-shot models, CVPR,
doi:10.48550/arXiv.2109.01903 (the mean of the weights before and after is better than either).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bids_sr.exceptions import WeightsError
from bids_sr.imaging import Acquisition
from bids_sr.sr.contract.card import WeightsCard
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.networks.thick_slice import ThickSliceUpsampler

_CYCLES = (0.5, 1.0, 1.5, 2.0)  # per slice spacing
_SAMPLES = 32  # a slice spacing, to integrate the profile
CONDITIONS = 2 + len(_CYCLES)
"""Numbers that describe an acquisition to a network."""


def condition_of(
    acquisition: Acquisition, voxel: float, plane_thickness: float | None = None
) -> Tensor:
    """Describe an acquisition to a network.

    Parameters
    ----------
    acquisition : Acquisition
    voxel : float, mm
        Voxel size of the fine grid.
    plane_thickness : float, mm, optional
        What the planes that the network sees are averages over; None: one voxel.

    Returns
    -------
    (6,) tensor
        ``log2(scale) - 2``; how much of waves of 0.5, 1, 1.5 and 2 cycles a slice
        spacing the slice profile lets through (1: all; negative: inverted); and half of
        log2 of the thickness of the planes, in voxels.
    """
    step = acquisition.spacing / _SAMPLES
    taps = acquisition.slice_profile.kernel(step)
    positions = np.arange(taps.size) - taps.size // 2  # in steps
    waves = np.cos(2 * np.pi * np.outer(_CYCLES, positions) / _SAMPLES)
    planes = max(1.0, (plane_thickness or voxel) / voxel)
    values = [np.log2(acquisition.scale(voxel)) - 2, *(waves @ taps), np.log2(planes) / 2]
    return torch.tensor(values, dtype=torch.float32)


class ConditionedBlock(nn.Module):
    """A residual block of two convolutions; the condition shifts and scales what is between."""

    def __init__(self, channels: int, planes: int = 1) -> None:
        super().__init__()
        self.first = _convolution(channels, channels, planes)
        self.threshold = nn.Linear(CONDITIONS, channels)
        self.gate = nn.Linear(CONDITIONS, channels)
        # One of two convolutions that look across planes is enough, and half the work.
        self.second = _convolution(channels, channels, planes, across=1)
        with torch.no_grad():
            self.second.weight.mul_(0.1)  # deep stacks stay stable without normalisation
            for parameter in self.gate.parameters():
                parameter.zero_()

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        """(N, C, K, W) or (N, C, D, K, W) and (c,) or (N, c) to the same."""
        threshold, gate = self.threshold(condition), 1 + self.gate(condition)
        hidden = _convolved(features, self.first, shift=threshold)
        detail = _convolved(nn.functional.relu(hidden, inplace=True), self.second, gate=gate)
        return features + detail


class Backbone(nn.Module):
    """Make `factor` rows of every thick slice, whatever the scale.

    As in :class:`.ThickSliceNet` all convolutions run on the thick slices; rows are
    interpolated to the grid.  Above a scale of `factor` the rows are coarser than it.
    """

    def __init__(
        self,
        *,
        factor: int = 8,
        channels: int = 32,
        blocks: int = 14,
        planes: int = 1,
    ) -> None:
        """Make the network.

        Parameters
        ----------
        factor : int
            Rows a slice.
        channels : int
            Width; a multiple of 16 makes the most of a CPU.
        blocks : int
            Number of residual blocks.
        planes : int
            Planes that a convolution covers, an odd number: 1, or 3 to see neighbours.
        """
        super().__init__()
        self.arguments: dict[str, Any] = {
            "factor": factor,
            "channels": channels,
            "blocks": blocks,
        }
        if planes > 1:
            self.arguments["planes"] = planes
        self.factor, self.planes = factor, planes
        self.halo = 2 * blocks + 2
        self.head = _convolution(1, channels, planes)
        self.blocks = nn.ModuleList(ConditionedBlock(channels, planes) for _ in range(blocks))
        self.gain = nn.Linear(CONDITIONS, channels)
        self.tail = _convolution(channels, factor, planes)
        with torch.no_grad():  # training begins at cubic interpolation
            for parameter in (*self.gain.parameters(), *self.tail.parameters()):
                parameter.zero_()

    def forward(self, lr: Tensor, condition: Tensor) -> Tensor:
        """Make the rows of every slice.

        Parameters
        ----------
        lr : (N, 1, K, W) or (N, 1, D, K, W) tensor
            Slices: one plane, or D neighbouring ones for a network that sees them.
        condition : (6,) or (N, 6) tensor

        Returns
        -------
        (N, factor, K, W) or (N, factor, D, K, W) tensor
        """
        features = _convolved(lr, self.head)
        for block in self.blocks:
            features = block(features, condition)
        # Acquisitions differ most in the strength of the detail that is missing.
        return _convolved(features, self.tail, gate=1 + self.gain(condition))

    def conditioned_on(self, condition: Tensor) -> ThickSliceUpsampler:
        """Return the network for a (6,) condition, or (N, 6), one an image; weights are shared."""
        body = _ConditionedBackbone(self, condition)
        planes_seen = 0 if self.planes == 1 else (self.planes // 2) * (len(self.blocks) + 2)
        return ThickSliceUpsampler(
            body, factor=self.factor, halo=self.halo, plane_halo=planes_seen
        )

    def for_acquisition(
        self, acquisition: Acquisition, voxel: float, plane_thickness: float | None = None
    ) -> ThickSliceUpsampler:
        """Return the network for what :func:`condition_of` describes."""
        device = next(self.parameters()).device
        return self.conditioned_on(condition_of(acquisition, voxel, plane_thickness).to(device))

    def fix_conditions(self) -> None:
        """Freeze the weights that depend on the condition; train only those that all share."""
        for part in self.modules():
            if isinstance(part, nn.Linear):
                part.weight.requires_grad_(False)

    @torch.no_grad()
    def interpolate_weights(self, share: float, start: Mapping[str, Tensor]) -> None:
        """Set the weights to a weighted mean of themselves and those before training.

        Parameters
        ----------
        share : float
            Weight of the present weights, 0 to 1; `start` has the rest.
        start : mapping of str to tensor
            The state that the training began with.
        """
        for name, weight in self.state_dict().items():
            weight.copy_(torch.lerp(start[name].to(weight.device), weight, share))

    @torch.no_grad()
    def widened(self, channels: int) -> Backbone:
        """Return a network with more channels and the same output, for further training.

        Parameters
        ----------
        channels : int
            At least as many as there are.

        Notes
        -----
        New channels get random weights; the weights that lead from them to the previous
        channels are zero (the paper copies channels instead).

        References
        ----------
        Chen et al. 2016, Net2Net: accelerating learning via knowledge transfer, ICLR,
        doi:10.48550/arXiv.1511.05641.
        """
        own = self.head.out_channels
        assert channels >= own
        device = next(self.parameters()).device
        wide = Backbone(**{**self.arguments, "channels": channels}).to(device)
        convolutions = [self.tail, *(part for block in self.blocks for part in _kernels(block))]
        for old, new in zip(self.modules(), wide.modules(), strict=True):
            for name, parameter in old.named_parameters(recurse=False):
                grown = getattr(new, name)
                if old in convolutions and name == "weight":
                    grown[: len(parameter), own:] = 0
                grown[tuple(slice(size) for size in parameter.shape)] = parameter
        return wide

    @torch.no_grad()
    def with_planes(self, planes: int) -> Backbone:
        """Return a network that sees more planes and has the same output, for further training.

        Parameters
        ----------
        planes : int
            An odd number, at least as many as it sees.
        """
        assert planes >= self.planes
        device = next(self.parameters()).device
        seeing = Backbone(**{**self.arguments, "planes": planes}).to(device)
        for parameter, new in zip(self.parameters(), seeing.parameters(), strict=True):
            if new.ndim < 4:
                new.copy_(parameter)
                continue
            kernel = parameter if parameter.ndim == 5 else parameter[:, :, None]
            first = (new.shape[2] - kernel.shape[2]) // 2
            new.zero_()
            new[:, :, first : first + kernel.shape[2]] = kernel
        return seeing

    @torch.no_grad()
    def of_one_plane(self) -> Backbone:
        """Return a copy that sees no neighbours and computes the same of a plane by itself."""
        seeing = {**self.arguments, "planes": 1}
        flat = Backbone(**seeing).to(next(self.parameters()).device)
        for kernel, parameter in zip(flat.parameters(), self.parameters(), strict=True):
            kernel.copy_(parameter.sum(2) if parameter.ndim > kernel.ndim else parameter)
        return flat.laid_out()

    @torch.no_grad()
    def load_one_plane(self, flat: Backbone) -> None:
        """Take over the weights of a network that :meth:`of_one_plane` returned.

        Of a single plane both then compute the same.  Changes of the weights are divided
        evenly among the planes that a kernel covers.
        """
        for kernel, parameter in zip(self.parameters(), flat.parameters(), strict=True):
            if kernel.ndim > parameter.ndim:
                kernel.add_((parameter - kernel.sum(2))[:, :, None] / kernel.shape[2])
            else:
                kernel.copy_(parameter)

    def laid_out(self) -> Backbone:
        """Return the network with its kernels in the memory layout that is fastest on a CPU."""
        memory_format = torch.channels_last if self.planes == 1 else torch.channels_last_3d
        return self.to(memory_format=memory_format)  # type: ignore[call-overload, no-any-return]

    def weights(self, card: WeightsCard) -> Weights:
        """Return the weights with the architecture added to a card."""
        card = replace(card, architecture="backbone", arguments=self.arguments)
        return Weights(tensors=self.state_dict(), card=card)

    @classmethod
    def from_weights(cls, weights: Weights) -> Backbone:
        """Make the network that weights are of.

        Raises
        ------
        WeightsError
            If they are of another architecture.
        """
        name = weights.card.architecture
        try:
            if name != "backbone":
                raise KeyError(f"architecture {name!r}")
            network = cls(**weights.card.arguments)
            network.load_state_dict(weights.tensors)
        except (KeyError, TypeError, RuntimeError) as error:
            raise WeightsError(
                f"Found weights of architecture {name!r} that do not fit ({error}); expected a "
                "backbone as the recipes supervised, video and adapt write it."
            ) from error
        return network.laid_out()


_Convolution = nn.Conv2d | nn.Conv3d


def _convolution(
    inputs: int, outputs: int, planes: int, across: int | None = None
) -> _Convolution:
    """Hold 3 x 3 kernels; of a network that sees planes, `across` of them (None: all)."""
    if planes == 1:
        return nn.Conv2d(inputs, outputs, 3)
    return nn.Conv3d(inputs, outputs, (across or planes, 3, 3))


def _kernels(block: nn.Module) -> tuple[_Convolution, _Convolution]:
    assert isinstance(block, ConditionedBlock)
    return block.first, block.second


def _convolved(
    features: Tensor,
    convolution: _Convolution,
    *,
    gate: Tensor | None = None,
    shift: Tensor | None = None,
) -> Tensor:
    """Convolve features that a gate multiplies, (C,) or (N, C), and shift the result.

    What is the same for all images is put into the kernels, which are small: on a CPU
    every further pass over the features takes half as long as the convolution.
    """
    weight, bias = convolution.weight, convolution.bias
    assert bias is not None
    if weight.ndim > features.ndim:  # the neighbours are like the plane
        weight = weight.sum(2)
    ones = (1,) * (features.ndim - 2)
    if gate is not None:
        if gate.ndim == 1:
            weight = weight * gate.reshape(-1, *ones)
        else:
            features = features * gate.reshape(*gate.shape, *ones)
    if shift is not None and shift.ndim == 1:
        bias, shift = bias + shift, None
    convolve = nn.functional.conv2d if features.ndim == 4 else nn.functional.conv3d
    result = convolve(features, weight, bias, padding=[size // 2 for size in weight.shape[2:]])
    return result if shift is None else result + shift.reshape(*shift.shape, *ones)


class _ConditionedBackbone(nn.Module):
    def __init__(self, backbone: Backbone, condition: Tensor) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("condition", condition, persistent=False)

    def forward(self, lr: Tensor) -> Tensor:
        rows: Tensor = self.backbone(lr, self.condition)
        return rows
