"""The scripts of ``bids_sr-tools slurm``, submitted to a real Slurm of one node."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nb
import numpy as np
import psutil
import pytest

from bids_sr.run.batch_queue import LEAST_GB

if TYPE_CHECKING:
    from bids_sr.imaging import Volume

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
ONE_NODE = Path(__file__).with_name("slurm_one_node.sh")
PROGRAMS = ("sbatch", "squeue", "scontrol", "slurmctld", "slurmd", "munged")
COMMAND = f"{sys.executable} -m bids_sr"
TOOLS = (sys.executable, "-m", "bids_sr.cli.tools")
OPTIONS = ("--sloppy", "--skull-strip-method", "none", "--anat-biascorrect", "none")
LINEAR = (*OPTIONS, "--denoise-method", "none", "--sr-method", "linear")
WAIT_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A Slurm that runs here."""

    folder: Path

    def call(self, *words: object, check: bool = True) -> str:
        """Run a command that knows of this Slurm and return what it said."""
        done = subprocess.run(
            [str(word) for word in words],
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_SECONDS,
            env={**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")},
        )
        assert not check or done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def wait(self, until: Callable[[], bool] | None = None) -> None:
        """Wait until all jobs have ended, or until something holds."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not (until() if until else not self.call("squeue", "--noheader").strip()):
            assert time.monotonic() < deadline, self.call("scontrol", "show", "job")
            time.sleep(0.5)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no Slurm here: {', '.join(missing)} not found (Debian: slurm-wlm, munge)")
    if os.getuid() != 0:
        pytest.skip("its daemons start jobs, which takes root")
    folder = tmp_path_factory.mktemp("cluster") / "slurm"
    settings = {"CPUS": 4, "MEM_MB": 12000, "CTLD_PORT": free_port(), "D_PORT": free_port()}
    environment = {**os.environ, **{f"SLURM1_{name}": str(v) for name, v in settings.items()}}
    subprocess.run([ONE_NODE, "start", folder], env=environment, check=True, timeout=120)
    yield Cluster(folder=folder)
    subprocess.run([ONE_NODE, "stop", folder], check=True, timeout=120)


@pytest.fixture
def study(tmp_path: Path, mni152_2mm: Volume) -> Path:
    """Return a dataset of three participants in a folder whose name needs quotes."""
    root = tmp_path / "it's a $study"
    root.mkdir()
    (root / "README").write_text("A dataset of the tests.\n")
    description = {"Name": "tests", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    affine = mni152_2mm.affine @ np.diag([1, 1, 3, 1])
    for number, label in enumerate(("01", "02", "a1B")):
        data = np.asarray(mni152_2mm.data)[:, :, number : 90 + number : 3]
        path = root / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        nb.Nifti1Image(data, affine).to_filename(path)
        path.with_name(f"sub-{label}_T1w.json").write_text('{"SliceThickness": 6}')
    return root


def image_hashes(output: Path) -> dict[str, str]:
    """Hash the values of every image of an output folder."""
    return {
        path.relative_to(output).as_posix(): hashlib.sha256(
            np.asarray(nb.load(path).dataobj).tobytes()
        ).hexdigest()
        for path in sorted(output.rglob("*.nii.gz"))
    }


def processes(*words: object) -> list[psutil.Process]:
    """Find the running processes of ``bids_sr`` whose command line has all these words."""
    running = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        if "bids_sr" in line and all(str(word) in line for word in words):
            running.append(process)
    return running


def write(study: Path, output: Path, *words: object, options: tuple[str, ...] = LINEAR) -> Path:
    """Write the scripts; return the one that submits."""
    subprocess.run(
        [*TOOLS, "slurm", study, output, "--command", COMMAND, *map(str, words), "--", *options],
        check=True,
        timeout=300,
    )
    return output / "code" / "slurm" / "submit.sh"


def states(submit: Path) -> dict[str, str]:
    return {path.name: path.read_text().split()[0] for path in submit.parent.glob("status/*")}


def test_failures_retry_and_group_level(cluster: Cluster, study: Path, tmp_path: Path) -> None:
    output = tmp_path / "out put"
    damaged = study / "sub-02" / "anat" / "sub-02_T1w.nii.gz"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    submit = write(study, output, "--max-tasks", 2)
    cluster.call(submit)
    assert "still in the queue" in cluster.call(submit, "--failed", check=False)
    cluster.wait()
    said = cluster.call(submit, "--status")
    assert states(submit) == {"sub-01": "0", "sub-02": "1", "sub-a1B": "0"}, said
    assert "1 of 3 participants are not done" in said
    assert "sub-02/anat/sub-02_T1w.nii.gz: failed at check_input" in said
    assert outcomes(output) == {"sub-01": "done", "sub-02": "failed", "sub-a1B": "done"}
    before = {path: path.stat().st_mtime_ns for path in output.glob("sub-[!0]*/anat/*")}
    assert before

    damaged.write_bytes(whole)
    assert "1 participants of retry.txt" in cluster.call(submit, "--failed")
    cluster.wait()
    assert states(submit) == {"sub-01": "0", "sub-02": "0", "sub-a1B": "0"}
    assert outcomes(output) == {"sub-01": "done", "sub-02": "done", "sub-a1B": "done"}
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "nothing to submit" in cluster.call(submit, "--failed")
    assert not list(Path("/tmp").glob(f"bids_sr-*/sub-{output.name}*"))


def outcomes(output: Path) -> dict[str, str]:
    with (output / "group_T1w.tsv").open(newline="") as stream:
        return {
            row["participant_id"]: row["outcome"] for row in csv.DictReader(stream, delimiter="\t")
        }


def test_killed_in_the_middle_and_submitted_again(
    cluster: Cluster, study: Path, tmp_path: Path
) -> None:
    options = (*OPTIONS, "--sr-method", "self", "--sr-steps", "60")
    undisturbed = write(study, tmp_path / "ref", "--participant-label", "01", options=options)
    cluster.call(undisturbed)
    cluster.wait()

    output = tmp_path / "out"
    submit = write(study, output, "--participant-label", "01", options=options)
    cluster.call(submit)
    log = submit.parent / "log"
    cluster.wait(
        lambda: any("super-resolution ..." in path.read_text() for path in log.glob("*_1.log"))
    )
    running = processes(output, "participant")
    assert running
    for process in running:  # the command and its workers, not the job's shell
        process.kill()
    cluster.wait()
    assert states(submit) == {"sub-01": "137"}
    assert not list(output.rglob("*_desc-sr_T1w.nii.gz"))
    cluster.call(submit, "--failed")
    cluster.wait()
    assert states(submit) == {"sub-01": "0"}
    assert image_hashes(output) == image_hashes(tmp_path / "ref")
    (again,) = (path for path in log.glob("*_1.log") if "done, 0 failed" in path.read_text())
    assert "denoising ..." not in again.read_text()  # it went on where the other was killed


def test_a_requeued_job_goes_on(cluster: Cluster, study: Path, tmp_path: Path) -> None:
    options = (*OPTIONS, "--sr-method", "self", "--sr-steps", "60")
    submit = write(study, tmp_path / "out", "--participant-label", "01", options=options)
    cluster.call(submit)
    (log,) = wait_for_log(cluster, submit, "super-resolution ...")
    job = log.name.removesuffix(".log")
    cluster.call("scontrol", "requeue", job)
    cluster.wait(lambda: states(submit) == {"sub-01": "143"})
    cluster.call("scontrol", "update", f"JobId={job}", "StartTime=now")  # else after 2 minutes
    cluster.wait()
    assert states(submit) == {"sub-01": "0"}
    assert log.read_text().count("denoising ...") == 1


def wait_for_log(cluster: Cluster, submit: Path, words: str) -> list[Path]:
    logs: list[Path] = []

    def there() -> bool:
        logs[:] = [path for path in submit.parent.glob("log/*_*.log") if words in path.read_text()]
        return bool(logs)

    cluster.wait(there)
    return logs


def test_too_little_memory_is_told(cluster: Cluster, study: Path, tmp_path: Path) -> None:
    submit = write(study, tmp_path / "out", "--participant-label", "01", "--mem", "400M")
    cluster.call(submit)
    cluster.wait()
    said = cluster.call(submit, "--status")
    assert "1 of 1 participants are not done" in said
    assert states(submit)["sub-01"] in ("running", "137", "143")
    assert "killed" in said or "stopped" in said


def test_steps_as_jobs(cluster: Cluster, study: Path, tmp_path: Path) -> None:
    damaged = study / "sub-02" / "anat" / "sub-02_T1w.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:100_000])
    plugin = tmp_path / "slurm.yml"
    plugin.write_text("plugin: SLURM\nplugin_args: {sbatch_args: --time=30}\n")
    output = tmp_path / "out"
    environment = {**os.environ, "SLURM_CONF": str(cluster.folder / "slurm.conf")}
    environment.pop("LOGNAME", None)
    words = ["--participant-label", "01", "02", "--use-plugin", plugin, "-w", tmp_path / "work"]
    words += ["--omp-nthreads", "2", "--nprocs", "2", "--skip-bids-validation"]
    done = subprocess.run(
        [*COMMAND.split(), study, output, "participant", *LINEAR, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
        env=environment,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "sub-02_T1w: failed at check_input" in done.stdout
    assert list(output.rglob("sub-01*_desc-sr_T1w.nii.gz"))
    jobs = [
        dict(word.split("=", 1) for word in line.split() if "=" in word)
        for line in cluster.call("scontrol", "--oneliner", "show", "job").splitlines()
    ]
    job_of = {job["JobName"].split(".")[0]: job for job in jobs if "sub_01" in job["JobName"]}
    memory = {name: float(job["MinMemoryNode"][:-1]) for name, job in job_of.items()}
    # of this small image no step declares more than a process takes for its libraries
    assert set(memory.values()) == {math.ceil(LEAST_GB * 1e9 / 2**20)}
    assert job_of["super_resolve"]["CPUs/Task"] == "2"
    assert job_of["check_input"]["CPUs/Task"] == "1"
