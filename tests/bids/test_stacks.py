"""Which images of a session are stacks of one contrast, by names, sidecars and headers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bids_sr.bids.image import AnatImage, decision_row
from bids_sr.bids.layout import open_layout, plan_images
from bids_sr.bids.selection import Selection
from bids_sr.bids.stacks import StackGroup, Tolerance, stack_groups

AddImage = Callable[..., Path]
SPIN_ECHO = {"ScanningSequence": "SE", "EchoTime": 0.08, "RepetitionTime": 4.0}


def plan(dataset: Path, **options: Any) -> list[AnatImage]:
    return plan_images(open_layout(dataset), Selection(sr_method="bspline", **options))


def groups(dataset: Path, **options: Any) -> dict[str, list[str]]:
    return {
        group.name: [member.stem for member in group.members]
        for group in stack_groups(plan(dataset, **options))
    }


def note(dataset: Path, stem: str) -> str:
    return next(image.stack_note for image in plan(dataset) if image.stem == stem)


def test_stacks_that_differ_in_acq_run_rec_and_chunk_are_fused(
    dataset: Path, add_image: AddImage
) -> None:
    add_image("sub-01_ses-a_acq-ax_run-1_T2w", spacings=(1, 1, 4))
    add_image("sub-01_ses-a_acq-sag_run-1_T2w", spacings=(4, 1, 1))
    add_image("sub-01_ses-a_acq-ax_run-2_T2w", spacings=(1, 1, 4))
    add_image("sub-01_ses-a_acq-ax_T1w")
    add_image("sub-01_ses-b_acq-ax_T2w")
    add_image("sub-02_T2w")
    assert groups(dataset) == {
        "sub-01_ses-a_desc-fused_T2w": [
            "sub-01_ses-a_acq-ax_run-1_T2w",
            "sub-01_ses-a_acq-ax_run-2_T2w",
            "sub-01_ses-a_acq-sag_run-1_T2w",
        ]
    }
    assert note(dataset, "sub-02_T2w") == ""
    assert groups(dataset, fuse_stacks=False) == {}


def test_shared_entities_stay_in_the_name(dataset: Path, add_image: AddImage) -> None:
    add_image("sub-01_acq-low_run-1_echo-1_T2w")
    add_image("sub-01_acq-low_run-2_echo-1_T2w")
    add_image("sub-01_acq-low_run-1_echo-2_T2w")
    assert list(groups(dataset)) == ["sub-01_acq-low_echo-1_desc-fused_T2w"]


def test_the_decision_is_in_the_row(dataset: Path, add_image: AddImage) -> None:
    add_image("sub-01_run-1_T2w")
    add_image("sub-01_run-2_T2w")
    row = decision_row(plan(dataset)[0])
    assert row["reason"].endswith("; one of 2 stacks that are fused into sub-01_desc-fused_T2w")


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ({"EchoTime": 0.02}, {"EchoTime": 0.09}, "EchoTime is 0.09 and 0.02"),
        ({"RepetitionTime": 0.5}, {"RepetitionTime": 4}, "RepetitionTime is 4 and 0.5"),
        ({"InversionTime": 1.8}, {"InversionTime": 2.5}, "InversionTime is 2.5 and 1.8"),
        ({"FlipAngle": 90}, {"FlipAngle": 20}, "FlipAngle is 20 and 90"),
        ({"ContrastBolusAgent": "Gd"}, {}, "contrast-enhanced (ContrastBolusAgent: Gd)"),
        ({"BodyPart": "KNEE"}, {"BodyPart": "ANKLE"}, "they show ANKLE and KNEE"),
        ({"BodyPart": "KNEE"}, {}, "only one of them shows a head"),
        ({"ScanningSequence": "SE"}, {"ScanningSequence": ["GR", "IR"]}, "a gradient echo"),
        ({"EchoTime": 0.08}, {"EchoTime": 0.08, "InversionTime": 0.15}, "an InversionTime"),
        ({"EchoTime": "0.02"}, {"EchoTime": "0.09"}, "EchoTime is 0.09 and 0.02"),
        ({"MTState": True}, {"MTState": False}, "magnetisation transfer"),
        ({"ScanOptions": "PFP"}, {"ScanOptions": "PFP\\FS"}, "fat-suppressed"),
        ({"SeriesDescription": "pd_tse_sag"}, {"SeriesDescription": "pd_tse_fs_cor"}, "fat-supp"),
        (
            {"ImageType": ["ORIGINAL", "WATER"]},
            {"ImageType": ["ORIGINAL", "FAT"]},
            "fat and water",
        ),
        ({"AcquisitionTime": "10:11:12.5"}, {"AcquisitionTime": "10:11:12.5"}, "of one scan"),
        ({"ImageType": ["M", "ND", "NORM"]}, {"ImageType": ["M", "ND"]}, "of one scan"),
    ],
)
def test_other_contrasts_are_not_fused(
    dataset: Path,
    add_image: AddImage,
    first: dict[str, Any],
    second: dict[str, Any],
    why: str,
) -> None:
    add_image("sub-01_acq-a_T2w", first)
    add_image("sub-01_acq-b_T2w", second)
    assert groups(dataset) == {}
    said = note(dataset, "sub-01_acq-b_T2w")
    assert said.startswith("not fused with sub-01_acq-a_T2w: ")
    assert why in said


def test_what_no_sidecar_says_tells_nothing_apart(dataset: Path, add_image: AddImage) -> None:
    add_image("sub-01_acq-a_T2w", SPIN_ECHO)
    add_image("sub-01_acq-b_T2w")
    add_image("sub-01_acq-c_T2w", {**SPIN_ECHO, "EchoTime": 0.1, "RepetitionTime": 5.2})
    assert len(groups(dataset)["sub-01_desc-fused_T2w"]) == 3


def test_spin_echoes_may_differ_more() -> None:
    tolerance = Tolerance(ratio=1.25, spin_echo=0.02)
    assert tolerance.allows(0.017, 0.033, spin_echo=True)
    assert not tolerance.allows(0.017, 0.033, spin_echo=False)
    assert not tolerance.allows(0.015, 0.08, spin_echo=True)


def test_localisers_series_and_thin_images_stay_alone(dataset: Path, add_image: AddImage) -> None:
    add_image("sub-01_acq-a_T2w")
    add_image("sub-01_acq-localizer_T2w")
    add_image("sub-01_acq-thin_T2w", spacings=(1, 1, 1))
    add_image("sub-01_acq-series_T2w", shape=(9, 8, 5, 3))
    assert groups(dataset) == {}
    assert note(dataset, "sub-01_acq-a_T2w") == ""


def test_two_reconstructions_of_one_scan_are_not_two_stacks(
    dataset: Path, add_image: AddImage
) -> None:
    add_image("sub-01_rec-norm_T2w")
    add_image("sub-01_rec-orig_T2w")
    assert groups(dataset) == {}
    assert "both are reconstructions of one scan" in note(dataset, "sub-01_rec-orig_T2w")


def test_two_volumes_of_one_name_are_none(dataset: Path, add_image: AddImage) -> None:
    for run in (1, 2):
        add_image(f"sub-01_acq-early_run-{run}_PDw", {"EchoTime": 0.01})
        add_image(f"sub-01_acq-late_run-{run}_PDw", {"EchoTime": 0.09})
    assert set(groups(dataset)) == {
        "sub-01_acq-early_desc-fused_PDw",
        "sub-01_acq-late_desc-fused_PDw",
    }
    for plane in ("x", "y"):
        add_image(f"sub-01_acq-early{plane}_T2w", {"EchoTime": 0.01})
        add_image(f"sub-01_acq-late{plane}_T2w", {"EchoTime": 0.09})
    assert "sub-01_desc-fused_T2w" not in groups(dataset)
    assert "would be the name of 2 volumes" in note(dataset, "sub-01_acq-earlyx_T2w")


def test_the_finest_is_the_frame_of_equals_the_first(dataset: Path, add_image: AddImage) -> None:
    add_image("sub-01_acq-a_T2w", spacings=(1, 1, 5))
    add_image("sub-01_acq-b_T2w", spacings=(4, 1, 1))
    add_image("sub-01_acq-c_T2w", spacings=(1, 4.01, 1))
    (group,) = stack_groups(plan(dataset))
    assert isinstance(group, StackGroup)
    assert group.finest.stem == "sub-01_acq-b_T2w"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"AcquisitionTime": "00:00:00.0"}, {"AcquisitionTime": "00:00:00.0"}),  # made anonymous
        ({"ScanOptions": "FS"}, {}),
        ({"ScanningSequence": "SE"}, {"ScanningSequence": "SE\\IR"}),
        ({"InversionTime": 0.15}, {}),
        ({"EchoTime": 0.08, "InversionTime": "n/a"}, {"EchoTime": 0.08}),
        ({"SeriesDescription": "offset_tse"}, {"SeriesDescription": "t2 tse"}),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M"]}, {}),
    ],
)
def test_what_tells_nothing_apart(
    dataset: Path, add_image: AddImage, first: dict[str, Any], second: dict[str, Any]
) -> None:
    add_image("sub-01_acq-a_T2w", first)
    add_image("sub-01_acq-b_T2w", second)
    assert len(groups(dataset)["sub-01_desc-fused_T2w"]) == 2


@pytest.mark.parametrize(
    "labels", [("sag", "sagfs"), ("ax", "axFS"), ("water", "fat"), ("dixonW", "dixonF")]
)
def test_names_tell_contrasts_apart(
    dataset: Path, add_image: AddImage, labels: tuple[str, str]
) -> None:
    for label in labels:
        add_image(f"sub-01_acq-{label}_PDw")
    assert groups(dataset) == {}


def test_a_phase_and_a_view_of_another_scan_are_no_stacks(
    dataset: Path, add_image: AddImage
) -> None:
    add_image("sub-01_acq-a_T2w")
    add_image("sub-01_acq-b_T2w", {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]})
    add_image("sub-01_acq-c_T2w", {"ImageType": ["DERIVED", "SECONDARY", "MPR"]})
    assert groups(dataset) == {}


def test_a_magnitude_is_one_with_or_without_its_entity(dataset: Path, add_image: AddImage) -> None:
    add_image("sub-01_acq-a_part-mag_T2w")
    add_image("sub-01_acq-a_part-phase_T2w")
    add_image("sub-01_acq-b_T2w")
    assert groups(dataset) == {
        "sub-01_desc-fused_T2w": ["sub-01_acq-a_part-mag_T2w", "sub-01_acq-b_T2w"]
    }


def test_sessions_agents_and_echoes_stay_apart(dataset: Path, add_image: AddImage) -> None:
    for stem in ("acq-a_echo-1", "acq-b_echo-2", "acq-a_ce-gad", "acq-c_inv-1", "acq-d_mt-on"):
        add_image(f"sub-01_{stem}_T2w")
    add_image("sub-02_ses-a_acq-a_T2w")
    add_image("sub-02_ses-b_acq-b_T2w")
    assert groups(dataset) == {}


def test_names_stay_where_stacks_have_failed(dataset: Path, add_image: AddImage) -> None:
    """Also if those that are left share more than all of the plan."""
    add_image("sub-01_acq-a_run-1_T2w")
    add_image("sub-01_acq-a_run-2_T2w")
    add_image("sub-01_acq-b_run-1_T2w")
    images = [image for image in plan(dataset) if "acq-a" in image.stem]
    (group,) = stack_groups(images)
    assert group.name == "sub-01_desc-fused_T2w"
    assert group.image.entities == {"subject": "01"}
