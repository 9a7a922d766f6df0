"""Metadata only from an image's own sidecars, by the inheritance principle of BIDS."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bids_sr.bids.image import AnatImage
from bids_sr.bids.inheritance import SidecarReader
from bids_sr.exceptions import InputDataError

AddImage = Callable[..., Path]
Plan = Callable[..., dict[str, AnatImage]]


def write(dataset: Path, sidecars: dict[str, dict[str, Any]]) -> None:
    for name, content in sidecars.items():
        (dataset / name).parent.mkdir(parents=True, exist_ok=True)
        (dataset / name).write_text(json.dumps(content))


def test_a_sidecar_of_another_image_does_not_fill_in_an_images_own(
    add_image: AddImage, plan: Plan
) -> None:
    add_image(
        "sub-01_T1w",
        {
            "SliceThickness": 3,
            "ContrastBolusIngredient": "GADOLINIUM",
            "BodyPartExamined": "KNEE",
        },
    )
    add_image("sub-01_acq-tse_T1w", {"EchoTime": 0.01})
    image = plan()["sub-01_acq-tse_T1w"]
    assert image.metadata == {"EchoTime": 0.01}
    assert image.brain
    assert image.facts is not None
    assert image.facts.sources["thickness"] == "assumed"
    assert not any("inherits" in sentence for sentence in image.facts.assumptions)


def test_from_the_root_to_the_image_one_file_a_folder(
    add_image: AddImage, plan: Plan, dataset: Path
) -> None:
    add_image("sub-01_ses-a_acq-2D_T1w", {"EchoTime": 0.3})
    add_image("sub-01_ses-b_T1w")
    write(
        dataset,
        {
            "T1w.json": {"SliceThickness": 2, "EchoTime": 0.1, "FlipAngle": 9},
            "sub-01/sub-01_T1w.json": {"EchoTime": 0.2, "InversionTime": 1},
            "T2w.json": {"RepetitionTime": 1},
        },
    )
    images = plan()
    above = {"SliceThickness": 2, "FlipAngle": 9, "InversionTime": 1}
    assert images["sub-01_ses-a_acq-2D_T1w"].metadata == {**above, "EchoTime": 0.3}
    assert images["sub-01_ses-b_T1w"].metadata == {**above, "EchoTime": 0.2}


def test_the_closest_file_of_a_folder_is_the_only_one(
    add_image: AddImage, plan: Plan, dataset: Path
) -> None:
    add_image("sub-01_acq-tse_T1w", {})
    add_image("sub-01_T1w", {})
    write(
        dataset,
        {
            "T1w.json": {"SliceThickness": 2, "FlipAngle": 9},
            "acq-tse_T1w.json": {"SliceThickness": 3},
        },
    )
    images = plan()
    assert images["sub-01_acq-tse_T1w"].metadata == {"SliceThickness": 3}
    assert images["sub-01_T1w"].metadata == {"SliceThickness": 2, "FlipAngle": 9}


def test_what_an_image_without_a_sidecar_inherits_is_named_with_its_origin(
    add_image: AddImage, plan: Plan, dataset: Path
) -> None:
    add_image("sub-01_T1w", {"EchoTime": 0.1, "BodyPartExamined": "BRAIN", "SliceThickness": 3})
    add_image("sub-01_acq-tse_T1w")
    add_image("sub-02_T1w")
    write(dataset, {"T1w.json": {f"Field{number}": 1 for number in range(9)}})
    images = plan()
    facts = images["sub-01_acq-tse_T1w"].facts
    assert facts is not None
    assert facts.assumptions[-1] == (
        "it has no sidecar of its own and inherits Field0, Field1, Field2, Field3, Field4, Field5 "
        "and 3 more fields from T1w.json; SliceThickness, BodyPartExamined, EchoTime from "
        "sub-01/anat/sub-01_T1w.json"
    )
    assert images["sub-01_T1w"].facts is not None
    assert not any("inherits" in text for text in images["sub-01_T1w"].facts.assumptions)
    assert images["sub-02_T1w"].facts is not None
    assert images["sub-02_T1w"].facts.assumptions[-1].endswith("3 more fields from T1w.json")


def test_two_that_apply_equally_are_not_chosen_from(
    add_image: AddImage, plan: Plan, dataset: Path
) -> None:
    add_image("sub-01_acq-tse_run-1_T1w", {"EchoTime": 0.1})
    write(
        dataset,
        {
            "acq-tse_T1w.json": {"SliceThickness": 2},
            "run-1_T1w.json": {"SliceThickness": 3},
        },
    )
    image = plan()["sub-01_acq-tse_run-1_T1w"]
    assert image.metadata == {"EchoTime": 0.1}
    assert image.facts is not None
    assert image.facts.warnings[0].startswith(
        "acq-tse_T1w.json, run-1_T1w.json match equally well"
    )


@pytest.mark.parametrize(
    "name",
    [
        "sub-01/anat/sub-01_backup_T1w.json",
        "sub-01/anat/sub-01_T1w.old.json",
        "sub-01/anat/sub-01_T1w.json.bak",
        "sub-01/anat/._sub-01_T1w.json",
        "sub-01/anat/sub-02_T1w.json",
        "sub-01/anat/sub-01_run-1_T1w.json",
        "sub-01/anat/sub-01_T2w.json",
        "sub-01/ses-1/anat/sub-01_T1w.json",
        "sub-01/anat/deeper/sub-01_T1w.json",
        "sub-02/anat/sub-01_T1w.json",
        "T1w.jsonl",
    ],
)
def test_files_that_do_not_apply(
    add_image: AddImage, plan: Plan, dataset: Path, name: str
) -> None:
    add_image("sub-01_T1w")
    write(dataset, {name: {"SliceThickness": 3}})
    assert plan()["sub-01_T1w"].metadata == {}


def test_an_ignored_sidecar_is_not_read(add_image: AddImage, plan: Plan, dataset: Path) -> None:
    add_image("sub-01_T1w")
    write(dataset, {"T1w.json": {"SliceThickness": 3}})
    (dataset / ".bidsignore").write_text("/T1w.json\n**/cmr\n")
    assert plan()["sub-01_T1w"].metadata == {}
    write(dataset, {"sub-01/cmr/sub-01_cine.json": {"SliceThickness": 8}})
    heart = dataset / "sub-01/cmr/sub-01_cine.nii.gz"  # asked for by a training all the same
    assert SidecarReader(dataset).read(heart) == {"SliceThickness": 8}


def test_a_sidecar_that_is_a_link_to_another_subjects_fails_the_image(
    add_image: AddImage, plan: Plan, dataset: Path
) -> None:
    add_image("sub-01_T1w", {"SliceThickness": 3})
    add_image("sub-02_T1w")
    (dataset / "sub-02/anat/sub-02_T1w.json").symlink_to("../../sub-01/anat/sub-01_T1w.json")
    add_image("sub-03_T1w")
    (dataset / "store").mkdir()
    (dataset / "store/0a1b.json").write_text('{"SliceThickness": 2}')
    (dataset / "sub-03/anat/sub-03_T1w.json").symlink_to("../../store/0a1b.json")
    images = plan()
    assert images["sub-02_T1w"].action == "fail"
    assert "is a link to sub-01/anat/sub-01_T1w.json, of sub-01" in images["sub-02_T1w"].reason
    assert images["sub-03_T1w"].metadata == {"SliceThickness": 2}
    with pytest.raises(InputDataError, match="of sub-01"):
        SidecarReader(dataset).read(images["sub-02_T1w"].path)
    (dataset / "T1w.json").symlink_to("sub-01/anat/sub-01_T1w.json")
    images = plan()
    assert images["sub-01_T1w"].processed
    assert images["sub-03_T1w"].action == "fail"


def test_derivatives_keep_their_sidecars(dataset: Path) -> None:
    folder = dataset / "sub-01/anat"
    write(dataset, {"sub-01/anat/sub-01_desc-preproc_T1w.json": {"SliceThickness": 1}})
    write(dataset, {"sub-01/anat/sub-01_T1w.json": {"SliceThickness": 4}})
    sidecar = SidecarReader(dataset).find(folder / "sub-01_desc-preproc_T1w.nii.gz")
    assert sidecar.metadata == {"SliceThickness": 1}
    assert sidecar.own


@pytest.mark.parametrize(
    ("encoded", "warned"),
    [
        (b'\xef\xbb\xbf{"InstitutionName": "Universit\xc3\xa4t", "SliceThickness": 3}', False),
        (b'{"InstitutionName": "Universit\xe4t", "SliceThickness": 3}', True),
        ('{"InstitutionName": "Universität", "SliceThickness": 3}'.encode("utf-16"), True),
    ],
)
def test_a_sidecar_of_any_encoding_is_read(
    add_image: AddImage,
    plan: Plan,
    dataset: Path,
    caplog: pytest.LogCaptureFixture,
    encoded: bytes,
    warned: bool,
) -> None:
    add_image("sub-01_T1w")
    (dataset / "sub-01/anat/sub-01_T1w.json").write_bytes(encoded)
    assert plan()["sub-01_T1w"].metadata == {
        "InstitutionName": "Universität",
        "SliceThickness": 3,
    }
    assert ("not UTF-8" in caplog.text) is warned
