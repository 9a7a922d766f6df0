from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bids_sr.compute.resources import available_cpus, available_memory_gb, default_threads

affinity = getattr(os, "sched_getaffinity", lambda _: {0})


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture(autouse=True)
def _large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096}.get(name, 2**26))


LINE_V1 = "5:cpu,cpuacct:/jobs/7\n4:memory:/jobs/7\n"
CPU_V1 = "sys/fs/cgroup/cpu,cpuacct/jobs/7"


@pytest.mark.parametrize(
    ("files", "environ", "cpus"),
    [
        ({}, {}, 64),
        ({"sys/fs/cgroup/cpu.max": "150000 100000"}, {}, 64),  # not this process's group
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"}, {}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, {}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, {}, 64),
        (
            {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "400000 100000\n"},
            {},
            4,
        ),
        (
            {
                "proc/self/cgroup": LINE_V1,
                f"{CPU_V1}/cpu.cfs_quota_us": "300000\n",
                f"{CPU_V1}/cpu.cfs_period_us": "100000\n",
            },
            {},
            3,
        ),
        (
            {
                "proc/self/cgroup": LINE_V1,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            {},
            64,
        ),
        ({}, {"SLURM_CPUS_PER_TASK": "6", "SLURM_CPUS_ON_NODE": "12"}, 6),
        ({}, {"SLURM_CPUS_ON_NODE": "12"}, 12),
        ({}, {"SLURM_CPUS_PER_TASK": "0"}, 64),
        ({}, {"NCPUS": "5"}, 5),
        ({}, {"NSLOTS": "4"}, 4),
        ({}, {"LSB_DJOB_NUMPROC": "3", "SLURM_CPUS_ON_NODE": "12"}, 3),
    ],
)
def test_the_smallest_cpu_limit_holds(
    tmp_path: Path, files: dict[str, str], environ: dict[str, str], cpus: int
) -> None:
    assert available_cpus(root=write(tmp_path, files), environ=environ) == cpus


MACHINE_GB = 0.9 * 4096 * 2**26 / 1e9


@pytest.mark.parametrize(
    ("files", "environ", "gigabytes"),
    [
        ({}, {}, MACHINE_GB),
        ({"proc/self/cgroup": "0::/x\n", "sys/fs/cgroup/memory.max": "max\n"}, {}, MACHINE_GB),
        ({"proc/self/cgroup": "0::/x\n", "sys/fs/cgroup/x/memory.max": "4000000000\n"}, {}, 3.6),
        (
            {
                "proc/self/cgroup": LINE_V1,
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "8000000000\n",
            },
            {},
            7.2,
        ),
        (  # the limit of the group above holds for this one
            {
                "proc/self/cgroup": "0::/x/y\n",
                "sys/fs/cgroup/x/memory.max": "2000000000\n",
                "sys/fs/cgroup/x/y/memory.max": "4000000000\n",
            },
            {},
            1.8,
        ),
        (  # above memory.high there is no kill, and no progress
            {
                "proc/self/cgroup": "0::/x\n",
                "sys/fs/cgroup/x/memory.max": "4000000000\n",
                "sys/fs/cgroup/x/memory.high": "3000000000\n",
            },
            {},
            2.7,
        ),
        (  # a container whose groups the host limits, out of sight
            {
                "proc/self/cgroup": "4:memory:/docker/1f\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.stat": "hierarchical_memory_limit 3000000000\n",
            },
            {},
            2.7,
        ),
        (  # version 1 for memory, version 2 for nothing, as systemd's hybrid mode
            {
                "proc/self/cgroup": "4:memory:/a\n1:name=systemd:/a\n0::/a\n",
                "sys/fs/cgroup/unified/a/cgroup.controllers": "",
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "3000000000\n",
            },
            {},
            2.7,
        ),
        ({}, {"SLURM_MEM_PER_GPU": "2048", "SLURM_GPUS_ON_NODE": "2"}, 0.9 * 4096 * 2**20 / 1e9),
        ({}, {"SLURM_MEM_PER_NODE": "4096"}, 0.9 * 4096 * 2**20 / 1e9),
        ({}, {"SLURM_MEM_PER_NODE": "0"}, MACHINE_GB),
        (
            {},
            {"SLURM_MEM_PER_CPU": "1024", "SLURM_CPUS_ON_NODE": "4"},
            0.9 * 4096 * 2**20 / 1e9,
        ),
    ],
)
def test_the_smallest_memory_limit_holds(
    tmp_path: Path, files: dict[str, str], environ: dict[str, str], gigabytes: float
) -> None:
    available = available_memory_gb(root=write(tmp_path, files), environ=environ)
    assert available == pytest.approx(gigabytes, abs=0.01)


TELL = (
    "from bids_sr.compute.resources import available_cpus, memory_limit_gb; "
    "print(available_cpus(environ={}), memory_limit_gb(environ={}))"
)


def tell(words: list[str], enter: Path | None = None) -> tuple[int, float]:
    """Ask a process for its limits that starts in a control group or behind other words."""

    def begin() -> None:
        if enter is not None:
            (enter / "cgroup.procs").write_text(str(os.getpid()))

    command = [*words, sys.executable, "-c", TELL]
    ended = subprocess.run(command, preexec_fn=begin, capture_output=True, text=True, check=True)
    cpus, gigabytes = ended.stdout.split()
    return int(cpus), float(gigabytes)


@pytest.fixture
def real_group() -> Iterator[Path]:
    """Make a control group for memory with one inside, here."""
    outer = Path("/sys/fs/cgroup/memory") / f"bids_sr_test_{os.getpid()}"
    if not outer.parent.is_dir():
        outer = Path("/sys/fs/cgroup") / outer.name
    try:
        (outer / "inner").mkdir(parents=True)
        limits = [outer / name for name in ("memory.limit_in_bytes", "memory.max")]
        (limit,) = [path for path in limits if path.exists()]
        limit.write_text("700000000")
    except (OSError, ValueError):
        with contextlib.suppress(OSError):
            outer.rmdir()
        pytest.skip("no control group for memory can be made here")
    yield outer
    (outer / "inner").rmdir()
    outer.rmdir()


def test_a_real_control_group_is_seen_from_the_one_inside(real_group: Path) -> None:
    for group in (real_group, real_group / "inner"):
        _, gigabytes = tell([], enter=group)
        assert gigabytes == pytest.approx(0.7, abs=0.001)


@pytest.mark.skipif(shutil.which("taskset") is None, reason="taskset is missing")
def test_affinity_is_seen() -> None:
    cpu = min(affinity(0))
    cpus, _ = tell(["taskset", "--cpu-list", str(cpu)])
    assert cpus == 1


def test_the_limit_of_the_address_space_is_seen() -> None:
    _, gigabytes = tell(["bash", "-c", 'ulimit -v 900000; exec "$@"', "bash"])
    assert gigabytes == pytest.approx(0.9216, abs=0.001)


@pytest.mark.parametrize(("nprocs", "threads"), [(1, 1), (2, 2), (8, 8), (64, 8)])
def test_default_threads(nprocs: int, threads: int) -> None:
    assert default_threads(nprocs) == threads
