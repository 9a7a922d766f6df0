"""Protocols: the acquisitions that training imitates, drawn at random from ranges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from bids_sr.imaging import Acquisition
from bids_sr.imaging.acquisition import PROFILES
from bids_sr.sr.contract.settings import require

_ERROR = 0.2  # largest, of a thickness


class Draws(Protocol):
    """Draw what a batch of pairs imitates."""

    def draw(self, voxel: float, random: np.random.Generator) -> Acquisition:
        """Draw an acquisition for an image whose voxels are `voxel` mm wide."""

    def state(self, acquisition: Acquisition, random: np.random.Generator) -> Acquisition:
        """Draw what a network is told of an acquisition."""

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
    misstated_fraction: float = 0.0
    """Share of the acquisitions that are stated with a wrong thickness or profile."""

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
        share = self.misstated_fraction
        require(0 <= share <= 1, "misstated_fraction", share, "from 0 to 1")

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

    def state(self, acquisition: Acquisition, random: np.random.Generator) -> Acquisition:
        """Draw what a network is told of an acquisition."""
        if self.misstated_fraction and random.random() < self.misstated_fraction:
            if random.random() < 0.5:
                return replace(acquisition, profile=str(random.choice(self.profiles)))
            return replace(acquisition, thickness=_almost(acquisition, random))
        return acquisition

    def draw_noise(self, random: np.random.Generator) -> float:
        """Draw a standard deviation of noise, as a share of the robust range."""
        return self.noise_fraction * float(random.random()) ** 2


def _almost(acquisition: Acquisition, random: np.random.Generator) -> float:
    """Return a wrong thickness; networks are never told one below half of the spacing."""
    wrong = acquisition.nominal_thickness * (1 + float(random.uniform(-_ERROR, _ERROR)))
    return max(wrong, acquisition.spacing / 2)
