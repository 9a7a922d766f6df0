from __future__ import annotations

import csv
import errno
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from bids_sr.cli import run
from bids_sr.run.exit_codes import ExitCode

Command = Callable[..., "subprocess.CompletedProcess[str]"]
NO_STEPS = (
    "--sr-method=bspline",
    "--denoise-method=none",
    "--anat-biascorrect=none",
    "--skull-strip-method=none",
    "--skip-bids-validation",
    "--viewer=none",
)
"""Options that leave only interpolation: a run of seconds."""


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_an_empty_dataset_is_no_input(
    command: Command, empty_dataset: Path, tmp_path: Path
) -> None:
    words = [empty_dataset, tmp_path / "out", "participant", "--skip-bids-validation"]
    ended = command(*words, cwd=tmp_path)
    assert ended.returncode == ExitCode.NO_INPUT
    assert ended.stderr.startswith("bids_sr: ")
    assert "Traceback" not in ended.stderr


def test_a_folder_of_dicom_files_is_told_how_to_convert_it(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "scans" / "1").mkdir(parents=True)
    (tmp_path / "scans" / "1" / "IM1").write_bytes(bytes(128) + b"DICM" + bytes(40))
    ended = command(tmp_path / "scans", tmp_path / "out", "participant", cwd=tmp_path)
    assert ended.returncode == ExitCode.NO_INPUT
    (line,) = ended.stderr.splitlines()
    assert "holds DICOM files; expected a BIDS dataset. Convert it first: mkdir NIFTI" in line


def test_a_missing_dataset_is_no_input(command: Command, tmp_path: Path) -> None:
    ended = command(tmp_path / "none", tmp_path / "out", "participant", cwd=tmp_path)
    assert ended.returncode == ExitCode.NO_INPUT
    assert str(tmp_path / "none") in ended.stderr
    assert tree(tmp_path) == set()


def test_an_unknown_level(command: Command, dataset: Path, tmp_path: Path) -> None:
    ended = command(dataset, tmp_path / "out", "session")
    assert ended.returncode == ExitCode.ANALYSIS_LEVEL


def test_wrong_use(command: Command, dataset: Path, tmp_path: Path) -> None:
    ended = command(dataset, dataset, "participant")
    assert ended.returncode == ExitCode.USAGE
    assert "the output folder is the input dataset" in ended.stderr


@pytest.mark.parametrize("words", [["-m", "PDw"], ["--participant-label", "99"]])
def test_nothing_selected(
    command: Command, dataset: Path, tmp_path: Path, words: list[str]
) -> None:
    ended = command(dataset, tmp_path / "out", "participant", *NO_STEPS, *words, cwd=tmp_path)
    assert ended.returncode == ExitCode.NOTHING_SELECTED
    assert "Traceback" not in ended.stderr
    assert tree(tmp_path) == set()


def test_a_subject_or_session_without_an_image_is_told(
    command: Command, empty_dataset: Path, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    write_image(empty_dataset, "sub-01_T1w")
    (empty_dataset / "sub-02").mkdir()
    ended = command(empty_dataset, tmp_path / "out", "participant", "--dry-run")
    assert ended.returncode == ExitCode.OK
    assert "no anatomical image in sub-02: nothing is done for them" in ended.stderr
    words = ["--dry-run", "--session-label", "pre"]
    ended = command(empty_dataset, tmp_path / "out", "participant", *words)
    assert "--session-label pre: no anatomical image of that session" in ended.stderr


def test_names_that_are_patterns_or_formats_elsewhere(
    command: Command, empty_dataset: Path, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    """A plus in a label; spaces, percent signs, brackets and braces in folders."""
    write_image(empty_dataset, "sub-01+a_T1w")
    output, work = tmp_path / "50 %d [a] {b} \u00fc", tmp_path / "100 %s {c} \u00fc"
    ended = command(empty_dataset, output, "participant", "-w", work, *NO_STEPS)
    assert ended.returncode == ExitCode.OK, ended.stderr
    assert (output / "sub-01+a" / "anat" / "sub-01+a_res-2mm_desc-sr_T1w.nii.gz").is_file()
    assert (output / "sub-01+a.html").is_file()


def test_dry_run_explains_every_image_and_writes_nothing(
    command: Command, dataset: Path, tmp_path: Path
) -> None:
    before = tree(dataset)
    ended = command(dataset, tmp_path / "out", "participant", "--dry-run", cwd=tmp_path)
    assert ended.returncode == ExitCode.OK
    rows = {
        cells[0].rpartition("/")[2].split(".")[0]: cells
        for line in ended.stdout.splitlines()
        if len(cells := line.split("\t")) == 5
    }
    assert rows["sub-01_T1w"][1:4] == ["super-resolve", "5 mm every 6 mm", "2 x 2 x 2 mm"]
    assert rows["sub-01_FLAIR"][1] == "pass-through"
    assert rows["sub-03_T1w"][1] == "skip"
    assert all(cells[4] for cells in rows.values())
    assert "4 images of 3 subjects" in ended.stdout
    assert "steps: denoising nlm; bias correction n4; slice gain auto; brain mask " in ended.stdout
    # Its sidecar says the thickness, and nothing of the profile.
    assert "sub-01_FLAIR: assumed: SliceThickness" not in ended.stdout
    assert "sub-01_FLAIR: assumed: the slice profile is not stated" in ended.stdout
    assert tree(dataset) == before
    assert tree(tmp_path) == set()


@dataclass(frozen=True)
class Finished:
    """A run on the dataset that has ended, and where."""

    process: subprocess.CompletedProcess[str]
    output: Path
    work: Path

    def decisions(self) -> dict[str, dict[str, str]]:
        text = (self.output / "decisions.tsv").read_text()
        rows = csv.DictReader(text.splitlines(), delimiter="\t")
        return {row["image"].rpartition("/")[2].split(".")[0]: row for row in rows}


@pytest.fixture(scope="module")
def finished(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("run")
    output, work = folder / "out", folder / "work"
    words = [dataset, output, "participant", "-w", work, *NO_STEPS, "--nprocs=2"]
    code = (
        "import sys; from bids_sr.cli.run import main\n"
        f"code = main({list(map(str, words))!r})\n"
        "print('in the parent:', 'torch' in sys.modules, 'ants' in sys.modules)\n"
        "sys.exit(code)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=folder
    )
    return Finished(ended, output, work)


def test_the_parent_never_imports_torch(finished: Finished) -> None:
    assert finished.process.stdout.splitlines()[-1] == "in the parent: False False"


def test_one_bad_image_fails_alone(finished: Finished) -> None:
    assert finished.process.returncode == ExitCode.SOME_FAILED, finished.process.stderr
    lines = finished.process.stdout.splitlines()
    assert lines[0] == "3 done, 1 failed, 0 skipped"
    (line,) = [line for line in lines if line.startswith("sub-02_T2w: failed")]
    assert re.match(r"sub-02_T2w: failed at check_input: .*1 of 2640 voxels NaN", line)
    assert "Traceback" not in finished.process.stdout + finished.process.stderr


def test_the_decisions_say_what_became_of_each_image(finished: Finished) -> None:
    rows = finished.decisions()
    assert {name: row["status"] for name, row in rows.items()} == {
        "sub-01_FLAIR": "done",
        "sub-01_T1w": "done",
        "sub-02_T2w": "failed",
        "sub-03_T1w": "done",  # interpolation takes a series frame by frame
    }
    assert (finished.output / rows["sub-01_T1w"]["output"]).is_file()
    assert rows["sub-02_T2w"]["output"] == "n/a"
    assert "NaN" in rows["sub-02_T2w"]["message"]


def test_stages_have_lines(finished: Finished) -> None:
    text = finished.process.stderr
    assert "sub-01_T1w: super-resolution ..." in text
    assert re.search(r"sub-01_T1w: super-resolution done \(\d+ s\)", text)
    assert "sub-02_T2w: check failed" in text
    assert "sub-03_T1w: super-resolution done" in text


def test_each_subject_has_its_log_and_its_report(finished: Finished) -> None:
    (log,) = (finished.output / "sub-02" / "log").glob("[!.]*")
    assert re.fullmatch(r"\d{8}-\d{6}_[0-9a-f-]{36}", log.name)
    (crash,) = log.glob("crash-*.txt")
    assert "check_input" in crash.name
    table = tomllib.loads((log / "run.toml").read_text())
    assert table["run"]["command"].startswith("bids_sr ")
    assert table["config"]["sr_method"] == "bspline"
    assert {"bids_sr", "python", "torch", "nipype", "antspyx"} <= set(table["versions"])
    assert not list((finished.output / "sub-01" / "log").rglob("crash-*"))
    for subject in ("01", "02", "03"):
        assert f"report: {finished.output / f'sub-{subject}.html'}" in finished.process.stdout
        assert (finished.output / f"sub-{subject}.html").is_file()


def test_a_second_run_repeats_no_step(command: Command, dataset: Path, finished: Finished) -> None:
    (options,) = (finished.output / "logs").glob("*.toml")
    product = finished.output / finished.decisions()["sub-01_T1w"]["output"]
    before = product.stat().st_mtime_ns
    ended = command(
        dataset, finished.output, "participant", "--config-file", options,
        "--participant-label", "01",
    )  # fmt: skip
    assert ended.returncode == ExitCode.OK, ended.stderr
    assert "sub-01_T1w: super-resolution unchanged" in ended.stderr
    assert "super-resolution done" not in ended.stderr
    assert product.stat().st_mtime_ns == before
    assert finished.decisions()["sub-02_T2w"]["status"] == "failed"  # of the earlier run


def test_reports_only(command: Command, dataset: Path, finished: Finished) -> None:
    page = finished.output / "sub-01.html"
    text = page.read_text()
    page.unlink()
    ended = command(dataset, finished.output, "participant", "--reports-only")
    assert ended.returncode == ExitCode.OK, ended.stderr
    assert page.is_file()
    assert len(page.read_text()) > 0.9 * len(text)


def test_group_level(command: Command, dataset: Path, finished: Finished) -> None:
    ended = command(dataset, finished.output, "group")
    assert ended.returncode == ExitCode.OK, ended.stderr
    assert (finished.output / "group_T1w.tsv").is_file()
    assert f"wrote {finished.output / 'group_T1w.tsv'}" in ended.stdout


def test_group_level_needs_a_run(command: Command, dataset: Path, tmp_path: Path) -> None:
    ended = command(dataset, tmp_path / "none", "group")
    assert ended.returncode == ExitCode.NO_INPUT


def test_reports_only_needs_a_run(command: Command, dataset: Path, tmp_path: Path) -> None:
    ended = command(dataset, tmp_path / "none", "participant", "--reports-only")
    assert ended.returncode == ExitCode.NO_INPUT
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ExitCode.CANNOT_WRITE),
        (OSError(errno.EIO, "Input/output error"), ExitCode.NO_WORKFLOW),
        (KeyError("bug"), ExitCode.NO_WORKFLOW),
    ],
)
def test_what_is_no_error_of_the_user(
    error: Exception,
    code: ExitCode,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(run, "_run", fail)
    monkeypatch.setattr(run, "prepare", lambda threads: None)
    monkeypatch.setattr(run, "end_on_sigterm", lambda: None)
    assert run.main([str(dataset), str(tmp_path / "out"), "participant"]) == code
    shown = capsys.readouterr().err
    assert ("please report it" in shown) == (code == ExitCode.NO_WORKFLOW)


def test_boilerplate_only(command: Command, dataset: Path, tmp_path: Path) -> None:
    ended = command(
        dataset, tmp_path / "out", "participant", *NO_STEPS, "--boilerplate-only", cwd=tmp_path
    )
    assert ended.returncode == ExitCode.OK, ended.stderr
    assert "B-spline" in (tmp_path / "out" / "logs" / "CITATION.md").read_text()
    assert not list((tmp_path / "out").rglob("*.nii.gz"))


def test_only_bad_images_are_bad_data(
    command: Command, empty_dataset: Path, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    write_image(empty_dataset, "sub-01_T1w").write_bytes(b"no image")
    ended = command(empty_dataset, tmp_path / "out", "participant", *NO_STEPS, cwd=tmp_path)
    assert ended.returncode == ExitCode.BAD_DATA, ended.stderr
    assert "sub-01_T1w: failed at planning" in ended.stdout
    assert (tmp_path / "out" / "sub-01.html").is_file()


def _group_of(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, ExitCode.TERMINATED), (signal.SIGINT, ExitCode.INTERRUPTED)],
)
def test_a_signal_ends_the_run_and_its_children(
    dataset: Path, tmp_path: Path, number: signal.Signals, code: ExitCode
) -> None:
    words = [dataset, tmp_path / "out", "participant", "-w", tmp_path / "work", *NO_STEPS]
    words += ["--sr-method=self", "--sr-steps=100000", "--participant-label=01"]
    with subprocess.Popen(
        [sys.executable, "-m", "bids_sr", *map(str, words)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        # A shell lets what it runs in the background ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "super-resolution ..." in line:
                break
        while not psutil.Process(process.pid).children(recursive=True):
            time.sleep(0.02)
        if number == signal.SIGINT:  # Ctrl-C reaches the workers too
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        rest = process.communicate(timeout=120)[1]
    assert process.returncode == code
    assert "run again to continue" in rest
    # A step that was just being started ends itself when it finds its parent gone; one that went
    # on would train for many minutes.
    left = [other for other in psutil.process_iter() if _group_of(other) == process.pid]
    _, alive = psutil.wait_procs(left, timeout=60)
    assert not alive


def test_strangers_are_told_and_leave_no_page(
    empty_dataset: Path,
    write_image: Callable[..., Path],
    tmp_path: Path,
    command: Command,
) -> None:
    for folder, name in (
        (empty_dataset, "sub-01_T1w"),
        (empty_dataset, "sub-06_FLAIR"),
        (empty_dataset / "backup", "sub-01_T1w"),
        (empty_dataset / "sub-01" / "extra", "sub-01_T2w"),
    ):
        write_image(folder, name)
    stray = write_image(tmp_path, "sub-06_T1w").rename(
        empty_dataset / "sub-01" / "anat" / "sub-06_T1w.nii.gz"
    )
    (empty_dataset / "again").symlink_to(".")
    output = tmp_path / "out"
    ended = command(empty_dataset, output, "participant", "-w", tmp_path / "work", *NO_STEPS)
    assert ended.returncode == ExitCode.OK, ended.stderr
    with (output / "decisions.tsv").open(newline="") as stream:
        rows = {row["image"]: row for row in csv.DictReader(stream, delimiter="\t")}
    assert {path: (row["participant_id"], row["status"]) for path, row in rows.items()} == {
        "backup/sub-01/anat/sub-01_T1w.nii.gz": ("n/a", "skipped"),
        "sub-01/anat/sub-01_T1w.nii.gz": ("sub-01", "done"),
        f"sub-01/anat/{stray.name}": ("sub-01", "skipped"),
        "sub-01/extra/sub-01/anat/sub-01_T2w.nii.gz": ("sub-01", "skipped"),
        "sub-06/anat/sub-06_FLAIR.nii.gz": ("sub-06", "done"),
    }
    assert f"warning: sub-01/anat/{stray.name}: skipped: its name has sub-06" in ended.stderr
    assert "warning: again is a link to a folder and is not followed" in ended.stderr
    assert re.findall(r"results written \((\d of \d)", ended.stderr) == ["1 of 2", "2 of 2"]
    assert {path.name for path in output.glob("sub-*.html")} == {"sub-01.html", "sub-06.html"}
    assert not list(output.glob("sub-06/anat/*T1w*"))
    assert not list(output.glob("sub-*/anat/*T2w*"))
    assert not (output / "sub-").exists()
