"""Triplets: neighbouring slices as the three channels of one image, and back.

A network enlarges an image of thick rows four times along both axes; here its output is
resampled to the rows of the target grid, and the overlapping triplets of a slice are averaged.
No network is built or run.

References
----------
Giraldo et al. 2024, Perceptual super-resolution in multiple sclerosis MRI, Front
Neurosci 18, doi:10.3389/fnins.2024.1473132.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

OVERLAP = (0.25, 0.5, 0.25)
"""Weights of a slice as the first, second and third of a triplet."""
_BEYOND = 2  # copies of the end slices, so that each is in three triplets


@dataclass(frozen=True, kw_only=True)
class TripletScaling:
    """Map intensities as in the paper: 1 is 1.25 times the 99.5th percentile."""

    offset: float
    """Intensity that becomes 0: 0, unless there are many below it."""
    width: float
    """Intensity difference that becomes 1; 0 for an empty image."""

    @classmethod
    def of(cls, data: npt.NDArray[np.floating]) -> TripletScaling:
        """Take the percentiles of an image."""
        lowest, highest = np.percentile(data, (0.5, 99.5))
        offset = min(0.0, float(lowest))
        return cls(offset=offset, width=1.25 * (float(highest) - offset))

    def apply(self, data: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Scale intensities."""
        return np.asarray((data - np.float32(self.offset)) / np.float32(self.width))

    def inverse(self, data: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Undo :meth:`apply`."""
        return np.asarray(data * np.float32(self.width) + np.float32(self.offset))


@dataclass(frozen=True, eq=False)
class Resizing:
    """Resample enlarged images to the target rows and columns, without aliasing."""

    coordinates: npt.NDArray[np.float64]
    """(n,) centres of the rows in units of thick rows; 0 is the centre of the first."""
    slices: int
    """Thick rows, K."""
    factor: int
    """How many times both axes are enlarged."""

    @cached_property
    def rows(self) -> Tensor:
        """(n, K factor) weights of the enlarged rows."""
        fine = (self.coordinates + 0.5) * self.factor - 0.5
        steps = np.diff(fine)
        ratio = float(steps.mean()) if steps.size else 1.0
        return _constant(antialiased(fine, self.slices * self.factor, ratio))

    def apply(self, enlarged: Tensor) -> Tensor:
        """(N, C, K factor, W factor) to (N, C, n, W), float32."""
        width = enlarged.shape[-1] // self.factor
        columns = _columns(width, self.factor).to(enlarged.device)
        with torch.autocast(enlarged.device.type, enabled=False):
            return self.rows.to(enlarged.device) @ (enlarged.float() @ columns)


@dataclass(frozen=True, eq=False)
class Enlarging:
    """Call a network on triplets whose rows are thick."""

    resizing: Resizing
    input_range: float
    """Intensity of the network's input that stands for 1."""
    upright: bool
    """Whether the network expects thick rows; else thick columns."""

    def __call__(self, network: nn.Module, triplets: Tensor) -> Tensor:
        """(N, 3, K, W) to (N, 3, n, W)."""
        images = triplets * self.input_range
        enlarged = network(images) if self.upright else network(images.mT).mT
        return self.resizing.apply(enlarged) / self.input_range


def antialiased(
    centres: npt.NDArray[np.floating], size: int, ratio: float
) -> npt.NDArray[np.float64]:
    """Return the matrix of linear interpolation with antialiasing where it downsamples.

    Parameters
    ----------
    centres : (n,) float64 array
        Index coordinates into the samples.
    size : int
        Number of samples.
    ratio : float
        Distance of the centres, samples.

    Returns
    -------
    (n, size) float64 array
        Triangles as wide as the larger of both distances; rows sum to 1.

    Notes
    -----
    For equal fields of view it is ``interpolate(mode="bilinear", antialias=True)`` of torch;
    here the scale may be any real number.
    """
    inside = np.clip(centres, -0.5, size - 0.5)
    distance = np.abs(np.arange(size) - inside[:, None])  # (n, size)
    weights = np.clip(1 - distance / max(ratio, 1.0), 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def triplets_of(stack: Tensor) -> Tensor:
    """Return the (N + 2, 3, K, W) triplets of (N, K, W) slices, the ends continued."""
    first, last = stack[:1].expand(_BEYOND, -1, -1), stack[-1:].expand(_BEYOND, -1, -1)
    return torch.cat((first, stack, last)).unfold(0, 3, 1).movedim(-1, 1)


def slices_of(triplets: Tensor) -> Tensor:
    """Return (N, n, W) slices, each the weighted mean over its (N + 2, 3, n, W) triplets.

    Every slice, the first and the last too, is the third of one triplet, the second of the
    next and the first of the one after it.
    """
    number = len(triplets) - _BEYOND
    parts = [triplets[_BEYOND - place : _BEYOND - place + number, place] for place in range(3)]
    total = torch.zeros_like(parts[0])
    for weight, part in zip(OVERLAP, parts, strict=True):
        total += weight * part
    return total


@lru_cache(maxsize=16)
def _columns(width: int, factor: int) -> Tensor:
    """Return the (W factor, W) weights that bring columns back to their number."""
    centres = (np.arange(width) + 0.5) * factor - 0.5
    matrix = antialiased(centres, width * factor, float(factor))
    return _constant(np.ascontiguousarray(matrix.T))


def _constant(matrix: npt.NDArray[np.float64]) -> Tensor:
    """Return a matrix that training may use too, whoever asks for it first."""
    with torch.inference_mode(False):
        return torch.from_numpy(matrix).float()
