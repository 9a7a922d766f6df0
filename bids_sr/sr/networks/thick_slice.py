"""A residual network that works on the thick slices themselves.

References
----------
Lim et al. 2017, Enhanced deep residual networks for single image super-resolution,
CVPR Workshops, doi:10.1109/CVPRW.2017.151 (residual blocks without normalisation).
Shi et al. 2016, Real-time single image and video super-resolution using an efficient
sub-pixel convolutional neural network, CVPR, doi:10.1109/CVPR.2016.207 (shuffle).
Remedios et al. 2023, Self-supervised super-resolution for anisotropic MR images with
and without slice gap, SASHIMI, doi:10.1007/978-3-031-44689-4_12 (one axis, any scale).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from bids_sr.imaging.resample import interpolation_matrix

BRIGHTEST = 4.0
"""Absolute value at which inputs are clipped; most of an image is 0 to 1."""
Mirror = Literal["", "columns", "slices"]
"""Along what the mirror image of a plane is taken; empty: none is."""
_MIRRORS = {"columns": -1, "slices": -2}


@dataclass(frozen=True, eq=False)
class Upsampling:
    """Hold the two fixed interpolations from K slices to n rows of the fine grid."""

    skip: Tensor
    """(n, K), or (N, n, K) where images differ: cubic interpolation of the slices themselves."""
    phases: Tensor | None
    """(n, K factor), or (N, n, K factor): interpolation of the network's rows; None where
    they are the grid's."""

    @classmethod
    def at(cls, coordinates: np.ndarray, slices: int, factor: int) -> Upsampling:
        """Build both for rows at `coordinates`.

        Parameters
        ----------
        coordinates : (n,) float64 array
            Centres of the rows in units of slices; 0 is the centre of the first slice.
        slices : int
            Number of slices, K.
        factor : int
            Rows that the network makes of each slice; they divide it evenly.
        """
        skip = interpolation_matrix(coordinates, slices, "bspline").toarray()
        fine = (coordinates + 0.5) * factor - 0.5
        whole = fine.size == slices * factor and np.allclose(fine, np.arange(fine.size), atol=1e-3)
        if whole:
            return cls(torch.from_numpy(skip).float(), None)
        phases = interpolation_matrix(fine, slices * factor, "bspline").toarray()
        return cls(torch.from_numpy(skip).float(), torch.from_numpy(phases).float())

    def to(self, device: torch.device) -> Upsampling:
        """Return the same on a device."""
        phases = None if self.phases is None else self.phases.to(device)
        return Upsampling(self.skip.to(device), phases)


class ResidualBlock(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        # Small residuals at the start keep deep stacks stable without normalisation.
        with torch.no_grad():
            self.body[2].weight.mul_(0.1)  # type: ignore[operator]

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, K, W) to the same."""
        detail: Tensor = self.body(features)
        return features + detail


class ThickSliceUpsampler(nn.Module):
    """Predict the difference of the fine image from cubic interpolation.

    All convolutions run on the K thick slices, where they are cheapest and their receptive
    field is largest; the last one makes `factor` rows of every slice (a pixel shuffle along
    one axis), which cubic interpolation brings to the grid, at any real scale.
    """

    def __init__(self, body: nn.Module, *, factor: int, halo: int, plane_halo: int = 0) -> None:
        """Take the convolutions.

        Parameters
        ----------
        body : nn.Module
            (N, 1, K, W) to (N, factor, K, W); if it sees neighbouring planes also
            (N, 1, D, K, W) to (N, factor, D, K, W).
        factor : int
            Rows a slice: the scale, rounded up.
        halo : int
            Pixels that an output pixel sees on each side.
        plane_halo : int
            Planes that it sees on each side.
        """
        super().__init__()
        self.factor = factor
        self.halo = halo
        self.plane_halo = plane_halo
        self.body = body

    def forward(self, lr: Tensor, upsampling: Upsampling) -> Tensor:
        """Upsample images along their rows.

        Parameters
        ----------
        lr : (N, 1, K, W) or (N, 1, D, K, W) tensor
            Images whose K rows are thick slices, or stacks of D such planes.
        upsampling : Upsampling
            From K slices to n rows.

        Returns
        -------
        (N, n, W) or (N, D, n, W) tensor
        """
        detail = self.detail(lr, upsampling)
        # Only the convolutions may run in half precision: the image itself must not.
        with torch.autocast(lr.device.type, enabled=False):
            return to_rows(upsampling.skip, lr[:, 0]) + detail

    def detail(self, lr: Tensor, upsampling: Upsampling, *, mirrored: Mirror = "") -> Tensor:
        """Return what :meth:`forward` adds to cubic interpolation.

        Parameters
        ----------
        lr : (N, 1, K, W) or (N, 1, D, K, W) tensor
        upsampling : Upsampling
        mirrored : Literal["", "columns", "slices"]
            Take the mean with the detail of the mirror image, along W or K.

        Returns
        -------
        (N, n, W) or (N, D, n, W) tensor
        """
        detail = self._rows(lr)
        if mirrored:
            axis = _MIRRORS[mirrored]
            detail = (detail + self._rows(lr.flip(axis)).flip(axis)) / 2
        if upsampling.phases is not None:
            with torch.autocast(lr.device.type, enabled=False):
                detail = to_rows(upsampling.phases, detail)
        return detail

    def _rows(self, lr: Tensor) -> Tensor:
        """Return the `factor` rows that the convolutions make of every slice."""
        # One voxel of garbage must not spread over all that the network sees.
        detail: Tensor = self.body(lr.clamp(-BRIGHTEST, BRIGHTEST)).float()
        return detail.movedim(1, -2).flatten(-3, -2)  # (N, K factor, W)


def to_rows(interpolation: Tensor, slices: Tensor) -> Tensor:
    """Interpolate slices by (n, K), or (N, n, K) where images differ.

    Parameters
    ----------
    interpolation : (n, K) or (N, n, K) tensor
    slices : (N, K, W) or (N, D, K, W) tensor

    Returns
    -------
    (N, n, W) or (N, D, n, W) tensor
    """
    if interpolation.ndim == 3 and slices.ndim == 4:
        interpolation = interpolation[:, None]
    rows: Tensor = interpolation @ slices
    return rows


class ThickSliceNet(ThickSliceUpsampler):
    """Stack residual blocks of two convolutions: small and quick to learn."""

    def __init__(self, *, factor: int, channels: int, blocks: int) -> None:
        """Make the network.

        Parameters
        ----------
        factor : int
            Rows a slice: the scale, rounded up.
        channels : int
            Width.
        blocks : int
            Number of residual blocks.
        """
        body = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            *(ResidualBlock(channels) for _ in range(blocks)),
            nn.Conv2d(channels, factor, 3, padding=1),
        )
        # Training begins at cubic interpolation.
        nn.init.zeros_(body[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(body[-1].bias)  # type: ignore[arg-type]
        super().__init__(body, factor=factor, halo=2 * blocks + 2)
