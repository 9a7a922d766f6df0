"""What a user sees while a command works: messages, and progress on terminal or in a log.

A terminal gets a bar; a file gets a plain line now and then.  Messages go to standard
error, results to standard output.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from bids_sr.compute.progress import Progress, throttled, with_time_left

_name: str | None = None

LINE_SECONDS = 10.0
"""Least time between two progress lines in a log."""


def set_up_logging(verbose: int, *, stream: TextIO | None = None) -> None:
    """Send messages of this package to standard error; third parties only warn.

    Neither stream refuses letters that a terminal does not know: they are spelled out.

    Parameters
    ----------
    verbose : int
        0: progress and warnings; 1: also what Nipype does; 2: debugging messages.
    stream : file, optional
        Where to; standard error by default.
    """
    for output in (sys.stdout, sys.stderr):
        if reconfigure := getattr(output, "reconfigure", None):
            reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(_say_what_and_how_bad)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO if verbose else logging.WARNING)
    logging.captureWarnings(True)
    ours = logging.getLogger("bids_sr")
    ours.setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
    if verbose == 0:
        # Repeated warnings of libraries tell a user nothing that they could act on, and
        # nibabel's on headers name no file: what is wrong with an image is told with it.
        logging.getLogger("py.warnings").setLevel(logging.ERROR)
        logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)


def name_messages(name: str | None) -> None:
    """Put the name of what this process works on before its messages; None ends that."""
    global _name
    _name = name


def _say_what_and_how_bad(record: logging.LogRecord) -> bool:
    if not getattr(record, "told", False):
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        name = f"{_name}: ".replace("%", "%%") if _name else ""
        record.msg = f"{name}{level}{record.msg}"
        record.told = True
    return True


@contextmanager
def progress_bar(title: str, stream: TextIO | None = None) -> Iterator[Progress]:
    """Give a progress callback that draws a bar on a terminal and writes lines elsewhere."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield _plain_progress(title, stream)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[message]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(file=stream)) as bar:
        task = bar.add_task(title, total=1, message="")

        def advance(step: int, total: int, message: str) -> None:
            bar.update(task, completed=step, total=max(total, step, 1), message=message)

        yield with_time_left(advance)


def _plain_progress(title: str, stream: TextIO) -> Progress:
    start = time.monotonic()

    def write_line(step: int, total: int, message: str) -> None:
        of = f" of {total}" if total else ""
        stream.write(f"{title}: {step}{of}, {time.monotonic() - start:.0f} s, {message}\n")
        stream.flush()

    return with_time_left(throttled(write_line, LINE_SECONDS))
