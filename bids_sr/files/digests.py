"""Digests: SHA-256 of files and texts, 64 hexadecimal digits."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bids_sr.files.reading import open_regular


def file_digest(path: Path) -> str:
    """Compute the SHA-256 of what a file holds."""
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def text_digest(text: str) -> str:
    """Compute the SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()
