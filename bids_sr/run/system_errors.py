"""Errors of the machine as clear messages: memory, disk, shared memory."""

from __future__ import annotations

import errno
import re
import traceback

from bids_sr.run.exit_codes import ExitCode

CANNOT_WRITE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ETIMEDOUT,
)
SHARED_MEMORY = "/dev/shm"
MEMORY_ADVICE = (
    "free memory, or lower --nprocs, or give --low-mem or a coarser --output-resolution"
)
# Python, numpy, the system, torch on CPU and GPU, C++ libraries.
_OUT_OF_MEMORY = re.compile(
    r"MemoryError|OutOfMemoryError|out of memory|[Cc]annot allocate memory|can't allocate memory"
    r"|not enough memory|Unable to allocate|std::bad_alloc"
)


def is_out_of_memory(text: str) -> bool:
    """Tell whether an error, written with its kind, says that memory ran out."""
    return _OUT_OF_MEMORY.search(text) is not None


def memory_words(text: str) -> str:
    """Say that memory ran out, with the words of the error."""
    return f"out of memory ({text.rstrip('. ')}): {MEMORY_ADVICE}"


def explain(error: BaseException) -> tuple[str, ExitCode] | None:
    """Tell what an error of the machine means for the user; None where it is none.

    Parameters
    ----------
    error : BaseException
        What ended the command.

    Returns
    -------
    tuple of str and ExitCode, or None
    """
    said = f"{type(error).__name__}: {error}".removesuffix(": ")
    if is_out_of_memory(said):
        return memory_words(said), ExitCode.NO_WORKFLOW
    if not isinstance(error, OSError) or error.errno not in CANNOT_WRITE:
        return None
    if error.filename is None and _is_of_shared_memory(error):
        return (
            f"shared memory cannot be used ({SHARED_MEMORY}: {error.strerror}): make "
            f"{SHARED_MEMORY} writable, in a container for example with --shm-size 64m",
            ExitCode.NO_WORKFLOW,
        )
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{error.strerror}: free space or change permissions", ExitCode.CANNOT_WRITE


def _is_of_shared_memory(error: OSError) -> bool:
    """Tell whether a semaphore or a queue between processes could not be made."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return any(
        file.endswith(("multiprocessing/synchronize.py", "multiprocessing/shared_memory.py"))
        for file in files
    )
