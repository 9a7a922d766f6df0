from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bids_sr.bids.derivatives import output_paths
from bids_sr.bids.image import AnatImage
from bids_sr.bids.output_sidecars import preproc_metadata
from bids_sr.bids.references import choose_references, remove_former_references, surface_notes
from bids_sr.bids.selection import ReferenceRule
from bids_sr.bids.writing import write_json_atomic
from bids_sr.exceptions import ConfigError

AddImage = Callable[..., Path]
Plan = Callable[..., dict[str, AnatImage]]


def rule(*words: str, per: str = "session") -> ReferenceRule:
    return ReferenceRule.from_words(words, per)  # type: ignore[arg-type]


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
    ("wanted", "stems"),
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
def test_the_rule_chooses(plan: Plan, wanted: ReferenceRule, stems: list[str]) -> None:
    assert chosen(plan(reference=wanted)) == stems


def test_absent_entities_can_be_asked_for(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_acq-a_T1w", spacings=(1.0, 1.0, 3.0))
    add_image("sub-01_T1w", spacings=(1.0, 1.0, 5.0))
    assert chosen(plan(reference=rule("acq=null"))) == ["sub-01_T1w"]


@pytest.mark.usefixtures("two_sessions")
def test_the_reason_is_in_words(plan: Plan) -> None:
    images = plan(reference=rule("acq=mprage"))
    assert images[f"{A}_acq-mprage_T1w"].reference_reason == (
        "of 2 T1w of the session: with acq=mprage, the finest slice spacing (5 mm), of equals "
        "the first by path"
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


@pytest.mark.usefixtures("two_sessions")
def test_files_of_a_former_reference_go(plan: Plan, tmp_path: Path) -> None:
    def written(images: dict[str, AnatImage]) -> set[Path]:
        names = [output_paths(tmp_path, image) for image in images.values() if image.is_reference]
        return {path for one in names for path in (one.preproc, one.mask, one.product) if path}

    before, after = plan(), plan(reference=rule("session=a", per="subject"))
    for path in written(before):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.with_name(path.name.replace(".nii.gz", ".json")).touch()
    removed = remove_former_references(tmp_path, after.values())
    anat = tmp_path / "sub-01/ses-b/anat"
    ends = ("desc-preproc_T2w", "acq-tse_desc-preproc_T1w", "acq-tse_desc-brain_mask")
    expected = {anat / f"{B}_{end}{kind}" for end in ends for kind in (".nii.gz", ".json")}
    assert set(removed) == expected
    left = {path for path in written(before) if path.exists()}
    assert left == written(before) - expected
    assert remove_former_references(tmp_path, after.values()) == []


@pytest.mark.parametrize(
    ("lowest", "shape", "words"),
    [
        (0.0, [256, 256, 200], []),
        (-3.5, [256, 256, 200], ["values down to -3.5"]),
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
    made = {"OutputRange": [lowest, 9.0], "OutputShape": shape, "OutputSpacings": [1.0] * 3}
    write_json_atomic(path.with_name("sub-01_desc-preproc_T1w.json"), {"SuperResolution": made})
    notes = surface_notes(tmp_path, images.values())
    assert len(notes) == len(words)
    assert all(re.search(word, note) for word, note in zip(words, notes, strict=True))


def test_nothing_to_choose(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_FLAIR")
    images = list(plan().values())
    assert [image.is_reference for image in choose_references(images, rule())] == [False]
