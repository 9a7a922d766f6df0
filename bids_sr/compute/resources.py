"""The CPUs and memory available to this process.

Affinity, control groups (version 1 and 2), ``ulimit -v`` and the allocation of a batch
system each set a limit; the smallest applies.  This module only reads limits.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path

MEMORY_SHARE = 0.9
"""Part of the memory limit that a run plans with; the rest is for files in memory."""
_THREADS_MAX = 8  # as fMRIPrep: single steps gain little beyond
# The first that is set counts: Slurm (of a task, else of the node), PBS, Grid Engine, LSF.
_CPU_VARIABLES = (
    ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"),
    ("NCPUS",),
    ("NSLOTS",),
    ("LSB_DJOB_NUMPROC",),
)
_UNLIMITED = 2.0**60  # of control groups of version 1 that have no limit


def available_cpus(*, root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> int:
    """Return how many CPUs this process may use, at least 1.

    Parameters
    ----------
    root : Path
        Where the system's ``proc`` and ``sys`` are; another folder in tests.
    environ : mapping
        The environment, read for the allocation of a batch system.
    """
    if hasattr(os, "sched_getaffinity"):
        limits = [float(len(os.sched_getaffinity(0)))]
    else:
        limits = [float(os.cpu_count() or 1)]
    for folder in _cgroup_folders(root, "cpu"):
        quota = _words(folder / "cpu.max")
        if len(quota) == 2 and quota[0].isdigit() and float(quota[1]) > 0:
            limits.append(float(quota[0]) / float(quota[1]))
        quota_v1 = _words(folder / "cpu.cfs_quota_us")
        period_v1 = _words(folder / "cpu.cfs_period_us")
        if quota_v1 and period_v1 and float(quota_v1[0]) > 0 and float(period_v1[0]) > 0:
            limits.append(float(quota_v1[0]) / float(period_v1[0]))
    for variables in _CPU_VARIABLES:
        numbers = [int(environ[name]) for name in variables if environ.get(name, "").isdigit()]
        limits.extend(float(number) for number in numbers[:1] if number > 0)
    return max(1, int(min(limits) + 0.01))


def memory_limit_gb(*, root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> float:
    """Return the memory, GB (1e9 bytes), at which this process and its children are stopped.

    Swap does not count: a run that needs it is extremely slow.
    """
    limits = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))]
    for folder in _cgroup_folders(root, "memory"):
        # Above memory.high the system slows a process down until it gives memory back.
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            limits.extend(float(word) for word in _words(folder / name)[:1] if word.isdigit())
        # The groups above the one that a container shows as the root limit it, too.
        words = _words(folder / "memory.stat")
        if "hierarchical_memory_limit" in words:
            limits.append(float(words[words.index("hierarchical_memory_limit") + 1]))
    address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address_space != resource.RLIM_INFINITY:
        limits.append(float(address_space))
    limits.extend(_slurm_memory(environ))
    return min(limit for limit in limits if limit < _UNLIMITED) / 1e9


def available_memory_gb(
    *, root: Path = Path("/"), environ: Mapping[str, str] = os.environ
) -> float:
    """Return the memory, GB (1e9 bytes), that a run may plan with."""
    return round(MEMORY_SHARE * memory_limit_gb(root=root, environ=environ), 2)


def default_threads(nprocs: int) -> int:
    """Return the threads of one step for a run of ``nprocs`` CPUs.

    fMRIPrep leaves one CPU for other steps (``nprocs - 1``).  Nearly all of the time
    here is spent in one step of each image, so that CPU would idle.
    """
    return max(1, min(nprocs, _THREADS_MAX))


def _slurm_memory(environ: Mapping[str, str]) -> Iterator[float]:
    # Slurm's variables are in MiB; 0 stands for all of the node
    per_node = environ.get("SLURM_MEM_PER_NODE", "")
    if per_node.isdigit() and int(per_node) > 0:
        yield int(per_node) * 2.0**20
    for memory_variable, number in (
        ("SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"),
        ("SLURM_MEM_PER_GPU", "SLURM_GPUS_ON_NODE"),
    ):
        words = environ.get(memory_variable, ""), environ.get(number, "")
        if all(word.isdigit() and int(word) > 0 for word in words):
            yield int(words[0]) * int(words[1]) * 2.0**20


def _cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups, from its own up to the root's.

    Inside a container the path in ``/proc/self/cgroup`` may be the host's, and only the
    root of the mount exists; folders that do not exist are left out.
    """
    mount = root / "sys" / "fs" / "cgroup"
    bases: list[tuple[Path, str]] = []
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            bases.append((mount, path))
            bases.append((mount / "unified", path))
        elif controller in controllers.split(","):
            bases.extend((mount / name, path) for name in {controllers, controller})
    for base, path in bases:
        folder = base / path.strip("/")
        while True:
            if folder.is_dir():
                yield folder
            if folder == base:
                break
            folder = folder.parent


def _words(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return path.read_text().split()
    return []
