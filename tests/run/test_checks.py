"""What is refused before any work, with its exit code, and nothing is written."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

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
)


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--slice-profile", "gausian"],
            "gausian: no such file; expected auto, assumed, gaussian",
        ),
        (["--slice-profile", "/dev/null"], "slice-profile /dev/null: found a device; expected a"),
        (["-d", "masks=/nonexistent"], "--derivatives masks: /nonexistent does not exist"),
        (["-d", f"masks={__file__}"], "test_checks.py is not a folder"),
        (["--weights-dir", __file__], "test_checks.py is not a folder"),
        (["--use-plugin", "/nonexistent"], "--use-plugin: /nonexistent"),
        (["--weights-dir", "/nonexistent"], "--weights-dir: /nonexistent"),
        (["-w", "work [1]"], "work [1] has [ in its path, which Nipype takes for a pattern"),
    ],
)
def test_a_file_that_is_not_there_stops_the_run(
    command: Command, dataset: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    ended = command(dataset, tmp_path / "out", "participant", *words, cwd=tmp_path)
    assert ended.returncode == ExitCode.USAGE
    assert message in ended.stderr
    assert tree(tmp_path) == set()


@pytest.mark.parametrize(
    ("tool", "code", "message"),
    [
        ("mri_segment", ExitCode.USAGE, "no such tool; expected one of atropos, wmh"),
        ("nnunet=/nonexistent", ExitCode.MISSING_TOOL, "expected a model folder of nnU-Net v2"),
        ("lst-ai", ExitCode.MISSING_TOOL, "no program lst on the PATH"),
    ],
)
def test_a_segmentation_that_cannot_run_stops_the_run(
    command: Command, dataset: Path, tmp_path: Path, tool: str, code: ExitCode, message: str
) -> None:
    ended = command(
        dataset, tmp_path / "out", "participant", "--segmentation", "atropos", tool, cwd=tmp_path
    )
    assert ended.returncode == code
    assert message in ended.stderr
    assert tree(tmp_path) == set()


@pytest.mark.parametrize("folder", ["output", "work"])
def test_a_folder_that_cannot_be_written(
    command: Command, dataset: Path, tmp_path: Path, folder: str
) -> None:
    (tmp_path / "file").touch()
    folders = {"output": tmp_path / "out", "work": tmp_path / "work"}
    folders[folder] = tmp_path / "file" / "below"
    ended = command(dataset, folders["output"], "participant", "-w", folders["work"], *NO_STEPS)
    assert ended.returncode == ExitCode.CANNOT_WRITE
    assert str(folders[folder]) in ended.stderr


def test_an_invalid_dataset(
    command: Command, empty_dataset: Path, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    root = empty_dataset
    write_image(root, "sub-01_T1w")
    (root / "sub-01" / "anat" / "sub-01_sugar-2_T1w.nii.gz").write_bytes(b"")
    ended = command(root, tmp_path / "out", "participant", cwd=tmp_path)
    assert ended.returncode == ExitCode.VALIDATION_FAILED
    assert "sub-01_sugar-2_T1w" in ended.stderr
    assert "--skip-bids-validation" in ended.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("output", "work", "named"),
    [
        ("link", "work", "output folder"),
        ("link/sub-01", "work", "output folder"),
        ("link/derivatives", "work", "output folder"),
        ("results", "work", "output folder"),
        ("out", "link", "work folder"),
        ("out", "link/derivatives/work", "work folder"),
    ],
)
@pytest.mark.parametrize("level", ["participant", "group"])
def test_nothing_is_written_into_the_dataset_by_a_link(
    empty_dataset: Path,
    write_image: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    output: str,
    work: str,
    named: str,
    level: str,
) -> None:
    write_image(empty_dataset, "sub-01_T1w")
    (tmp_path / "link").symlink_to(empty_dataset)
    (tmp_path / "results").symlink_to("link/sub-01")
    before = tree(empty_dataset)
    folders = [str(empty_dataset), str(tmp_path / output), level, "-w", str(tmp_path / work)]
    assert run.main([*folders, *NO_STEPS]) == ExitCode.USAGE
    assert f"the {named} {tmp_path}" in capsys.readouterr().err
    assert tree(empty_dataset) == before


def test_a_link_to_where_results_belong_is_fine(
    empty_dataset: Path, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    write_image(empty_dataset, "sub-01_T1w")
    (empty_dataset / "derivatives").mkdir()
    (tmp_path / "out").symlink_to(empty_dataset / "derivatives")
    words = [str(empty_dataset), str(tmp_path / "out/bids_sr"), "participant", "--dry-run"]
    assert run.main([*words, "-w", str(tmp_path / "work"), *NO_STEPS]) == ExitCode.OK
