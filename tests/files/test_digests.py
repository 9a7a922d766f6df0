"""Digests are those of hashlib; pipes are not waited for."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.files import file_digest, text_digest


def test_a_file_and_a_text(tmp_path: Path) -> None:
    expected = hashlib.sha256("é".encode()).hexdigest()
    (tmp_path / "a").write_text("é", encoding="utf-8")
    assert file_digest(tmp_path / "a") == text_digest("é") == expected


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputDataError, match="a named pipe"):
        file_digest(tmp_path / "pipe")
