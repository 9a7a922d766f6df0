from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from bids_sr.files import writing
from bids_sr.files.writing import (
    check_writable,
    copy_atomic,
    jsonable,
    write_atomic,
    write_json_atomic,
    write_text_atomic,
)


def test_text_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.tsv"
    assert write_text_atomic(path, "é\n") == path
    inode = path.stat().st_ino
    write_text_atomic(path, "é\n")
    assert path.stat().st_ino == inode
    write_text_atomic(path, "other\n")
    assert path.read_text() == "other\n"
    assert [file.name for file in path.parent.iterdir()] == ["table.tsv"]


def test_json_holds_plain_values(tmp_path: Path) -> None:
    content = {
        "array": np.arange(3, dtype=np.int16),
        "float": np.float32(0.5),
        "nan": float("nan"),
        "infinite": [np.inf],
        "path": Path("/x"),
        "tuple": (1, None, True),
        "set": {"b", "a"},
        1: {"deep": np.bool_(True)},
    }
    path = write_json_atomic(tmp_path / "a.json", content)
    assert json.loads(path.read_text()) == {
        "array": [0, 1, 2],
        "float": 0.5,
        "nan": None,
        "infinite": [None],
        "path": "/x",
        "tuple": [1, None, True],
        "set": ["a", "b"],
        "1": {"deep": True},
    }
    assert jsonable(True) is True


def test_copy_leaves_an_equal_target(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b" / "c"
    source.write_bytes(b"1234")
    copy_atomic(source, target)
    inode = target.stat().st_ino
    copy_atomic(source, target)
    assert target.stat().st_ino == inode
    source.write_bytes(b"4321")
    copy_atomic(source, target)
    assert target.read_bytes() == b"4321"


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    ours = write_text_atomic(tmp_path / "ours", "x")
    assert ours.stat().st_mode == plain.stat().st_mode


def test_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_text_atomic(tmp_path / "a", "old")

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.os, "fsync", broken)
    with pytest.raises(OSError, match="No space left"):
        write_text_atomic(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_halves_of_letters_are_spelled_out(tmp_path: Path) -> None:
    name = os.fsdecode(b"sub-\xff")
    assert write_text_atomic(tmp_path / "a.tsv", name).read_bytes() == b"sub-\\udcff"
    written = write_json_atomic(tmp_path / "a.json", {"Path": name})
    assert json.loads(written.read_text()) == {"Path": name}


def test_the_temporary_name_has_the_ending_and_is_short(tmp_path: Path) -> None:
    names = []

    def write(path: Path) -> None:
        names.append(path.name)
        path.touch()

    longest = tmp_path / f"{'a' * 248}.nii.gz"
    assert write_atomic(longest, write).is_file()
    write_atomic(tmp_path / "rows.v1.npz", write)
    assert names[0].endswith(".nii.gz")
    assert [len(name) < 30 for name in names] == [True, True]
    assert names[1].endswith(".npz")
    assert sorted(file.name[-6:] for file in tmp_path.iterdir()) == ["nii.gz", "v1.npz"]


def test_what_fails_to_write_leaves_nothing(tmp_path: Path) -> None:
    def broken(path: Path) -> None:
        path.touch()
        raise ValueError("not written")

    with pytest.raises(ValueError, match="not written"):
        write_atomic(tmp_path / "a", broken)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_tried_by_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_writable(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []

    def refused(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "touch", refused)
    with pytest.raises(OSError, match="Read-only"):
        check_writable(tmp_path)
