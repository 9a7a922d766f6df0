from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import pytest

from bids_sr.bids.derivatives import output_paths
from bids_sr.bids.image import AnatImage
from bids_sr.bids.output_sidecars import preproc_metadata
from bids_sr.bids.references import (
    choose_references,
    settle_references,
    surface_notes,
    without_reference,
)
from bids_sr.bids.selection import ReferenceRule
from bids_sr.exceptions import ConfigError
from bids_sr.files.writing import write_json_atomic

AddImage = Callable[..., Path]
Plan = Callable[..., dict[str, AnatImage]]


def rule(*words: str, per: str = "session", t2w: bool = True) -> ReferenceRule:
    contrasts = ("T2w",) if t2w else ()
    return ReferenceRule.from_words(words, per, contrasts)  # type: ignore[arg-type]


def chosen(images: dict[str, AnatImage]) -> list[str]:
    return [stem for stem, image in images.items() if image.is_reference]


@pytest.fixture
def two_sessions(add_image: AddImage) -> None:
    add_image("sub-01_ses-a_acq-mprage_T1w", spacings=(1.0, 1.0, 5.0))
    add_image("sub-01_ses-a_acq-tse_T1w", spacings=(1.0, 1.0, 4.0))
    add_image("sub-01_ses-a_T2w", spacings=(1.0, 1.0, 5.0))
    add_image("sub-01_ses-b_acq-tse_T1w", spacings=(1.0, 1.0, 3.0))
    add_image("sub-01_ses-b_T2w", spacings=(1.0, 1.0, 3.0))


A, B = "sub-01_ses-a", "sub-01_ses-b"


@pytest.mark.parametrize(
    ("preferred", "stems"),
    [
        (rule("finest"), [f"{A}_T2w", f"{A}_acq-tse_T1w", f"{B}_T2w", f"{B}_acq-tse_T1w"]),
        (rule("first-lex"), [f"{A}_T2w", f"{A}_acq-mprage_T1w", f"{B}_T2w", f"{B}_acq-tse_T1w"]),
        (rule("acq=mprage"), [f"{A}_T2w", f"{A}_acq-mprage_T1w", f"{B}_T2w", f"{B}_acq-tse_T1w"]),
        (rule("finest", per="subject"), [f"{B}_T2w", f"{B}_acq-tse_T1w"]),
        # The T2w of the session of the T1w, although another is finer.
        (rule("acquisition=mprage", per="subject"), [f"{A}_T2w", f"{A}_acq-mprage_T1w"]),
        (rule("session=a", per="subject"), [f"{A}_T2w", f"{A}_acq-tse_T1w"]),
        (rule("first-lex", per="subject"), [f"{A}_T2w", f"{A}_acq-mprage_T1w"]),
    ],
)
@pytest.mark.usefixtures("two_sessions")
def test_the_rule_chooses(plan: Plan, preferred: ReferenceRule, stems: list[str]) -> None:
    assert chosen(plan(reference=preferred)) == stems


def test_absent_entities_can_be_asked_for(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_acq-a_T1w", spacings=(1.0, 1.0, 3.0))
    add_image("sub-01_T1w", spacings=(1.0, 1.0, 5.0))
    assert chosen(plan(reference=rule("acq=null"))) == ["sub-01_T1w"]


@pytest.mark.usefixtures("two_sessions")
def test_the_reason_is_in_words(plan: Plan) -> None:
    images = plan(reference=rule("acq=mprage"))
    assert images[f"{A}_acq-mprage_T1w"].reference_reason == (
        "of 2 T1w of the session: with acq=mprage, the finest slice spacing (5 mm; ties go to "
        "the first path)"
    )
    assert (
        images[f"{B}_T2w"].reference_reason == "none has acq=mprage; the only T2w of the session"
    )
    assert images[f"{A}_acq-tse_T1w"].reference_reason == ""
    reference = images[f"{A}_acq-mprage_T1w"]
    described = preproc_metadata(Path("/out"), reference)["Description"]
    assert described.endswith(reference.reference_reason)


@pytest.mark.parametrize("words", [["best"], ["finest", "acq"], ["=x"], ["acq="], ["acqu=x"]])
def test_what_is_no_rule_is_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"--anat-reference: .*expected"):
        rule(*words)


@pytest.fixture
def write_reference(write_nifti: Callable[..., Path], tmp_path: Path) -> Callable[..., set[str]]:
    """Write reference and masks of each reference of a plan as a run does; return their names."""

    def write(images: dict[str, AnatImage], shape: tuple[int, ...] = (9, 8, 5)) -> set[str]:
        names = []
        for image in images.values():
            if image.processed and image.suffix == "T1w":
                names.append(output_paths(tmp_path, image).mask)
            if image.is_reference:
                names += filter(None, [output_paths(tmp_path, image).preproc])
        for path in names:
            write_nifti(path, shape=shape)
            sidecar = path.with_name(path.name.replace(".nii.gz", ".json"))
            sidecar.write_text('{"SuperResolution": {}, "BrainExtraction": {}}')
        return {path.name for path in names}

    return write


def on_disk(folder: Path) -> set[str]:
    images = {path.name for path in folder.rglob("sub-*.nii.gz")}
    sidecars = {path.name.replace(".json", ".nii.gz") for path in folder.rglob("sub-*.json")}
    assert images == sidecars
    return images


@pytest.mark.usefixtures("two_sessions")
@pytest.mark.parametrize("selected", [{}, {"bids_filters": {"t1w": {"acquisition": "mprage"}}}])
def test_one_reference_of_a_kind_is_left(
    plan: Plan, write_reference: Callable[..., set[str]], tmp_path: Path, selected: dict[str, Any]
) -> None:
    """Whether or not the later run works on the image that was the reference."""
    mprage = rule("acq=mprage")
    before, after = plan(reference=rule()), plan(reference=mprage, **selected)
    first = write_reference(before)
    second = write_reference(after)
    out, anat = tmp_path, tmp_path / "sub-01"
    assert on_disk(anat) == first | second
    notes = settle_references(out, list(after.values()), mprage)
    gone = {f"{A}_acq-tse_desc-preproc_T1w.nii.gz", f"{A}_acq-tse_desc-brain_mask.nii.gz"}
    renamed = {f"{A}_acq-tse_space-T1w_desc-brain_mask.nii.gz"}
    mine = f"{A}_acq-mprage_space-T1w_desc-brain_mask.nii.gz"  # of the first run
    assert on_disk(anat) == (first | second | renamed) - gone
    assert mine in on_disk(anat)
    assert len(notes) == 2
    assert settle_references(out, list(after.values()), mprage) == []


@pytest.mark.usefixtures("two_sessions")
def test_one_reference_of_a_subject_is_left(
    plan: Plan, write_reference: Callable[..., set[str]], tmp_path: Path
) -> None:
    session_a = rule("session=a", per="subject")
    write_reference(plan(reference=rule()))
    after = plan(reference=session_a)
    write_reference(after)
    settle_references(tmp_path, list(after.values()), session_a)
    names = {
        name for name in on_disk(tmp_path / "sub-01") if "_space-" not in name and "desc-" in name
    }
    ends = ("acq-tse_desc-preproc_T1w", "acq-tse_desc-brain_mask", "desc-preproc_T2w")
    assert names == {f"{A}_{end}.nii.gz" for end in ends}


@pytest.mark.usefixtures("two_sessions")
def test_the_former_reference_stays_where_the_new_one_failed(
    plan: Plan, write_reference: Callable[..., set[str]], tmp_path: Path
) -> None:
    written = write_reference(plan(reference=rule()))
    mprage = rule("acq=mprage")
    assert settle_references(tmp_path, list(plan(reference=mprage).values()), mprage) == []
    assert on_disk(tmp_path / "sub-01") == written


def test_a_mask_of_another_resolution_goes(
    add_image: AddImage, plan: Plan, write_reference: Callable[..., set[str]], tmp_path: Path
) -> None:
    add_image("sub-01_T1w")
    images = plan()
    write_reference(images)
    (paths,) = [output_paths(tmp_path, image) for image in images.values()]
    assert settle_references(tmp_path, list(images.values()), rule()) == []
    write_reference(images, shape=(18, 16, 10))
    assert settle_references(tmp_path, list(images.values()), rule()) == []
    paths.mask.unlink()
    nb.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)).to_filename(paths.mask)
    (note,) = settle_references(tmp_path, list(images.values()), rule())
    assert note == (
        "removed sub-01_desc-brain_mask.nii.gz: it is not on the grid of "
        "sub-01_desc-preproc_T1w.nii.gz"
    )
    assert not paths.mask.exists()


@pytest.mark.parametrize(
    ("lowest", "shape", "words"),
    [
        (0.0, [256, 256, 200], []),
        (-3.5, [256, 256, 200], ["negative values down to -3.5"]),
        (0.0, [256, 257, 200], ["a field of view of 257 mm; .* -cw256"]),
    ],
)
def test_what_freesurfer_needs_to_know(
    add_image: AddImage,
    plan: Plan,
    tmp_path: Path,
    lowest: float,
    shape: list[int],
    words: list[str],
) -> None:
    add_image("sub-01_T1w")
    images = plan()
    (path,) = [output_paths(tmp_path, image).preproc for image in images.values()]
    assert path is not None
    assert surface_notes(tmp_path, images.values()) == []  # nothing written
    section = {"OutputRange": [lowest, 9.0], "OutputShape": shape, "OutputSpacings": [1.0] * 3}
    write_json_atomic(path.with_name("sub-01_desc-preproc_T1w.json"), {"SuperResolution": section})
    notes = surface_notes(tmp_path, images.values())
    assert len(notes) == len(words)
    assert all(re.search(word, note) for word, note in zip(words, notes, strict=True))


def test_nothing_to_choose(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_FLAIR")
    images = list(plan().values())
    assert [image.is_reference for image in choose_references(images, rule())] == [False]


@pytest.mark.parametrize(
    ("stem", "sidecar", "reason"),
    [
        ("sub-01_ce-gad_T1w", {}, "contrast-enhanced (ce-gad)"),
        (
            "sub-01_run-1_T1w",
            {"ContrastBolusAgent": "Gadovist"},
            "contrast-enhanced (ContrastBolusAgent",
        ),
        ("sub-01_acq-postgad_T1w", {}, "contrast-enhanced (acq: postgad)"),
        (
            "sub-01_run-1_T1w",
            {"SeriesDescription": "AX T1 +C"},
            "contrast-enhanced (SeriesDescription",
        ),
        ("sub-01_run-1_T1w", {"ProtocolName": "t1_tse_GD"}, "contrast-enhanced (ProtocolName"),
        ("sub-01_chunk-1_T1w", {}, "a part of a scan (chunk-1)"),
        ("sub-01_acq-spine_T1w", {}, "shows no head (acq: spine)"),
        ("sub-01_run-1_T1w", {"BodyPartExamined": "CSPINE"}, "no head (BodyPartExamined: CSPINE)"),
        (
            "sub-01_run-1_T1w",
            {"SeriesDescription": "sag T1 C-spine"},
            "no head (SeriesDescription",
        ),
        ("sub-01_acq-scout_T1w", {}, "is a localiser (acq: scout)"),
        (
            "sub-01_run-1_T1w",
            {"SeriesDescription": "3-plane loc"},
            "a localiser (SeriesDescription",
        ),
        (
            "sub-01_run-1_T1w",
            {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
            "a localiser (ImageType",
        ),
        (
            "sub-01_run-1_T1w",
            {"ContrastBolusVolume": 7.5},
            "contrast-enhanced (ContrastBolusVolume: 7.5)",
        ),
        ("sub-01_run-1_T1w", {"ContrastBolusVolume": 0.0}, ""),
        ("sub-01_run-1_T1w", {"ContrastBolusAgent": ["NONE"]}, ""),
        ("sub-01_run-1_T1w", {"ContrastBolusAgent": ["Gd"]}, "(ContrastBolusAgent: Gd)"),
        ("sub-01_run-1_T1w", {"BodyPartExamined": ["UNKNOWN"]}, ""),
        ("sub-01_run-1_T1w", {"BodyPartExamined": ["KNEE"]}, "(BodyPartExamined: KNEE)"),
        ("sub-01_run-1_T1w", {"Modality": "CT"}, "it is no MRI (Modality: CT)"),
        ("sub-01_run-1_T1w", {"Modality": "MR", "ImageType": ["ORIGINAL", "M"]}, ""),
        ("sub-01_run-1_T1w", {"ImageType": ["ORIGINAL", "P"]}, "not a magnitude image"),
        ("sub-01_acq-post_T1w", {}, "contrast-enhanced (acq: post)"),
        ("sub-01_acq-t1ce_T1w", {}, "contrast-enhanced (acq: t1ce)"),
        (
            "sub-01_run-1_T1w",
            {"SeriesDescription": "AX T1 C+"},
            "contrast-enhanced (SeriesDescription",
        ),
        (
            "sub-01_run-1_T1w",
            {"SeriesDescription": "t1_se_tra nach KM"},
            "contrast-enhanced (SeriesDescription",
        ),
        ("sub-01_run-1_T1w", {"SeriesDescription": "t1_se_tra ohne KM"}, ""),
        ("sub-01_run-1_T1w", {"SeriesDescription": "T1_without_Gd"}, ""),
        ("sub-01_run-1_T1w", {"SeriesDescription": "AX T1 PRE GAD"}, ""),
        ("sub-01_run-1_T1w", {"SeriesDescription": "t1 post-op, localized shim"}, ""),
        (
            "sub-01_run-1_T1w",
            {"SeriesDescription": "T1 TSE HWS sag"},
            "no head (SeriesDescription",
        ),
        (
            "sub-01_run-1_T1w",
            {"ContrastBolusAgent": "n/a", "SeriesDescription": "without contrast"},
            "",
        ),
        (
            "sub-01_acq-record_T1w",
            {"ProtocolName": "t1_precontrast block", "BodyPart": "HEAD"},
            "",
        ),
    ],
)
def test_what_is_no_brain_as_it_is_is_not_handed_on(
    add_image: AddImage, plan: Plan, stem: str, sidecar: dict[str, Any], reason: str
) -> None:
    """Not even where it is the finest; where it is the only one, nothing is handed on."""
    add_image(stem, sidecar, spacings=(1.0, 1.0, 2.0))
    images = plan(reference=rule())
    assert chosen(images) == ([] if reason else [stem])
    assert reason in images[stem].unfit
    notes = without_reference(list(images.values()), rule())
    assert len(notes) == bool(reason)
    assert all(f"no T1w of sub-01 is provided as desc-preproc: {stem}: " in n for n in notes)
    add_image("sub-01_acq-zzz_T1w", {}, spacings=(1.0, 1.0, 6.0))
    images = plan(reference=rule())
    assert chosen(images) == ["sub-01_acq-zzz_T1w" if reason else stem]
    assert without_reference(list(images.values()), rule()) == []


def test_what_is_asked_for_by_name_is_handed_on_with_a_warning(
    add_image: AddImage, plan: Plan
) -> None:
    add_image("sub-01_ses-a_ce-gad_T1w", {"BodyPart": "BRAIN"})
    gadolinium = rule("ce=gad")
    (image,) = plan(reference=gadolinium).values()
    assert image.is_reference
    assert image.facts is not None
    warning = "provided as desc-preproc, as requested, although it is contrast-enhanced (ce-gad)"
    assert image.facts.warnings == (warning,)
    assert chosen(plan(reference=rule("session=a"))) == []  # that names no image


def test_a_t2w_is_handed_on_when_asked_for(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_T1w")
    add_image("sub-01_T2w")
    assert chosen(plan()) == ["sub-01_T1w"]
    assert chosen(plan(reference=rule())) == ["sub-01_T1w", "sub-01_T2w"]


@pytest.mark.parametrize("has_result", [True, False])
def test_what_an_earlier_run_handed_on_goes_where_this_hands_on_nothing(
    add_image: AddImage,
    plan: Plan,
    write_reference: Callable[..., set[str]],
    tmp_path: Path,
    has_result: bool,
) -> None:
    """A T2w that is no longer asked for, a T1w that turned out to be enhanced; if made anew."""
    add_image("sub-01_T1w", {})
    add_image("sub-01_T2w", {})
    written = write_reference(plan(reference=rule()))
    assert len(written) == 3
    enhanced = {"ContrastBolusAgent": "Gadovist"}
    add_image("sub-01_T1w", enhanced)
    images = list(plan(reference=rule(t2w=False)).values())
    paths = [image.relpath for image in images] if has_result else []
    notes = settle_references(tmp_path, images, rule(t2w=False), complete=paths)
    assert on_disk(tmp_path / "sub-01") == (set() if has_result else written)
    assert len(notes) == 3 * has_result


def test_files_of_others_stay(
    add_image: AddImage, plan: Plan, write_reference: Callable[..., set[str]], tmp_path: Path
) -> None:
    add_image("sub-01_acq-a_T1w")
    images = plan()
    write_reference(images)
    own = tmp_path / "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    own.touch()
    own.with_name("sub-01_desc-preproc_T1w.json").write_text('{"SkullStripped": false}')
    settle_references(tmp_path, list(images.values()), rule())
    assert own.exists()
