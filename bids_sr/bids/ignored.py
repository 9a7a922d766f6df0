"""The ``.bidsignore`` of a dataset: which paths its owner has taken out of it.

The patterns are those of ``.gitignore``; the file counts at the root only.  Nothing here
lists a folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bids_sr.files import read_text

FILE_NAME = ".bidsignore"


@dataclass(frozen=True)
class _Pattern:
    line: str
    matches: re.Pattern[str]
    negated: bool
    folders_only: bool


class BidsIgnore:
    """Tells whether a path is ignored, and by which line.

    Parameters
    ----------
    text : str
        Content of ``.bidsignore``.
    """

    def __init__(self, text: str = "") -> None:
        self._patterns = [p for line in text.splitlines() if (p := _pattern(line)) is not None]

    @classmethod
    def of(cls, root: Path) -> BidsIgnore:
        """Read the file at the root of a dataset; without one nothing is ignored.

        Raises
        ------
        InputDataError
            If there is such a file and it cannot be read.
        """
        path = root / FILE_NAME
        return cls(read_text(path, any_encoding=True) if path.exists() else "")

    def line_for(self, relpath: str, *, folder: bool = False) -> str:
        """Return the line that a path or one of its folders is ignored by; empty for none.

        Parameters
        ----------
        relpath : str
            Path from the root, with slashes.
        folder : bool
            Whether it is a folder.
        """
        if not self._patterns:
            return ""
        parts = relpath.split("/")
        for depth in range(1, len(parts) + 1):
            is_folder = folder or depth < len(parts)
            line = self._last("/".join(parts[:depth]), is_folder)
            if line:
                return line
        return ""

    def _last(self, relpath: str, folder: bool) -> str:
        """Of the lines that match, the last one counts."""
        for pattern in reversed(self._patterns):
            if (folder or not pattern.folders_only) and pattern.matches.fullmatch(relpath):
                return "" if pattern.negated else pattern.line
        return ""


def _pattern(line: str) -> _Pattern | None:
    line = re.sub(r"(?<!\\)\s+$", "", line)
    words = line[1:] if line.startswith("!") else line
    if not words.strip("/") or line.startswith("#"):
        return None
    folders_only = words.endswith("/")
    words = words.rstrip("/")
    anywhere = "" if "/" in words else "(?:.*/)?"
    try:
        matches = re.compile(anywhere + _regex(words.removeprefix("/")), re.DOTALL)
    except re.error:  # such as a range from z to a: git, too, lets it match nothing
        return None
    return _Pattern(line, matches, line.startswith("!"), folders_only)


_PART = re.compile(
    r"(?P<start>^\*\*/)|(?P<within>/\*\*(?=/))|(?P<end>/\*\*$)|(?P<some>\*+)|(?P<one>\?)"
    r"|\[(?P<none>[!^]?)(?P<set>\]?[^\]/]*)\]|\\(?P<escaped>.)|(?P<plain>.)",
    re.DOTALL,
)


def _regex(words: str) -> str:
    """Translate a pattern; ``**`` counts folders only between slashes."""
    return "".join(_part(match) for match in _PART.finditer(words))


def _part(match: re.Match[str]) -> str:
    kind = match.lastgroup or ""
    fixed = {
        "start": "(?:.*/)?",
        "within": "(?:/.*)?",
        "end": "/.+",
        "some": "[^/]*",
        "one": "[^/]",
    }
    if kind in fixed:
        return fixed[kind]
    if kind == "set":
        chosen = match["set"].replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
        return f"(?!/)[{'^' if match['none'] else ''}{chosen}]"
    return re.escape(match["escaped"] or match["plain"])
