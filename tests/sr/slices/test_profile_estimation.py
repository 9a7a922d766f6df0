from __future__ import annotations

import numpy as np
import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Acquisition, SliceProfile, Volume, degrade
from bids_sr.sr.slices.profile_estimation import _response, estimate_slice_profile


def texture(seed: int, shape: tuple[int, int, int] = (96, 90, 96)) -> Volume:
    """Return texture with a falling spectrum, alike in all directions."""
    axes = [np.fft.fftfreq(size) for size in shape]
    radius = np.sqrt(sum(f**2 for f in np.meshgrid(*axes, indexing="ij")))
    noise = np.random.default_rng(seed).standard_normal(shape)
    spectrum = np.fft.fftn(noise) / np.maximum(radius, 0.03) ** 1.8
    data = np.fft.ifftn(spectrum).real
    return Volume((data / data.std() + 10).astype(np.float32), np.eye(4))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(
    ("kind", "fwhm", "spacing", "noise"),
    [("gaussian", 3.0, 4.0, 0.02), ("gaussian", 5.0, 5.0, 0.0), ("rect", 4.0, 4.0, 0.0)],
)
def test_a_known_kind_is_measured(
    axis: int, kind: str, fwhm: float, spacing: float, noise: float
) -> None:
    """Also with aliasing, where slices are thinner than they are apart."""
    acquisition = Acquisition(spacing=spacing, thickness=fwhm, profile=kind, slice_axis=axis)
    lr = degrade(texture(0), acquisition, noise_fraction=noise)
    distribution = estimate_slice_profile(lr, axis, kinds=[kind]).distribution
    likeliest, width = distribution.likeliest
    assert likeliest == kind
    assert width == pytest.approx(fwhm, abs=0.5)
    low, high = distribution.interval()
    assert low - 0.2 <= fwhm <= high + 0.2


def test_gap_and_no_gap_are_told_apart() -> None:
    """Two scans with the same header and other slices."""
    widths = []
    for fwhm in (3.0, 6.0):
        acquisition = Acquisition(spacing=6.0, thickness=fwhm, profile="gaussian", slice_axis=2)
        estimate = estimate_slice_profile(degrade(texture(1), acquisition), 2)
        widths.append(estimate.distribution.fwhm)
    assert widths[1] - widths[0] > 2


def test_units_are_millimetres() -> None:
    acquisition = Acquisition(spacing=4.0, thickness=3.0, profile="gaussian", slice_axis=2)
    lr = degrade(texture(0), acquisition)
    larger = Volume(lr.data, lr.affine @ np.diag([2, 2, 2, 1]))
    small, large = (estimate_slice_profile(volume, 2) for volume in (lr, larger))
    assert large.distribution.fwhm == pytest.approx(2 * small.distribution.fwhm, rel=0.01)
    assert large.frequencies[-1] == pytest.approx(small.frequencies[-1] / 2)


def test_the_diagnostics() -> None:
    acquisition = Acquisition(spacing=4.0, thickness=4.0, slice_axis=2)
    estimate = estimate_slice_profile(degrade(texture(2), acquisition), 2)
    assert set(estimate.distribution.kinds) == {"gaussian", "rect", "slr"}
    assert estimate.distribution.shares.sum() == pytest.approx(1)
    # What is left across the slices falls towards the sampling limit, as the model says.
    assert estimate.observed[-3:].mean() < 0.9 * estimate.observed[1:4].mean()
    upper = slice(2, None)
    assert np.corrcoef(estimate.observed[upper], estimate.expected[upper])[0, 1] > 0.9


def test_response_is_what_the_profile_does_to_a_wave() -> None:
    """The oracle: a wave that is degraded."""
    profile = SliceProfile.rect(3.0)
    frequency = 0.1
    places = np.arange(400.0)
    wave = np.cos(2 * np.pi * frequency * places)
    left = np.convolve(wave, profile.kernel(1.0), mode="same")[200]
    response = _response(profile, 1.0, np.array([frequency]))[0]
    assert left == pytest.approx(response * wave[200], abs=1e-6)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_an_image_without_detail_in_plane_is_refused(axes: tuple[int, ...]) -> None:
    data = np.random.default_rng(0).uniform(1, 2, (32, 32, 12)).astype(np.float32)
    flat = np.broadcast_to(data.mean(axes, keepdims=True), data.shape)
    with pytest.raises(InputDataError, match="State the slice thickness instead"):
        estimate_slice_profile(Volume(flat, np.diag([1.0, 1.0, 4.0, 1.0])), 2)


@pytest.mark.parametrize("factor", [1e-30, 1e17])
def test_the_unit_of_the_intensities_changes_nothing(factor: float) -> None:
    data = np.random.default_rng(0).uniform(1, 2, (32, 32, 12)).astype(np.float32)
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    usual = estimate_slice_profile(Volume(data, affine), 2).distribution
    scaled = estimate_slice_profile(Volume(data * np.float32(factor), affine), 2).distribution
    assert scaled.fwhm == pytest.approx(usual.fwhm, rel=1e-3)


def test_what_cannot_be_told_is_refused() -> None:
    thin = texture(0)
    with pytest.raises(InputDataError, match="1 voxels apart"):
        estimate_slice_profile(thin, 2)
    few = Volume(thin.data[:, :, :5], np.diag([1, 1, 4, 1]))
    with pytest.raises(InputDataError, match="5 slices"):
        estimate_slice_profile(few, 2)
    flat = Volume(np.ones((40, 40, 20), np.float32), np.diag([1, 1, 4, 1]))
    with pytest.raises(InputDataError, match="constant"):
        estimate_slice_profile(flat, 2)
