"""What is on record while a run goes on, and after it was ended early."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from bids_sr.bids import decision_row, read_decisions, update_decisions
from bids_sr.bids.image import AnatImage
from bids_sr.bids.status import NO_INPUT
from bids_sr.config import RunConfig
from bids_sr.imaging import Grid
from bids_sr.run.exit_codes import ExitCode
from bids_sr.run.outcome import Outcome, planned
from bids_sr.run.provenance import new_record
from bids_sr.run.record_keeping import RecordKeeper, exceptions_text

Command = Callable[..., "subprocess.CompletedProcess[str]"]
NO_STEPS = (
    *("--sr-method=bspline", "--denoise-method=none", "--anat-biascorrect=none"),
    *("--skull-strip-method=none", "--skip-bids-validation", "--nprocs=1", "--omp-nthreads=1"),
)
NO_METHODS = "No image has a result: there is no methods text."

GRID = Grid(shape=(8, 8, 8), affine=np.eye(4))


def statuses(output: Path) -> dict[str, str]:
    return {Path(row["image"]).parts[0]: row["status"] for row in read_decisions(output)}


def having(statuses_of: dict[str, str], status: str) -> set[str]:
    return {subject for subject in statuses_of if statuses_of[subject] == status}


def with_result(output: Path) -> set[str]:
    return {path.parents[1].name for path in output.glob("sub-*/anat/*_desc-sr_qc.json")}


def results(output: Path) -> dict[str, bytes]:
    """Read what a resumed run must have as an uninterrupted one has."""
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in output.glob("sub-*/**/*")
        if path.name.endswith((".nii.gz", ".svg", ".tsv")) and "log" not in path.parts
    }


def end_after_first_result(words: list[str], output: Path, number: signal.Signals) -> int:
    """Start a run, end it when its first image is done, and return its exit code."""
    with subprocess.Popen([sys.executable, "-m", "bids_sr", *words]) as process:
        while process.poll() is None:
            if (output / "decisions.tsv").is_file() and "done" in statuses(output).values():
                break
            time.sleep(0.02)
        os.kill(process.pid, number)
        return process.wait(60)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_was_ended_tells_the_truth_and_goes_on(
    command: Command,
    empty_dataset: Path,
    write_image: Callable[..., Path],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    for label in ("01", "02", "03"):
        write_image(empty_dataset, f"sub-{label}_T1w")
    output, work = tmp_path / "out", tmp_path / "work"
    words = [*map(str, (empty_dataset, output, "participant", "-w", work)), *NO_STEPS]
    code = end_after_first_result(words, output, number)
    # On a busy machine the run may go on a while, or end, before the signal arrives.
    assert code in (ExitCode.OK, ExitCode.TERMINATED, -number)
    recorded = statuses(output)
    assert recorded["sub-01"] == "done"
    assert set(recorded.values()) <= {"done", "planned"}
    assert having(recorded, "done") <= with_result(output)
    if code == ExitCode.TERMINATED:
        for subject in recorded:
            assert (output / f"{subject}.html").is_file() == (recorded[subject] == "done")
    assert command(*words, "--reports-only").returncode == ExitCode.OK
    resumed = statuses(output)
    assert having(recorded, "done") <= having(resumed, "done") <= with_result(output)
    for subject, status in resumed.items():
        page = (output / f"{subject}.html").read_text()
        assert (NO_METHODS in page) == (status != "done")
        assert ("was not finished" in page) == (status != "done")
    assert command(*words).returncode == ExitCode.OK
    assert set(statuses(output).values()) == {"done"}
    alone = [str(tmp_path / "alone") if word == str(output) else word for word in words]
    assert command(*alone, "-w", tmp_path / "other").returncode == ExitCode.OK
    assert results(output) == results(tmp_path / "alone")


def test_a_result_of_an_earlier_run_stays_on_record(
    command: Command, empty_dataset: Path, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    """A run that leaves the image out, and one that is ended before it comes to it."""
    output = tmp_path / "out"
    write_image(empty_dataset, "sub-01_T1w")
    write_image(empty_dataset, "sub-01_FLAIR")
    words = [empty_dataset, output, "participant", "-w", tmp_path / "work", *NO_STEPS]
    assert command(*words, "-m", "FLAIR").returncode == ExitCode.OK
    assert command(*words, "-m", "T1w", "--sr-method=linear").returncode == ExitCode.OK
    rows = read_decisions(output)
    assert [row["status"] for row in rows] == ["done", "done"]
    page = (output / "sub-01.html").read_text()
    assert "<code>sub-01_FLAIR</code>" in page
    assert "cubic B-splines" in page
    assert "across slices linearly" in page
    assert page.count("The resulting images have voxels of") == 2
    (output / rows[1]["output"]).unlink()
    assert command(*words, "--reports-only").returncode == ExitCode.OK
    flair, t1w = read_decisions(output)
    assert flair["status"] == "done"
    assert (t1w["status"], t1w["output"]) == ("planned", "")
    page = (output / "sub-01.html").read_text()
    assert "across slices linearly" not in page
    assert "cubic B-splines" in page
    assert "not on disk any more" in page


@pytest.mark.slow
def test_what_a_run_does_not_make_goes(
    command: Command, empty_dataset: Path, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    """Mask, model, curve, stages and product of another resolution; nothing of others."""
    output, masks = tmp_path / "out", tmp_path / "masks"
    for label in ("01", "02"):
        image = nb.load(write_image(empty_dataset, f"sub-{label}_T1w"))
        mask = masks / f"sub-{label}" / "anat" / f"sub-{label}_desc-brain_mask.nii.gz"
        mask.parent.mkdir(parents=True)
        nb.Nifti1Image((image.get_fdata() > 100).astype("u1"), image.affine).to_filename(mask)
    words = [empty_dataset, output, "participant", "-w", tmp_path / "work", *NO_STEPS]
    rich = [
        *("--sr-method=self", "--sr-steps=5", "--save-model", "--level=full"),
        *("--derivatives", f"masks={masks}", "--output-resolution=1.5"),
    ]
    assert command(*words, *rich).returncode == ExitCode.OK
    anat = output / "sub-01" / "anat"
    assert (anat / "sub-01_desc-brain_mask.nii.gz").is_file()
    mine = anat / "sub-01_desc-mine_T1w.nii.gz"
    mine.touch()
    times_of = {path: path.stat().st_mtime_ns for path in (output / "sub-02").rglob("*_T1w*")}
    ended = command(*words, "--participant-label=01")
    assert ended.returncode == ExitCode.OK, ended.stderr
    mine.unlink()
    ends = ("nii.gz", "json")
    assert {path.name for path in anat.iterdir()} == {
        *(f"sub-01_res-2mm_desc-sr_T1w.{end}" for end in ends),
        *(f"sub-01_desc-preproc_T1w.{end}" for end in ends),
        "sub-01_desc-sr_qc.json",
        "sub-01_desc-sr_sliceprofile.tsv",
    }
    assert {path.name for path in (output / "sub-01" / "figures").iterdir()} == {
        "sub-01_desc-sr_T1w.svg",
        "sub-01_desc-sliceprofile_T1w.svg",
    }
    page = (output / "sub-01.html").read_text()
    assert "Learning curve" not in page
    assert "Brain mask on the acquired image" not in page
    assert {path: path.stat().st_mtime_ns for path in times_of} == times_of


def test_the_methods_text_names_the_steps_that_failed() -> None:
    assert exceptions_text([(), ()]) == ""
    text = exceptions_text([(), ("no brain mask",), ("no brain mask", "not denoised"), ()])
    assert text.strip() == (
        "Steps failed and were left out in 2 of 4 images: no brain mask (2); not denoised (1)."
    )


def of_plan(stem: str) -> AnatImage:
    subject = stem.partition("_")[0]
    return AnatImage(
        path=Path(f"{subject}/anat/{stem}.nii.gz"),
        relpath=f"{subject}/anat/{stem}.nii.gz",
        entities={"subject": subject.removeprefix("sub-")},
        suffix=stem.rpartition("_")[2],
        action="super-resolve",
        reason="",
        source_grid=GRID,
        target_grid=GRID,
        target_spacing=1.0,
    )


def test_a_page_is_written_with_the_last_image_of_its_subject(
    empty_dataset: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    first, second, other = map(of_plan, ("sub-01_T1w", "sub-01_T2w", "sub-02_T1w"))
    config = RunConfig(bids_dir=empty_dataset, output_dir=output)
    keeper = RecordKeeper(config, new_record([]))
    keeper.begin(planned([first, second, other]))
    page = output / "sub-01.html"
    keeper.image_ended(Outcome(image=first, status="failed", message="why the first failed"))
    text = page.read_text()
    assert "This page is not complete" in text
    assert "1 result of sub-01 was pending" in text
    assert "why the first failed" in text
    assert "was not finished" not in text  # the run goes on
    keeper.image_ended(Outcome(image=second, status="failed", message="why the second failed"))
    text = page.read_text()  # at once, however short a time after the last one
    assert "This page is not complete" not in text
    assert "why the second failed" in text
    assert not (output / "sub-02.html").exists()
    keeper.interrupted()
    assert not (output / "sub-02.html").exists()
    keeper.end(planned([first, second, other]))
    assert "was not finished" in (output / "sub-02.html").read_text()


def test_a_page_waits_for_the_fused_volumes_of_its_subject(
    empty_dataset: Path, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    stacks = [
        replace(of_plan(f"sub-01_acq-{plane}_T2w"), fused_into="sub-01_desc-fused_T2w")
        for plane in ("ax", "cor")
    ]
    keeper = RecordKeeper(RunConfig(bids_dir=empty_dataset, output_dir=output), new_record([]))
    keeper.begin(planned(stacks))
    for stack in stacks:
        keeper.image_ended(Outcome(image=stack, status="failed", message="why"))
    assert "<code>sub-01_desc-fused_T2w</code>" in (output / "sub-01.html").read_text()
    keeper.stacks_fused("sub-01_desc-fused_T2w")
    assert "This page is not complete" not in (output / "sub-01.html").read_text()


def test_a_result_whose_image_has_left_the_dataset_is_told(
    empty_dataset: Path,
    write_image: Callable[..., Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Renamed, or found to be of another person: the earlier result is still there."""
    output = tmp_path / "out"
    stems = ("sub-01_T1w", "sub-01_acq-b_T1w", "sub-02_T1w")
    images = {stem: of_plan(stem) for stem in stems}
    for stem in ("sub-01_acq-b_T1w", "sub-02_T1w"):
        write_image(empty_dataset, stem)
    update_decisions(
        output,
        [
            decision_row(image, status="done", message="m", output=f"{stem}.nii.gz")
            for stem, image in images.items()
        ],
    )
    for stem in stems:
        (output / f"{stem}.nii.gz").touch()
    words = {"bids_dir": empty_dataset, "output_dir": output, "participant_label": ("01",)}
    for _ in range(2):  # said once in the row
        keeper = RecordKeeper(RunConfig(**words), new_record([]))
        keeper.begin(planned([images["sub-01_acq-b_T1w"]]))
    messages = {row["image"]: row["message"] for row in read_decisions(output)}
    assert messages[images["sub-01_T1w"].relpath] == f"{NO_INPUT}; m"
    assert not any(NO_INPUT in messages[images[stem].relpath] for stem in stems[1:])
    assert f"sub-01/anat/sub-01_T1w.nii.gz: {NO_INPUT} (sub-01_T1w.nii.gz)" in caplog.messages
    assert keeper.done == []
    keeper.end(planned([images["sub-01_acq-b_T1w"]]))
    assert "is not in the input dataset any more" in (output / "sub-01.html").read_text()
