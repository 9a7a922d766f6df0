"""Training files: the files that a path on the command line stands for."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from bids_sr.bids.inheritance import SidecarReader
from bids_sr.bids.names import parse_name
from bids_sr.bids.places import find_images
from bids_sr.bids.sidecar import AcquisitionOverrides, read_acquisition
from bids_sr.exceptions import BidsSrError, NoInputError
from bids_sr.files import read_json
from bids_sr.imaging import Acquisition, check_input

LOGGER = logging.getLogger(__name__)
NOT_IMAGES = ("mask", "dseg", "probseg", "defacemask")
"""Suffixes of BIDS files that hold labels."""
DESCRIPTION = "dataset_description.json"


def list_files(
    paths: Sequence[Path],
    endings: tuple[str, ...],
    *,
    suffixes: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> list[Path]:
    """List what the paths stand for: files, files below folders, images of BIDS datasets.

    Parameters
    ----------
    paths : sequence of Path
        Files, folders or BIDS datasets.
    endings : tuple of str
        Of the files that the recipe reads.
    suffixes : sequence of str
        Of BIDS names, such as T1w; empty: all.
    exclude : sequence of str
        Patterns of names or paths to leave out.

    Raises
    ------
    NoInputError
        If a path does not exist, or nothing is left.
    """
    listed: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise NoInputError(f"{path} does not exist: check the path")
        listed |= dict.fromkeys(_below(path, endings, suffixes) if path.is_dir() else [path])
    files = [path for path in listed if not _excluded(path, exclude)]
    if not files:
        raise NoInputError(
            f"{', '.join(map(str, paths))}: no file to learn from (found {len(listed)} "
            f"with the ending {' or '.join(endings)}, all excluded): check the paths, --suffix "
            "and --exclude",
        )
    return files


def read_acquisitions(
    files: Iterable[Path], roots: Sequence[Path], overrides: AcquisitionOverrides
) -> dict[Path, Acquisition]:
    """Read how images were acquired, from their sidecars.

    Parameters
    ----------
    files : iterable of Path
        NIfTI images.
    roots : sequence of Path
        BIDS datasets, for the inheritance of sidecars.
    overrides : AcquisitionOverrides
        What the command line says.

    Returns
    -------
    dict
        Without images that cannot be read; the training reports these.
    """
    readers = {root: SidecarReader(root) for root in roots if (root / DESCRIPTION).is_file()}
    acquisitions = {}
    for path in files:
        try:
            root = next((root for root in readers if path.is_relative_to(root)), None)
            sidecar = _beside(path) if root is None else readers[root].read(path)
            facts = read_acquisition(check_input(path), sidecar, overrides)
            acquisitions[path] = facts.acquisition
        except (BidsSrError, OSError) as error:
            LOGGER.warning("Its header alone is used, if that can be read: %s", error)
    return acquisitions


def _below(folder: Path, endings: tuple[str, ...], suffixes: Sequence[str]) -> list[Path]:
    if (folder / DESCRIPTION).is_file():
        # Training images need not be a subject's: hearts lie in cmr/, which BIDS ignores.
        images = [image for image in find_images(folder) if not image.unreadable]
        listed = [folder / image.relpath for image in images]
        listed = [path for path in listed if parse_name(path.name).suffix not in NOT_IMAGES]
    else:
        listed = [path for path in folder.rglob("*") if _visible(path.relative_to(folder))]
    if suffixes:
        listed = [path for path in listed if parse_name(path.name).suffix in suffixes]
    return sorted(path for path in listed if path.name.endswith(endings))


def _visible(path: Path) -> bool:
    return not any(part.startswith(".") for part in path.parts)


def _excluded(path: Path, patterns: Iterable[str]) -> bool:
    return any(
        fnmatch(path.name, pattern) or fnmatch(path.as_posix(), pattern) for pattern in patterns
    )


def _beside(image: Path) -> dict[str, Any]:
    path = image.with_name(image.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    return read_json(path, what="the sidecar", any_encoding=True) if os.path.lexists(path) else {}
