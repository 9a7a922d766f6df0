"""Two runs at once on the same folders, and what a killed run leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
import psutil
import pytest

from bids_sr.bids import read_decisions

pytestmark = pytest.mark.slow
BIDS_SR = (sys.executable, "-m", "bids_sr")
QUICK = ("--sloppy", "--skip-bids-validation", "--skull-strip-method", "none", "--nprocs", "1")
Job = subprocess.Popen[str]


@pytest.fixture
def study(empty_dataset: Path, write_image: Callable[..., Path]) -> Path:
    write_image(empty_dataset, "sub-01_T1w")
    write_image(empty_dataset, "sub-02_T2w")
    return empty_dataset


def start(study: Path, output: Path, label: str, *words: str | Path) -> Job:
    return subprocess.Popen(
        [*BIDS_SR, study, output, "participant", *QUICK, "--participant-label", label, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def images_of(output: Path) -> dict[str, str]:
    return {
        path.relative_to(output).as_posix(): hashlib.sha256(
            np.asarray(nb.load(path).dataobj).tobytes()
        ).hexdigest()
        for path in sorted(output.rglob("*.nii.gz"))
    }


def left_over(output: Path) -> list[Path]:
    return [path for path in output.rglob("*") if path.suffix in (".tmp", ".partial")]


def test_different_participants(study: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    words = ("-w", tmp_path / "work", "--sr-method", "linear", "--write-graph")
    jobs = [start(study, output, label, *words) for label in ("01", "02")]
    said = [job.communicate(timeout=300)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], said
    assert not any("in use by another run" in text for text in said)
    assert {row["image"]: row["status"] for row in read_decisions(output)} == {
        "sub-01/anat/sub-01_T1w.nii.gz": "done",
        "sub-02/anat/sub-02_T2w.nii.gz": "done",
    }
    assert json.loads((output / "dataset_description.json").read_text())["GeneratedBy"]
    assert len(list((output / "logs").glob("*.toml"))) == 2
    assert left_over(output) == []
    for label in ("01", "02"):
        (run,) = (output / f"sub-{label}" / "log").glob("2*")
        assert {"run.toml", "decisions.tsv", "CITATION.md"} <= {p.name for p in run.iterdir()}


@pytest.mark.parametrize("work", [("work", "work"), ("work1", "work2")])
def test_the_same_participant(study: Path, tmp_path: Path, work: tuple[str, str]) -> None:
    output, words = tmp_path / "out", ("--sr-method", "self", "--sr-steps", "5")
    jobs = [start(study, output, "01", "-w", tmp_path / name, *words) for name in work]
    said = [job.communicate(timeout=300)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], said
    assert sum("in use by another run" in text for text in said) == 1
    alone = start(study, tmp_path / "alone", "01", "-w", tmp_path / "other", *words)
    alone.communicate(timeout=300)
    assert images_of(output) == images_of(tmp_path / "alone")
    assert left_over(output) == []


def test_a_killed_run_leaves_no_worker_and_can_be_run_again(study: Path, tmp_path: Path) -> None:
    output, words = tmp_path / "out", ("-w", tmp_path / "work", "--sr-method", "self")
    job = start(study, output, "01", *words, "--sr-steps", "100000")
    assert job.stdout is not None
    workers: list[psutil.Process] = []
    try:
        for line in job.stdout:
            if "super-resolution ..." in line:
                break
        while not workers and job.poll() is None:  # the line comes before the process
            workers = psutil.Process(job.pid).children(recursive=True)
            time.sleep(0.02)
    finally:
        os.kill(job.pid, signal.SIGKILL)
    assert workers
    job.wait(30)
    job.stdout.close()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    assert not list(output.rglob("*_desc-sr_*"))
    (row,) = read_decisions(output)
    assert row["status"] == "planned"
    again = start(study, output, "01", *words, "--sr-steps", "5")
    text, _ = again.communicate(timeout=300)
    assert again.returncode == 0, text
    assert "in use by another run" not in text
    assert "denoising ..." not in text  # taken from the work folder
    assert left_over(output) == []
