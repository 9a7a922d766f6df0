"""Brain masks that another pipeline has already made.

A mask is used only where its grid is that of the acquired image: a mask on another
grid was made on another image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bids_sr.bids.names import ParsedName, parse_name
from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Grid, check_input


@dataclass(frozen=True, kw_only=True)
class FoundMask:
    """A brain mask, or the reason why there is none."""

    path: Path | None
    """The mask, None where no usable one was found."""
    uri: str
    """Its BIDS URI, for `Sources`; empty without a mask."""
    note: str
    """Where it comes from, or why existing masks are not used; empty without derivatives."""


def find_mask(derivatives: Mapping[str, Path], name: ParsedName, grid: Grid) -> FoundMask:
    """Find the brain mask of an image.

    Parameters
    ----------
    derivatives : mapping of str to Path
        Name -> derivative dataset, searched in this order.
    name : ParsedName
        File name of the image.
    grid : Grid
        Its acquired grid.

    Returns
    -------
    FoundMask
        The mask on this grid whose entities agree most with the image's.
    """
    notes = []
    for label, root in derivatives.items():
        candidates = _candidates(root, name)
        ranked = sorted(candidates, key=lambda path: (-_agreement(path, name), str(path)))
        refused = []
        for path in ranked:
            try:
                mask_grid = check_input(path).grid
            except InputDataError as error:
                refused.append(str(error))
                continue
            if mask_grid.same(grid):
                relpath = path.relative_to(root).as_posix()
                note = f"brain mask of {label}: {relpath}"
                return FoundMask(path=path, uri=f"bids:{label}:{relpath}", note=note)
            refused.append(
                f"{path.name} has shape {_shape(mask_grid)} and another grid than the image "
                f"(shape {_shape(grid)})"
            )
        if refused:
            notes.append(f"no brain mask of {label} is used: {'; '.join(refused)}")
        else:
            notes.append(f"{label} has no brain mask of this subject and session")
    return FoundMask(path=None, uri="", note="; ".join(notes))


def _candidates(root: Path, name: ParsedName) -> list[Path]:
    """Masks of the subject, of its session or of no session (pipelines that merge sessions).

    A mask in the subject's folder whose name has another label is another's.
    """
    subject = root / f"sub-{name.entities['subject']}"
    session = name.entities.get("session")
    folders = [subject / "anat"]
    if session:
        folders.append(subject / f"ses-{session}" / "anat")
    paths = [path for folder in folders for path in sorted(folder.glob("*_desc-brain_mask.nii*"))]
    names = {path: parse_name(path.name) for path in paths}
    return [
        path
        for path, mask in names.items()
        if mask.extension in (".nii", ".nii.gz")
        and mask.entities.get("subject") == name.entities["subject"]
        and mask.entities.get("session") in (None, session)
    ]


def _agreement(path: Path, name: ParsedName) -> int:
    """Count the entities that differ, negated; a contrast named in space or acq counts for it."""
    mask = dict(parse_name(path.name).entities)
    space = mask.pop("space", "orig")
    for entity in ("desc", "res", "label"):
        mask.pop(entity, None)
    # Our own masks of other contrasts than T1w have the suffix at the end of acq.
    acquisition = name.entities.get("acquisition", "") + name.suffix
    same_contrast = space == name.suffix or mask.get("acquisition") == acquisition
    expected = dict(name.entities)
    if mask.get("acquisition") == acquisition:
        expected["acquisition"] = acquisition
    return int(same_contrast) - len(mask.items() ^ expected.items())


def _shape(grid: Grid) -> str:
    return " x ".join(map(str, grid.shape))
