"""A download brings one file from the web, whole or not at all.

It resumes where it was interrupted, checks what came and moves the file into place at
the end.  What a server says is not trusted: neither sizes, nor other places, nor headers.
It knows no names of files and no folders of weights.
"""

from __future__ import annotations

import http.client
import io
import logging
import math
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bids_sr.exceptions import WeightsError
from bids_sr.files import check_own, file_digest, locked

LOGGER = logging.getLogger(__name__)
Report = Callable[[int, int | None], None]
"""Called with the bytes that are there and those in all, None where the server is silent."""

_CHUNK = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte
_SLOWEST, _WATCHED = 1000.0, 60.0  # bytes a second, over so many seconds
_WORTH_RETRYING = {408, 425, 429, 500, 502, 503, 504}
LIMIT = 1_000_000_000
"""Bytes; no published weights that are known here have as many."""
_TAG = re.compile(r'"[\x20-\x7e]{0,200}"|[A-Za-z0-9 ,:]{1,60}')
"""An ETag, or a date in its place, as it may be sent back."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    limit: int = LIMIT,
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
    limit : int
        Largest size, bytes.
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
        If the server cannot be reached, has no such file, sends a web page instead or more
        than `limit`, is far too slow, names a place that is not on the web, or the digest differs.
    InputDataError
        If a named pipe or the like has the name of a file that is to be written.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise WeightsError(f"Found address {url!r}; expected one that begins with https://.")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    lock = part.with_name(f"{part.name}.lock")
    for path in (part, _validator(part)):
        check_own(path)
    with locked(lock, seconds=math.inf):
        if target.is_file():  # another process brought it meanwhile
            return target
        _retried(_Source(url, part, limit, report), attempts, pause)
        digest = file_digest(part)
        if sha256 is not None and digest != sha256.lower():
            _throw_away(part)
            raise WeightsError(
                f"Found SHA-256 {digest} of what {url} sent; expected {sha256.lower()}. The file "
                "was removed: it is damaged or not the published one."
            )
        part.replace(target)
        _validator(part).unlink(missing_ok=True)
    return target


@dataclass(frozen=True)
class _Source:
    """What is fetched from where to where."""

    url: str
    part: Path
    limit: int
    report: Report | None


class _TooSlowError(Exception):
    """So few bytes came that no time is enough."""


class _PacedBytes(io.RawIOBase):
    """What a server sends, headers too; a byte now and then is not waited for."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._since, self._count = time.monotonic(), 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what is there; _TooSlowError where too little came."""
        count: int | None = self._raw.readinto(buffer)
        self._count += count or 0
        seconds = time.monotonic() - self._since
        if count and seconds >= _WATCHED:
            if self._count < _SLOWEST * seconds:
                raise _TooSlowError(f"{self._count} bytes in {seconds:.0f} s")
            self._since, self._count = time.monotonic(), 0
        return count

    def close(self) -> None:
        """Close the connection's side of it too."""
        self._raw.close()
        super().close()


class _PacedResponse(http.client.HTTPResponse):
    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self.fp = io.BufferedReader(_PacedBytes(self.fp.detach()))


class _Paced(urllib.request.AbstractHTTPHandler):
    def do_open(self, http_class: Any, req: Any, **more: Any) -> Any:
        def connection(*words: Any, **options: Any) -> Any:
            opened = http_class(*words, **options)
            opened.response_class = _PacedResponse
            return opened

        return super().do_open(connection, req, **more)


class _PacedHTTP(_Paced, urllib.request.HTTPHandler):
    pass


class _PacedHTTPS(_Paced, urllib.request.HTTPSHandler):
    pass


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Follows a server to other places on the web, and never from https to http."""

    def http_error_302(self, req: Any, fp: Any, *rest: Any) -> Any:
        """Go on, or close the connection."""
        try:
            return super().http_error_302(req, fp, *rest)
        except Exception:
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_302  # type: ignore[assignment]
    http_error_307 = http_error_308 = http_error_302  # type: ignore[assignment]

    def redirect_request(self, req: Any, fp: Any, *rest: Any) -> Any:
        """Refuse other schemes; urllib itself would go on to ftp."""
        newurl = rest[-1]
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after != "https" and not before == after == "http":
            raise WeightsError(
                f"Found that {req.full_url} leads to {_plain(newurl)}; expected an address that "
                "begins with https://. It was not followed."
            )
        return super().redirect_request(req, fp, *rest)


def _retried(source: _Source, attempts: int, pause: float) -> None:
    for attempt in range(1, attempts + 1):
        try:
            _continue(source)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # more is here than there: not the same file
                _throw_away(source.part)
            elif error.code not in _WORTH_RETRYING:
                raise WeightsError(
                    f"Found answer {error.code} ({_plain(error.reason)}) of {source.url}."
                ) from error
            problem: Exception = error
        except _TooSlowError as error:
            raise WeightsError(
                f"Found that {source.url} sends too slowly ({error}); expected at least "
                f"{_SLOWEST:.0f} bytes a second. Try again later, or on a faster connection."
            ) from error
        # ValueError: a place that a server names may be no address at all
        except (http.client.HTTPException, OSError, ValueError) as error:
            problem = error
        LOGGER.info("Try %d of %d for %s: %s", attempt, attempts, source.url, _plain(problem))
        if attempt < attempts:
            time.sleep(pause * 2 ** (attempt - 1))
    raise WeightsError(
        f"Found no way to {source.url} in {attempts} tries (last: {_plain(problem)})."
    )


def _continue(source: _Source) -> None:
    """Fetch what is missing of a file; OSError if the connection ended early."""
    part, validator = source.part, _validator(source.part)
    headers = {"User-Agent": "bids_sr", "Accept-Encoding": "identity"}
    have = part.stat().st_size if part.is_file() and validator.is_file() else 0
    if have:
        # The server sends the rest only of the very file that the beginning is from.
        headers |= {"Range": f"bytes={have}-", "If-Range": validator.read_text(encoding="ascii")}
    request = urllib.request.Request(source.url, headers=headers)
    opener = urllib.request.build_opener(_WebOnly, _PacedHTTP, _PacedHTTPS)
    with opener.open(request, timeout=_TIMEOUT) as answer:
        _check_kind(source.url, answer)
        resumed = answer.status == http.client.PARTIAL_CONTENT
        if resumed and not str(answer.headers.get("Content-Range")).startswith(f"bytes {have}-"):
            _throw_away(part)
            raise ConnectionError(f"the server went on at another place than {have}")
        have = have if resumed else 0
        length = _length(answer)
        total = None if length is None else have + length
        if total is not None and total > source.limit:
            raise _too_large(source, total)
        tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        if _TAG.fullmatch(tag):
            validator.write_text(tag, encoding="ascii")
        else:
            validator.unlink(missing_ok=True)
        with part.open("ab" if have else "wb") as stream:
            while chunk := answer.read(_CHUNK):
                have += len(chunk)
                if have > source.limit:
                    raise _too_large(source, have)
                stream.write(chunk)
                if source.report:
                    source.report(have, total)
    if total is not None and have != total:
        raise ConnectionError(f"the connection ended after {have} of {total} bytes")


def _check_kind(url: str, answer: Any) -> None:
    if answer.headers.get_content_type() == "text/html":
        raise WeightsError(f"Found a web page at {url}; expected a file.")
    encoding = answer.headers.get("Content-Encoding") or "identity"
    if encoding.strip().lower() != "identity":  # small files can unpack to huge ones
        raise WeightsError(
            f"Found that {url} sends its file packed ({_plain(encoding)}); expected it as it is."
        )


def _length(answer: Any) -> int | None:
    """Return how many bytes a server says that it sends; ConnectionError if it is not a number."""
    stated = answer.headers.get("Content-Length")
    if stated is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", stated.strip()):
        raise ConnectionError(f"the server says that it sends {stated[:40]!r} bytes")
    return int(stated)


def _too_large(source: _Source, size: int) -> WeightsError:
    _throw_away(source.part)
    return WeightsError(
        f"Found at least {size} bytes at {source.url}; expected at most {source.limit}. It is not "
        "what was published, and was removed."
    )


def _plain(answer: object) -> str:
    """Return what a server said, without what a terminal would obey."""
    return "".join(letter for letter in str(answer) if letter.isprintable())[:300]


def _throw_away(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator(part).unlink(missing_ok=True)


def _validator(part: Path) -> Path:
    """Return where the mark of the file's version (ETag) is kept."""
    return part.with_name(f"{part.name}.etag")
