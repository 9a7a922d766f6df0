from __future__ import annotations

import os
from pathlib import Path

import pytest

from bids_sr.cli.resources import available_cpus, available_memory_gb, default_threads


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
    found = available_memory_gb(root=write(tmp_path, files), environ=environ)
    assert found == pytest.approx(gigabytes, abs=0.01)


@pytest.mark.parametrize(("nprocs", "threads"), [(1, 1), (2, 2), (8, 8), (64, 8)])
def test_default_threads(nprocs: int, threads: int) -> None:
    assert default_threads(nprocs) == threads
