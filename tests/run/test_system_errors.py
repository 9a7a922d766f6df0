"""Errors of the machine are told as what they are, with the path."""

from __future__ import annotations

import errno
import multiprocessing
import multiprocessing.synchronize
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_sr.files.writing import write_text_atomic
from bids_sr.run.exit_codes import ExitCode
from bids_sr.run.system_errors import explain


def test_numpy_out_of_memory_is_named() -> None:
    with pytest.raises(MemoryError) as caught:
        np.zeros((10**7, 10**7))
    explained = explain(caught.value)
    assert explained is not None
    assert explained[0].startswith("out of memory (")
    assert "Unable to allocate" in explained[0]
    assert "lower --nprocs" in explained[0]
    assert explained[1] == ExitCode.NO_WORKFLOW


def test_shared_memory_is_not_the_output_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(multiprocessing.synchronize._multiprocessing, "SemLock", fail)  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="Read-only") as caught:
        multiprocessing.get_context("fork").Lock()
    explained = explain(caught.value)
    assert explained is not None
    assert "/dev/shm: Read-only file system" in explained[0]
    assert "output" not in explained[0]
    assert explained[1] == ExitCode.NO_WORKFLOW


def test_a_full_disk_is_told_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bids_sr.files.writing.os.fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        write_text_atomic(tmp_path / "page.html", "text")
    explained = explain(caught.value)
    assert explained is not None
    assert explained[0].startswith(f"{tmp_path / 'page.html'}: No space left on device")
    assert explained[1] == ExitCode.CANNOT_WRITE
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_error_of_the_machine() -> None:
    assert explain(KeyError("bug")) is None
    assert explain(OSError(errno.EIO, "Input/output error")) is None
