"""Text of what the commands write, one value a line, without what differs between two runs.

Nothing here imports the package: these lines must not change when modules move.
"""

from __future__ import annotations

import csv
import json
import platform
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from html.parser import HTMLParser
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
VERSIONED = (
    *("bids_sr", "torch", "nipype", "antspyx", "HD_BET", "nnunetv2", "nilearn"),
    *("nibabel", "numpy", "scipy", "pybids", "matplotlib"),
)
LONG_TABLE = 12
_RUN = r"\d{8}-\d{6}_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_MEASURED = re.compile(
    r"(.*[ :._\[\]])?\w*(seconds|gb|Seconds|GB)(\.\w+)?|.*(\(s\)|[\s\xa0]s)", re.DOTALL
)
"""Names of durations and of memory: with such a name a number becomes the word below."""
MEASURED = "<measured>"
_NODE = re.compile(r"bids_sr_\w+_wf\.[\w.]+")
"""Whole name of a step of a workflow."""
_PATTERNS: tuple[tuple[str, str], ...] = (
    (r"crash-\d{8}-\d{6}-[^-]+-(\w+)-[0-9a-f-]{36}", r"crash-<when>-<user>-\1-<id>"),
    (_RUN, "<run>"),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:\+00:00|Z)?", "<time>"),
    (r"\b[0-9a-f]{64}\b", "<sha256>"),
    (r"(?i)\b((?:\w+ )?seconds|[\w ]+ \(s\)): [\d.]+", rf"\1: {MEASURED}"),
    (r"\bin [\d.]+ (?:s|min|h)(?: \d+ (?:s|min))?\b", f"in {MEASURED}"),
    (r"\['(\w+)', \d+, \d{15,}", r"['\1', <size>, <time>"),
    (r"(\$\(id -u\))-[0-9a-f]{8}", r"\1-<id>"),
)


def tame(text: str, folders: Mapping[Path, str]) -> str:
    """Put a word in angle brackets for folders, times, versions and digests."""
    named = {**folders, REPOSITORY: "<repository>", Path(sys.executable): "<python>"}
    for folder in sorted(named, key=lambda path: -len(str(path))):
        text = text.replace(str(folder), named[folder])
    for pattern, word in _PATTERNS:
        text = re.sub(pattern, word, text)
    for number in _versions():
        text = re.sub(rf"(?<![\d.]){re.escape(number)}(?![\d.]*\d)", "<version>", text)
    return text.replace(f"{platform.system()} {platform.machine()}", "<platform>")


@cache
def _versions() -> tuple[str, ...]:
    versions = {platform.python_version()}
    for name in VERSIONED:
        try:
            versions.add(version(name))
        except PackageNotFoundError:
            continue
    versions |= {version("bids_sr").replace(".", "_")}
    return tuple(sorted(versions, key=len, reverse=True))


def folder_lines(root: Path, folders: Mapping[Path, str], *, pattern: str = "*") -> list[str]:
    """List the files of a folder by name, then the content of each as lines."""
    files = sorted(path for path in root.rglob(pattern) if path.is_file())
    lines = ["== files"]
    lines += [
        path.relative_to(root).as_posix() + (" (a link)" if path.is_symlink() else "")
        for path in files
    ]
    for path in files:
        if not path.is_symlink() and (content := [*file_lines(path)]):
            lines += [f"== {path.relative_to(root).as_posix()}", *content]
    tamed = [tame(line, folders) for line in lines]
    end = next((i for i, line in enumerate(tamed[1:], 1) if line.startswith("== ")), len(tamed))
    return ["== files", *sorted(tamed[1:end]), *tamed[end:]]


def file_lines(path: Path) -> Iterator[str]:
    """Read a file of any kind that the commands write as lines that can be compared."""
    name = path.name
    if name.endswith((".nii", ".nii.gz")):
        yield from image_lines(path)
    elif name.endswith(".safetensors"):
        yield from weights_lines(path)
    elif name.endswith(".json"):
        yield from value_lines(json.loads(path.read_text(encoding="utf-8")))
    elif name.endswith(".toml"):
        yield from value_lines(tomllib.loads(path.read_text(encoding="utf-8")))
    elif name.endswith(".tsv"):
        yield from table_lines(path)
    elif name.endswith(".html") and not name.endswith("_viewer.html"):
        yield from page_lines(path.read_text(encoding="utf-8"))
    elif name.endswith(".svg"):
        yield from figure_lines(path.read_text(encoding="utf-8"))
    elif name.endswith(".bib"):
        yield from re.findall(r"^@\w+\{[^,]+", path.read_text(encoding="utf-8"), re.MULTILINE)
    elif name.endswith(".md"):
        yield from markdown_lines(path.read_text(encoding="utf-8"))
    elif not name.startswith("crash-") and not name.endswith(
        (".png", ".npz", ".lock", "_viewer.html")
    ):
        yield from filter(None, path.read_text(encoding="utf-8").splitlines())


def image_lines(path: Path) -> Iterator[str]:
    """Describe a NIfTI image: its header exactly, its values by a few numbers."""
    image = nb.load(path)
    header = image.header
    yield f"shape: {list(image.shape)}"
    yield f"data type: {header.get_data_dtype()}"
    yield f"zooms: {[round(float(zoom), 4) for zoom in header.get_zooms()]}"
    yield f"units: {header.get_xyzt_units()}"
    yield f"codes: qform {int(header['qform_code'])}, sform {int(header['sform_code'])}"
    yield f"description: {header['descrip'].item().decode()!r}"
    yield f"intent: {header.get_intent()}"
    yield f"affine: {np.round(image.affine, 3).tolist()}"
    data = np.asarray(image.dataobj, dtype=np.float64)
    yield f"mean: {data.mean():.3e}"
    yield f"percentiles 1, 50, 99: {_numbers(np.percentile(data, [1, 50, 99]))}"


def _numbers(values: Any) -> str:
    return ", ".join(f"{value:.3e}" for value in values)


def weights_lines(path: Path) -> Iterator[str]:
    """Describe a file of weights: its card, then its tensors."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        for key, text in sorted((file.metadata() or {}).items()):
            value = json.loads(text) if text[:1] in "{[" else text
            yield from value_lines(value, key)
        for name in sorted(file.keys()):
            tensor = file.get_slice(name)
            yield f"tensor {name}: {tensor.get_dtype()} {tensor.get_shape()}"


def value_lines(value: Any, name: str = "") -> Iterator[str]:
    """Write nested values one a line, each with its whole name; durations as such a word."""
    if isinstance(value, dict):
        if not value:
            yield f"{name}: {{}}"
        for key, item in value.items():
            yield from value_lines(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for number, item in enumerate(value):
            yield from value_lines(item, f"{name}[{number}]")
    elif isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        yield from (f"{name}[{number}]: {item}" for number, item in enumerate(value))
    else:
        timed = _MEASURED.fullmatch(name) and value is not None
        yield f"{name}: {MEASURED if timed else value}"


def table_lines(path: Path) -> Iterator[str]:
    """Write a table one cell a line; of a long one the mean of each column."""
    with path.open(newline="", encoding="utf-8") as stream:
        header, *rows = [*csv.reader(stream, delimiter="\t")]
    yield f"columns: {', '.join(header)}"
    if len(rows) > LONG_TABLE:
        yield f"rows: {len(rows)}"
        for name, column in zip(header, zip(*rows, strict=True), strict=True):
            yield f"{name}: mean {np.mean([float(cell) for cell in column]):.3e}"
        return
    for number, row in enumerate(rows, 1):
        for name, cell in zip(header, row, strict=True):
            timed = _MEASURED.fullmatch(name) and cell != "n/a"
            shown = f"{float(cell):.3e}" if name == "voxels" else cell
            yield f"row {number}, {name}: {MEASURED if timed else shown}"


def figure_lines(text: str) -> Iterator[str]:
    """List the words in a figure: matplotlib keeps each text it draws as a comment."""
    for words in re.findall(r"<!-- (.*?) -->", text, re.DOTALL):
        if re.search(r"[^\W\d]{2}", words):
            yield " ".join(words.split())


class _Page(HTMLParser):
    """Collect the text nodes of a page, and the attributes that a reader meets."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._hidden = 0
        self._in_head = False
        self._column = -1
        self._headings: dict[int, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("script", "style", "svg")
        if tag in ("table", "thead"):
            self._headings = {}
        self._in_head = tag == "thead" or (self._in_head and tag != "tbody")
        self._column = -1 if tag in ("table", "tr") else self._column + (tag in ("td", "th"))
        if not self._hidden:
            texts = [(name, value) for name, value in attrs if name in ("alt", "title", "href")]
            self.lines += [f"[{name}] {value}" for name, value in texts]

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style", "svg")
        self._in_head = self._in_head and tag != "thead"
        if tag == "table":
            self._headings = {}

    def handle_data(self, data: str) -> None:
        words = " ".join(data.split())
        if not words or self._hidden:
            return
        if self._in_head:
            self._headings[self._column] = self._headings.get(self._column, "") + words
        self.lines.append(words if self._in_head else self._tamed(words))

    def _tamed(self, words: str) -> str:
        """Put a word for a traceback, which names modules, and for what was measured."""
        if "Traceback (most recent call last)" in words:
            return "<crash>"
        heading = self._headings.get(self._column, "")
        named = _MEASURED.fullmatch(heading or (self.lines[-1] if self.lines else ""))
        if re.fullmatch(r"([\d.]+ (s|min|h) ?)+", words) or (named and re.match(r"[\d.]", words)):
            return MEASURED
        return words


def page_lines(text: str) -> list[str]:
    """List the text of a page, one node a line; crashes, which it has by time, by name."""
    page = _Page()
    page.feed(text)
    crashed = [line for line in page.lines if _NODE.fullmatch(line)]
    by_name = iter(sorted(crashed))
    return [next(by_name) if line in crashed else line for line in page.lines]


def markdown_lines(text: str) -> Iterator[str]:
    """List the lines of a text; in its tables what was measured is a word."""
    headings: list[str] = []
    for line in filter(None, text.splitlines()):
        cells = [cell.strip() for cell in line.split("|")] if line.startswith("| ") else []
        headings = (headings or cells) if cells else []
        pairs = zip(headings, cells, strict=True)
        shown = [
            MEASURED if _MEASURED.fullmatch(name) and re.match(r"[\d.]", cell) else cell
            for name, cell in pairs
        ]
        yield " | ".join(shown).strip() if cells else line
