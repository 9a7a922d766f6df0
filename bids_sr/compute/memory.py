"""The peak memory of this process."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes of what getrusage counts


def peak_memory_gb(*, with_children: bool = False) -> float:
    """Return the largest resident memory that this process has had, GB (1e9 bytes).

    Parameters
    ----------
    with_children : bool
        Also count the programs that it ran: the larger peak is returned.
    """
    peak = _UNIT * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(OSError, IndexError):
        # Linux: getrusage would also count what the parent had when it made this process
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        peak = 1024 * int(status.split("VmHWM:")[1].split()[0])
    if with_children:
        peak = max(peak, _UNIT * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    return peak / 1e9
