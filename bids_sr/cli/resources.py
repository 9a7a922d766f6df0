"""The CPUs and the memory that this process may use, which a machine's totals are not.

Affinity, control groups (version 1 and 2) and a Slurm allocation each set a limit; the
smallest holds.  This module reads the limits and does not set any.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

MEMORY_SHARE = 0.9
"""Part of the memory limit that the steps may plan with; the rest is for the parent."""
_THREADS_MAX = 8  # as fMRIPrep: single steps gain little beyond


def available_cpus(*, root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> int:
    """Return how many CPUs this process may use, at least 1.

    Parameters
    ----------
    root : Path
        Where the system's ``proc`` and ``sys`` are; another folder in tests.
    environ : mapping
        The environment, read for Slurm's allocation.
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
    for variable in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        if environ.get(variable, "").isdigit():
            limits.append(float(environ[variable]))
            break
    return max(1, int(min(limits) + 0.01))


def available_memory_gb(
    *, root: Path = Path("/"), environ: Mapping[str, str] = os.environ
) -> float:
    """Return the memory, GB (1e9 bytes), that the steps of a run may plan with."""
    limits = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))]
    for folder in _cgroup_folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            words = _words(folder / name)
            if words and words[0].isdigit():
                limits.append(float(words[0]))
    limits.extend(_slurm_memory(environ))
    return round(MEMORY_SHARE * min(limits) / 1e9, 2)


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
    per_cpu, cpus = environ.get("SLURM_MEM_PER_CPU", ""), environ.get("SLURM_CPUS_ON_NODE", "")
    if per_cpu.isdigit() and cpus.isdigit() and int(per_cpu) > 0 and int(cpus) > 0:
        yield int(per_cpu) * int(cpus) * 2.0**20


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
