"""Which scan of a session guides which: decided by names, sidecars and headers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bids_sr.bids.guides import THIN_MM
from bids_sr.bids.image import AnatImage, decision_row
from bids_sr.bids.layout import open_layout, plan_images
from bids_sr.bids.selection import GuideRule, Selection
from bids_sr.exceptions import ConfigError
from bids_sr.sr.together.guide import THICKEST_MM

AddImage = Callable[..., Path]
THIN = {"spacings": (1.0, 1.0, 1.0)}


def plan(dataset: Path, *words: str, **options: Any) -> dict[str, AnatImage]:
    rule = GuideRule.from_words(words or ("auto",))
    options = {"sr_method": "finetuned", "guide": rule, **options}
    images = plan_images(open_layout(dataset), Selection(**options))
    return {image.stem: image for image in images}


def guides(dataset: Path, *words: str, **options: Any) -> dict[str, str]:
    return {
        stem: Path(image.guide).name.split(".")[0]
        for stem, image in plan(dataset, *words, **options).items()
        if image.guide
    }


def test_the_library_takes_what_the_plan_takes_for_thin() -> None:
    assert THIN_MM == THICKEST_MM


def test_a_thin_scan_guides_every_thick_image_of_another_contrast(
    dataset: Path, add_image: AddImage
) -> None:
    add_image("sub-01_ses-a_T1w", **THIN)
    add_image("sub-01_ses-a_acq-thick_T1w")
    add_image("sub-01_ses-a_T2w")
    add_image("sub-01_ses-a_FLAIR")
    assert guides(dataset) == {
        "sub-01_ses-a_T2w": "sub-01_ses-a_T1w",
        "sub-01_ses-a_FLAIR": "sub-01_ses-a_T1w",
    }
    flair = plan(dataset)["sub-01_ses-a_FLAIR"]
    assert flair.guide == "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz"
    assert flair.guide_path is None
    row = decision_row(flair)
    assert "guided by sub-01_ses-a_T1w (1 mm) if that improves held-out slices" in row["reason"]
    assert guides(dataset, "none") == {}
    assert guides(dataset, sr_method="self") == {}


def test_scans_of_other_sessions_and_subjects_guide_nothing(
    dataset: Path, add_image: AddImage
) -> None:
    add_image("sub-01_ses-a_FLAIR")
    add_image("sub-01_ses-b_T1w", **THIN)
    add_image("sub-02_T1w", **THIN)
    add_image("sub-03_FLAIR")
    assert guides(dataset) == {}
    assert plan(dataset)["sub-01_ses-a_FLAIR"].guide_note == ""


def test_the_finest_of_several_guides(dataset: Path, add_image: AddImage) -> None:
    add_image("sub-01_acq-a_T1w", spacings=(1, 1, 1.4))
    add_image("sub-01_acq-b_T1w", spacings=(1, 1, 1.2))
    add_image("sub-01_acq-c_T2w", spacings=(0.5, 0.5, 1.3))
    add_image("sub-01_FLAIR")
    assert guides(dataset)["sub-01_FLAIR"] == "sub-01_acq-b_T1w"
    assert guides(dataset, "T2w")["sub-01_FLAIR"] == "sub-01_acq-c_T2w"
    assert guides(dataset, "acq=a")["sub-01_FLAIR"] == "sub-01_acq-a_T1w"
    assert guides(dataset, "T1w", "acquisition=a")["sub-01_FLAIR"] == "sub-01_acq-a_T1w"


def test_of_equals_the_one_without_contrast_agent_guides(
    dataset: Path, add_image: AddImage
) -> None:
    add_image("sub-01_ce-gd_T1w", **THIN)
    add_image("sub-01_run-1_T1w", spacings=(1, 1, 1.04))
    add_image("sub-01_run-2_T1w", **THIN)
    add_image("sub-01_FLAIR")
    assert guides(dataset) == {"sub-01_FLAIR": "sub-01_run-1_T1w"}


@pytest.mark.parametrize(
    ("sidecar", "spacings", "why"),
    [
        ({}, (1, 1, 1.6), "its voxels or slices are 1.6 mm, those of a guide at most 1.5 mm"),
        ({"SliceThickness": 3.0}, (1, 1, 1), "its voxels or slices are 3 mm"),
        ({"SeriesDescription": "3-plane localizer"}, (1, 1, 1), "it is a localiser"),
        ({"SeriesDescription": "C-SPINE 3D"}, (1, 1, 1), "of one of the two, it shows no head"),
        ({"BodyPart": "KNEE"}, (1, 1, 1), "only one of them shows a head"),
    ],
)
def test_scans_that_cannot_guide_are_named_with_the_reason(
    dataset: Path,
    add_image: AddImage,
    sidecar: dict[str, Any],
    spacings: tuple[float, float, float],
    why: str,
) -> None:
    add_image("sub-01_T1w", sidecar, spacings=spacings)
    add_image("sub-01_FLAIR")
    assert guides(dataset) == {}
    note = plan(dataset)["sub-01_FLAIR"].guide_note
    assert note.startswith("not guided by sub-01_T1w: ")
    assert why in note


def test_knees_are_guided_by_knees(dataset: Path, add_image: AddImage) -> None:
    add_image("sub-01_T1w", {"BodyPart": "KNEE"}, **THIN)
    add_image("sub-01_PDw", {"BodyPart": "KNEE"})
    add_image("sub-01_T2w", {"BodyPart": "ANKLE"})
    assert guides(dataset) == {"sub-01_PDw": "sub-01_T1w"}
    assert "they show ANKLE and KNEE" in plan(dataset)["sub-01_T2w"].guide_note


def test_parts_and_series_and_unreadable_scans_guide_nothing(
    dataset: Path, add_image: AddImage
) -> None:
    add_image("sub-01_chunk-1_T1w", **THIN)
    add_image("sub-01_acq-cine_T1w", **THIN, shape=(9, 8, 5, 3))
    add_image("sub-01_acq-broken_T1w", **THIN).write_bytes(b"no image")
    add_image("sub-01_FLAIR")
    assert guides(dataset) == {}
    assert "it is a part of a scan" in plan(dataset)["sub-01_FLAIR"].guide_note


def test_a_scan_that_the_modalities_leave_out_guides_if_it_is_named(
    dataset: Path, add_image: AddImage
) -> None:
    path = add_image("sub-01_T1w", **THIN)
    add_image("sub-01_FLAIR")
    few = {"modalities": ("FLAIR",)}
    assert guides(dataset, **few) == {}
    images = plan(dataset, "T1w", **few)
    assert images["sub-01_FLAIR"].guide_path == path
    assert "is not processed in this run" in images["sub-01_FLAIR"].guide_note
    assert (images["sub-01_T1w"].action, images["sub-01_T1w"].target_grid) == ("skip", None)
    filters = {"t1w": {"acquisition": "other"}}
    assert guides(dataset, "T1w", bids_filters=filters) == {}
    assert guides(dataset, "T2w", **few) == {}
    note = plan(dataset, "T2w", **few)["sub-01_FLAIR"].guide_note
    assert note == "not guided: the session has no image of another contrast in this run"


def test_a_filter_that_no_scan_meets_is_named(dataset: Path, add_image: AddImage) -> None:
    add_image("sub-01_T1w", **THIN)
    add_image("sub-01_FLAIR")
    note = plan(dataset, "acq=mprage")["sub-01_FLAIR"].guide_note
    assert note == "not guided by sub-01_T1w: --guide asks for acquisition=mprage"
    assert guides(dataset, "acq=null") == {"sub-01_FLAIR": "sub-01_T1w"}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("atuo",), "'atuo'"),
        (("auto", "T1w"), "'auto'"),
        (("acqu=x",), "acq"),
        (("acq=",), "ENTITY=VALUE"),
    ],
)
def test_unknown_words_are_refused(words: tuple[str, ...], named: str) -> None:
    with pytest.raises(ConfigError, match="--guide") as refusal:
        GuideRule.from_words(words)
    assert named in str(refusal.value)


def test_a_plan_without_guides_is_the_one_that_was(dataset: Path, add_image: AddImage) -> None:
    add_image("sub-01_FLAIR")
    add_image("sub-02_acq-a_T2w")
    add_image("sub-02_acq-b_T2w")
    with_and_without = [
        [(image.guide, image.guide_note, json.dumps(decision_row(image))) for image in images]
        for images in (plan(dataset).values(), plan(dataset, "none").values())
    ]
    assert with_and_without[0] == with_and_without[1]
