"""The script that keeps CUDA libraries off machines without a GPU."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPT = REPOSITORY / "requirements" / "install_torch.sh"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CONSTRAINTS = (REPOSITORY / "requirements" / "constraints.txt").read_text().split()
(TORCH,) = (line for line in CONSTRAINTS if line.startswith("torch=="))

# Stands in for an environment's Python: notes what pip is asked for, and answers as told.
FAKE_PYTHON = """#!/usr/bin/env bash
case "$*" in
    "-m pip "*) echo "${*:3}" >> "$LOG"; [[ "$*" =~ $PIP_KNOWS ]] ;;
    *version*) [ -n "$INSTALLED" ] && echo "$INSTALLED" ;;
    *requires*) [ "$HAS_CUDA" = yes ] ;;
esac
"""


class Machine:
    """A machine with a fake Python."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "python"
        self.python.write_text(FAKE_PYTHON)
        self.python.chmod(0o755)
        self.log = folder / "log"

    def run(self, **environment: str) -> tuple[int, list[str], str]:
        """Run the script; its exit code, what pip was asked for, its messages."""
        settings = {"PIP_KNOWS": "^$", "INSTALLED": "", "HAS_CUDA": "no", "TORCH_INDEX": ""}
        done = subprocess.run(
            [SCRIPT, self.python],
            capture_output=True,
            text=True,
            env={**os.environ, "LOG": str(self.log), **settings, **environment},
        )
        requests = self.log.read_text().splitlines() if self.log.exists() else []
        return done.returncode, requests, done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_configured_index_with_the_cpu_build_is_enough(machine: Machine) -> None:
    code, requests, _ = machine.run(PIP_KNOWS=r"\+cpu$")
    assert code == 0
    assert requests == [f"install --quiet --no-deps {TORCH}+cpu"]


def test_the_index_of_pytorch_comes_second(machine: Machine) -> None:
    code, requests, _ = machine.run(PIP_KNOWS="whl/cpu")
    assert code == 0
    assert requests[1:] == [f"install --quiet --no-deps --index-url {CPU_INDEX} {TORCH}"]


def test_a_default_build_without_cuda_is_taken(machine: Machine) -> None:
    code, requests, _ = machine.run(PIP_KNOWS=f"no-deps {TORCH}$")
    assert code == 0
    assert requests[-1] == f"install --quiet --no-deps {TORCH}"


def test_a_build_with_cuda_is_removed_and_the_way_out_is_named(machine: Machine) -> None:
    code, requests, message = machine.run(PIP_KNOWS=f"no-deps {TORCH}$|uninstall", HAS_CUDA="yes")
    assert code == 1
    assert requests[-1] == "uninstall --quiet --yes torch"
    assert "TORCH_INDEX" in message


def test_no_build_at_all_fails(machine: Machine) -> None:
    code, requests, _ = machine.run()
    assert code != 0
    assert len(requests) == 3


def test_an_index_that_was_named_decides(machine: Machine) -> None:
    code, requests, _ = machine.run(
        PIP_KNOWS="cu130", HAS_CUDA="yes", TORCH_INDEX="https://x.org/cu130", INSTALLED="1.0"
    )
    assert code == 0
    assert requests == [f"install --quiet --no-deps --index-url https://x.org/cu130 {TORCH}"]


@pytest.mark.parametrize("build", ["", "+cpu", "+cu130"])
def test_the_right_version_of_any_build_is_left_alone(machine: Machine, build: str) -> None:
    code, requests, _ = machine.run(INSTALLED=TORCH.removeprefix("torch==") + build)
    assert code == 0
    assert requests == []
