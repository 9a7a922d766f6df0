from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bids_sr.bids import validation
from bids_sr.bids.dataset import update_decisions, write_dataset_files
from bids_sr.bids.derivatives import output_paths
from bids_sr.bids.image import AnatImage, decision_row
from bids_sr.bids.output_sidecars import (
    mask_metadata,
    preproc_metadata,
    product_metadata,
    stage_metadata,
)
from bids_sr.bids.validation import check_output_tree, validate_dataset
from bids_sr.files.writing import copy_atomic, write_json_atomic

AddImage = Callable[..., Path]
Plan = Callable[..., dict[str, AnatImage]]

STEMS = (
    "sub-01_ses-a_T1w",
    "sub-01_ses-a_T2w",
    "sub-01_ses-a_FLAIR",
    "sub-01_ses-a_PDw",
    "sub-01_ses-a_acq-2D_ce-gad_rec-norm_run-1_T1w",
    "sub-01_ses-a_acq-2D_run-2_FLAIR",
    "sub-02_inv-1_MP2RAGE",
    "sub-02_echo-1_MESE",
    "sub-02_part-mag_T2w",
)


def write_outputs(out: Path, image: AnatImage) -> None:
    """Write every file that an image can have, as the workflow does."""
    paths = output_paths(out, image)
    files = {
        paths.product: product_metadata(image),
        paths.mask: mask_metadata(out, image, native=False),
        paths.native_mask: mask_metadata(out, image, native=True),
        paths.denoised: stage_metadata(image, "denoised"),
        paths.n4: stage_metadata(image, "n4"),
    }
    if paths.preproc:
        files[paths.preproc] = preproc_metadata(out, image)
    for path, metadata in files.items():
        copy_atomic(image.path, path)
        write_json_atomic(path.with_name(f"{path.name.split('.')[0]}.json"), metadata)
    write_json_atomic(paths.quality, {"Image": image.relpath})
    paths.slice_profile.write_text("position_mm\tweight\n0\t1\n")
    for figure in paths.figures.values():
        figure.parent.mkdir(exist_ok=True)
        figure.write_text("<svg/>")


def test_whole_output_is_valid(add_image: AddImage, plan: Plan, tmp_path: Path) -> None:
    for stem in STEMS:
        add_image(stem, {"SliceThickness": 3, "SpacingBetweenSlices": 4})
    images = plan(modalities=("T1w", "T2w", "FLAIR", "PDw", "MP2RAGE", "MESE"))
    out = tmp_path / "out"
    write_dataset_files(out, tmp_path / "data")
    for image in images.values():
        assert image.action == "super-resolve"
        write_outputs(out, image)
    update_decisions(out, [decision_row(image) for image in images.values()])
    for name in ("sub-01.html", "group_T1w.tsv", "group_T1w.html", "logs/CITATION.md"):
        (out / name).write_text("x")
    log = out / "sub-01" / "log" / "20260101" / "run.toml"
    log.parent.mkdir(parents=True)
    log.write_text("x")
    result = validate_dataset(out)
    assert result.note == ""
    assert [str(issue) for issue in result.errors] == []
    # It has no authors and no README of its own; descriptions.tsv explains itself.
    assert {(issue.code, issue.location) for issue in result.warnings} <= {
        ("TOO_FEW_AUTHORS", "/dataset_description.json"),
        ("README_FILE_MISSING", "/dataset_description.json"),
        ("SIDECAR_KEY_RECOMMENDED Description", "/descriptions.tsv"),
    }
    assert check_output_tree(out) == []


def test_names_of_other_subjects_are_left_to_their_jobs(tmp_path: Path) -> None:
    for label in ("01", "010", "02"):
        folder = tmp_path / f"sub-{label}" / "ses-1" / "anat"
        folder.mkdir(parents=True)
        (folder / f"sub-{label}_ses-1_rec-SR_T1w.nii.gz").touch()
    (problem,) = check_output_tree(tmp_path, ["01"])
    assert problem.startswith(
        "sub-01/ses-1/anat/sub-01_ses-1_rec-SR_T1w.nii.gz: the name is legal"
    )
    assert len(check_output_tree(tmp_path)) == 3


def test_errors_of_a_raw_dataset_are_reported(add_image: AddImage, dataset: Path) -> None:
    add_image("sub-01_T1w", {"RepetitionTime": 1})
    (dataset / "sub-01" / "anat" / "sub-01_wrong.txt").write_text("x")
    result = validate_dataset(dataset)
    (error,) = result.errors
    assert "sub-01_wrong.txt" in str(error)
    assert result.warnings


def test_missing_validator_is_a_note(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "VALIDATOR", "no-such-validator")
    result = validate_dataset(dataset)
    assert (result.errors, result.warnings) == ((), ())
    assert "is not installed: the dataset was not validated" in result.note


def test_broken_validator_is_a_note(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / validation.VALIDATOR
    tool.write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
    tool.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert "exit code 3: out of order" in validate_dataset(dataset).note


def test_validator_that_cannot_be_started_is_a_note(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / validation.VALIDATOR).touch(mode=0o644)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert "cannot be started (Permission denied)" in validate_dataset(dataset).note


def test_validator_on_the_path_is_found(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue = {"code": "A", "subCode": "b", "severity": "error", "location": "/x"}
    tool = tmp_path / validation.VALIDATOR
    tool.write_text(f"#!/bin/sh\necho '{json.dumps({'issues': {'issues': [issue]}})}'\n")
    tool.chmod(0o755)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [str(error) for error in validate_dataset(dataset).errors] == ["A b: /x"]


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["rec-SR_T1w.nii.gz"], "legal in raw data"),
        (["rec-SR_T1w.json"], "legal in raw data"),
        (["seg-x_dseg.nii.gz"], "a dseg without desc-"),
        (["dseg.nii.gz"], "a dseg without desc-"),
        (["label-GM_desc-x_probseg.nii.gz"], "a tissue probseg without space-"),
        (["desc-preproc_T1w.nii.gz", "run-2_desc-preproc_T1w.nii.gz"], "2 desc-preproc_T1w"),
        (["desc-brain_mask.nii.gz", "run-2_desc-brain_mask.nii.gz"], "2 desc-brain_mask"),
    ],
)
def test_names_that_others_would_misread(tmp_path: Path, names: list[str], problem: str) -> None:
    folder = tmp_path / "sub-01" / "ses-a" / "anat"
    folder.mkdir(parents=True)
    for name in names:
        (folder / f"sub-01_ses-a_{name}").touch()
    assert problem in "\n".join(check_output_tree(tmp_path))


def test_names_that_are_fine(tmp_path: Path) -> None:
    for session in ("ses-a", "ses-b"):
        folder = tmp_path / "sub-01" / session / "anat"
        folder.mkdir(parents=True)
        for name in (
            "desc-preproc_T1w.nii.gz",
            "desc-preproc_T1w.json",
            "desc-preproc_T2w.nii.gz",
            "desc-brain_mask.nii.gz",
            "space-T2w_desc-brain_mask.nii.gz",
            "seg-atropos_desc-sr_dseg.nii.gz",
            "space-T1w_label-GM_desc-atropos_probseg.nii.gz",
            "label-lesion_desc-x_probseg.nii.gz",
        ):
            (folder / f"sub-01_{session}_{name}").touch()
    assert check_output_tree(tmp_path) == []
