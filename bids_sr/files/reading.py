"""Bounded, defensive reading of foreign files: regular files only, up to a maximum size.

Named pipes and devices are not opened, a larger file is not read into memory, and JSON, TOML and
YAML may neither be nested deeply nor use aliases that multiply.  All texts and tables of this
package are read here; their meaning is the caller's matter.
"""

from __future__ import annotations

import codecs
import functools
import json
import logging
import os
import stat
import tomllib
import zipfile
from collections import Counter
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

from bids_sr.exceptions import BidsSrError, InputDataError, printable

LOGGER = logging.getLogger(__name__)
LIMIT = 16 << 20
"""Bytes of a sidecar, a configuration or another text; real ones have thousands."""
TABLE_LIMIT = 256 << 20
"""Bytes of a table; one of a hundred thousand images has some 30 million."""
MAX_DEPTH = 64
"""Levels of lists and objects within each other; real files have fewer than ten."""
_CHUNK = 1 << 20
_Content = TypeVar("_Content")
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class _UnusableError(ValueError):
    """The file or its content cannot be used; the message does not name the file."""


def open_regular(path: Path, limit: int | None = None) -> BufferedReader:
    """Open a regular file, reached directly or by links, to read its bytes.

    Parameters
    ----------
    path : Path
    limit : int, optional
        Largest size, bytes.

    Raises
    ------
    InputDataError
        If it is not a regular file, such as a named pipe, or larger than the limit.
    OSError
        If it is missing or cannot be opened.
    """
    try:
        return _opened(path, limit)
    except _UnusableError as error:
        raise InputDataError(
            f"{path}: found {error}; expected a regular file. Check the path."
        ) from error


def check_regular(path: Path, limit: int | None = None) -> None:
    """Refuse what :func:`open_regular` refuses, before another library opens it."""
    open_regular(path, limit).close()


def check_own(path: Path) -> None:
    """Refuse to write into something other than a regular file: a named pipe, a device, a link.

    Raises
    ------
    InputDataError
        If the path is not a regular file; a missing file is fine.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = "a link" if stat.S_ISLNK(mode) else _kind(mode)
        raise InputDataError(
            f"{path}: found {kind}; expected a regular file that bids_sr made. Remove it."
        )


def check_stored(path: Path) -> None:
    """Refuse a zip archive, such as a checkpoint of torch, that unpacks to more than its size.

    Raises
    ------
    InputDataError
        If it does, or :func:`check_regular` refuses it.
    """
    with open_regular(path) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
        except (zipfile.BadZipFile, ValueError):  # none, or damaged: its reader reports that
            return
        size = os.fstat(stream.fileno()).st_size
    if unpacked > size:
        raise InputDataError(
            f"{path}: found {size} bytes that unpack to {unpacked}; expected a file that is not "
            "compressed. Save it again."
        )


def read_bytes(
    path: Path,
    *,
    what: str = "the file",
    error: type[BidsSrError] = InputDataError,
    limit: int = LIMIT,
) -> bytes:
    """Read a whole file.

    Parameters
    ----------
    path : Path
    what : str
        What it is to the user, for the message.
    error : type
        What to raise.
    limit : int
        Largest size, bytes.

    Raises
    ------
    BidsSrError
        `error`, if the file cannot be read, is not a regular one, or is larger.
    """
    return _read(path, lambda content: content, "a regular file", what, error, limit)


def read_text(
    path: Path,
    *,
    what: str = "the file",
    error: type[BidsSrError] = InputDataError,
    limit: int = LIMIT,
    any_encoding: bool = False,
) -> str:
    """Read a text in UTF-8, with or without a byte-order mark; see :func:`read_bytes`.

    With `any_encoding`, for files of a dataset, UTF-16 with its mark and Latin-1 are read too,
    with a warning, so that an umlaut does not cost a name, a licence or a row.
    """
    decode = functools.partial(_any_text, path) if any_encoding else _text
    return _read(path, decode, "text in UTF-8", what, error, limit)


def read_json(
    path: Path,
    *,
    what: str = "the file",
    error: type[BidsSrError] = InputDataError,
    limit: int = LIMIT,
    any_encoding: bool = False,
) -> dict[str, Any]:
    """Read a JSON object; see :func:`read_bytes`, for `any_encoding` :func:`read_text`.

    Lone surrogates become question marks, because they cannot be written to a file, whole
    numbers too large for a float become infinite, and of a name that stands there more than once
    the last value counts, with a warning.
    """
    decode = functools.partial(_any_text, path) if any_encoding else _text

    def parse(content: bytes) -> dict[str, Any]:
        return _json(path, decode(content))

    return _read(path, parse, "a JSON object", what, error, limit)


def read_json_or_empty(path: Path, *, any_encoding: bool = False) -> dict[str, Any]:
    """Read a JSON object; empty if it is missing or unreadable."""
    try:
        return read_json(path, any_encoding=any_encoding)
    except InputDataError:
        return {}


def read_toml(
    path: Path,
    *,
    what: str = "the file",
    error: type[BidsSrError] = InputDataError,
    limit: int = LIMIT,
) -> dict[str, Any]:
    """Read TOML; see :func:`read_bytes`."""
    return _read(path, _toml, "TOML", what, error, limit)


def read_yaml(
    path: Path,
    *,
    what: str = "the file",
    error: type[BidsSrError] = InputDataError,
    limit: int = LIMIT,
) -> dict[str, Any]:
    """Read a YAML mapping of plain values without aliases; see :func:`read_bytes`."""
    return _read(path, _yaml, "a YAML mapping", what, error, limit)


def _read(
    path: Path,
    parse: Callable[[bytes], _Content],
    expected: str,
    what: str,
    kind: type[BidsSrError],
    limit: int,
) -> _Content:
    try:
        return parse(_bounded(path, limit))
    except (OSError, ValueError, RecursionError) as error:
        raise kind(
            f"{path}: {what} cannot be read ({_reason(path, error)}); expected "
            f"{expected}. Correct or fetch the file."
        ) from error


def _opened(path: Path, limit: int | None) -> BufferedReader:
    # Checked first: merely opening some devices has an effect.
    _check_kind(path.stat(), limit)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        _check_kind(os.fstat(descriptor), limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_kind(status: os.stat_result, limit: int | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _UnusableError(_kind(status.st_mode))
    if limit is not None and status.st_size > limit:
        raise _UnusableError(f"{status.st_size} bytes, more than {limit}")


def _kind(mode: int) -> str:
    return next((name for test, name in _KINDS if test(mode)), "something else")


def _bounded(path: Path, limit: int) -> bytes:
    """Read at most the limit: some files are longer than their reported size."""
    content = bytearray()
    with _opened(path, limit) as stream:
        while chunk := stream.read(min(_CHUNK, limit + 1 - len(content))):
            content += chunk
    if len(content) > limit:
        raise _UnusableError(f"more than {limit} bytes")
    return bytes(content)


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        if path.is_symlink():
            return f"a link to {path.readlink()}, which is not there"
        return "no such file"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    if isinstance(error, RecursionError):
        return f"more than {MAX_DEPTH} levels deep"
    return str(getattr(error, "strerror", None) or error)


def _text(content: bytes) -> str:
    return content.decode("utf-8-sig")


def _any_text(path: Path, content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text, encoding = content.decode("utf-16"), "UTF-16"
    else:
        try:
            return _text(content)
        except UnicodeDecodeError:
            text, encoding = _latin(content), "Latin-1"
    _tell_encoding(path, encoding)
    return text


def _latin(content: bytes) -> str:
    """Decode Windows-1252, which has dashes where Latin-1 has control codes."""
    try:
        return content.decode("cp1252")
    except UnicodeDecodeError:
        return content.decode("latin-1")


@functools.cache
def _tell_encoding(path: Path, encoding: str) -> None:
    LOGGER.warning("%s: not UTF-8, as BIDS requires; read as %s. Save it as UTF-8", path, encoding)


def _json(path: Path, text: str) -> dict[str, Any]:
    repeated: dict[str, None] = {}

    def gathered(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            repeated.update(dict.fromkeys(name for name, count in counts.items() if count > 1))
        return content

    content = _plain(json.loads(text, parse_int=_number, object_pairs_hook=gathered))
    if repeated:
        _tell_repeated(path, ", ".join(map(printable, repeated)))
    return content


@functools.cache
def _tell_repeated(path: Path, names: str) -> None:
    LOGGER.warning("%s: %s stands there more than once; the last value is used", path, names)


def _toml(content: bytes) -> dict[str, Any]:
    return _plain(tomllib.loads(_text(content)))


def _yaml(content: bytes) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped,unused-ignore]

    text, depth = _text(content), 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):  # a few lines can expand to billions
                raise _UnusableError(f"the alias *{event.anchor}; write its value out")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise RecursionError
        return _plain(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise _UnusableError(str(error)) from error


def _plain(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise _UnusableError(f"it holds a {type(content).__name__}")
    cleaned: dict[str, Any] = _cleaned(content, 1)
    return cleaned


def _cleaned(value: Any, depth: int) -> Any:
    """Replace lone surrogates; refuse content nested too deeply for recursion."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if not isinstance(value, dict | list):
        return value
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, list):
        return [_cleaned(item, depth + 1) for item in value]
    return {_cleaned(key, depth + 1): _cleaned(item, depth + 1) for key, item in value.items()}


def _number(digits: str) -> int | float:
    value = float(digits)
    return value if value in (float("inf"), float("-inf")) else int(digits)
