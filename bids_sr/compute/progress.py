"""How far long work is: one kind of callback for every step, from a loop of training to a bar."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with the steps done, the steps in all (0: unknown) and a line of text."""


def silent(step: int, total: int, message: str) -> None:
    """Show nothing."""
