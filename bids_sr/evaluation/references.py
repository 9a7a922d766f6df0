"""The reference images of a comparison, with their masks and lesions, found by file name.

The only mask computed here is that of the non-zero voxels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.bids.inheritance import SidecarReader
from bids_sr.bids.masks import find_mask
from bids_sr.bids.names import parse_name
from bids_sr.bids.sidecar import is_brain, read_acquisition
from bids_sr.exceptions import InputDataError
from bids_sr.files import read_json
from bids_sr.imaging import Volume, check_input

ENDINGS = (".nii", ".nii.gz")
_NO_IMAGES = ("mask", "dseg", "probseg", "label", "bold", "dwi", "epi", "phase", "uncertainty")
_NOT_SEARCHED = ("derivatives", "sourcedata", "code")
_HEAD_SUFFIXES = ("T1w", "T2w", "FLAIR", "PDw", "T2starw", "inplaneT1", "inplaneT2", "UNIT1")
_MOST_BELOW_ZERO = 0.1  # of the voxels that are not zero, where they are but ringing


@dataclass(frozen=True, kw_only=True)
class Reference:
    """An image to compare on."""

    name: str
    """How it is called in tables: the file name without its ending."""
    path: Path
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Of its sidecar."""

    @property
    def is_brain(self) -> bool:
        """Whether it may show a brain, by its sidecar and its suffix."""
        suffix = parse_name(self.path.name).suffix
        named = "_" not in self.name or suffix in _HEAD_SUFFIXES
        return named and is_brain(self.metadata)

    def thickness(self) -> float | None:
        """Return the thickness of its slices, mm, where its sidecar states it."""
        try:
            facts = read_acquisition(check_input(self.path), self.metadata)
        except (InputDataError, ValueError):
            return None
        return None if "thickness" in facts.acquisition.assumed else facts.acquisition.thickness


def find_references(
    path: Path, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> list[Reference]:
    """List the images of a file, a folder or a BIDS dataset.

    Parameters
    ----------
    path : Path
    include, exclude : sequence of str
        Patterns of file names (``*_FLAIR*``) to keep or to leave out.

    Raises
    ------
    InputDataError
        If there is none, or two would have the same name.
    """
    if path.is_file():
        files = [path]
    else:
        images = (file for file in path.rglob("*.nii*") if file.name.endswith(ENDINGS))
        files = sorted(file for file in images if _is_image(file.relative_to(path)))
    files = [
        file
        for file in files
        if (not include or any(fnmatch(file.name, pattern) for pattern in include))
        and not any(fnmatch(file.name, pattern) for pattern in exclude)
    ]
    if not files:
        raise InputDataError(
            f"{path}: found no NIfTI image to compare on; expected at least one. Check the path "
            "and the patterns of --include and --exclude."
        )
    names = [_stem(file.name) for file in files]
    if len(set(names)) < len(names):  # the same name in several folders
        names = [_stem("_".join(file.relative_to(path).parts)) for file in files]
    owners = dict(zip(names, files, strict=True))
    for name, file in zip(names, files, strict=True):
        if owners[name] != file:
            raise InputDataError(
                f"{file} and {owners[name]} would both be called {name} in the tables; expected "
                "one image of a name. Leave one out with --exclude, or rename it."
            )
    return [
        Reference(name=name, path=file.absolute(), metadata=_metadata(file.absolute()))
        for name, file in zip(names, files, strict=True)
    ]


def existing_mask(
    reference: Reference, location: Path | None, derivatives: Sequence[Path]
) -> tuple[Path, str] | None:
    """Return an existing mask, and where it comes from.

    Parameters
    ----------
    reference : Reference
    location : Path, optional
        A file, or a folder with ``<name>_mask.nii.gz``, ``<name>.nii.gz`` or BIDS masks.
    derivatives : sequence of Path
        BIDS derivatives with ``*_desc-brain_mask.nii.gz``.
    """
    if location is not None and location.is_file():
        return location.absolute(), f"given: {location.name}"
    if location is not None:
        stem, _, suffix = reference.name.rpartition("_")
        names = [f"{reference.name}_mask", reference.name, f"{stem}_desc-brain_mask"]
        names += [f"{stem}_mask", f"{stem}_acq-{suffix}_desc-brain_mask"]
        for name in names:
            for file in sorted(location.rglob(f"{name}.nii*")):
                return file.absolute(), f"given: {file.name}"
    parsed = parse_name(reference.path.name)
    if "subject" in parsed.entities and derivatives:
        named = {folder.name: folder for folder in derivatives}
        mask = find_mask(named, parsed, check_input(reference.path).grid)
        if mask.path is not None:
            return mask.path.absolute(), mask.note
    return None


def lesion_mask(reference: Reference, derivatives: Sequence[Path]) -> Path | None:
    """Return the ``label-lesion`` mask of an image on its own grid, if there is one."""
    parsed = parse_name(reference.path.name)
    subject = parsed.entities.get("subject")
    if subject is None:
        return None
    for folder in derivatives:
        files = sorted((folder / f"sub-{subject}").rglob("*label-lesion*_mask.nii*"))
        for file in files:
            session = parse_name(file.name).entities.get("session")
            same = session in (None, parsed.entities.get("session"))
            if same and check_input(file).grid.same(check_input(reference.path).grid, 0.1):
                return file.absolute()
    return None


def not_zero(volume: Volume) -> npt.NDArray[np.bool_]:
    """Return the non-zero voxels, holes filled; a few negative values are ringing at the edge."""
    inside = volume.data != 0
    below = np.count_nonzero(volume.data < 0)
    if below <= _MOST_BELOW_ZERO * np.count_nonzero(inside):
        inside = volume.data > 0
    filled: npt.NDArray[np.bool_] = ndimage.binary_fill_holes(inside)
    return filled


def own_derivatives(path: Path) -> list[Path]:
    """List the derivative datasets within a BIDS dataset."""
    folder = path / "derivatives"
    return (
        sorted(subfolder for subfolder in folder.iterdir() if subfolder.is_dir())
        if folder.is_dir()
        else []
    )


def _is_image(relative: Path) -> bool:
    parts = relative.parts[:-1]
    if any(part in _NOT_SEARCHED or part.startswith(".") for part in parts):
        return False
    return parse_name(relative.name).suffix.lower() not in _NO_IMAGES


def _metadata(path: Path) -> dict[str, Any]:
    root = next(
        (folder for folder in path.parents if (folder / "dataset_description.json").is_file()),
        None,
    )
    try:
        if root is not None:
            return dict(SidecarReader(root).read(path))
        beside = path.with_name(_stem(path.name) + ".json")
        return read_json(beside, any_encoding=True)
    except (OSError, ValueError, InputDataError):
        return {}


def _stem(name: str) -> str:
    return name.removesuffix(".gz").removesuffix(".nii")
