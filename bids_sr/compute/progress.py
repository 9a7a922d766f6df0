"""Progress of long work: one callback type for every step, from a training loop to a bar."""

from __future__ import annotations

import time
from collections.abc import Callable

_LEAST_SECONDS = 2.0

Progress = Callable[[int, int, str], None]
"""Called with the steps done, the steps in all (0: unknown) and a line of text."""


def silent(step: int, total: int, message: str) -> None:
    """Show nothing."""


def with_time_left(progress: Progress) -> Progress:
    """Return a callback that adds to each line how long its stage is expected to go on.

    A stage is a run of calls with one total and rising steps; nothing is added before 2 s of it.
    """
    begun: tuple[int, float] | None = None
    last = (0, 0)

    def foretell(step: int, total: int, message: str) -> None:
        nonlocal begun, last
        now = time.monotonic()
        if begun is None or total != last[1] or step < last[0]:
            begun = (step, now)
        last = (step, total)
        first, start = begun
        if total and first < step < total and now - start >= _LEAST_SECONDS:
            left = (now - start) * (total - step) / (step - first)
            message = f"{message}, about {in_short(left)} left"
        progress(step, total, message)

    return foretell


def in_short(seconds: float) -> str:
    """Say a duration as a person would.

    >>> in_short(41.6), in_short(200.0), in_short(9000.0)
    ('42 s', '3 min', '2.5 h')
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"


def throttled(progress: Progress, seconds: float) -> Progress:
    """Return a callback that forwards at most one call in so many seconds."""
    last = time.monotonic()

    def now_and_then(step: int, total: int, message: str) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            progress(step, total, message)

    return now_and_then
