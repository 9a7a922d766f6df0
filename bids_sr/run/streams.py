"""Standard streams that cannot end a run: closed ones, and pipes whose reader has gone."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

_NAMES = ("stdin", "stdout", "stderr")


class SteadyStream:
    """Write to a stream as long as somebody takes it, then to nobody."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text; its length, also where nobody takes it."""
        try:
            return self._stream.write(text)
        except OSError:
            self._give_up()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts, as :meth:`write` does."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand over what was written."""
        try:
            self._stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        """Lead the stream, with what it still holds, to nowhere."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._stream.flush()


@contextlib.contextmanager
def steady_streams() -> Iterator[None]:
    """Let a command end as its work did, whoever reads what it says.

    A closed descriptor is opened to nowhere first: else the next file that is opened would
    take its number, and messages of libraries would be written into it.
    """
    for number, name in enumerate(_NAMES):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number, this one
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = SteadyStream(sys.stdout), SteadyStream(sys.stderr)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before
