from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from bids_sr.imaging import Acquisition, Volume, degrade, resample
from bids_sr.sr.networks.backbone import Backbone
from bids_sr.sr.together.degraded_slices import ThickPair, _lacking_noise

SHAPE = (3, 48, 20)
"""Slices, rows, columns."""


@pytest.fixture(scope="module")
def pair() -> ThickPair:
    empty = np.zeros((48, 20, 3), np.float32)
    return ThickPair(
        slices=empty,
        guide=empty,
        covered=empty == 0,
        acquisition=Acquisition(spacing=6.0, thickness=5.0, slice_axis=2),
        spacing=1.0,
        backbone=cast("Backbone", None),
        detail=1.0,
        guide_spacing=4.0,
    )


def test_a_thick_guide_is_as_fine_along_the_rows_as_across_the_slices(pair: ThickPair) -> None:
    """As if it had been scanned in slices of its own thickness, and resampled."""
    guide = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    volume = Volume(guide, np.eye(4))
    scan = Acquisition(spacing=4.0, thickness=4.0, profile="gaussian", slice_axis=1)
    expected = resample(degrade(volume, scan), volume.grid).data
    np.testing.assert_allclose(pair._as_fine(guide), expected, atol=1e-4)


def test_a_thin_guide_stays_as_it_is(pair: ThickPair) -> None:
    guide = np.ones(SHAPE, np.float32)
    assert replace(pair, guide_spacing=0.0)._as_fine(guide) is guide


def test_means_of_rows_get_the_noise_of_acquired_slices() -> None:
    matrix = np.kron(np.eye(4), np.full((1, 5), 0.2))  # (4, 20)
    generator = np.random.default_rng(1)
    rows = 0.3 * generator.normal(size=(20, 40_000))
    noise = matrix @ rows + _lacking_noise(matrix, 0.3) * generator.normal(size=(4, 40_000))
    assert noise.std() == pytest.approx(0.3, rel=0.02)
    assert _lacking_noise(np.eye(3), 0.3) == 0
