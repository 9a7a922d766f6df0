"""The noise of thick slices that training imitates."""

from __future__ import annotations

import torch
from torch import Tensor


def with_rician_noise(
    lr: Tensor, sigma: Tensor, smooth: Tensor, generator: torch.Generator
) -> Tensor:
    """Add Rician noise to slices; negative intensities stay as they are.

    Parameters
    ----------
    lr : (N, D, K, W) tensor
        D planes of K slices.
    sigma : (N, 1, 1, 1) tensor
        Standard deviations, in units of intensity.
    smooth : (N, 1, 1, 1) bool tensor
        Whether the noise of neighbours in a slice is alike, as scanners that interpolate and
        denoising leave it.
    generator : torch.Generator

    Returns
    -------
    (N, D, K, W) tensor
    """
    white = torch.randn(2, *lr.shape, generator=generator, device=lr.device)
    real, imaginary = sigma * torch.where(smooth, smoothed_in_plane(white), white)
    return torch.where(lr < 0, lr, torch.hypot(lr + real, imaginary))


def smoothed_in_plane(noise: Tensor) -> Tensor:
    """Correlate (..., D, K, W) noise between neighbours in its slices; its variance stays."""
    for axis in (-1, -3) if noise.shape[-3] > 1 else (-1,):
        noise = (noise.roll(1, axis) + 2 * noise + noise.roll(-1, axis)) / 6**0.5
    return noise
