"""Protocols: the acquisitions that training imitates, drawn at random from ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bids_sr.imaging import Acquisition
from bids_sr.imaging.acquisition import PROFILES
from bids_sr.sr.contract.settings import require


class Draws(Protocol):
    """Draw what a batch of pairs imitates."""

    def draw(self, voxel: float, random: np.random.Generator) -> Acquisition:
        """Draw an acquisition for an image whose voxels are `voxel` mm wide."""

    def draw_noise(self, random: np.random.Generator) -> float:
        """Draw a standard deviation of noise, as a share of the robust range."""


@dataclass(frozen=True, kw_only=True)
class Protocols:
    """State the ranges of spacing, thickness, profile and noise."""

    spacings: tuple[float, float] = (2.0, 8.0)
    """Least and largest slice spacing, mm."""
    thicknesses: tuple[float, float] = (0.6, 1.0)
    """Least and largest slice thickness, as a share of the spacing."""
    profiles: tuple[str, ...] = ("gaussian", "rect", "slr")
    """Names of slice profiles, each as likely."""
    noise_fraction: float = 0.02
    """Largest standard deviation of the noise, as a share of the robust range; small
    values are the more likely ones."""
    largest_scale: float = 8.0
    """Largest spacing / voxel size; images with fine voxels get narrower spacings."""

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        for name in ("spacings", "thicknesses"):
            low, high = getattr(self, name)
            require(0 < low <= high, name, (low, high), "two numbers above 0, the larger last")
        known = bool(self.profiles) and set(self.profiles) <= set(PROFILES)
        require(known, "profiles", self.profiles, f"some of {', '.join(PROFILES)}")
        require(
            0 <= self.noise_fraction < 1,
            "noise_fraction",
            self.noise_fraction,
            "0 or more and below 1",
        )
        require(self.largest_scale > 1, "largest_scale", self.largest_scale, "above 1")

    def draw(self, voxel: float, random: np.random.Generator) -> Acquisition:
        """Draw an acquisition for an image whose voxels are `voxel` mm wide."""
        low, high = self.spacings
        high = min(high, self.largest_scale * voxel)
        low = min(max(low, 1.25 * voxel), high)
        spacing = float(np.exp(random.uniform(np.log(low), np.log(high))))
        return Acquisition(
            spacing=spacing,
            thickness=spacing * float(random.uniform(*self.thicknesses)),
            profile=str(random.choice(self.profiles)),
        )

    def draw_noise(self, random: np.random.Generator) -> float:
        """Draw a standard deviation of noise, as a share of the robust range."""
        return self.noise_fraction * float(random.random()) ** 2
