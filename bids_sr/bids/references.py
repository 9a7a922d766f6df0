"""The reference images: the one T1w and the one T2w that are provided as ``desc-preproc``.

sMRIPrep and fMRIPrep collect precomputed images by name and stop at two of a kind.  The
choice rests on headers and names only; nothing here looks at intensities.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bids_sr.bids.derivatives import output_path, output_paths
from bids_sr.bids.fused_outputs import RECORD, FusedPaths
from bids_sr.bids.fused_reference import made_of, move, spaced
from bids_sr.bids.image import AnatImage
from bids_sr.bids.selection import ReferenceRule
from bids_sr.bids.unfit import why_unfit
from bids_sr.files import read_json_or_empty
from bids_sr.imaging import check_input
from bids_sr.records.method_record import MethodRecord

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
    Candidates are the processed 3-D images of a head.  An image that :func:`.why_unfit` speaks
    against is a candidate only if its entities were requested.  Candidates are compared by these
    criteria, in this order: it has the requested entities; it is fit; a T2w is of the session of
    the reference T1w (if there is one per subject); its slices are the finest (not with
    ``first-lex``); its path comes first.
    """
    images = [_judged(image) for image in images]
    groups: dict[tuple[str, str | None, str], list[AnatImage]] = {}
    for image in images:
        if _is_candidate(image, rule):
            groups.setdefault(_group(image, rule), []).append(image)
    chosen: dict[int, str] = {}
    home: dict[tuple[str, str | None], str | None] = {}
    for key in sorted(groups, key=lambda key: SUFFIXES.index(key[2])):
        place = key[:2]
        best = min(groups[key], key=lambda image: _rank(image, rule, home.get(place)))
        home.setdefault(place, best.session)
        chosen[id(best)] = _reason(best, groups[key], rule)
    return [
        _as_reference(image, chosen[id(image)], rule) if id(image) in chosen else image
        for image in images
    ]


def without_reference(images: Sequence[AnatImage], rule: ReferenceRule) -> list[str]:
    """Say where images could be a reference if their names and sidecars did not speak against it.

    Parameters
    ----------
    images : sequence of AnatImage
        The plan, references chosen.
    rule : ReferenceRule
        By which they were chosen.

    Returns
    -------
    list of str
        One sentence for each session or subject without a reference of a kind.
    """
    having = {_group(image, rule) for image in images if image.is_reference}
    lacking: dict[tuple[str, str | None, str], list[AnatImage]] = {}
    for image in images:
        group = _group(image, rule)
        candidate = image.unfit and image.processed and image.suffix in rule.suffixes
        if candidate and group not in having:
            lacking.setdefault(group, []).append(image)
    return [
        f"no {suffix} of {'_'.join(filter(None, place))} is provided as desc-preproc: "
        + "; ".join(f"{image.stem}: {image.unfit}" for image in candidates)
        + ". If one of them is right nevertheless, name it with --anat-reference ENTITY=VALUE"
        for (subject, session, suffix), candidates in lacking.items()
        for place in [(f"sub-{subject}", session and f"ses-{session}")]
    ]


def settle_references(
    output_dir: Path,
    images: Sequence[AnatImage],
    rule: ReferenceRule,
    *,
    complete: Iterable[str] = (),
    fused: Mapping[str, FusedPaths] | None = None,
) -> list[str]:
    """Leave one reference per suffix on disk, where earlier runs had chosen another, or none.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    images : sequence of AnatImage
        The plan, after the run.
    rule : ReferenceRule
        By which the references were chosen.
    complete : iterable of str
        Paths of the images of which this run has written all outputs.
    fused : mapping of str to FusedPaths, optional
        Fused volumes that take the place of a reference, by its path: :func:`.provide_fused`.

    Returns
    -------
    list of str
        One sentence for each file that was removed, and each reference that was not provided.

    Notes
    -----
    Nothing changes where the reference of this run was not written.  ``desc-preproc`` is a copy
    of the product and is removed; the mask of a former reference gets the name that masks of
    other images have, unless this run has processed that image again.  A mask of the reference
    that is not on its grid is from a run with another resolution and would be applied by
    sMRIPrep; it is removed.
    """
    complete, fused = set(complete), fused or {}
    anew = [image for image in images if image.relpath in complete and image.suffix in SUFFIXES]
    old_masks = {output_paths(output_dir, replace(i, is_reference=True)).mask for i in anew}
    notes = _remove_unchosen(output_dir, images, rule, anew)
    for image in images:
        paths = output_paths(output_dir, image) if image.is_reference else None
        if paths is None or paths.preproc is None:
            continue
        reference, mask = paths.preproc, paths.mask
        if image.relpath in fused:
            reference, mask = fused[image.relpath].preproc, fused[image.relpath].preproc_mask
        if not reference.exists():
            if image.relpath in complete:
                notes.append(f"{image.stem}: not provided as {reference.name}: no brain was found")
            continue
        subject = output_dir / f"sub-{image.subject}"
        folders = [reference.parent] if rule.per == "session" else sorted(subject.glob("**/anat"))
        for former in _without_space(folders, f"desc-preproc_{image.suffix}", reference):
            move(former, None)
            notes.append(f"removed {former.name}: {reference.name} is the reference now")
        if image.suffix != SUFFIXES[0]:
            continue
        for former in _without_space(folders, "desc-brain_mask", mask):
            target = spaced(former)
            if target.exists() or former in old_masks or made_of(former).status:
                move(former, None)
                notes.append(f"removed {former.name}: {reference.name} is the reference now")
                continue
            move(former, target)
            notes.append(
                f"renamed {former.name} to {target.name}: {reference.name} is the reference now"
            )
        if mask.exists() and not check_input(mask).grid.same(check_input(reference).grid):
            move(mask, None)
            notes.append(f"removed {mask.name}: it is not on the grid of {reference.name}")
    return notes


def _remove_unchosen(
    output_dir: Path,
    images: Sequence[AnatImage],
    rule: ReferenceRule,
    anew: Sequence[AnatImage],
) -> list[str]:
    """Remove references of earlier runs where this run provides none with that suffix."""
    having = {_group(image, rule) for image in images if image.is_reference}
    notes = []
    for image in anew:
        if _group(image, rule) in having:
            continue
        names = output_paths(output_dir, replace(image, is_reference=True))
        masks = [names.mask] if image.suffix == SUFFIXES[0] else []
        formers = [path for path in (names.preproc, *masks) if path and path.exists()]
        formers += _fused_of(names.product.parent, image, anew)
        for former in filter(_is_ours, formers):
            move(former, None)
            notes.append(f"removed {former.name}: this run provides no {image.suffix}")
    return notes


def _fused_of(folder: Path, image: AnatImage, anew: Sequence[AnatImage]) -> list[Path]:
    """List the copies of fused volumes that an image was a stack of, and that are out of date."""
    ends = [f"desc-preproc_{image.suffix}"]
    ends += ["desc-brain_mask"] if image.suffix == SUFFIXES[0] else []
    formers = []
    for path in (path for end in ends for path in sorted(folder.glob(f"*_{end}.nii.gz"))):
        record = made_of(path)
        if image.relpath in record.used and {*record.used} <= {other.relpath for other in anew}:
            formers.append(path)
    return formers


def surface_notes(
    output_dir: Path,
    images: Iterable[AnatImage],
    fused: Mapping[str, FusedPaths] | None = None,
) -> list[str]:
    """List what matters to FreeSurfer about the reference T1w images on disk.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    images : iterable of AnatImage
        The plan.
    fused : mapping of str to FusedPaths, optional
        As of :func:`settle_references`.

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
        joined = (fused or {}).get(image.relpath)
        path = joined.preproc if joined else output_path(output_dir, image, desc="preproc")
        sidecar = read_json_or_empty(path.with_name(path.name.replace(".nii.gz", ".json")))
        output = MethodRecord.from_dict(sidecar.get("SuperResolution")).output
        output = made_of(path).output if joined else output
        if output is None:
            continue
        lowest = output.intensities[0]
        sizes = zip(output.shape, output.spacings, strict=False)  # a series has no fourth spacing
        extent = max(count * spacing for count, spacing in sizes)
        if lowest < 0:
            notes.append(
                f"{path.name}: negative values down to {lowest:.4g}, as in the acquired image; "
                "FreeSurfer and FSL FAST expect none: check where they are, and give these "
                "tools a copy with the background set to 0"
            )
        if extent > FREESURFER_FIELD_MM:
            notes.append(
                f"{path.name}: a field of view of {extent:.4g} mm; recon-all accepts "
                f"{FREESURFER_FIELD_MM} mm at most: add -cw256 (fMRIPrep does so by itself)"
            )
    return notes


def _without_space(folders: Iterable[Path], end: str, current: Path) -> list[Path]:
    """List the images with this ending that sMRIPrep would collect, except the current one."""
    paths = [path for folder in folders for path in sorted(folder.glob(f"*_{end}.nii.gz"))]
    others = [path for path in paths if path != current and "_space-" not in path.name]
    return [path for path in others if _is_ours(path)]


def _is_ours(path: Path) -> bool:
    sidecar = read_json_or_empty(path.with_name(path.name.replace(".nii.gz", ".json")))
    return any(field in sidecar for field in ("SuperResolution", "BrainExtraction", RECORD))


def _judged(image: AnatImage) -> AnatImage:
    if not image.processed or image.suffix not in SUFFIXES or image.n_frames > 1:
        return image
    return replace(image, unfit=why_unfit(image.entities, image.metadata, brain=image.brain))


def _is_candidate(image: AnatImage, rule: ReferenceRule) -> bool:
    fit = image.brain and (not image.unfit or _is_asked(image, rule))
    return image.processed and image.suffix in rule.suffixes and fit


def _is_asked(image: AnatImage, rule: ReferenceRule) -> bool:
    names = set(rule.preferred) - {"ses", "session", "sub", "subject"}
    return bool(names) and rule.prefers(image.entities)


def _group(image: AnatImage, rule: ReferenceRule) -> tuple[str, str | None, str]:
    return image.subject, image.session if rule.per == "session" else None, image.suffix


def _as_reference(image: AnatImage, reason: str, rule: ReferenceRule) -> AnatImage:
    """Mark the image as the reference; if it is unfit, this becomes one of its warnings."""
    facts = image.facts
    if image.unfit and facts is not None:
        warning = f"provided as desc-preproc, as requested, although {image.unfit}"
        facts = replace(facts, warnings=(*facts.warnings, warning))
    requested = _is_asked(image, rule)
    return replace(
        image,
        is_reference=True,
        reference_reason=reason,
        reference_asked=requested,
        facts=facts,
    )


def _rank(
    image: AnatImage, rule: ReferenceRule, home: str | None
) -> tuple[bool, bool, bool, float, str]:
    assert image.facts is not None
    fineness = round(image.facts.acquisition.spacing, 3) if rule.order == "finest" else 0.0
    elsewhere = image.suffix != SUFFIXES[0] and home is not None and image.session != home
    preferred = rule.prefers(image.entities)
    return not preferred, bool(image.unfit), elsewhere, fineness, image.relpath


def _reason(best: AnatImage, candidates: Sequence[AnatImage], rule: ReferenceRule) -> str:
    assert best.facts is not None
    preferred = " ".join(f"{name}={value or 'null'}" for name, value in rule.preferred.items())
    without = f"none has {preferred}; " if preferred and not rule.prefers(best.entities) else ""
    if len(candidates) == 1:
        return f"{without}the only {best.suffix} of the {rule.per}"
    first = "the first by path"
    if rule.order == "finest":
        spacing = best.facts.acquisition.spacing
        first = f"the finest slice spacing ({spacing:.3g} mm; ties go to the first path)"
    matching = f"with {preferred}, " if preferred and not without else ""
    return f"{without}of {len(candidates)} {best.suffix} of the {rule.per}: {matching}{first}"
