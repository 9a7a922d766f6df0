"""The process around a run: variables that libraries read at import, and signals.

Call :func:`prepare` before anything heavy is imported.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from bids_sr.exceptions import MachineError
from bids_sr.files.private_folders import is_open_to_all, private_cache

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
_ADDRESS_SPACE_GB = 1.0
"""Address space of a process that has loaded torch and draws figures; little of it is in use."""
_ADDRESS_SPACE_A_THREAD_GB = 0.1
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_ENDING = (signal.SIGINT, signal.SIGTERM)
_CACHE_VARIABLES = {
    "MPLCONFIGDIR": "matplotlib",
    "NIPYPE_CONFIG_DIR": "nipype",
    "XDG_CACHE_HOME": "cache",
}


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


def prepare(threads: int) -> None:
    """Set what libraries read from the environment when they are imported.

    No telemetry, no display, at most ``threads`` threads of any library, and no need of a
    home folder: where it cannot be written, or everybody may write there, caches go to a
    private folder.

    Raises
    ------
    MachineError
        If ``ulimit -v`` leaves too little address space: libraries would wait for it forever.
    """
    leave_removed_folder()
    _check_address_space(threads)
    os.environ["NO_ET"] = os.environ["NIPYPE_NO_ET"] = "1"
    os.environ.setdefault("MPLBACKEND", "Agg")
    # Threads that spin while they wait for each other stop a busy machine: a training step
    # on two of two busy cores took 4.8 s, and 0.26 s with threads that sleep.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _set_thread_variables(threads)
    with contextlib.suppress(OSError):  # then the libraries find a way or report why not
        _set_cache_variables()


def _check_address_space(threads: int) -> None:
    """Refuse a limit at which libraries cannot be loaded; OpenBLAS waits for ever for memory."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    needed = _ADDRESS_SPACE_GB + threads * _ADDRESS_SPACE_A_THREAD_GB
    if limit != resource.RLIM_INFINITY and limit / 1e9 < needed:
        raise MachineError(
            f"the limit of the address space (ulimit -v) is {limit / 1e9:.2f} GB; expected "
            f"{needed:.2f} GB or more with {threads} threads, to load the libraries: raise it, or "
            "limit the memory by --mem instead",
        )


@contextlib.contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _set_cache_variables() -> None:
    home = os.environ.get("HOME", "")
    public = bool(home) and is_open_to_all(Path(home))
    if home and os.access(home, os.W_OK) and not public:
        return
    cache = private_cache()
    if not home or public:  # tools look there for settings, and we for weights
        os.environ["HOME"] = str(cache)
    for name, folder in _CACHE_VARIABLES.items():
        if name not in os.environ:
            (cache / folder).mkdir(parents=True, exist_ok=True)
            os.environ[name] = str(cache / folder)


def limit_threads(threads: int) -> None:
    """Let libraries use at most that many threads in this process, loaded or loaded later."""
    _set_thread_variables(threads)
    from threadpoolctl import threadpool_info, threadpool_limits

    loaded = {pool["user_api"]: pool["num_threads"] for pool in threadpool_info()}
    threadpool_limits({api: threads for api, now in loaded.items() if now > threads})


def _set_thread_variables(threads: int) -> None:
    """Lower the number of threads in the environment; a smaller number is kept."""
    for name in _THREAD_VARIABLES:
        value = os.environ.get(name, "")
        fewer = value.isdigit() and 0 < int(value) < threads
        os.environ[name] = value if fewer else str(threads)


def leave_removed_folder() -> None:
    """Leave a current folder that no longer exists, in which libraries cannot be loaded.

    Raises
    ------
    FileNotFoundError
        Later, for paths relative to it.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        os.chdir("/")


def refuse_network() -> None:
    """Let every attempt to reach another machine fail, here and in forked children.

    Raises
    ------
    ConnectionRefusedError
        Later, for each attempt.
    """
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        if self.family not in (socket.AF_INET, socket.AF_INET6):
            return connect(self, address)
        raise ConnectionRefusedError(
            f"--offline: a connection to {address} was refused; put the file in its place "
            "first, or run without --offline"
        )

    socket.socket.connect = local_only  # type: ignore[method-assign, assignment]


def end_on_sigterm() -> None:
    """Turn SIGTERM into :class:`Terminated`, so that children are ended too."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back while a child is forked, in both processes.

    A child begins with its parent's handlers.  If it is ended before it drops them, in
    :func:`leave_signals_to_parent`, it would repeat the parent's clean-up.
    """
    earlier_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier_mask)


def leave_signals_to_parent() -> None:
    """Let only the parent end a child process, in order, and never let the child outlive it.

    A worker that continued after its parent was killed would write into the work folder of the
    next run.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    import ctypes  # not before --help
    import multiprocessing

    if sys.platform == "linux" and multiprocessing.get_start_method() != "forkserver":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        parent = multiprocessing.parent_process()
        if parent is not None and os.getppid() != parent.pid:  # it ended meanwhile
            os._exit(1)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
