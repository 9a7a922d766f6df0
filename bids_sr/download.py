"""A download brings one file from the web, whole or not at all.

It goes on where it was interrupted, checks what came and moves the file into place at
the end.  It knows no names of files and no folders of weights.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

from bids_sr.exceptions import WeightsError
from bids_sr.files import open_regular

LOGGER = logging.getLogger(__name__)
Report = Callable[[int, int | None], None]
"""Called with the bytes that are there and those in all, None where the server is silent."""

_CHUNK = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte
_WORTH_RETRYING = {408, 425, 429, 500, 502, 503, 504}


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    attempts: int = 5,
    pause: float = 1.0,
    report: Report | None = None,
) -> Path:
    """Fetch a file unless it is there.

    Parameters
    ----------
    url : str
        ``http`` or ``https``.
    target : Path
        Where it shall lie; its folder is made if absent.  What came so far lies beside it as
        ``.NAME.part`` and is continued by the next call.
    sha256 : str, optional
        Digest that the file must have.
    attempts : int
        Tries, each going on where the one before was interrupted.
    pause : float, s
        Before the second try; doubled for each further one.
    report : callable, optional
        Told how far it is.

    Returns
    -------
    target : Path

    Raises
    ------
    WeightsError
        If the server cannot be reached, has no such file, sends a web page instead, or the
        digest differs.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise WeightsError(f"Found address {url!r}; expected one that begins with https://.")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    with FileLock(part.with_name(f"{part.name}.lock")):
        if target.is_file():  # another process brought it meanwhile
            return target
        _retried(url, part, attempts, pause, report)
        found = digest(part)
        if sha256 is not None and found != sha256.lower():
            part.unlink()
            _validator(part).unlink(missing_ok=True)
            raise WeightsError(
                f"Found SHA-256 {found} of what {url} sent; expected {sha256.lower()}. The file "
                "was thrown away: it is damaged or not the published one."
            )
        part.replace(target)
        _validator(part).unlink(missing_ok=True)
    return target


def digest(path: Path) -> str:
    """Compute the SHA-256 of a file, 64 hexadecimal digits."""
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _retried(url: str, part: Path, attempts: int, pause: float, report: Report | None) -> None:
    for attempt in range(1, attempts + 1):
        try:
            _continue(url, part, report)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # more is here than there: not the same file
                part.unlink(missing_ok=True)
            elif error.code not in _WORTH_RETRYING:
                raise WeightsError(
                    f"Found answer {error.code} ({error.reason}) of {url}."
                ) from error
            problem: Exception = error
        except (http.client.HTTPException, OSError) as error:
            problem = error
        LOGGER.info("Try %d of %d for %s: %s", attempt, attempts, url, problem)
        if attempt < attempts:
            time.sleep(pause * 2 ** (attempt - 1))
    raise WeightsError(f"Found no way to {url} in {attempts} tries (last: {problem}).")


def _continue(url: str, part: Path, report: Report | None) -> None:
    """Fetch what is missing of a file; OSError if the connection ended early."""
    headers = {"User-Agent": "bids_sr", "Accept-Encoding": "identity"}
    validator = _validator(part)
    have = part.stat().st_size if part.is_file() and validator.is_file() else 0
    if have:
        # The server sends the rest only of the very file that the beginning is from.
        headers |= {"Range": f"bytes={have}-", "If-Range": validator.read_text(encoding="ascii")}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        if answer.headers.get_content_type() == "text/html":
            raise WeightsError(f"Found a web page at {url}; expected a file.")
        resumed = answer.status == http.client.PARTIAL_CONTENT
        if resumed and not str(answer.headers.get("Content-Range")).startswith(f"bytes {have}-"):
            part.unlink()
            raise ConnectionError(f"the server went on at another place than {have}")
        have = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if tag and not tag.startswith("W/"):
            validator.write_text(tag, encoding="ascii")
        else:
            validator.unlink(missing_ok=True)
        with part.open("ab" if resumed else "wb") as stream:
            while chunk := answer.read(_CHUNK):
                stream.write(chunk)
                have += len(chunk)
                if report:
                    report(have, total)
    if total is not None and have != total:
        raise ConnectionError(f"the connection ended after {have} of {total} bytes")


def _validator(part: Path) -> Path:
    """Return where the mark of the file's version (ETag) is kept."""
    return part.with_name(f"{part.name}.etag")
