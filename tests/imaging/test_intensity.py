"""Robust scaling: unmoved by odd voxels or background, and undone exactly."""

from __future__ import annotations

import numpy as np
import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import RobustScaler, Volume
from bids_sr.imaging.intensity import ordinary_factor


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


@pytest.mark.parametrize("size", [10.0, 255.0, 4095.0, 65535.0, 9e5])
def test_intensities_of_scanners_are_left_as_they_are(size: float) -> None:
    volume = Volume(np.full((3, 4, 5), size, np.float32), np.eye(4))
    assert ordinary_factor(volume.data) == 1.0
    assert volume.with_ordinary_intensities() is volume


@pytest.mark.parametrize("factor", [1e-30, 1e-9, 1e-3, 1e9, 1e30, -1e-9, -1e9])
def test_others_are_brought_there_and_back_exactly(factor: float) -> None:
    data = (_image() * np.float32(factor)).astype(np.float32)
    ordinary = ordinary_factor(data)
    scaled = Volume(data, np.eye(4)).with_ordinary_intensities()
    assert 512 <= np.percentile(np.abs(scaled.data), 99) < 1024
    np.testing.assert_array_equal(scaled.data / np.float32(ordinary), data)


def test_an_empty_image_has_no_size() -> None:
    assert ordinary_factor(np.zeros((2, 2, 2), np.float32)) == 1.0


def test_a_small_object_in_a_large_field_counts() -> None:
    data = np.zeros((30, 30, 30), np.float32)
    data[:3, :3, :3] = 1e-6
    assert ordinary_factor(data) * 1e-6 == pytest.approx(768, rel=0.34)
