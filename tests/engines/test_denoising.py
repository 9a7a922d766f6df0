from __future__ import annotations

import numpy as np
import pytest

from bids_sr.engines import denoising
from bids_sr.engines.denoising import denoise, noise_sigma
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def pair(request: pytest.FixtureRequest) -> tuple[Volume, Volume]:
    """Return a clean 6 mm stack of the template and the same with Rician noise of 4 %."""
    template = request.getfixturevalue("mni152_2mm")
    middle = template.data[14:84, 14:100, 30:54]
    thick = middle.reshape(70, 86, 8, 3).mean(-1)
    affine = template.affine @ np.diag([1.0, 1.0, 3.0, 1.0])
    clean = Volume(thick.astype(np.float32), affine)
    sigma = 0.04 * np.percentile(clean.data, 99)
    real, imaginary = np.random.default_rng(0).normal(0, sigma, (2, *clean.shape))
    noisy = np.hypot(clean.data + real, imaginary).astype(np.float32)
    return clean, clean.with_data(noisy)


def error(volume: Volume, clean: Volume) -> float:
    inside = clean.data > 0.3 * clean.data.max()
    return float(np.sqrt(np.mean((volume.data - clean.data)[inside] ** 2)))


def test_closer_to_the_clean_image(pair: tuple[Volume, Volume]) -> None:
    clean, noisy = pair
    denoised, record = denoise(noisy)
    assert error(denoised, clean) < 0.9 * error(noisy, clean)
    np.testing.assert_array_equal(denoised.affine, noisy.affine)
    assert denoised.data.dtype == np.float32
    assert denoised.data.min() >= 0
    assert record["PatchRadius"] == "1x1x0"
    assert record["SearchRadius"] == "2x2x1"
    assert 3 < record["NoiseSigmaPercent"] < 6


def test_change_is_limited_and_repeats(pair: tuple[Volume, Volume]) -> None:
    _, noisy = pair
    small = noisy.with_data(noisy.data)
    first, record = denoise(small)
    second, _ = denoise(small)
    np.testing.assert_array_equal(first.data, second.data)
    assert np.abs(first.data - noisy.data).max() <= 1.001 * record["NoiseSigma"]


def test_clean_image_is_left_nearly_alone() -> None:
    x = np.linspace(0, 3, 40)
    smooth = 100 + 50 * np.sin(x)[:, None, None] * np.cos(x)[None, :, None] * np.ones(6)
    volume = Volume(smooth.astype(np.float32), np.diag([1.0, 1.0, 5.0, 1.0]))
    denoised, _ = denoise(volume)
    assert np.abs(denoised.data - volume.data).max() < 0.5


@pytest.mark.parametrize("exponent", [-9, -6, -3, -1, 3, 6, 9])
def test_the_unit_of_intensity_does_not_matter(pair: tuple[Volume, Volume], exponent: int) -> None:
    _, noisy = pair
    factor = np.float32(10.0) ** exponent
    expected, expected_record = denoise(noisy)
    denoised, record = denoise(noisy.with_data(noisy.data * factor))
    change = expected.data - noisy.data
    difference = denoised.data / factor - expected.data
    # rounding moves a few voxels to the other side of the filter's thresholds
    assert np.sqrt(np.mean(difference**2)) < 0.01 * np.sqrt(np.mean(change**2))
    for name in ("NoiseSigma", "ChangeRMS"):
        assert record[name] == pytest.approx(expected_record[name] * factor, rel=0.01)
    assert record["NoiseSigmaPercent"] == pytest.approx(
        expected_record["NoiseSigmaPercent"], abs=0.02
    )


def test_a_tilted_stack_is_denoised_as_an_upright_one(pair: tuple[Volume, Volume]) -> None:
    _, noisy = pair
    tilt = np.eye(4)
    tilt[1, 2] = np.tan(np.radians(20)) / noisy.spacings[2] * noisy.spacings[1]
    tilted = Volume(noisy.data, noisy.affine @ tilt)
    upright = Volume(noisy.data, np.diag([*tilted.spacings, 1.0]))
    denoised, record = denoise(tilted)
    np.testing.assert_array_equal(denoised.data, denoise(upright)[0].data)
    np.testing.assert_array_equal(denoised.affine, tilted.affine)
    assert record["ChangeRMS"] > 0


def test_negative_values_stay_possible(pair: tuple[Volume, Volume]) -> None:
    _, noisy = pair
    shifted = Volume(noisy.data[:30, :30] - 0.1 * noisy.data.max(), noisy.affine)
    denoised, _ = denoise(shifted)
    assert denoised.data.min() >= shifted.data.min()


def test_values_that_are_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def numpy(self) -> np.ndarray:
            return np.full((8, 8, 4), np.nan, np.float32)

    import ants

    monkeypatch.setattr(ants, "denoise_image", lambda *_, **__: Broken())
    with pytest.raises(EngineError, match="256 values that are not finite"):
        denoise(Volume(np.ones((8, 8, 4), np.float32), np.eye(4)))


def test_image_without_contrast() -> None:
    volume = Volume(np.full((8, 8, 4), 3.0, np.float32), np.diag([1.0, 1.0, 4.0, 1.0]))
    denoised, record = denoise(volume)
    np.testing.assert_allclose(denoised.data, 3, atol=1e-4)
    assert record["NoiseSigma"] == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_sigma_of_pure_noise(axis: int) -> None:
    data = 100 + np.random.default_rng(0).normal(0, 7, (40, 40, 40)).astype(np.float32)
    assert noise_sigma(data, np.ones_like(data, bool), axis) == pytest.approx(7, rel=0.1)


def test_sigma_where_there_is_nothing() -> None:
    data = np.zeros((5, 5, 5), np.float32)
    assert noise_sigma(data, np.zeros_like(data, bool), 2) == 0
    assert noise_sigma(data, np.ones_like(data, bool), 2) == 0


def test_radii_of_an_isotropic_image(pair: tuple[Volume, Volume]) -> None:
    _, noisy = pair
    cube = Volume(noisy.data[:20, :20], np.diag([2.0, 2.0, 2.0, 1.0]))
    _, record = denoising.denoise(cube)
    assert record["PatchRadius"] == "1x1x1"
