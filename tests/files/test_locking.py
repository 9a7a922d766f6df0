from __future__ import annotations

import errno
import fcntl
import logging
import multiprocessing
import os
import signal
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.files.locking import claimed, locked

CONTEXT = multiprocessing.get_context("fork")


def add_ones(lock: str, counter: str, times: int) -> None:
    for _ in range(times):
        with locked(Path(lock)):
            value = int(Path(counter).read_text())
            time.sleep(0.001)
            Path(counter).write_text(str(value + 1))


def hold(path: str, names: list[str], held: Event) -> None:
    with claimed(Path(path), names, what="test"):
        held.set()
        time.sleep(60)


def hold_and_go(path: str, names: list[str], diary: str) -> None:
    with claimed(Path(path), names, what="test"):
        for word in ("begin", "end"):
            with Path(diary).open("a") as stream:
                stream.write(f"{os.getpid()} {word}\n")
            time.sleep(0.2)


def test_a_lock_keeps_processes_apart(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    words = (str(tmp_path / "a" / "lock"), str(counter), 50)
    jobs = [CONTEXT.Process(target=add_ones, args=words) for _ in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
    assert counter.read_text() == "150"


def test_a_lock_that_stays_is_told(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "lock"),
        pytest.raises(TimeoutError, match=r"lock: other jobs have held"),
        locked(tmp_path / "lock", seconds=0.1),
    ):
        pass


def test_claims_on_the_same_name_come_one_after_the_other(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    jobs = [
        CONTEXT.Process(target=hold_and_go, args=(str(tmp_path / "claims"), names, str(diary)))
        for names in (["a", "b"], ["b", "c"])
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
    lines = [line.split() for line in diary.read_text().splitlines()]
    assert [word for _, word in lines] == ["begin", "end"] * 2
    assert lines[0][0] == lines[1][0] != lines[2][0]


def test_a_killed_process_leaves_no_claim(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, held = tmp_path / "claims", CONTEXT.Event()
    job = CONTEXT.Process(target=hold, args=(str(path), ["a"], held))
    job.start()
    assert held.wait(60)
    with claimed(path, ["b"], what="test"):  # another name is free
        assert not caplog.records
    assert job.pid is not None
    signal.signal(signal.SIGALRM, lambda *_: os.kill(job.pid or 0, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    with caplog.at_level(logging.WARNING), claimed(path, ["a"], what="test"):
        pass
    job.join(10)
    assert job.exitcode == -signal.SIGKILL
    assert "test: a: in use by another run" in caplog.text


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "lock"), claimed(tmp_path / "claims", ["a", "b"], what="test"):
        pass
    assert len(caplog.records) == 2
    assert "this file system has no locks" in caplog.text


@pytest.mark.parametrize("kind", ["a named pipe", "a link", "a folder"])
def test_a_lock_that_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "lock", tmp_path / "other"
    target.write_text("kept")
    {
        "a named pipe": lambda: os.mkfifo(path),
        "a link": lambda: path.symlink_to(target),
        "a folder": path.mkdir,
    }[kind]()
    for lock in (locked(path), claimed(path, ["a"], what="test")):
        with pytest.raises(InputDataError, match=f"lock: found {kind}; expected"), lock:
            pass
    assert target.read_text() == "kept"
