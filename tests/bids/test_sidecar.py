from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_sr.bids.sidecar import (
    AcquisitionFacts,
    AcquisitionOverrides,
    is_brain,
    read_acquisition,
)
from bids_sr.exceptions import AcquisitionError
from bids_sr.imaging import Grid, InputReport, SliceProfile

PULSE = "the slice profile is not stated: assumed slr, the profile of a selective pulse"


def report(*spacings: float, warnings: tuple[str, ...] = ()) -> InputReport:
    return InputReport(
        path=Path("sub-01_FLAIR.nii.gz"),
        grid=Grid((20, 20, 20), np.diag([*spacings, 1.0])),
        n_volumes=1,
        dtype="int16",
        affine_source="sform",
        warnings=warnings,
    )


def facts(sidecar: dict[str, Any], *spacings: float, **overrides: Any) -> AcquisitionFacts:
    return read_acquisition(
        report(*(spacings or (1.0, 1.0, 6.0))), sidecar, AcquisitionOverrides(**overrides)
    )


def test_sidecar_and_header_agree() -> None:
    result = facts({"SliceThickness": 5, "SpacingBetweenSlices": 6.0})
    assert result.acquisition.spacing == 6.0
    assert result.acquisition.thickness == 5.0
    assert result.acquisition.gap == pytest.approx(1.0)
    assert result.acquisition.slice_axis == 2
    assert result.sources == {
        "slice_axis": "header",
        "spacing": "sidecar",
        "thickness": "sidecar",
        "profile": "assumed",
    }
    assert result.assumptions == (PULSE,)
    assert result.acquisition.profile == "slr"
    assert result.acquisition.assumed == ("profile",)
    assert result.warnings == ()
    assert not result.respaced


def test_nothing_is_assumed_of_what_is_stated() -> None:
    result = facts({"SliceThickness": 5}, slice_profile="gaussian")
    assert result.sources["profile"] == "command line"
    assert (result.acquisition.assumed, result.assumptions) == ((), ())


def test_the_table_of_a_profile_says_the_thickness(tmp_path: Path) -> None:
    table = SliceProfile.rect(3.5).save(tmp_path / "measured.tsv")
    result = facts({}, slice_profile=str(table))
    assert result.acquisition.nominal_thickness == pytest.approx(3.5, rel=1e-4)
    assert result.sources["thickness"] == "command line"
    assert (result.acquisition.assumed, result.assumptions) == ((), ())


def test_without_a_sidecar_the_zoom_is_the_spacing_and_the_thickness_is_assumed() -> None:
    result = read_acquisition(report(5.0, 1.0, 1.0), {})
    assert result.acquisition.slice_axis == 0
    assert (result.acquisition.spacing, result.acquisition.thickness) == (5.0, 4.25)
    assert result.sources["spacing"] == "header"
    assert result.sources["thickness"] == "assumed"
    assert result.assumptions == (
        "SliceThickness is not given: taken as 0.85 of the slice spacing, 4.25 mm",
        PULSE,
    )


def test_what_is_not_stated_is_left_to_the_image() -> None:
    result = facts({"SliceThickness": 5}, slice_profile="auto")
    assert result.acquisition.profile == "slr"
    assert (result.sources["profile"], result.sources["thickness"]) == ("estimated", "sidecar")
    result = facts({}, slice_profile="auto")
    assert (result.sources["profile"], result.sources["thickness"]) == ("estimated", "estimated")
    assert all("estimated from the image" in sentence for sentence in result.assumptions)
    # Tables join the sentences by semicolons, and are split at them again.
    assert not any(";" in sentence for sentence in result.assumptions)
    assert facts({}, slice_profile="rect").sources["thickness"] == "estimated"
    assert facts({}, slice_profile="assumed").sources["thickness"] == "assumed"
    unseen = AcquisitionOverrides(slice_profile="auto").without_estimate()
    assert read_acquisition(report(1.0, 1.0, 5.0), {}, unseen).sources["thickness"] == "assumed"
    assert (
        facts({}, slice_profile="auto", slice_thickness=4.0).sources["thickness"] == "command line"
    )


@pytest.mark.parametrize(
    ("fields", "sequence"),
    [
        ({"ScanningSequence": "SE\\IR"}, "SE"),
        ({"ScanningSequence": ["GR", "SE"]}, "GR"),
        ({"ScanningSequence": "GR", "MRAcquisitionType": "3D"}, "3D"),
        ({"ScanningSequence": None}, ""),
        ({}, ""),
    ],
)
def test_sequence(fields: dict[str, Any], sequence: str) -> None:
    assert facts(fields).sequence == sequence


@pytest.mark.parametrize(
    ("value", "unit"), [(5000, "micrometres"), (0.005, "metres"), (5.0, None)]
)
@pytest.mark.parametrize("field", ["SliceThickness", "SpacingBetweenSlices"])
def test_units_of_converters(field: str, value: float, unit: str | None) -> None:
    result = facts({field: value}, 1.0, 1.0, 5.0)
    assert result.acquisition.spacing == 5.0
    stated = field == "SliceThickness"
    assert result.acquisition.thickness == pytest.approx(5.0 if stated else 4.25)
    assert result.warnings == ()
    noted = [sentence for sentence in result.assumptions if "interpreted as" in sentence]
    assert noted == (
        [] if unit is None else [f"{field} is {value}: interpreted as {unit}, that is 5 mm"]
    )


def test_small_animals_are_in_mm_too() -> None:
    result = facts({"SliceThickness": 0.3, "SpacingBetweenSlices": 0.5}, 0.05, 0.05, 0.5)
    assert result.acquisition.thickness == 0.3
    assert result.assumptions == (PULSE,)


def test_one_percent_is_agreement_and_more_is_a_conflict() -> None:
    near = facts({"SpacingBetweenSlices": 6.05})
    assert (near.acquisition.spacing, near.warnings) == (6.0, ())
    far = facts({"SpacingBetweenSlices": 6.1})
    assert far.acquisition.spacing == 6.0
    assert far.sources["spacing"] == "header"
    (warning,) = far.warnings
    assert "--slice-spacing 6.1" in warning
    assert "agree within 1 %" in warning


def test_header_that_holds_the_thickness() -> None:
    result = facts({"SliceThickness": 5, "SpacingBetweenSlices": 6}, 1.0, 1.0, 5.0)
    assert result.acquisition.spacing == 5.0
    (warning,) = result.warnings
    assert "the header seems to hold the slice thickness" in warning
    assert "--slice-spacing 6" in warning


def test_command_line_wins() -> None:
    result = facts(
        {"SliceThickness": "five", "SpacingBetweenSlices": 0},
        1.0,
        1.0,
        5.0,
        slice_spacing=6.0,
        slice_thickness=4.0,
        slice_profile="rect",
    )
    assert (result.acquisition.spacing, result.acquisition.thickness) == (6.0, 4.0)
    assert result.acquisition.profile == "rect"
    assert {result.sources[name] for name in ("spacing", "thickness", "profile")} == {
        "command line"
    }
    assert result.respaced
    assert result.header_spacing == 5.0
    assert "the header's 5 mm is replaced" in result.assumptions[0]


def test_negative_spacing_is_a_direction() -> None:
    result = facts({"SpacingBetweenSlices": -6})
    assert result.acquisition.spacing == 6.0
    assert any(
        "the sign is interpreted as the slice direction" in said for said in result.assumptions
    )
    assert result.warnings == ()


@pytest.mark.parametrize(
    ("value", "thickness", "cause"),
    [
        (1, 5, "6 - 5 = 1: this is the gap"),
        (1.0, "5", "6 - 5 = 1: this is the gap"),
        (0, 6, "6 - 6 = 0: this is the gap"),
        (0.1, 5.9, "6 - 5.9 = 0.1: this is the gap"),
        (-3, 9, "6 - 9 = -3: this is the gap"),
        (0.2, 5, "6 - 5 = 1, and that is 0.2 of the thickness: the gap"),
        (20, 5, "6 - 5 = 1, and that is 20 % of the thickness: the gap"),
        (0, None, "some vendors write the gap"),
        (0.1, None, "some vendors write the gap"),
        (1, 4, "some vendors write the gap"),
        (-1, None, "some vendors write the gap"),
        (90, 5, "expected the two to agree"),
        (0.06, 5, "some vendors write the gap"),
    ],
)
def test_a_spacing_that_is_only_compared_costs_no_image(
    value: float, thickness: object, cause: str
) -> None:
    result = facts({"SpacingBetweenSlices": value, "SliceThickness": thickness})
    assert result.acquisition.spacing == 6.0
    assert result.sources["spacing"] == "header"
    (warning,) = result.warnings
    assert f"SpacingBetweenSlices is {value:g} mm" in warning
    assert cause in warning
    assert "6 mm, is used" in warning
    assert "--slice-spacing" not in warning


@pytest.mark.parametrize(
    "value", ["six", [6], {"a": 1}, True, float("nan"), float("inf"), 10**400, "x" * 9999]
)
def test_a_spacing_that_is_no_number_costs_no_image(value: object) -> None:
    result = facts({"SpacingBetweenSlices": value})
    assert result.acquisition.spacing == 6.0
    (warning,) = result.warnings
    assert "a number of mm is expected" in warning
    assert len(warning) < 250


@pytest.mark.parametrize("value", [None, "", "n/a", " N/A ", "unknown"])
@pytest.mark.parametrize("field", ["SliceThickness", "SpacingBetweenSlices"])
def test_words_for_nothing_are_absent(field: str, value: object) -> None:
    result = facts({field: value})
    assert result == facts({})


def test_numbers_written_as_text_are_read() -> None:
    result = facts({"SliceThickness": "5.0", "SpacingBetweenSlices": " 6 "})
    assert (result.acquisition.thickness, result.sources["spacing"]) == (5.0, "sidecar")
    assert result.warnings == ()


def test_a_thickness_of_zero_counts_as_not_given() -> None:
    result = facts({"SliceThickness": 0})
    assert result.sources["thickness"] == "assumed"
    assert result.warnings == ("SliceThickness is 0 in the sidecar: treated as not stated",)


def test_overlap_is_allowed_and_said() -> None:
    result = facts({"SliceThickness": 5}, 1.0, 1.0, 2.5)
    assert result.acquisition.gap == pytest.approx(-2.5)
    assert result.assumptions == ("slices of 5 mm every 2.5 mm overlap by 2.5 mm", PULSE)


def test_ambiguous_slice_axis_is_said() -> None:
    result = facts({}, 1.0, 4.0, 4.02)
    assert result.acquisition.slice_axis == 2
    assert result.sources["slice_axis"] == "assumed"
    assert "axes 1, 2 have the same largest voxel size" in result.assumptions[0]


def test_three_dimensional_acquisition_is_said() -> None:
    result = facts({"MRAcquisitionType": "3D", "SliceThickness": 6})
    assert "MRAcquisitionType is 3D" in result.assumptions[-1]


def test_header_warnings_are_handed_on() -> None:
    result = read_acquisition(report(1.0, 1.0, 4.0, warnings=("odd header",)), {})
    assert result.warnings == ("odd header",)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("six", "expected a number in mm"),
        ([6], "expected a number in mm"),
        (True, "expected a number in mm"),
        (float("nan"), "expected a number in mm"),
        (10**400, "expected a number in mm"),
        (-5, "expected a positive number"),
        (90, "expected mm and about that size"),
        (31, "5.17 times as thick as their spacing; expected at most 5 times"),
        (60, "slices of 60 mm every 6 mm are 10 times as thick"),
    ],
)
def test_impossible_thickness_names_the_file_and_the_mend(value: Any, message: str) -> None:
    with pytest.raises(AcquisitionError, match=message) as error:
        facts({"SliceThickness": value})
    assert "sub-01_FLAIR.nii.gz" in str(error.value)
    assert "--slice-thickness" in str(error.value)


def test_a_thickness_of_the_command_line_is_checked_too() -> None:
    with pytest.raises(AcquisitionError, match="10 times as thick as their spacing"):
        facts({}, slice_thickness=60.0)


@pytest.mark.parametrize("overrides", [{"slice_spacing": 0.0}, {"slice_thickness": -1.0}])
def test_impossible_options(overrides: dict[str, float]) -> None:
    with pytest.raises(AcquisitionError, match=f"--{next(iter(overrides)).replace('_', '-')}"):
        facts({}, **overrides)


@pytest.mark.parametrize(
    ("sidecar", "expected"),
    [
        ({}, True),
        ({"BodyPart": "BRAIN"}, True),
        ({"BodyPartExamined": "Head and Neck"}, True),
        ({"BodyPart": "n/a", "BodyPartExamined": "KNEE"}, False),
        ({"BodyPart": "KNEE"}, False),
        ({"BodyPart": ""}, True),
    ],
)
def test_body_part(sidecar: dict[str, str], expected: bool) -> None:
    assert is_brain(sidecar) is expected
