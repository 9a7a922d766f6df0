"""Slice profiles: width, exact integrals, kernels, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import integrate

from bids_sr.exceptions import AcquisitionError
from bids_sr.imaging import SliceProfile
from bids_sr.imaging.acquisition import PROFILES


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("fwhm", [0.7, 3.0, 5.0, 7.3])
def test_width_area_and_centre(name: str, fwhm: float) -> None:
    profile = PROFILES[name](fwhm)
    assert profile.name == name
    assert profile.fwhm == pytest.approx(fwhm, rel=1e-4)
    assert profile.centre == pytest.approx(0, abs=1e-9)
    assert integrate.trapezoid(profile.weights, profile.positions) == pytest.approx(1)


@pytest.mark.parametrize("name", PROFILES)
def test_cumulative_is_the_integral(name: str) -> None:
    profile = PROFILES[name](5.0)
    fine = np.linspace(-12, 12, 240001)
    density = np.interp(fine, profile.positions, profile.weights, left=0, right=0)
    oracle = integrate.cumulative_trapezoid(density, fine, initial=0)
    # The oracle's grid cuts the steep ramps of the box: 1 step of its density
    np.testing.assert_allclose(profile.cumulative(fine), oracle, atol=5e-5)


def test_gaussian_is_gaussian() -> None:
    profile = SliceProfile.gaussian(5.0)
    sigma = 5.0 / (2 * np.sqrt(2 * np.log(2)))
    second_moment = integrate.trapezoid(profile.weights * profile.positions**2, profile.positions)
    assert np.sqrt(second_moment) == pytest.approx(sigma, rel=1e-3)


def test_rect_kernel_of_a_width_that_is_no_whole_number() -> None:
    np.testing.assert_allclose(
        SliceProfile.rect(2.5).kernel(1.0), np.array([0.75, 1.0, 0.75]) / 2.5, atol=1e-5
    )
    np.testing.assert_allclose(SliceProfile.rect(3.0).kernel(1.0), np.full(3, 1 / 3), atol=1e-5)
    np.testing.assert_allclose(SliceProfile.rect(1.0).kernel(1.0), [1.0], atol=1e-9)


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("spacing", [0.37, 1.0, 9.0, 40.0])
def test_kernel_is_odd_symmetric_and_sums_to_one(name: str, spacing: float) -> None:
    kernel = PROFILES[name](5.0).kernel(spacing)
    assert kernel.size % 2 == 1
    assert kernel.sum() == pytest.approx(1)
    np.testing.assert_allclose(kernel, kernel[::-1], atol=1e-12)


def test_narrowed_takes_the_square_out() -> None:
    narrowed = SliceProfile.gaussian(5.0).narrowed(3.0)
    assert narrowed.fwhm == pytest.approx(4.0, rel=1e-4)
    again = np.convolve(SliceProfile.gaussian(3.0).kernel(0.05), narrowed.kernel(0.05))
    whole = SliceProfile.gaussian(5.0).kernel(0.05)
    pad = (again.size - whole.size) // 2
    np.testing.assert_allclose(again[pad : again.size - pad], whole, atol=2e-5)
    assert SliceProfile.slr(5.0).narrowed(0.0).fwhm == pytest.approx(5.0)


@pytest.mark.parametrize("in_plane", [-1.0, 5.0, 7.0, np.nan])
def test_narrowed_refuses_what_is_as_wide(in_plane: float) -> None:
    with pytest.raises(AcquisitionError, match="slice to be thicker"):
        SliceProfile.rect(5.0).narrowed(in_plane)


def test_file_there_and_back(tmp_path: Path) -> None:
    profile = SliceProfile.slr(4.0)
    path = profile.save(tmp_path / "profile.tsv")
    assert path.read_text(encoding="utf-8").startswith("position_mm\tweight\n")
    read = SliceProfile.from_file(path)
    np.testing.assert_allclose(read.positions, profile.positions, atol=1e-6)
    np.testing.assert_allclose(read.weights, profile.weights, atol=1e-6)
    assert read.name == "profile.tsv"
    assert [file.name for file in tmp_path.iterdir()] == ["profile.tsv"]


def test_file_is_centred_and_its_columns_are_found_by_name(tmp_path: Path) -> None:
    path = tmp_path / "profile.tsv"
    path.write_text("weight\tnote\tposition_mm\n0\ta\t3\n1\tb\t4\n1\tc\t6\n0\td\t7\n")
    profile = SliceProfile.from_file(path)
    np.testing.assert_allclose(profile.positions, [-2, -1, 1, 2])
    assert profile.fwhm == pytest.approx(3.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0\t1\n1\t2\n2\t1\n",
        "position_mm\tweight\n",
        "position_mm\tweight\n0\tx\n",
        "position_mm\tweight\n0\n1\n",
    ],
)
def test_file_without_a_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "profile.tsv").write_text(text)
    with pytest.raises(AcquisitionError, match=r"profile\.tsv: cannot be read"):
        SliceProfile.from_file(tmp_path / "profile.tsv")


def test_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AcquisitionError, match="cannot be read"):
        SliceProfile.from_file(tmp_path / "absent.tsv")


def test_profile_that_ends_high_drops_to_zero_there() -> None:
    profile = SliceProfile(positions=np.array([-1.0, 0, 1]), weights=np.array([1.0, 1, 1]))
    assert profile.fwhm == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("positions", "weights", "message"),
    [
        ([0, 1], [1, 1], "at least 3"),
        ([0, 1, 2], [1, 1], "equally many"),
        ([0, 1, np.inf], [1, 1, 1], "finite"),
        ([0, 1, 2], [1, np.nan, 1], "finite"),
        ([0, 1, 1], [1, 1, 1], "must increase"),
        ([0, 1, 2], [0, 0, 0], "positive sensitivity"),
        ([0, 1, 2], [1, -3, 1], "positive sensitivity"),
    ],
)
def test_impossible_profiles_are_refused(
    positions: list[float], weights: list[float], message: str
) -> None:
    with pytest.raises(AcquisitionError, match=message):
        SliceProfile(positions=np.array(positions), weights=np.array(weights))


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("fwhm", [0.0, -1.0, np.nan, np.inf])
def test_impossible_widths_are_refused(name: str, fwhm: float) -> None:
    with pytest.raises(AcquisitionError, match="width > 0 mm"):
        PROFILES[name](fwhm)


@pytest.mark.parametrize("spacing", [0.0, -1.0, np.nan])
def test_kernel_refuses_impossible_spacings(spacing: float) -> None:
    with pytest.raises(AcquisitionError, match="voxel spacing"):
        SliceProfile.rect(5.0).kernel(spacing)
