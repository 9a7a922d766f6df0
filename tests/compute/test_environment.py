from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bids_sr.compute import environment
from bids_sr.run.exit_codes import ExitCode


def run(code: str, **variables: str) -> str:
    prefix = "import os; from bids_sr.compute.environment import *\n"
    return subprocess.run(
        [sys.executable, "-c", prefix + code],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], **variables},
    ).stdout.strip()


def test_caches_move_where_home_cannot_be_written(tmp_path: Path) -> None:
    show = "prepare(3); print(os.environ['MPLCONFIGDIR'], os.environ['OMP_NUM_THREADS'])"
    shown = run(show, HOME="/nonexistent", TMPDIR=str(tmp_path))
    folder, threads = shown.split()
    assert Path(folder).parent.parent == tmp_path
    assert Path(folder).is_dir()
    assert threads == "3"


@pytest.mark.parametrize(
    ("said", "threads"), [("", "3"), ("16", "3"), ("1", "1"), ("4,2", "3"), ("0", "3")]
)
def test_no_library_is_told_of_more_threads_than_a_step_has(
    tmp_path: Path, said: str, threads: str
) -> None:
    names = ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    show = f"prepare(3); print(*(os.environ[name] for name in {names}))"
    variables = {"OMP_NUM_THREADS": said} if said else {}
    assert run(show, HOME=str(tmp_path), **variables) == f"{threads} 3"


def test_libraries_that_are_loaded_are_limited_too(tmp_path: Path) -> None:
    show = (
        "prepare(4); import numpy; limit_threads(1); import threadpoolctl as t; "
        "print({one['num_threads'] for one in t.threadpool_info()}, os.environ['OMP_NUM_THREADS'])"
    )
    assert run(show, HOME=str(tmp_path)) == "{1} 1"


@pytest.mark.parametrize("command", [["bids_sr", "in", "out", "participant"], ["tools"]])
@pytest.mark.parametrize("kilobytes", [300_000, 600_000])
def test_too_little_address_space_is_told(
    tmp_path: Path, command: list[str], kilobytes: int
) -> None:
    words = command[1:] or ["demo", str(tmp_path / "demo")]
    code = f"from bids_sr.cli import run as bids_sr, tools; raise SystemExit({command[0]}.main("
    limited = ["bash", "-c", f'ulimit -v {kilobytes}; "$@"', "-"]
    done = subprocess.run(
        [*limited, sys.executable, "-c", f"{code}{words}))"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == ExitCode.NO_WORKFLOW
    assert f"(ulimit -v) is {kilobytes * 1024 / 1e9:.2f} GB; expected" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_good_home_is_left_alone(tmp_path: Path) -> None:
    show = "prepare(1); print('MPLCONFIGDIR' in os.environ, os.environ['NO_ET'])"
    assert run(show, HOME=str(tmp_path)) == "False 1"
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_is_ended_at_once_does_not_clear_up_for_its_parent(tmp_path: Path) -> None:
    code = """
import signal
end_on_sigterm()
try:
    with signals_held_back():
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            leave_signals_to_parent()
            os._exit(1)  # still inside, as the work of a child is
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
except Terminated:
    print("cleared up")
"""
    assert run(code, HOME=str(tmp_path)) == "-15\ncleared up"


def test_offline_refuses_connections_to_machines_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", socket.socket.connect)  # undone afterwards
    environment.refuse_network()
    with pytest.raises(ConnectionRefusedError, match="--offline: a connection to"):
        socket.create_connection(("127.0.0.1", 9), timeout=1)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as local,
        pytest.raises(FileNotFoundError),
    ):
        local.connect("/nonexistent/socket")


def test_a_current_folder_that_is_gone_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    environment.leave_removed_folder()
    assert Path.cwd() == tmp_path / "gone"
    (tmp_path / "gone").rmdir()
    environment.leave_removed_folder()
    assert Path.cwd() == Path("/")
