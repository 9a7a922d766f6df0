"""Progress of long work: one callback type for every step, from a training loop to a bar."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with the steps done, the steps in all (0: unknown) and a line of text."""


def silent(step: int, total: int, message: str) -> None:
    """Show nothing."""


def throttled(progress: Progress, seconds: float) -> Progress:
    """Return a callback that forwards at most one call in so many seconds."""
    last = time.monotonic()

    def now_and_then(step: int, total: int, message: str) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            progress(step, total, message)

    return now_and_then
