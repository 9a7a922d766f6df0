"""Robust scaling: unmoved by odd voxels or background, and undone exactly."""

from __future__ import annotations

import numpy as np
import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import RobustScaler


def _image() -> np.ndarray:
    data = np.zeros((30, 30, 30), np.float32)
    data[10:20, 10:20, 10:20] = np.random.default_rng(0).uniform(50, 100, (10, 10, 10))
    return data


def test_there_and_back() -> None:
    data = _image() - 20
    scaler = RobustScaler.fit(data)
    scaled = scaler.apply(data)
    assert scaled.dtype == np.float32
    assert scaled.min() == 0
    np.testing.assert_allclose(scaler.inverse(scaled), data, atol=1e-5)


def test_nothing_is_clipped() -> None:
    data = _image()
    data[0, 0, 0], data[1, 1, 1] = 1000, -1000
    scaled = RobustScaler.fit(data).apply(data)
    assert scaled.max() > 5
    assert scaled.min() < -5


def test_one_bright_voxel_changes_next_to_nothing() -> None:
    data = _image()
    before = RobustScaler.fit(data)
    data[15, 15, 15] = 1e6
    after = RobustScaler.fit(data)
    assert after.width == pytest.approx(before.width, rel=0.01)


def test_background_does_not_count() -> None:
    data = _image()
    padded = np.pad(data, 30)
    assert RobustScaler.fit(padded).width == pytest.approx(RobustScaler.fit(data).width, rel=0.01)
    assert RobustScaler.fit(data).apply(data)[10:20, 10:20, 10:20].max() == pytest.approx(
        1, abs=0.05
    )


def test_constant_images_are_refused() -> None:
    with pytest.raises(InputDataError, match="constant"):
        RobustScaler.fit(np.full((4, 4), 3.0))
    with pytest.raises(InputDataError, match="width above 0"):
        RobustScaler(offset=np.nan, width=1.0)
