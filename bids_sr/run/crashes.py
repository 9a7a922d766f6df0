"""Nipype's crash files, read back as one line for the user."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bids_sr.exceptions import LONGEST, InputDataError, family
from bids_sr.files import read_bytes
from bids_sr.run.system_errors import is_out_of_memory, memory_words

# "package.module.SomeError: message"; nipype indents the cause by a tab
_EXCEPTION = re.compile(
    r"^\s*(?:[A-Za-z_]\w*\.)*(?P<kind>_?[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Failure))"
    r"(?:: (?P<text>.*))?$"
)
_OURS = frozenset(error.__name__ for error in family())


@dataclass(frozen=True, kw_only=True)
class Crash:
    """One failed node."""

    node: str
    """Full name of the node in the graph."""
    message: str
    """What the last exception said, one line."""
    path: Path | None
    """The crash file; None where it could not be written, or is gone."""

    @property
    def step(self) -> str:
        """Return the node's own name."""
        return self.node.rpartition(".")[2]


def read_crash(path: Path) -> Crash:
    """Read a crash file written with ``crashfile_format = txt``."""
    lines = read_bytes(path, what="the crash file").decode("utf-8", "replace").splitlines()
    node = lines[0].removeprefix("Node: ").strip() if lines else ""
    return Crash(node=node, message=last_exception(lines), path=path)


def read_crashes(folders: list[Path]) -> list[Crash]:
    """Read all crash files of the folders that can be read, oldest first."""
    crashes = []
    for path in (path for folder in folders for path in folder.glob("crash-*.txt")):
        with contextlib.suppress(OSError, InputDataError):
            crashes.append((path.stat().st_mtime, path, read_crash(path)))
    return [crash for *_, crash in sorted(crashes, key=lambda item: item[:2])]


def unreported(failures: Mapping[str, list[str]], crashes: Iterable[Crash]) -> list[Crash]:
    """Return the failed nodes that have no crash file, from their tracebacks.

    Parameters
    ----------
    failures : mapping of str to list of str
        Full name of each failed node -> traceback.
    crashes : iterable of Crash
        Those that have one.
    """
    reported = {crash.node for crash in crashes}
    return [
        Crash(node=node, message=last_exception("".join(lines).splitlines()), path=None)
        for node, lines in failures.items()
        if node not in reported
    ]


def last_exception(lines: list[str]) -> str:
    """Return the message of the last exception in a traceback, in one line.

    Our own errors speak for themselves; for others the kind is said too.  Nipype wraps
    the cause, which comes last, in an error of its own.
    """
    for number in range(len(lines) - 1, -1, -1):
        match = _EXCEPTION.match(lines[number])
        if match is None:
            continue
        words = [match["text"] or ""]
        indent = len(lines[number]) - len(lines[number].lstrip())
        for line in lines[number + 1 :]:  # the rest of a message of several lines
            if not line.strip() or len(line) - len(line.lstrip()) < indent:
                break
            words.append(line.strip())
        text = " ".join(" ".join(words).split())
        if match["kind"] not in _OURS:
            kind = match["kind"].lstrip("_")
            text = f"{kind}: {text}" if text else kind
            if is_out_of_memory(text):
                text = memory_words(text)
        return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
    return next((line.strip() for line in reversed(lines) if line.strip()), "unknown error")
