"""An image belongs to the subject in whose folder BIDS has it, and to no other."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bids_sr.bids.image import AnatImage
from bids_sr.bids.layout import open_layout, plan_images
from bids_sr.bids.places import find_images
from bids_sr.bids.selection import Selection

AddImage = Callable[..., Path]
Write = Callable[..., Path]
RIGHT = "sub-01/anat/sub-01_T1w.nii.gz"


@pytest.fixture
def reasons(dataset: Path) -> Callable[..., dict[str, str]]:
    """Path -> why it is not used; empty where it is."""

    def find(*subjects: str) -> dict[str, str]:
        images = plan_images(open_layout(dataset, participant_label=subjects), Selection())
        return {i.relpath: "" if i.processed else i.reason for i in images}

    return find


@pytest.mark.parametrize(
    "path",
    [
        "backup/sub-01/anat/sub-01_T1w.nii.gz",
        "backup/sub-01_T1w.nii.gz",
        "bids/sub-01/anat/sub-01_T1w.nii.gz",
        "_excluded/sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01_T1w.nii.gz",
        "sub-01/sub-01_T1w.nii.gz",
        "sub-01/extra_data/anat/sub-01_T1w.nii.gz",
        "sub-01/_excluded/sub-01_T1w.nii.gz",
        "sub-01/anat/original/anat/sub-01_T1w.nii.gz",
        "sub-01/sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/ses-1/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
        "sub-01/Anat/sub-01_T1w.nii.gz",
        "sub-01/cmr/sub-01_T1w.nii.gz",
        "sub-01/func/sub-01_T1w.nii.gz",
        "Sub-01/anat/sub-01_T1w.nii.gz",
        "sub-a_b/anat/sub-a_b_T1w.nii.gz",
        "sub-ctrl-01/anat/sub-ctrl-01_T1w.nii.gz",
    ],
)
def test_an_image_elsewhere_is_no_subjects(
    add_image: AddImage,
    write_nifti: Write,
    dataset: Path,
    reasons: Callable[..., dict[str, str]],
    path: str,
) -> None:
    add_image("sub-01_T1w")
    write_nifti(dataset / path)
    reason_of = reasons()
    assert reason_of.pop(RIGHT) == ""
    (reason,) = reason_of.values()
    assert list(reason_of) == [path]
    folder = path.rpartition("/")[0] or "the root of the dataset"
    assert reason.startswith(f"it lies in {folder}; expected sub-<label>[/ses-<label>]/anat/")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("sub-05/anat/sub-06_T1w.nii.gz", "its name has sub-06, its folder sub-05"),
        ("sub-05/anat/T1w.nii.gz", "its name has no sub-<label>, its folder sub-05"),
        ("sub-05/anat/SUB-05_T1w.nii.gz", "its name has no sub-<label>, its folder sub-05"),
        ("sub-04/ses-01/anat/sub-04_ses-02_T1w.nii.gz", "its name has ses-02, its folder ses-01"),
        ("sub-04/ses-01/anat/sub-04_T1w.nii.gz", "no ses-<label>, its folder ses-01"),
        ("sub-04/anat/sub-04_ses-01_T1w.nii.gz", "its name has ses-01, its folder no ses-<label>"),
        ("sub-04/anat/sub-04_sub-05_T1w.nii.gz", "sub-05 is not an entity"),
        ("sub-04/anat/sub-04_T1w.NII.GZ", "its name ends with .NII.GZ; expected .nii or .nii.gz"),
        ("sub-04/anat/sub-04_T1w.Nii", "its name ends with .Nii"),
        ("sub-04/anat/sub-04_T1w.img", "its name ends with .img"),
        ("sub-04/anat/sub-04_T1w.mgz", "its name ends with .mgz"),
        ("sub-04/anat/sub-04_T1w.nii.gz.bak", "its name ends with .gz.bak"),
        ("sub-04/anat/sub-04_T1w.old.nii.gz", "its name has '.old.nii.gz' after the first point"),
    ],
)
def test_labels_and_endings_must_agree(
    write_nifti: Write,
    dataset: Path,
    reasons: Callable[..., dict[str, str]],
    path: str,
    reason: str,
) -> None:
    (dataset / path).parent.mkdir(parents=True)
    write_nifti(dataset / "code/x.nii.gz").rename(dataset / path)
    reason_of = reasons()
    assert list(reason_of) == [path]
    assert reason in reason_of[path]


def test_another_subjects_name_does_not_make_it_the_others(
    add_image: AddImage, write_nifti: Write, dataset: Path
) -> None:
    add_image("sub-06_FLAIR")
    write_nifti(dataset / "sub-05/anat/sub-06_T1w.nii.gz")
    images = plan_images(open_layout(dataset), Selection())
    assert [(i.subject, i.action, i.misplaced) for i in images] == [
        ("05", "skip", True),
        ("06", "super-resolve", False),
    ]
    only = plan_images(open_layout(dataset), Selection(participant_label=("06",)))
    assert [image.relpath for image in only] == ["sub-06/anat/sub-06_FLAIR.nii.gz"]


@pytest.mark.parametrize("above", ["func", "perf", "sub-projects", ".hidden", "sub-9/anat"])
def test_only_the_path_below_the_root_counts(
    tmp_path: Path, write_nifti: Write, above: str
) -> None:
    root = tmp_path / above / "ses-x" / "data"
    write_nifti(root / RIGHT)
    write_nifti(root / "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz")
    images = plan_images(open_layout(root), Selection())
    assert [(i.subject, i.session, i.action) for i in images] == [
        ("01", None, "super-resolve"),
        ("02", "a", "super-resolve"),
    ]
    elsewhere = tmp_path / "link"
    elsewhere.symlink_to(root)
    assert len(plan_images(open_layout(elsewhere), Selection())) == 2


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("again", "."),
        ("sub-02", "."),
        ("sub-01/loop", "."),
        ("sub-01/up", ".."),
        ("sub-01/ses-1", "."),
        ("sub-01/ses-1", "../.."),
        ("sub-01/anat/anat", "."),
        ("sub-01/anat/deeper", "../.."),
        ("other", "../outside"),
        ("sub-01/more", "../../outside"),
    ],
)
def test_links_to_folders_are_not_followed_where_none_belongs(
    add_image: AddImage,
    write_nifti: Write,
    dataset: Path,
    reasons: Callable[..., dict[str, str]],
    caplog: pytest.LogCaptureFixture,
    link: str,
    target: str,
) -> None:
    add_image("sub-01_T1w")
    write_nifti(dataset.parent / "outside/anat/sub-01_T1w.nii.gz")
    (dataset / link).symlink_to(target)
    assert reasons() == {RIGHT: ""}
    assert f"{link} is a link to a folder" in caplog.text


def test_links_that_point_at_each_other_end(
    add_image: AddImage, dataset: Path, reasons: Callable[..., dict[str, str]]
) -> None:
    add_image("sub-01_T1w")
    for folder, target in (("a", "b"), ("b", "a")):
        (dataset / "sub-01" / folder).mkdir()
        (dataset / "sub-01" / folder / "x").symlink_to(f"../{target}")
    (dataset / "sub-01/self").symlink_to("self")
    (dataset / "sub-02").symlink_to("sub-02")
    reason_of = reasons()
    assert reason_of.pop(RIGHT) == ""
    assert list(reason_of) == ["sub-02"]
    assert "Too many levels of symbolic links" in reason_of["sub-02"]


def test_a_subject_that_is_a_link_is_the_one_that_its_names_say(
    add_image: AddImage,
    write_nifti: Write,
    dataset: Path,
    reasons: Callable[..., dict[str, str]],
) -> None:
    add_image("sub-01_T1w")
    (dataset / "sub-02").symlink_to("sub-01")
    store = dataset.parent / "store"
    write_nifti(store / "three/anat/sub-03_T1w.nii.gz")
    write_nifti(store / "four/sub-04_T1w.nii.gz")
    (dataset / "sub-03").symlink_to(store / "three")
    (dataset / "sub-04").mkdir()
    (dataset / "sub-04/anat").symlink_to(store / "four")
    (dataset / "sub-05").mkdir()
    (dataset / "sub-05/anat").symlink_to("../sub-01/anat")
    reason_of = reasons()
    assert [path for path, reason in reason_of.items() if not reason] == [
        RIGHT,
        "sub-03/anat/sub-03_T1w.nii.gz",
        "sub-04/anat/sub-04_T1w.nii.gz",
    ]
    for label in ("02", "05"):
        reason = reason_of[f"sub-{label}/anat/sub-01_T1w.nii.gz"]
        assert f"its name has sub-01, its folder sub-{label}" in reason


def test_one_file_as_the_image_of_two_subjects_is_told(add_image: AddImage, dataset: Path) -> None:
    source = add_image("sub-01_T1w")
    add_image("sub-03_T1w")
    store = dataset.parent / "store.nii.gz"
    store.hardlink_to(source)
    for relpath in ("sub-01/anat/sub-01_run-2_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz"):
        (dataset / relpath).parent.mkdir(parents=True, exist_ok=True)
        (dataset / relpath).hardlink_to(source)
    (dataset / "sub-03/anat/sub-03_run-2_T1w.nii.gz").symlink_to(store)
    warned = {
        image.path.name.split("_T1w")[0]: [w for w in image.facts.warnings if "the same file" in w]
        for image in plan_images(open_layout(dataset), Selection())
        if image.facts is not None
    }
    same = "it is the same file as sub-01/anat/sub-01_T1w.nii.gz"
    assert [len(lines) for lines in warned.values()] == [1, 1, 1, 0, 1]
    assert warned["sub-02"][0].startswith(same)
    assert warned["sub-02"][0].endswith("of another subject")
    assert "sub-01_run-2" not in warned["sub-01"][0]


def test_an_image_that_is_a_link(add_image: AddImage, write_nifti: Write, dataset: Path) -> None:
    add_image("sub-01_T1w")
    store = dataset.parent / "store"
    for label, target in {
        "02": "../../sub-01/anat/sub-01_T1w.nii.gz",
        "03": str(write_nifti(store / "MD5E-s99--1a2b.nii.gz")),
        "04": str(write_nifti(store / "sub-77_T1w.nii.gz")),
        "05": str(write_nifti(dataset / "sourcedata/sub-78_T1w.nii.gz")),
    }.items():
        folder = dataset / f"sub-{label}/anat"
        folder.mkdir(parents=True)
        (folder / f"sub-{label}_T1w.nii.gz").symlink_to(target)
    images = {i.subject: i for i in plan_images(open_layout(dataset), Selection())}
    assert images["02"].reason == (
        "it is a link to sub-01/anat/sub-01_T1w.nii.gz, of sub-01; expected one of sub-02"
    )
    assert images["03"].action == images["04"].action == "super-resolve"
    assert images["03"].facts is not None
    assert images["04"].facts is not None
    assert not images["03"].facts.warnings
    assert "whose name says sub-77: is it the same person?" in images["04"].facts.warnings[0]
    assert "sourcedata/sub-78_T1w.nii.gz, of sub-78" in images["05"].reason


def test_bidsignore_is_obeyed_and_said(
    add_image: AddImage, dataset: Path, plan: Callable[..., dict[str, AnatImage]]
) -> None:
    for stem in ("sub-01_T1w", "sub-01_acq-bad_T1w", "sub-02_T1w", "sub-03_ses-a_T1w"):
        add_image(stem)
    (dataset / ".bidsignore").write_text("*acq-bad*\nsub-02/\n/sub-03/ses-a\n")
    images = plan()
    assert images.pop("sub-01_T1w").processed
    assert {stem: image.reason for stem, image in images.items()} == {
        "sub-01_acq-bad_T1w": "ignored: .bidsignore has '*acq-bad*'",
        "sub-02_T1w": "ignored: .bidsignore has 'sub-02/'",
        "sub-03_ses-a_T1w": "ignored: .bidsignore has '/sub-03/ses-a'",
    }


def test_other_things_are_not_taken_for_images(
    add_image: AddImage, write_nifti: Write, dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_image("sub-01_T1w")
    for folder in ("derivatives/x", "sourcedata", "code", "stimuli", ".git/annex", "out", "work"):
        write_nifti(dataset / folder / "sub-01/anat/sub-01_T1w.nii.gz")
    write_nifti(dataset / "sub-01/func/sub-01_task-rest_bold.nii.gz")
    write_nifti(dataset / "sub-01/.cache/anat/sub-01_T1w.nii.gz")
    write_nifti(dataset / "sub-01/anat/._sub-01_T1w.nii.gz")
    (dataset / "out/dataset_description.json").write_text('{"DatasetType": "derivative"}')
    with caplog.at_level(logging.INFO):
        images = find_images(dataset, left_out=[dataset / "work"])
    assert [image.relpath for image in images] == [RIGHT]
    assert "out is ignored: it is a derivative dataset" in caplog.text


def test_what_lies_outside_is_told_to_the_jobs_whose_subject_it_names(
    add_image: AddImage, write_nifti: Write, dataset: Path
) -> None:
    add_image("sub-01_T1w")
    add_image("sub-011_T1w")
    write_nifti(dataset / "backup/sub-01/anat/sub-01_T1w.nii.gz")
    write_nifti(dataset / "backup/sub-011_T1w.nii.gz")
    write_nifti(dataset / "backup/T1w.nii.gz")
    assert [image.relpath for image in find_images(dataset, ["01"])] == [
        "backup/sub-01/anat/sub-01_T1w.nii.gz",
        RIGHT,
    ]
    assert len(find_images(dataset)) == 5


def test_a_folder_that_cannot_be_listed_fails_alone(
    add_image: AddImage, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_image("sub-01_T1w")
    add_image("sub-02_T1w")
    list_folder = os.scandir

    def refuse(folder: Path) -> object:
        if Path(folder) == dataset / "sub-02":
            raise PermissionError(13, "Permission denied")
        return list_folder(folder)

    monkeypatch.setattr("bids_sr.bids.places.os.scandir", refuse)
    images = {i.relpath: i for i in plan_images(open_layout(dataset), Selection())}
    assert images[RIGHT].processed
    assert images["sub-02"].action == "fail"
    assert "cannot be listed (Permission denied)" in images["sub-02"].reason
    assert len(images) == 2
