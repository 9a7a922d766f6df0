"""Folders with predictable names, in places where every user may write.

Settings, weights and Nipype's pickles are read from them, so they are used only if no other user
can have written there.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import stat
import tempfile
from pathlib import Path

from bids_sr.exceptions import OutputError

LOGGER = logging.getLogger(__name__)


def private_cache() -> Path:
    """Return a folder for caches that only this user can have filled.

    Returns
    -------
    Path
        ``bids_sr-UID`` in the temporary folder, which later runs use again; if that belongs to
        another user, is a link, or is open to others, a new folder that is removed at the end.

    Raises
    ------
    OSError
        If none can be made.
    """
    usual = Path(tempfile.gettempdir()) / f"bids_sr-{os.geteuid()}"
    try:
        usual.mkdir(mode=0o700)
    except FileExistsError:
        problem = _not_private(usual)
        if problem:
            return _fresh(f"{usual} {problem}")
    return usual


def is_open_to_all(folder: Path) -> bool:
    """Say whether every user may write into a folder."""
    try:
        return bool(folder.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return False


def make_work_folder(folder: Path) -> None:
    """Create the work folder if missing; private to this user where every user may write.

    Raises
    ------
    OutputError
        If it, or a file in it, may be another user's: Nipype would run code that is pickled there.
    """
    for path in (folder, *folder.glob("bids_sr_*_wf")):
        if problem := _why_not_own(path):
            raise OutputError(
                f"the work folder {path} {problem}, and files in it could run any code: give "
                "another with --work-dir",
            )
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700 if is_open_to_all(folder.parent) else 0o777, exist_ok=True)


def _why_not_own(folder: Path) -> str:
    """Say who else may have written in a folder; empty if nobody may, or it is new."""
    for path in dict.fromkeys((folder.absolute(), folder.resolve())):
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        if not is_open_to_all(path.parent) or status.st_uid == 0:
            continue
        if status.st_uid != os.geteuid():
            return f"belongs to another user ({status.st_uid})"
        if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_IWOTH:
            return "can be written by every user"
    return ""


def _not_private(path: Path) -> str:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode) or not stat.S_ISDIR(status.st_mode):
        return "is not a folder, or is a link"
    if status.st_uid != os.geteuid():
        return f"belongs to another user ({status.st_uid})"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "can be written by others"
    return ""


def _fresh(why: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="bids_sr-"))
    LOGGER.warning("%s, so it is not used; caches of this run go to %s", why, folder)
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # not a child of this process
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
