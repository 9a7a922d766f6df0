"""Locks between jobs that write to the same folders, on the same or on other machines.

The system drops a lock when the process that holds it ends in any way: a killed job leaves none
behind.  If a file system has no locks, a warning is given and the work continues; files are never
damaged, because each is renamed into place.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from bids_sr.files.digests import text_digest
from bids_sr.files.reading import check_own

LOGGER = logging.getLogger(__name__)
LOCK_SECONDS = 300.0
_POLL_SECONDS = 1.0


@contextlib.contextmanager
def locked(path: Path, *, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold a lock; wait while another process has it.

    Parameters
    ----------
    path : Path
        The lock's file; it is created if missing and remains, empty.
    seconds : float, s
        How long to wait.

    Raises
    ------
    TimeoutError
        If another process kept it for longer.
    InputDataError
        If the file is something else, such as a named pipe.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    check_own(path)
    lock = FileLock(path, timeout=seconds)
    try:
        lock.acquire()
    except Timeout as error:
        raise TimeoutError(
            errno.ETIMEDOUT,
            f"{path}: other jobs have held this lock for {seconds:g} s, expected a few seconds at "
            "most. Run again to go on from here; if no job is running, remove the file",
        ) from error
    except (OSError, NotImplementedError) as error:
        if isinstance(error, PermissionError):
            raise
        _warn(path, error)
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def claimed(path: Path, names: Iterable[str], *, what: str) -> Iterator[None]:
    """Hold a claim on each of some names, so that no two runs work on the same image.

    Parameters
    ----------
    path : Path
        The file of the claims, one byte per name; it is created if missing.
    names : iterable of str
        What is claimed.
    what : str
        What the names are, for the message of a run that waits.

    Raises
    ------
    InputDataError
        If the file is something else, such as a named pipe.

    Notes
    -----
    Waits while another run holds one of them.  These are POSIX record locks: many names need only
    one open file, NFS and Lustre share them between machines, and children do not inherit them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    check_own(path)
    with path.open("ab") as stream:
        for place, name in sorted((_place(name), name) for name in names):
            try:
                _claim(stream.fileno(), place, f"{what}: {name}")
            except OSError as error:
                _warn(path, error)
                break
        yield


def _claim(descriptor: int, place: int, what: str) -> None:
    reported = False
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place, os.SEEK_SET)
            return
        except (BlockingIOError, PermissionError):  # another process has it
            if not reported:
                LOGGER.warning("%s: in use by another run; waiting for it to end", what)
            reported = True
            time.sleep(_POLL_SECONDS)


def _place(name: str) -> int:
    """Return the byte that stands for a name; of 2^60 no two names share one."""
    return int(text_digest(name)[:16], 16) >> 4


def _warn(path: Path, error: Exception) -> None:
    LOGGER.warning(
        "%s: this file system has no locks (%s): do not run two jobs on the same images at once, "
        "and run the group level once all jobs have ended",
        path.parent,
        error,
    )
