"""Files that are not what they seem: pipes, devices, bombs, endless nesting."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bids_sr.exceptions import ConfigError, InputDataError
from bids_sr.files import (
    LIMIT,
    check_regular,
    open_regular,
    read_bytes,
    read_json,
    read_text,
    read_toml,
    read_yaml,
)

READERS: list[Callable[..., Any]] = [read_bytes, read_text, read_json, read_toml, read_yaml]


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_folder(path: Path) -> None:
    path.mkdir()


def make_sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 40)


def make_dangling(path: Path) -> None:
    path.symlink_to("elsewhere")


def make_none(path: Path) -> None:
    pass


def make_closed(path: Path) -> None:
    path.symlink_to(path.name)


ODD: list[tuple[Callable[[Path], None], str]] = [
    (make_pipe, "a named pipe"),
    (make_socket, "a socket"),
    (make_device, "a device"),
    (make_folder, "a folder"),
    (make_sparse, f"1099511627776 bytes, more than {LIMIT}"),
    (make_dangling, "a link to elsewhere, which is not there"),
    (make_none, "no such file"),
    (make_closed, "Too many levels of symbolic links"),
]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(("make", "words"), ODD)
def test_what_is_no_regular_file_is_named_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any, words: str, read: Any
) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    make(Path("odd"))

    with pytest.raises(ConfigError, match="odd: the options cannot be read") as caught:
        read(Path("odd"), what="the options", error=ConfigError)

    assert words in str(caught.value)


def test_a_file_that_is_longer_than_it_says_is_not_read_to_its_end() -> None:
    with pytest.raises(InputDataError, match="more than 8 bytes"):
        read_bytes(Path("/proc/self/maps"), limit=8)  # its size is said to be 0


@pytest.mark.parametrize("make", [make_pipe, make_device, make_folder])
def test_others_open_only_regular_files(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "odd")

    with pytest.raises(InputDataError, match=r"odd: found a .*; expected a regular file"):
        check_regular(tmp_path / "odd")


def test_a_regular_file_is_opened_also_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345678")
    (tmp_path / "link").symlink_to("file")

    with open_regular(tmp_path / "link", limit=8) as stream:
        assert stream.read() == b"12345678"
    with pytest.raises(InputDataError, match="found 8 bytes, more than 7"):
        open_regular(tmp_path / "link", limit=7)


@pytest.mark.parametrize("levels", [65, 400, 100_000])
@pytest.mark.parametrize(
    ("read", "text"),
    [
        (read_json, '{{"a": {}1{}}}'),
        (read_toml, "a = {}1{}"),
        (read_yaml, "a: {}1{}"),
    ],
)
def test_deep_nesting_is_a_clear_error(tmp_path: Path, read: Any, text: str, levels: int) -> None:
    path = tmp_path / "deep"
    path.write_text(text.format("[" * levels, "]" * levels))

    with pytest.raises(InputDataError, match=r"deep: .*more than 64 levels deep"):
        read(path)


def test_json_as_others_write_it(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.json"
    path.write_bytes(
        b'\xef\xbb\xbf{"A": [1, 2.5, {"\\ud800": "x\\udc00y"}], "B": "\\ud83e\\udde0", '
        b'"C": 1' + 400 * b"0" + b', "D": -1' + 5000 * b"0" + b', "E": 12}'
    )

    content = read_json(path)

    assert content["A"] == [1, 2.5, {"?": "x?y"}]
    assert content["B"] == "\N{BRAIN}"
    assert (content["C"], content["D"], content["E"]) == (float("inf"), -float("inf"), 12)


@pytest.mark.parametrize(
    ("read", "content", "words"),
    [
        (read_json, b"[1]", "it holds a list"),
        (read_json, b"{", "Expecting property name"),
        (read_json, b"", "Expecting value"),
        (read_json, b'{"a": "\xe9"}', "byte 7 is not UTF-8"),
        (read_toml, b"a = ", "Invalid value"),
        (read_yaml, b"- 1", "it holds a list"),
        (read_yaml, b"a: [", "while parsing"),
        (read_yaml, b"a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        (read_yaml, b"a: &x [1]\nb: [*x, *x]", r"the alias \*x; write its value out"),
        (read_yaml, b"a: &x {c: 1}\nb: {<<: *x}", r"the alias \*x"),
    ],
)
def test_content_that_cannot_be_taken_is_said(
    tmp_path: Path, read: Any, content: bytes, words: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)

    with pytest.raises(InputDataError, match=words):
        read(path)


# What the kernel, the package or a process of the same run wrote.
READ_BY_THEMSELVES = {
    "bids/names.py",
    "compute/memory.py",
    "compute/resources.py",
    "download.py",
    "evaluation/pool.py",
    "files/writing.py",
    "interfaces/segmentation_on_slices.py",
    "published.py",
    "reports/bibliography.py",
    "reports/viewer.py",
    "sr/inference/interval.py",
}


def test_files_of_others_are_read_in_one_place() -> None:
    package = Path(__file__).resolve().parents[2] / "bids_sr"
    reading = re.compile(r"\.read_(text|bytes)\(|\byaml\.safe_load|\bjson\.load\(")
    readers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if reading.search(path.read_text(encoding="utf-8"))
    }
    assert readers - {"files/reading.py", "evaluation/job_process.py"} == READ_BY_THEMSELVES


def test_a_name_that_stands_twice_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "sub-01_T1w.json"
    path.write_text('{"SliceThickness": 5, "a": {"b": 1}, "SliceThickness": 3}')
    assert read_json(path) == {"SliceThickness": 3, "a": {"b": 1}}
    (message,) = caplog.messages
    assert message == f"{path}: SliceThickness stands there more than once; the last value is used"
