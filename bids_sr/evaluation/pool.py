"""Tasks of a comparison, several at a time, each in a process of its own.

A task that fails, or is killed, fails alone.  Knows nothing of what a task does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a task ended."""

    number: int
    """Place in the list of tasks."""
    row: dict[str, Any] | None
    """Its result; None where it failed."""
    message: str = ""
    """Why it failed."""


@dataclass(kw_only=True)
class TaskPool:
    """Run tasks in processes."""

    workers: int
    """Tasks at a time."""
    threads: int
    """Threads of linear algebra in each."""
    logs: Path
    """Folder for what tasks write to standard error."""
    on_line: Callable[[int, str], None] = lambda number, line: None
    """Receives the lines of progress of a task."""
    _running: set[subprocess.Popen[str]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False

    def run(self, tasks: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[Ended]:
        """Yield tasks as they end; each has a name, for its log, and a mapping.

        Whatever ends the loop early ends the processes too.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(max(1, self.workers)) as executor:
            try:
                futures = [
                    executor.submit(self._run_task, number, name, task)
                    for number, (name, task) in enumerate(tasks)
                ]
                for future in as_completed(futures):
                    yield future.result()
            finally:
                self._stop()

    def _run_task(self, number: int, name: str, task: Mapping[str, Any]) -> Ended:
        log = self.logs / f"{name}.log"
        environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(self.threads))}
        command = [sys.executable, "-m", "bids_sr.evaluation.job_process"]
        with log.open("w", encoding="utf-8") as errors:
            with self._lock:
                if self._stopped:
                    return Ended(number=number, row=None, message="interrupted")
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    env=environment,
                    start_new_session=True,  # an interrupt of the terminal is ours to handle
                )
                self._running.add(process)
            with process:  # closes its pipes and waits
                row = self._talk(process, number, task)
            code = process.returncode
        with self._lock:
            self._running.discard(process)
        if code == 0 and row is not None:
            log.unlink(missing_ok=True)
            return Ended(number=number, row=row)
        return Ended(number=number, row=None, message=_reason(code, log))

    def _talk(
        self, process: subprocess.Popen[str], number: int, task: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        assert process.stdin is not None
        assert process.stdout is not None
        row: dict[str, Any] | None = None
        try:
            json.dump(task, process.stdin)
            process.stdin.close()
        except BrokenPipeError:
            return None  # it is gone; its exit code says why
        for line in process.stdout:
            if line.startswith('{"row"'):
                row = json.loads(line)["row"]
            else:
                self.on_line(number, line.strip())
        return row

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()


def _reason(code: int, log: Path) -> str:
    """Say in a line why a process failed."""
    if code < 0:
        hint = ": memory ran out, most likely" if -code == signal.SIGKILL else ""
        return f"the process was ended by signal {-code}{hint}"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else f"the process ended with code {code}"
