"""Who reads what a command says decides nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bids_sr.run.streams import SteadyStream

PLAN = ("participant", "--dry-run", "--skip-bids-validation")


def run(words: list[str], shell_end: str) -> int:
    """Run a command in a shell with an end such as ``2>&-``, and return its own exit code."""
    command = f'"$@" {shell_end}'
    if "|" in shell_end:
        command += "; exit ${PIPESTATUS[0]}"
    return subprocess.run(
        ["bash", "-c", command, "bash", sys.executable, "-m", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ).returncode


ENDS = ["2>&-", ">&-", "<&- >&- 2>&-", "2>&1 | true", ">/dev/full", "2>/dev/full"]


@pytest.mark.parametrize("end", ENDS)
def test_the_plan(dataset: Path, tmp_path: Path, end: str) -> None:
    assert run(["bids_sr", str(dataset), str(tmp_path / "out"), *PLAN], end) == 0


def test_a_pipe_that_nobody_reads_takes_any_number_of_lines() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        stream = SteadyStream(pipe)
        for _ in range(2):
            stream.writelines("x" * 80 for _ in range(1000))
            print("x" * 100_000, file=stream, flush=True)  # type: ignore[call-overload]


def test_letters_that_a_terminal_does_not_know_are_spelled_out(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(dataset, tmp_path / "dätaset")
    (path,) = (tmp_path / "dätaset").glob("sub-01/anat/*_T1w.nii.gz")
    path.rename(path.with_name(path.name.replace("_T1w", "_acq-é_T1w")))
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert run(["bids_sr", str(tmp_path / "dätaset"), str(tmp_path / "öut"), *PLAN], "") == 0


@pytest.mark.parametrize("end", ["| true", ">&-", ">/dev/full"])
@pytest.mark.parametrize("module", ["bids_sr", "bids_sr.cli.tools"])
def test_the_help(module: str, end: str) -> None:
    assert run([module, "--help"], end) == 0


@pytest.mark.parametrize("end", ["2>&-", "2>&1 | true"])
def test_an_error_keeps_its_code(tmp_path: Path, end: str) -> None:
    words = ["bids_sr", str(tmp_path / "none"), str(tmp_path / "out"), "participant"]
    assert run(words, end) == 66


@pytest.mark.slow
@pytest.mark.parametrize("end", ["<&- >&- 2>&-", "2>&1 | head -1"])
def test_a_run(dataset: Path, tmp_path: Path, end: str) -> None:
    steps = ["--sr-method=bspline", "--denoise-method=none", "--anat-biascorrect=none"]
    words = ["bids_sr", str(dataset), str(tmp_path / "out"), "participant", *steps]
    words += ["--skull-strip-method=none", "--skip-bids-validation", "-w", str(tmp_path / "work")]
    assert run([*words, "--participant-label=01"], end) == 0
    assert (tmp_path / "out" / "sub-01.html").is_file()
    for path in (tmp_path / "out").rglob("*"):
        assert not path.is_file() or b"sub-01_T1w: check" not in path.read_bytes()
