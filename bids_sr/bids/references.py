"""The reference images: the one T1w and the one T2w that are handed on as ``desc-preproc``.

sMRIPrep and fMRIPrep collect precomputed images by name and stop at two of a kind.  The
choice rests on headers and names only; nothing here looks at intensities.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bids_sr.bids.derivatives import output_path, output_paths
from bids_sr.bids.image import AnatImage
from bids_sr.bids.selection import ReferenceRule
from bids_sr.bids.writing import read_json
from bids_sr.imaging import check_input

SUFFIXES = ("T1w", "T2w")
FREESURFER_FIELD_MM = 256


def choose_references(images: Sequence[AnatImage], rule: ReferenceRule) -> list[AnatImage]:
    """Choose the reference T1w and T2w of every session, or of every subject.

    Parameters
    ----------
    images : sequence of AnatImage
        The plan.
    rule : ReferenceRule
        What the user wants.

    Returns
    -------
    list of AnatImage
        The same images in the same order, each knowing whether and why it is the reference.

    Notes
    -----
    Candidates are the images of a head that are processed; a series of frames is none.
    The first of these words that tells two apart decides: it has the entities asked for;
    a T2w is of the session of the reference T1w (one for the subject only); its slices are
    the finest (left out with ``first-lex``); its path comes first.
    """
    groups: dict[tuple[str, str | None, str], list[AnatImage]] = {}
    for image in images:
        if image.processed and image.brain and image.suffix in SUFFIXES:
            session = image.session if rule.per == "session" else None
            groups.setdefault((image.subject, session, image.suffix), []).append(image)
    chosen: dict[int, str] = {}
    home: dict[tuple[str, str | None], str | None] = {}
    for key in sorted(groups, key=lambda key: SUFFIXES.index(key[2])):
        place = key[:2]
        best = min(groups[key], key=lambda image: _rank(image, rule, home.get(place)))
        home.setdefault(place, best.session)
        chosen[id(best)] = _reason(best, groups[key], rule)
    return [
        replace(
            image, is_reference=id(image) in chosen, reference_reason=chosen.get(id(image), "")
        )
        for image in images
    ]


def settle_references(
    output_dir: Path, images: Iterable[AnatImage], rule: ReferenceRule
) -> list[str]:
    """Leave one reference of a kind on disk, where earlier runs had chosen another.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    images : iterable of AnatImage
        The plan, after the run.
    rule : ReferenceRule
        By which the references were chosen.

    Returns
    -------
    list of str
        One sentence for each file that went.

    Notes
    -----
    Nothing changes where the reference of this run was not written.  ``desc-preproc`` is a copy
    of the product and is removed; the mask of a former reference gets the name that masks of
    other images have.  A mask of the reference that is not on its grid is left from a run with
    another resolution and would be applied by sMRIPrep; it is removed.
    """
    notes = []
    for image in images:
        paths = output_paths(output_dir, image) if image.is_reference else None
        if paths is None or paths.preproc is None or not paths.preproc.exists():
            continue
        own = paths.preproc
        subject = output_dir / f"sub-{image.subject}"
        folders = [own.parent] if rule.per == "session" else sorted(subject.glob("**/anat"))
        for former in _without_space(folders, f"desc-preproc_{image.suffix}", own):
            _move(former, None)
            notes.append(f"removed {former.name}: {own.name} is the reference now")
        if image.suffix != SUFFIXES[0]:
            continue
        for former in _without_space(folders, "desc-brain_mask", paths.mask):
            target = former.with_name(former.name.replace("_desc-", "_space-T1w_desc-"))
            _move(former, None if target.exists() else target)
            notes.append(
                f"renamed {former.name} to {target.name}: {own.name} is the reference now"
            )
        if paths.mask.exists() and not check_input(paths.mask).grid.same(check_input(own).grid):
            _move(paths.mask, None)
            notes.append(f"removed {paths.mask.name}: it is not on the grid of {own.name}")
    return notes


def surface_notes(output_dir: Path, images: Iterable[AnatImage]) -> list[str]:
    """Tell what FreeSurfer needs to know of the reference T1w images on disk.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    images : iterable of AnatImage
        The plan.

    Returns
    -------
    list of str
        One sentence for each image with values below zero, which an image has only where the
        acquired one has, or with a field of view that recon-all refuses.
    """
    notes = []
    for image in images:
        if not image.is_reference or image.suffix != "T1w":
            continue
        path = output_path(output_dir, image, desc="preproc")
        record = read_json(path.with_name(path.name.replace(".nii.gz", ".json")))
        made = record.get("SuperResolution") or {}
        lowest = min(made.get("OutputRange") or [0])
        sizes = zip(made.get("OutputShape") or [], made.get("OutputSpacings") or [], strict=True)
        extent = max((count * spacing for count, spacing in sizes), default=0.0)
        if lowest < 0:
            notes.append(
                f"{path.name}: values down to {lowest:.4g}, as in the acquired image; FreeSurfer "
                "and FSL FAST expect none below zero: look where they are, and hand on a copy in "
                "which those of the background are 0"
            )
        if extent > FREESURFER_FIELD_MM:
            notes.append(
                f"{path.name}: a field of view of {extent:.4g} mm; recon-all takes "
                f"{FREESURFER_FIELD_MM} mm at most, give it -cw256 (fMRIPrep does so by itself)"
            )
    return notes


def _without_space(folders: Iterable[Path], end: str, own: Path) -> list[Path]:
    """List the images of a kind that sMRIPrep would collect, but for our own."""
    found = [path for folder in folders for path in sorted(folder.glob(f"*_{end}.nii.gz"))]
    return [path for path in found if path != own and "_space-" not in path.name]


def _move(image: Path, target: Path | None) -> None:
    """Rename an image and its sidecar, or remove both."""
    for kind in (".nii.gz", ".json"):
        path = image.with_name(image.name.replace(".nii.gz", kind))
        if target is not None and path.exists():
            path.replace(target.with_name(target.name.replace(".nii.gz", kind)))
        path.unlink(missing_ok=True)


def _rank(
    image: AnatImage, rule: ReferenceRule, home: str | None
) -> tuple[bool, bool, float, str]:
    assert image.facts is not None
    fineness = round(image.facts.acquisition.spacing, 3) if rule.order == "finest" else 0.0
    elsewhere = image.suffix != SUFFIXES[0] and home is not None and image.session != home
    return not rule.prefers(image.entities), elsewhere, fineness, image.relpath


def _reason(best: AnatImage, candidates: Sequence[AnatImage], rule: ReferenceRule) -> str:
    assert best.facts is not None
    asked = " ".join(f"{name}={value or 'null'}" for name, value in rule.preferred.items())
    without = f"none has {asked}; " if asked and not rule.prefers(best.entities) else ""
    if len(candidates) == 1:
        return f"{without}the only {best.suffix} of the {rule.per}"
    first = "the first by path"
    if rule.order == "finest":
        spacing = best.facts.acquisition.spacing
        first = f"the finest slice spacing ({spacing:.3g} mm), of equals the first by path"
    matching = f"with {asked}, " if asked and not without else ""
    return f"{without}of {len(candidates)} {best.suffix} of the {rule.per}: {matching}{first}"
