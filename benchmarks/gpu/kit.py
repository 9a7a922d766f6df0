"""What the scripts of a kit do alike, on a machine that has a GPU for minutes and no network.

It travels in the kit beside them and needs the standard library alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HEARTBEAT_SECONDS = 20.0
_MACHINE = """
import json, os, platform, numpy, scipy, torch
there = torch.cuda.is_available()
print(json.dumps({"python": platform.python_version(), "torch": torch.__version__,
    "numpy": numpy.__version__, "scipy": scipy.__version__, "gpu": there,
    "device": torch.cuda.get_device_name() if there else "no CUDA device",
    "cores": len(os.sched_getaffinity(0))}))
"""


def unpack_wheels(kit: Path, site: Path) -> list[str]:
    """Unpack the wheels of a kit, archives all, so pip is not needed; return their names."""
    wheels = sorted((kit / "wheels").glob("*.whl"))
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    return [wheel.name for wheel in wheels]


def machine_facts(
    environment: Mapping[str, str], *, modules: str = "", seconds: float | None = None
) -> dict[str, Any]:
    """Say what computes.

    Parameters
    ----------
    environment : mapping
        Variables, ``PYTHONPATH`` among them.
    modules : str
        What must be there besides torch, numpy and scipy.
    seconds : float, optional
        How long to wait.

    Raises
    ------
    RuntimeError
        If one of them cannot be imported.
    """
    told = subprocess.run(
        [sys.executable, "-c", (f"import {modules}" if modules else "") + _MACHINE],
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if told.returncode:
        raise RuntimeError(told.stderr[-2000:])
    facts: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    print(facts, flush=True)
    return facts


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file whole or not at all; what writes gets a name with the same ending."""
    unfinished = path.with_name(f".{path.name}")
    write(unfinished)
    unfinished.replace(path)


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report as JSON, whole or not at all."""
    text = json.dumps(report, indent=2)
    write_whole(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def tail(log: Path, size: int) -> str:
    """Return the end of a log."""
    with log.open("rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - size))
        return stream.read().decode("utf-8", errors="replace")


def last_line(text: str) -> str:
    """Return the last line of a text; bars of progress end in carriage returns."""
    lines = text.replace("\r", "\n").strip().splitlines()
    return lines[-1][:160] if lines else ""
