from __future__ import annotations

import numpy as np
import pytest

from bids_sr.sr.inference.uncertainty import (
    DETAIL,
    DISAGREEMENT,
    Disagreement,
    half_squared_difference,
)

SHAPE = (20, 24, 28)


def test_independent_errors_of_two_views_are_found() -> None:
    """Half the squared difference of two noisy views is the variance of one."""
    random = np.random.default_rng(0)
    first, second = random.normal(5, 0.3, (2, *SHAPE)).astype(np.float32)
    gathered = Disagreement()
    gathered.add(half_squared_difference(first, second))
    deviation = gathered.standard_deviation(np.zeros(SHAPE, np.float32))
    assert np.sqrt(np.mean(deviation**2)) == pytest.approx(0.3 * DISAGREEMENT, rel=0.03)


def test_pairs_are_averaged() -> None:
    gathered = Disagreement()
    for value in (1.0, 3.0):
        gathered.add(np.full(SHAPE, value, np.float32))
    deviation = gathered.standard_deviation(np.zeros(SHAPE, np.float32))
    np.testing.assert_allclose(deviation, np.sqrt(2) * DISAGREEMENT, rtol=1e-4)


def test_detail_that_views_agree_on_counts_too() -> None:
    detail = np.zeros(SHAPE, np.float32)
    detail[:, :, 14:] = 2.0
    gathered = Disagreement()
    gathered.add(np.zeros(SHAPE, np.float32))
    deviation = gathered.standard_deviation(detail)
    np.testing.assert_allclose(deviation[:, :, 22:], 2 * DETAIL, rtol=1e-4)
    np.testing.assert_allclose(deviation[:, :, :6], 0, atol=1e-4)


def test_turned_values_below_zero_do_no_harm() -> None:
    gathered = Disagreement()
    gathered.add(np.full(SHAPE, -1e-3, np.float32))
    assert np.isfinite(gathered.standard_deviation(np.zeros(SHAPE, np.float32))).all()


def test_no_views_are_refused() -> None:
    with pytest.raises(ValueError, match="no views"):
        Disagreement().standard_deviation(np.zeros(SHAPE, np.float32))
