"""Atomic writing: a file gets a temporary name in the same folder and is then renamed.

Nothing here knows what the files mean.
"""

from __future__ import annotations

import filecmp
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from bids_sr.files.reading import read_json_or_empty


def write_atomic(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file under a temporary name and rename it.

    Parameters
    ----------
    path : Path
        File to write; its folder is created if missing.
    write : callable
        Writes to the path it receives, which has the ending of `path`.

    Returns
    -------
    Path
        ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    ending = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp{ending}")
    try:
        write(temporary)
        temporary.replace(path)
    except OSError as error:  # a failed write does not name its file
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_bytes_atomic(path: Path, content: bytes) -> Path:
    """Write a file, on the disk when this returns; see :func:`write_atomic`."""
    return write_atomic(path, lambda temporary: _write_bytes(temporary, content))


def check_writable(folder: Path) -> None:
    """Write a test file into a folder, which is created if missing, and remove it.

    Raises
    ------
    OSError
        If that is not possible.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".{secrets.token_hex(8)}"
    probe.touch()
    probe.unlink()


def write_text_atomic(path: Path, text: str) -> Path:
    """Write a text file; a file that already holds this text is left unchanged.

    Parameters
    ----------
    path : Path
        File to write; its folder is created if missing.
    text : str
        Content, written as UTF-8; lone surrogates, which file names may hold, are written as
        escapes.

    Returns
    -------
    Path
        ``path``.
    """
    content = text.encode(errors="backslashreplace")
    if path.is_file() and path.read_bytes() == content:
        return path
    return write_bytes_atomic(path, content)


def write_json_atomic(path: Path, content: Mapping[str, Any]) -> Path:
    """Write a JSON file; numpy values become plain ones, NaN and infinity become null.

    Parameters
    ----------
    path : Path
        File to write.
    content : mapping
        Its content.

    Returns
    -------
    Path
        ``path``.
    """
    text = json.dumps(jsonable(content), indent=2, ensure_ascii=False, allow_nan=False)
    return write_text_atomic(path, text + "\n")


def copy_atomic(source: Path, target: Path) -> Path:
    """Copy a file; a target with the same content is left unchanged.

    Parameters
    ----------
    source, target : Path
        From and to; the target's folder is created if missing.

    Returns
    -------
    Path
        ``target``.
    """
    if target.is_file() and filecmp.cmp(source, target, shallow=False):
        return target
    return write_atomic(target, lambda temporary: _copy_bytes(source, temporary))


def link_atomic(source: Path, target: Path) -> Path:
    """Link to a file by a relative symbolic link; copy it where links are not possible.

    Parameters
    ----------
    source, target : Path
        The file, which may itself be missing (not fetched yet), and the link; the
        target's folder is created if missing.

    Returns
    -------
    Path
        ``target``.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    words = os.path.relpath(source.parent.resolve() / source.name, target.parent.resolve())
    if target.is_symlink() and str(target.readlink()) == words:
        return target
    try:
        return write_atomic(target, lambda temporary: temporary.symlink_to(words))
    except OSError:
        if target.is_symlink():
            target.unlink()
        return copy_atomic(source, target)


def remove_others(patterns: Iterable[tuple[str, str, str]], kept: Iterable[Path]) -> list[Path]:
    """Remove files of ours that are not among those just written.

    Parameters
    ----------
    patterns : iterable of tuple of str
        Folder, regular expression of the whole file name, and the field that our sidecar of
        such a file has; empty where the name alone is ours.
    kept : iterable of Path
        Files that stay, with those that differ from them in the extension only.

    Returns
    -------
    list of Path
        What was removed, a sidecar after its image.
    """
    stays = {path.with_name(_stem(path)) for path in kept}
    by_folder: dict[Path, list[tuple[str, str]]] = {}
    for place, pattern, field in patterns:
        by_folder.setdefault(Path(place), []).append((pattern, field))
    removed = []
    for folder, known in by_folder.items():
        any_of = re.compile("|".join(f"(?:{pattern})" for pattern, _ in known))
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        by_stem: dict[Path, list[Path]] = {}
        for path in (folder / name for name in sorted(names) if any_of.fullmatch(name)):
            by_stem.setdefault(path.with_name(_stem(path)), []).append(path)
        for stem, paths in by_stem.items():
            sidecar = stem.with_name(f"{stem.name}.json")
            fields = {
                field
                for pattern, field in known
                if any(re.fullmatch(pattern, path.name) for path in paths)
            }
            if stem in stays or not ("" in fields or fields & read_json_or_empty(sidecar).keys()):
                continue
            for path in sorted(paths, key=lambda path: path == sidecar):
                path.unlink(missing_ok=True)
                removed.append(path)
    return removed


def _stem(path: Path) -> str:
    return path.name.split(".")[0]


def jsonable(value: Any) -> Any:
    """Turn a value into what JSON can hold.

    Parameters
    ----------
    value : object
        Mappings, sequences, sets, paths, numpy scalars and arrays, numbers, text, None.

    Returns
    -------
    object
        The same with plain types only; numbers that are not finite become None.
    """
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # of numpy
        return jsonable(value.tolist())
    if isinstance(value, set | frozenset):
        return [jsonable(item) for item in sorted(value, key=str)]
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def _write_bytes(path: Path, content: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _copy_bytes(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("xb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
        writer.flush()
        os.fsync(writer.fileno())
