from __future__ import annotations

import numpy as np
import pytest

from bids_sr.imaging import SliceProfile
from bids_sr.sr.slices.profile_distribution import LOSSES, ProfileDistribution, passed

KINDS = ("gaussian", "rect", "slr")
WIDTHS = np.linspace(2.0, 6.5, 19)


def certain(kind: str, width: float) -> ProfileDistribution:
    logarithms = np.full((3, WIDTHS.size), -1e3)
    logarithms[KINDS.index(kind), np.argmin(np.abs(WIDTHS - width))] = 0
    return ProfileDistribution.of(5.0, KINDS, WIDTHS, logarithms)


def even() -> ProfileDistribution:
    return ProfileDistribution.of(5.0, KINDS, WIDTHS, np.zeros((3, WIDTHS.size)))


def test_share_that_passes_is_that_of_the_profile() -> None:
    """The oracle: the integral of the profile times a wave; a box has a closed form."""
    assert passed("rect", 1.0) == pytest.approx(np.sinc(0.3), abs=1e-3)
    profile = SliceProfile.gaussian(0.8)
    wave = profile.weights * np.cos(2 * np.pi * 0.3 * profile.positions)
    assert passed("gaussian", 0.8) == pytest.approx(
        np.trapezoid(wave, profile.positions), abs=1e-3
    )


def test_what_is_certain_is_chosen() -> None:
    choice = certain("rect", 4.5).least_harmful()
    assert (choice.kind, choice.width) == ("rect", pytest.approx(4.5, abs=0.05))
    assert choice.loss == pytest.approx(0, abs=1e-3)
    assert certain("rect", 4.5).likeliest == ("rect", pytest.approx(4.5))


def test_the_choice_costs_less_than_any_other() -> None:
    """The oracle: every profile, and its loss summed over all that may be true."""
    distribution = even().with_prior("SE")
    choice = distribution.least_harmful()
    true = np.array([[passed(kind, width / 5) for width in WIDTHS] for kind in KINDS])

    def loss(kind: str, width: float) -> float:
        difference = passed(kind, width / 5) - true
        factors = np.where(difference > 0, LOSSES[0], LOSSES[1])
        return float(np.sum(distribution.shares * factors * difference**2))

    least = min(loss(kind, width) for kind in KINDS for width in WIDTHS)
    assert choice.loss <= least
    assert loss(choice.kind, choice.width) == pytest.approx(choice.loss, rel=0.02)
    held = distribution.least_harmful(4.0)
    assert held.width == 4.0
    assert held.loss == pytest.approx(min(loss(kind, 4.0) for kind in KINDS))


def test_too_thin_is_assumed_rather_than_too_thick() -> None:
    distribution = ProfileDistribution.of(5.0, ("slr",), WIDTHS, np.zeros((1, WIDTHS.size)))
    width = distribution.least_harmful().width
    mean = np.mean([passed("slr", w / 5) for w in WIDTHS])
    assert passed("slr", width / 5) != pytest.approx(mean, abs=0.005)


def test_a_stated_width_counts_and_may_be_wrong() -> None:
    near = even().with_stated_width(4.0)
    assert near.fwhm == pytest.approx(4.0, abs=0.1)
    contradicted = certain("slr", 6.0).with_stated_width(4.0)
    assert contradicted.fwhm == pytest.approx(6.0, abs=0.1)


def test_priors_differ_by_sequence() -> None:
    shares = {name: even().with_prior(name).kind_shares for name in ("", "SE", "GR", "3D")}
    assert shares[""]["slr"] == pytest.approx(1 / 3)
    assert shares["SE"]["slr"] > 1 / 3
    assert shares["GR"]["gaussian"] > 1 / 3
    assert shares["3D"]["rect"] > 1 / 3
    deviations = [even().with_prior(name).deviation for name in ("", "3D")]
    assert deviations[1] > deviations[0]


def test_spread() -> None:
    low, high = even().interval()
    assert (low, high) == (pytest.approx(2.2, abs=0.3), pytest.approx(6.1, abs=0.3))
    assert certain("slr", 5.0).deviation == pytest.approx(0)
    assert sum(even().kind_shares.values()) == pytest.approx(1)
