"""Acquisitions: defaults, contradictions, what goes into a sidecar."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_sr.exceptions import AcquisitionError
from bids_sr.imaging import Acquisition, SliceProfile, Volume


def _volume(spacings: tuple[float, float, float] = (1.0, 1.0, 6.0)) -> Volume:
    return Volume(np.zeros((4, 4, 4), np.float32), np.diag([*spacings, 1.0]))


def test_slices_of_a_selective_pulse_thinner_than_the_spacing_are_assumed() -> None:
    nothing = Acquisition(spacing=4.0)
    assert (nothing.thickness, nothing.profile) == (pytest.approx(3.4), "slr")
    assert nothing.gap == pytest.approx(0.6)
    assert nothing.slice_profile.name == "slr"
    assert Acquisition.from_volume(_volume()).thickness == pytest.approx(5.1)


def test_what_is_assumed_is_kept_apart_from_what_is_stated() -> None:
    assert set(Acquisition(spacing=4.0).assumed) == {"thickness", "profile"}
    assert Acquisition(spacing=4.0, thickness=3.4).assumed == ("profile",)
    assert Acquisition(spacing=4.0, profile="rect").assumed == ("thickness",)
    assert Acquisition(spacing=4.0, profile=SliceProfile.rect(3.0)).assumed == ()
    stated = Acquisition(spacing=4.0, thickness=3.4, profile="slr")
    assert stated.assumed == ()
    # What is known of the slices is the same, whoever says so.
    assert stated == Acquisition(spacing=4.0, thickness=3.4)
    volume = _volume((1.0, 1.0, 4.0))
    assert Acquisition(spacing=4.0, thickness=3.4).for_volume(volume).assumed == ("profile",)


@pytest.mark.parametrize(("spacing", "thickness", "gap"), [(6, 5, 1), (4, 4, 0), (3, 4, -1)])
def test_gap(spacing: float, thickness: float, gap: float) -> None:
    assert Acquisition(spacing=spacing, thickness=thickness).gap == gap


def test_scale_is_not_rounded() -> None:
    assert Acquisition(spacing=2.7).scale(1.0) == 2.7
    assert Acquisition(spacing=6.0).scale(0.7) == pytest.approx(6 / 0.7)


@pytest.mark.parametrize("name", ["gaussian", "rect", "slr"])
def test_named_profiles_have_the_thickness(name: str) -> None:
    profile = Acquisition(spacing=6, thickness=5, profile=name).slice_profile
    assert (profile.name, profile.fwhm) == (name, pytest.approx(5, rel=1e-4))


def test_profile_from_a_file_gives_the_thickness(tmp_path: Path) -> None:
    path = SliceProfile.rect(3.5).save(tmp_path / "measured.tsv")
    acquisition = Acquisition(spacing=6, profile=str(path))
    assert acquisition.thickness == pytest.approx(3.5, rel=1e-4)
    assert acquisition.slice_profile.name == "measured.tsv"


def test_given_profile_counts_more_than_the_nominal_thickness() -> None:
    profile = SliceProfile.gaussian(4.6)
    acquisition = Acquisition(spacing=6, thickness=5, profile=profile)
    assert acquisition.slice_profile is profile
    assert acquisition.thickness == 5


def test_for_volume_fills_in_the_axis() -> None:
    volume = _volume((6.0, 1.0, 1.0))
    assert Acquisition(spacing=6.03, thickness=5).for_volume(volume).slice_axis == 0
    assert Acquisition(spacing=1.0, slice_axis=1).for_volume(volume).slice_axis == 1


def test_for_volume_refuses_another_spacing() -> None:
    with pytest.raises(AcquisitionError, match="6 mm along slice axis 2 and a slice spacing of 5"):
        Acquisition(spacing=5.0).for_volume(_volume())
    with pytest.raises(AcquisitionError, match="1 mm along slice axis 0"):
        Acquisition(spacing=6.0, slice_axis=0).for_volume(_volume())


def test_from_volume() -> None:
    acquisition = Acquisition.from_volume(_volume(), thickness=5, profile="slr")
    assert (acquisition.spacing, acquisition.thickness, acquisition.slice_axis) == (6, 5, 2)
    assert Acquisition.from_volume(_volume(), slice_axis=1).spacing == 1


def test_to_dict_is_json() -> None:
    facts = Acquisition(spacing=6, thickness=5, profile="rect", slice_axis=2).to_dict()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["SliceProfileFWHM"] == pytest.approx(5)
    del facts["SliceProfileFWHM"]
    assert facts == {
        "SpacingBetweenSlices": 6,
        "SliceThickness": 5,
        "SliceGap": 1,
        "SliceAxis": 2,
        "SliceProfile": "rect",
    }


@pytest.mark.parametrize("length", [0.0, -5.0, np.nan, np.inf, 5000.0, 1e-300, 10**400])
def test_impossible_lengths_are_refused(length: float) -> None:
    with pytest.raises(AcquisitionError, match="slice spacing of"):
        Acquisition(spacing=length)
    with pytest.raises(AcquisitionError, match="slice thickness of"):
        Acquisition(spacing=5.0, thickness=length)
    with pytest.raises(AcquisitionError, match="target spacing of"):
        Acquisition(spacing=5.0).scale(length)


def test_unknown_profiles_and_axes_are_refused() -> None:
    with pytest.raises(AcquisitionError, match="'sinc'; expected one of gaussian, rect, slr"):
        Acquisition(spacing=5.0, profile="sinc")
    with pytest.raises(AcquisitionError, match="expected one of gaussian, rect, slr"):
        Acquisition(spacing=5.0, profile="x" * 5000)  # longer than a name may be
    with pytest.raises(AcquisitionError, match="slice axis 3"):
        Acquisition(spacing=5.0, slice_axis=3)
    with pytest.raises(AcquisitionError, match="expected a tuple of thickness and profile"):
        Acquisition(spacing=5.0, assumed="thickness")


def test_numbers_of_any_kind_become_those_of_python() -> None:
    acquisition = Acquisition(
        spacing=Fraction(9, 2),
        thickness=np.float32(4.0),
        slice_axis=np.int64(2),
    )
    kinds = {type(v) for v in (acquisition.spacing, acquisition.thickness)}
    assert (kinds, type(acquisition.slice_axis)) == ({float}, int)
    assert acquisition == Acquisition(spacing=4.5, thickness=4.0, slice_axis=2)


@pytest.mark.parametrize("axis", [2.0, True, "2", np.array([2])])
def test_a_slice_axis_is_a_whole_number(axis: Any) -> None:
    with pytest.raises(TypeError, match="expected 0, 1 or 2"):
        Acquisition(spacing=5.0, slice_axis=axis)
