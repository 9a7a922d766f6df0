from __future__ import annotations

import numpy as np
import pytest

from bids_sr.exceptions import ConfigError
from bids_sr.imaging import Acquisition
from bids_sr.sr.learning.protocols import Protocols


def test_drawn_acquisitions_fill_their_ranges() -> None:
    random = np.random.default_rng(0)
    protocols = Protocols()
    drawn = [protocols.draw(1.0, random) for _ in range(300)]
    spacings = np.array([acquisition.spacing for acquisition in drawn])
    shares = np.array(
        [acquisition.nominal_thickness / acquisition.spacing for acquisition in drawn]
    )
    assert 2 <= spacings.min() < 2.3
    assert 7 < spacings.max() <= 8
    assert 0.6 <= shares.min() < 0.65
    assert 0.95 < shares.max() <= 1
    assert {acquisition.slice_profile.name for acquisition in drawn} == {"gaussian", "rect", "slr"}
    fractions = [protocols.draw_noise(random) for _ in range(100)]
    assert 0 <= min(fractions) < max(fractions) <= 0.02


def test_scale_stays_within_what_the_network_makes() -> None:
    random = np.random.default_rng(0)
    protocols = Protocols(largest_scale=4)
    for voxel in (0.5, 1.0, 1.9):
        drawn = [protocols.draw(voxel, random).scale(voxel) for _ in range(50)]
        assert 1.2 < min(drawn) <= max(drawn) <= 4 + 1e-9


TRUE = Acquisition(spacing=4, thickness=2.4, profile="gaussian")


def test_nothing_is_drawn_where_all_is_known() -> None:
    random = np.random.default_rng(0)
    assert Protocols().state(TRUE, random) is TRUE
    assert random.random() == np.random.default_rng(0).random()


def test_what_is_misstated_is_not_called_assumed() -> None:
    random = np.random.default_rng(0)
    protocols = Protocols(misstated_fraction=0.5)
    stated = [protocols.state(TRUE, random) for _ in range(400)]
    assert not any(some.assumed for some in stated)
    assert 0.4 < np.mean([some == TRUE for some in stated]) < 0.7
    assert {some.profile for some in stated} == {"gaussian", "rect", "slr"}
    thicknesses = [some.nominal_thickness for some in stated]
    assert 2.0 <= min(thicknesses) < 2.1  # half of the spacing at least
    assert 2.8 < max(thicknesses) <= 2.88


@pytest.mark.parametrize(
    "wrong",
    [
        {"spacings": (3.0, 2.0)},
        {"thicknesses": (0.0, 1.0)},
        {"profiles": ("square",)},
        {"noise_fraction": 1.5},
        {"largest_scale": 1.0},
        {"misstated_fraction": -0.1},
    ],
)
def test_impossible_ranges_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Protocols(**wrong)  # type: ignore[arg-type]
