"""The index of a dataset that is kept in a folder: made once, read by many jobs at once.

An index does not notice that the dataset changed.  So what it knows of the selected
subjects is compared with their folders each time, and one that differs is made again.
It appears whole or not at all: a job never reads what another is still writing.
"""

from __future__ import annotations

import logging
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bids_sr.exceptions import ConfigError

LOGGER = logging.getLogger(__name__)
EXTENSIONS = (".nii", ".nii.gz")
FILE_NAME = "layout_index.sqlite"
LOCK_SECONDS = 600
_SHOWN = 3
_ANATOMICAL = re.compile(r"sub-[^/]+/(ses-[^/]+/)?anat/[^/.][^/]*$")

Index = Callable[[Path | None, Sequence[str]], Any]


def kept_layout(folder: Path, root: Path, subjects: Sequence[str], index: Index) -> Any:
    """Return the layout of a kept index that agrees with what lies on disk.

    Parameters
    ----------
    folder : Path
        Folder of the database; made where it is missing.
    root : Path
        Root of the dataset, absolute.
    subjects : sequence of str
        Labels that this run is about, without ``sub-``; empty for all.
    index : callable
        Indexes the dataset: folder of a new database, or None for one in memory, and
        labels (empty for all).

    Returns
    -------
    bids.layout.BIDSLayout
        From the database.  Where that is missing or out of date and cannot be made now (a
        folder that is read-only, or another job that is making it), an index of the
        subjects in memory.

    Raises
    ------
    ConfigError
        If the database belongs to another dataset.
    """
    found, why = _current(folder, root, subjects)
    if found is not None:
        return found
    # A run of some subjects indexes them sooner than another job ends indexing all.
    seconds = 0 if subjects else LOCK_SECONDS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=seconds):
            found, why = _current(folder, root, subjects)
            if found is not None:
                return found
            LOGGER.info("indexing %s for the database %s: %s", root, folder, why)
            _make(folder, index)
            found, why = _current(folder, root, subjects)
    except Timeout:
        why += "; another job is making it"
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        why += f"; it cannot be written ({getattr(error, 'strerror', None) or error})"
    if found is None:
        LOGGER.warning("the database %s is not used: %s", folder, why)
        return index(None, subjects)
    return found


def _current(folder: Path, root: Path, subjects: Sequence[str]) -> tuple[Any | None, str]:
    """Load the database; None, with the reason, where there is none to rely on."""
    from bids.layout import BIDSLayout
    from bids.layout.db import ConnectionManager
    from sqlalchemy.exc import DatabaseError

    path = folder / FILE_NAME
    if not path.is_file():
        return None, "it is not there yet"
    try:
        info = ConnectionManager(folder).layout_info
        if info is None:
            return None, "it is empty"
        if Path(str(info.root)).resolve() != root:
            raise ConfigError(
                f"{folder}: the database is that of {info.root}; expected one of {root}. "
                "Give another --bids-database-dir or remove this one."
            )
        layout = BIDSLayout(root, validate=False, database_path=folder)
        difference = _difference(_indexed(layout, root), _on_disk(root, subjects), subjects)
    except DatabaseError as error:
        return None, f"it cannot be read ({error.orig})"
    return (None, difference) if difference else (layout, "")


def _make(folder: Path, index: Index) -> None:
    """Index all subjects aside, then put the database in its place."""
    for left in folder.glob(".*.tmp"):  # of a job that was killed; the lock is ours
        shutil.rmtree(left, ignore_errors=True)
    aside = folder / f".{secrets.token_hex(6)}.tmp"
    try:
        layout = index(aside, ())
        layout.session.close()
        (aside / FILE_NAME).replace(folder / FILE_NAME)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _indexed(layout: Any, root: Path) -> set[str]:
    """List the anatomical images of the index, below the root."""
    from bids.layout.models import BIDSFile

    start = f"{root.as_posix()}/"
    found = (str(path).removeprefix(start) for (path,) in layout.session.query(BIDSFile.path))
    return {path for path in found if _ANATOMICAL.match(path) and path.endswith(EXTENSIONS)}


def _on_disk(root: Path, subjects: Iterable[str]) -> set[str]:
    """List the anatomical images of some subjects, or of all, below the root."""
    found = set()
    for subject in [f"sub-{label}" for label in subjects] or _names(root, "sub-"):
        sessions = [f"{subject}/{name}" for name in _names(root / subject, "ses-")]
        for parent in (subject, *sessions):
            names = _names(root / parent / "anat")
            found |= {f"{parent}/anat/{name}" for name in names if name.endswith(EXTENSIONS)}
    return found


def _names(folder: Path, start: str = "") -> list[str]:
    try:
        names = [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [name for name in names if name.startswith(start) and not name.startswith(".")]


def _difference(indexed: set[str], on_disk: set[str], subjects: Sequence[str]) -> str:
    """Say in words what of the selected subjects the index has wrong; empty where nothing."""
    if subjects:
        chosen = {f"sub-{label}" for label in subjects}
        indexed = {path for path in indexed if path.partition("/")[0] in chosen}
    words = {"does not know": on_disk - indexed, "still has": indexed - on_disk}
    return "; ".join(
        f"it {verb} {len(paths)} image{'s' if len(paths) > 1 else ''} "
        f"({', '.join(sorted(paths)[:_SHOWN])}{', ...' if len(paths) > _SHOWN else ''})"
        for verb, paths in words.items()
        if paths
    )
