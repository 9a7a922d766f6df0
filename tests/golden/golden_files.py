"""Golden files: what the commands wrote, as text in ``tests/golden/*.txt``, and the comparison.

``BIDS_SR_GOLDEN=write python -m pytest tests/cli/test_golden_files.py`` (and the other tests that
take the fixture ``golden``) writes them anew. That is right only where a change of what users get
was asked for: each line of the new ``git diff tests/golden`` then belongs to it, and goes into the
same commit. It is never right for a change that only moves code.

Integers and words must be equal. Numbers with decimals may differ by 1 % or by one unit of their
last digit: other CPUs round otherwise. What cannot be equal at all (times, versions, folders) is a
word in angle brackets before it is compared: ``golden_texts``.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
VARIABLE = "BIDS_SR_GOLDEN"
RELATIVE = 0.01
ABSOLUTE = 1e-6
_DECIMAL = re.compile(r"(?<![\w.])[-−]?\d[\d,]*(?:\.\d+(?:e[-+]?\d+)?|e[-+]?\d+)(?![\w.]*\w)")
_SHOWN = 60


@dataclass(frozen=True)
class Golden:
    """Compare text with the file of a name, or write that file."""

    folder: Path = FOLDER
    writing: bool = os.environ.get(VARIABLE) == "write"

    def __call__(self, name: str, lines: Sequence[str]) -> None:
        """Raise AssertionError with each line of the golden file ``name`` that changed."""
        path = self.folder / f"{name}.txt"
        if self.writing:
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            return
        assert path.is_file(), f"no golden file {path}: write it with {VARIABLE}=write"
        changes = [*changed(path.read_text(encoding="utf-8").splitlines(), lines)]
        more = [f"... and {len(changes) - _SHOWN} more"] if len(changes) > _SHOWN else []
        text = "\n".join([*changes[:_SHOWN], *more])
        assert not changes, f"what the command writes is not as in {path}:\n{text}"


def changed(golden: Sequence[str], lines: Sequence[str]) -> Iterator[str]:
    """List what differs: the section, then the golden line with ``-``, the new one with ``+``."""
    old, new = [_DECIMAL.sub("#", line) for line in golden], [_DECIMAL.sub("#", x) for x in lines]
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for kind, first, last, new_first, new_last in matcher.get_opcodes():
        if kind != "equal":
            yield _section(golden, first)
            yield from (f"- {line}" for line in golden[first:last])
            yield from (f"+ {line}" for line in lines[new_first:new_last])
            continue
        for before, after, number in zip(
            golden[first:last], lines[new_first:new_last], range(first, last), strict=True
        ):
            if not _close(before, after):
                yield from (_section(golden, number), f"- {before}", f"+ {after}")


def _section(golden: Sequence[str], number: int) -> str:
    before = [line for line in golden[: number + 1] if line.startswith("== ")]
    return before[-1] if before else f"== line {number + 1}"


def _close(before: str, after: str) -> bool:
    pairs = zip(_DECIMAL.findall(before), _DECIMAL.findall(after), strict=True)
    return all(_near(old, new) for old, new in pairs)


def _near(before: str, after: str) -> bool:
    expected, actual = (float(text.replace("−", "-").replace(",", "")) for text in (before, after))
    if before == after or not math.isfinite(expected):  # an address may look like 20e1005209
        return before == after
    mantissa, _, exponent = before.partition("e")
    digit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return abs(actual - expected) <= RELATIVE * abs(expected) + digit + ABSOLUTE
