"""Whether a folder lies in the input dataset, which is never written to.

A folder is the same by whatever path it is reached, a link or a second mount: real paths are
compared, and of folders that exist device and number.  Writes nothing.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path, PurePath

from bids_sr.bids.places import is_folder


def place_in_dataset(folder: Path, bids_dir: Path) -> PurePath | None:
    """Tell where in a dataset a folder lies.

    Parameters
    ----------
    folder : Path
        Any folder; need not exist.
    bids_dir : Path
        Root of the dataset.

    Returns
    -------
    PurePath or None
        Its path from the root, empty for the root itself; None where it lies outside.  What lies
        in a subject's folder is in the dataset even where that is a link to elsewhere.
    """
    real = Path(os.path.realpath(folder))
    places = _places(bids_dir)
    for ancestor in (real, *real.parents):
        place = places.get(_identity(ancestor))
        if place is not None:
            return place / real.relative_to(ancestor)
    return None


def _places(bids_dir: Path) -> dict[tuple[int, int] | None, PurePath]:
    """Map what identifies the root and the subjects' folders to their paths from the root."""
    places = {}
    root = Path(os.path.realpath(bids_dir))
    # A dataset that is missing or cannot be listed is reported by its reader.
    with contextlib.suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            around = entry.is_symlink() and root.is_relative_to(os.path.realpath(entry.path))
            if entry.name.startswith("sub-") and is_folder(entry) and not around:
                places[_identity(Path(entry.path))] = PurePath(entry.name)
    places[_identity(bids_dir)] = PurePath()
    return {identity: place for identity, place in places.items() if identity is not None}


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and number of what lies there; None where nothing does."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
