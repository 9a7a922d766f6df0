from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_sr.exceptions import WeightsError
from bids_sr.imaging import Acquisition, SliceProfile
from bids_sr.sr.contract.card import WeightsCard
from bids_sr.sr.contract.trained_geometry import TrainedGeometry

PATH = Path("model.safetensors")
TRAINED = Acquisition(spacing=6.0, thickness=5.0)


@pytest.mark.parametrize(
    ("acquisition", "voxel"),
    [
        (TRAINED, 1.0),
        (Acquisition(spacing=6.01, thickness=4.99), 1.004),
        (Acquisition(spacing=6.0, thickness=5.0, profile=SliceProfile.slr(5.0)), 1.0),
    ],
)
def test_same_geometry_is_accepted(acquisition: Acquisition, voxel: float) -> None:
    TrainedGeometry.of(TRAINED, 1.0).require(TrainedGeometry.of(acquisition, voxel), PATH)


@pytest.mark.parametrize(
    ("acquisition", "voxel", "message"),
    [
        (Acquisition(spacing=5.0, thickness=5.0), 1.0, "spacing of 5 mm, expected 6 mm"),
        (Acquisition(spacing=6.0, thickness=6.0), 1.0, "thickness of 6 mm, expected 5 mm"),
        (TRAINED, 0.8, "in-plane voxel of 0.8 mm, expected 1 mm"),
        (
            Acquisition(spacing=6.0, thickness=5.0, profile="rect"),
            1.0,
            "slice profile rect, expected slr",
        ),
        (
            Acquisition(spacing=6.0, thickness=5.0, profile=SliceProfile.slr(4.0)),
            1.0,
            "FWHM of the slice profile of 4 mm, expected 5 mm",
        ),
    ],
)
def test_other_geometry_is_refused(acquisition: Acquisition, voxel: float, message: str) -> None:
    trained, image = TrainedGeometry.of(TRAINED, 1.0), TrainedGeometry.of(acquisition, voxel)
    with pytest.raises(WeightsError, match=message):
        trained.require(image, PATH)


def test_profiles_of_other_support_are_compared() -> None:
    """The same width at half maximum, another shape, another number of voxels."""
    places = np.linspace(-9, 9, 181)
    tails = np.exp(-np.abs(places) / (2.5 / np.log(2)))
    profile = SliceProfile(positions=places, weights=tails, name="tails")
    image = TrainedGeometry.of(Acquisition(spacing=6.0, thickness=5.0, profile=profile), 1.0)
    with pytest.raises(WeightsError, match="of the same shape"):
        TrainedGeometry.of(TRAINED, 1.0).require(image, PATH)


@pytest.mark.parametrize("card", [{}, {"Geometry": "any"}, {"Geometry": {"Factor": 6}}])
def test_card_without_geometry_is_refused(card: dict[str, object]) -> None:
    with pytest.raises(WeightsError, match="no geometry in the card of model"):
        TrainedGeometry.from_card(WeightsCard.from_dict(card), PATH)
