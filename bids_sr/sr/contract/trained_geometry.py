"""The geometry that a network was trained for, and whether an image has the same.

What a network learns of how slices blur and skip holds for one spacing, one profile and
one voxel size.  Intensities play no part here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bids_sr.exceptions import WeightsError
from bids_sr.imaging import Acquisition
from bids_sr.sr.contract.card import WeightsCard

SAME_LENGTH = 0.01
"""Lengths that differ by less than this share of them are the same."""
SAME_PROFILE = 0.02
"""Profiles whose weights a voxel differ by less than this share of the largest are the same."""
_LENGTHS = {
    "SpacingBetweenSlices": "slice spacing",
    "SliceThickness": "slice thickness",
    "SliceProfileFWHM": "FWHM of the slice profile",
    "InPlaneVoxel": "in-plane voxel",
}
_REST = ("Factor", "SliceProfile", "SliceProfileKernel")


@dataclass(frozen=True, kw_only=True)
class TrainedGeometry:
    """Hold the facts of an acquisition that trained weights depend on."""

    facts: Mapping[str, Any]
    """Plain values, as they stand in the card of the weights; lengths in mm."""

    @classmethod
    def of(cls, acquisition: Acquisition, voxel: float) -> TrainedGeometry:
        """Take the facts of an acquisition whose slices have voxels of `voxel` mm."""
        profile = acquisition.slice_profile
        return cls(
            facts={
                "SpacingBetweenSlices": round(acquisition.spacing, 6),
                "SliceThickness": round(acquisition.nominal_thickness, 6),
                "SliceProfileFWHM": round(profile.fwhm, 6),
                "InPlaneVoxel": round(voxel, 6),
                "Factor": round(acquisition.scale(voxel), 6),
                "SliceProfile": profile.name,
                "SliceProfileKernel": [round(float(tap), 6) for tap in profile.kernel(voxel)],
            }
        )

    @classmethod
    def from_card(cls, card: WeightsCard, path: Path) -> TrainedGeometry:
        """Read the facts from the card of weights.

        Raises
        ------
        WeightsError
            If it does not hold them.
        """
        facts = card.geometry
        if not all(name in facts for name in (*_LENGTHS, *_REST)):
            raise WeightsError(
                f"Found no geometry in the card of {path}; expected weights that were learnt "
                "from one image (--save-model)."
            )
        return cls(facts=facts)

    def require(self, image: TrainedGeometry, path: Path) -> None:
        """Check that an image has the geometry that the weights are valid for.

        Raises
        ------
        WeightsError
            With what was found and what was expected, in mm.
        """
        differences = [
            f"a {words} of {image.facts[name]:.4g} mm, expected {self.facts[name]:.4g} mm"
            for name, words in _LENGTHS.items()
            if abs(image.facts[name] / self.facts[name] - 1) > SAME_LENGTH
        ]
        if not differences and not self._same_profile(image):
            differences = [
                f"the slice profile {image.facts['SliceProfile']}, expected "
                f"{self.facts['SliceProfile']} of the same shape"
            ]
        if differences:
            raise WeightsError(
                f"{path} is valid for another geometry: found {'; found '.join(differences)}. "
                "State the slice thickness and profile if they are not those of this image, or "
                "train on it."
            )

    def _same_profile(self, image: TrainedGeometry) -> bool:
        kernels = [np.asarray(source.facts["SliceProfileKernel"]) for source in (self, image)]
        taps = max(kernel.size for kernel in kernels)
        expected, actual = (np.pad(kernel, (taps - kernel.size) // 2) for kernel in kernels)
        return bool(np.abs(expected - actual).max() <= SAME_PROFILE * expected.max())
