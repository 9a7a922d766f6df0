"""The input dataset, and the plan of what happens to each of its anatomical images.

:func:`plan_images` accounts for every anatomical image of the selected subjects.
It reads headers and sidecars, never image data.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_sr.bids.derivatives import output_path
from bids_sr.bids.guides import with_guides
from bids_sr.bids.image import Action, AnatImage
from bids_sr.bids.inheritance import SidecarReader
from bids_sr.bids.masks import find_mask
from bids_sr.bids.names import ParsedName, parse_name
from bids_sr.bids.places import FoundImage, find_images, find_subjects
from bids_sr.bids.references import choose_references
from bids_sr.bids.selection import Selection, check_filters, why_not
from bids_sr.bids.sidecar import AcquisitionFacts, is_brain, read_acquisition
from bids_sr.bids.stacks import with_stacks
from bids_sr.exceptions import AcquisitionError, ConfigError, InputDataError, in_words, printable
from bids_sr.files import read_json
from bids_sr.imaging import Grid, InputReport, check_input, lay_out_grid
from bids_sr.imaging.resample import DEFAULT_SPACING_MM

LOGGER = logging.getLogger(__name__)
SAME_SPACING = 0.02  # what fitting whole voxels to the field of view can change
KEEP_IN_PLANE = "--output-resolution native keeps it"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """An input dataset, with the subjects that were requested."""

    root: Path
    """Its root, absolute and without links."""
    subjects: tuple[str, ...] = ()
    """Labels of the subjects to look at, without ``sub-``; empty for all."""
    left_out: tuple[Path, ...] = ()
    """Folders of the run that do not belong to the dataset even if they lie in it."""


def open_layout(
    bids_dir: Path,
    *,
    participant_label: Iterable[str] = (),
    left_out: Iterable[Path] = (),
) -> Layout:
    """Open a BIDS dataset.

    Parameters
    ----------
    bids_dir : Path
        Root of the dataset.
    participant_label : iterable of str
        Subjects to process; empty for all.
    left_out : iterable of Path
        Folders to ignore if they lie in the dataset: those that the run writes to.

    Returns
    -------
    Layout
        Nothing is listed yet: see :mod:`bids_sr.bids.places`.

    Raises
    ------
    InputDataError
        If the dataset is missing, has no subject, lacks a requested subject, or if its
        description cannot be read.
    """
    root = Path(bids_dir).resolve()
    subjects = Selection(participant_label=tuple(participant_label)).subjects
    _check_subjects(root, subjects)
    description = root / "dataset_description.json"
    if description.exists():
        read_json(description, what="the description of the dataset", any_encoding=True)
    return Layout(root=root, subjects=subjects, left_out=tuple(left_out))


def plan_images(layout: Layout, selection: Selection) -> list[AnatImage]:
    """Decide on every anatomical image of the selected subjects.

    Parameters
    ----------
    layout : Layout
        From :func:`open_layout`.
    selection : Selection
        What the user wants.

    Returns
    -------
    list of AnatImage
        In the order of their paths.  Images that were not requested, or are not where BIDS expects
        them, have the action ``skip``; those whose header or sidecar is bad have ``fail``.

    Raises
    ------
    InputDataError
        If a subject that was asked for does not exist.
    ConfigError
        If a filter names an unknown modality or entity.

    Notes
    -----
    Which T1w and T2w is the reference of its subject and session:
    :func:`bids_sr.bids.references.choose_references`.
    """
    check_filters(selection.bids_filters, selection.modalities)
    _check_subjects(layout.root, selection.subjects)
    subjects = selection.subjects or layout.subjects
    planner = _Planner(layout.root, selection)
    images = find_images(layout.root, subjects, layout.left_out)
    planned = _with_shared_files(_without_collisions([planner.plan(image) for image in images]))
    if selection.fuse_stacks:
        planned = with_stacks(planned)
    if selection.method_facts.takes_guide and selection.guide.allowed:
        planned = with_guides([planner.as_guide(image) for image in planned], selection.guide)
    return choose_references(planned, selection.reference)


class _Planner:
    """Plans one image after the other, with one reader of sidecars."""

    def __init__(self, root: Path, selection: Selection) -> None:
        self.root = root
        self.selection = selection
        self.sidecars = SidecarReader(root)

    def plan(self, file: FoundImage) -> AnatImage:
        path = self.root / file.relpath
        name = parse_name(path.name)
        place = {"subject": file.subject}
        if file.session:
            place["session"] = file.session
        own = {key: v for key, v in name.entities.items() if key not in ("subject", "session")}
        ignored = f"ignored: .bidsignore has {file.ignored!r}" if file.ignored else ""
        image = AnatImage(
            path=path,
            relpath=printable(file.relpath),
            entities={**place, **own},
            suffix=name.suffix,
            action="fail" if file.unreadable and not ignored else "skip",
            reason=printable(ignored or file.misplaced or why_not(name, self.selection) or ""),
            misplaced=bool(file.misplaced) and not ignored,
        )
        if image.reason:
            return image
        try:
            planned = self._read(image, name, file.note)
            _output_names(planned)
            return planned
        except ConfigError:  # an option, which is about all of them
            raise
        except Exception as error:  # of this image alone; the others are planned
            LOGGER.debug("%s: not planned", image.relpath, exc_info=True)
            return replace(image, action="fail", reason=in_words(error))

    def as_guide(self, image: AnatImage) -> AnatImage:
        """Read the header of an image that only --modalities leaves out and --guide names."""
        rule, name = self.selection.guide, parse_name(image.path.name)
        named = rule.wanted and rule.takes(image.entities, image.suffix)
        otherwise = replace(self.selection, modalities=(image.suffix,))
        if not named or image.reason != why_not(name, self.selection) or why_not(name, otherwise):
            return image
        with contextlib.suppress(Exception):  # then it guides none
            read = self._read(image, name, "")
            return replace(read, action="skip", reason=image.reason, target_grid=None)
        return image

    def _read(self, image: AnatImage, name: ParsedName, note: str) -> AnatImage:
        report = check_input(image.path)
        if report.n_volumes > 1 and not self.selection.method_facts.takes_series:
            reason = (
                f"4-D image of {report.n_volumes} volumes; --sr-method "
                f"{self.selection.sr_method} takes single volumes only"
            )
            return replace(image, reason=reason)
        sidecars = self.sidecars.find(image.path)
        metadata = sidecars.metadata
        facts = self._acquisition(report, metadata)
        facts = replace(
            facts,
            assumptions=(*facts.assumptions, *filter(None, [sidecars.inherited_words])),
            warnings=(*facts.warnings, *sidecars.warnings, *filter(None, [note])),
        )
        source = _respaced(report.grid, facts)
        action, reason, target = decide(source, facts, self.selection)
        if report.n_volumes > 1:
            reason += f"; {report.n_volumes} frames, one by one"
        brain = is_brain(metadata) and report.n_volumes == 1
        mask = find_mask(self.selection.derivatives if brain else {}, name, source)
        return replace(
            image,
            action=action,
            reason=reason,
            metadata=metadata,
            facts=facts,
            source_grid=source,
            target_grid=target,
            target_spacing=_nominal_spacing(source, target, action, self.selection, facts),
            brain=brain,
            n_frames=report.n_volumes,
            existing_mask=mask.path,
            existing_mask_uri=mask.uri,
            mask_note=mask.note,
        )

    def _acquisition(self, report: InputReport, metadata: dict[str, Any]) -> AcquisitionFacts:
        """Read the acquisition; an impossible thickness fails only the methods that need it."""
        unseen = self.selection.overrides.without_estimate()  # of images that are passed through
        try:
            facts = read_acquisition(report, metadata, self.selection.overrides)
            passed = self._passes_through(report, facts)
            return read_acquisition(report, metadata, unseen) if passed else facts
        except AcquisitionError as error:
            others = {key: value for key, value in metadata.items() if key != "SliceThickness"}
            facts = read_acquisition(report, others, replace(unseen, slice_thickness=None))
            if not self._passes_through(report, facts):
                raise
            warning = f"the image is passed through, so this does not matter: {in_words(error)}"
            return replace(facts, warnings=(*facts.warnings, warning))

    def _passes_through(self, report: InputReport, facts: AcquisitionFacts) -> bool:
        return decide(_respaced(report.grid, facts), facts, self.selection)[0] == "pass-through"


def decide(
    source: Grid, facts: AcquisitionFacts, selection: Selection
) -> tuple[Action, str, Grid]:
    """Decide whether an image is super-resolved, and on which grid.

    Parameters
    ----------
    source : Grid
    facts : AcquisitionFacts
    selection : Selection

    Returns
    -------
    action : {"super-resolve", "pass-through"}
    reason : str
    grid : Grid
        Output grid.
    """
    axis = facts.acquisition.slice_axis
    assert axis is not None
    spacings = np.asarray(source.spacings, dtype=float)
    sizes = " x ".join(f"{value:.3g}" for value in spacings)
    anisotropy = float(spacings[axis] / np.delete(spacings, axis).min())
    if selection.method_facts.keeps_grid:
        return "pass-through", f"voxels of {sizes} mm: --sr-method {selection.sr_method}", source
    if anisotropy < selection.min_anisotropy:
        reason = (
            f"voxels of {sizes} mm: anisotropy {anisotropy:.2f} is below --min-anisotropy "
            f"{selection.min_anisotropy:g}"
        )
        return "pass-through", reason, source
    target = lay_out_grid(
        source,
        slice_axis=axis,
        output_resolution=selection.output_resolution,
        output_grid=selection.output_grid,
    )
    scale = float(spacings[axis] / target.spacings[axis])
    if scale < selection.min_anisotropy:
        reason = (
            f"slices every {spacings[axis]:.3g} mm are {scale:.2f} times the output spacing of "
            f"{target.spacings[axis]:.3g} mm, below --min-anisotropy {selection.min_anisotropy:g}"
        )
        return "pass-through", reason, source
    reason = f"voxels of {sizes} mm: anisotropy {anisotropy:.2f}, scale {scale:.2f}"
    nominal = _nominal_spacing(source, target, "super-resolve", selection, facts)
    if lost := lost_in_plane(source, target, axis, nominal):
        reason += f"; {lost} ({KEEP_IN_PLANE})"
    return "super-resolve", reason, target


def lost_in_plane(source: Grid, target: Grid, slice_axis: int, spacing: float) -> str:
    """Say how much coarser an output grid is within the slices; empty where it is not.

    ``spacing`` is the nominal one, before it was adjusted to divide the field of view, mm.
    """
    before, after = (
        float(np.delete(np.asarray(grid.spacings, dtype=float), slice_axis).min())
        for grid in (source, target)
    )
    if after <= before * (1 + SAME_SPACING):
        return ""
    words = [f"{value:.2f}".removesuffix("0") for value in (before, spacing)]
    return f"in-plane {words[0]} -> {words[1]} mm"


def _check_subjects(root: Path, labels: Iterable[str]) -> None:
    if not root.is_dir():
        raise InputDataError(
            f"{root}: no such folder; expected the root of a BIDS dataset. Check the path."
        )
    existing = find_subjects(root)
    if not existing:
        raise InputDataError(
            f"{root}: no sub-* folder in it; expected the root of a BIDS dataset. Check the path."
        )
    missing = [label for label in labels if label not in existing]
    if missing:
        shown = ", ".join(sorted(existing)[:50]) + (", ..." if len(existing) > 50 else "")
        raise InputDataError(
            f"{root}: no subject {', '.join(missing)}; expected labels among {shown}. "
            "Correct --participant-label."
        )


def _respaced(grid: Grid, facts: AcquisitionFacts) -> Grid:
    """Return the grid with the slice spacing of the command line; the first slice stays."""
    if not facts.respaced:
        return grid
    assert facts.acquisition.slice_axis is not None
    return grid.with_spacing(facts.acquisition.slice_axis, facts.acquisition.spacing)


def _nominal_spacing(
    source: Grid, target: Grid, action: Action, selection: Selection, facts: AcquisitionFacts
) -> float:
    """Return the requested spacing, before it was adjusted to divide the field of view."""
    if action == "pass-through":
        return float(max(target.spacings))
    axis = facts.acquisition.slice_axis
    assert axis is not None
    in_plane = float(np.delete(source.spacings, axis).min())
    if selection.output_resolution == "native":
        return in_plane
    return float(selection.output_resolution or max(DEFAULT_SPACING_MM, in_plane))


def _without_collisions(images: list[AnatImage]) -> list[AnatImage]:
    """Fail images whose outputs would have the same name: the right one is not known.

    An unreadable image counts too: the other may be its repaired copy.
    """
    owners: dict[Path, list[AnatImage]] = {}
    for image in images:
        if image.selected and not image.misplaced:
            with contextlib.suppress(InputDataError):  # it fails for that already
                for name in _output_names(image):
                    owners.setdefault(name, []).append(image)
    rivals: dict[str, set[str]] = {}
    for group in owners.values():
        for image in group:
            rivals.setdefault(image.relpath, set()).update(other.relpath for other in group)
    return [_without_rivals(image, rivals.get(image.relpath, set())) for image in images]


def _with_shared_files(images: list[AnatImage]) -> list[AnatImage]:
    """Warn if several subjects share one file as their image, by any kind of link."""
    owners: dict[tuple[int, int], list[AnatImage]] = {}
    for image in images:
        if image.facts is not None:
            with contextlib.suppress(OSError):
                status = image.path.stat()
                owners.setdefault((status.st_dev, status.st_ino), []).append(image)
    warned = {}
    for group in owners.values():
        for image in group:
            others = [file.relpath for file in group if file.subject != image.subject]
            if image.facts is not None and others:
                warning = f"it is the same file as {', '.join(others)}, of another subject"
                facts = replace(image.facts, warnings=(*image.facts.warnings, warning))
                warned[image.relpath] = replace(image, facts=facts)
    return [warned.get(image.relpath, image) for image in images]


def _output_names(image: AnatImage) -> list[Path]:
    """Return two output names: one with the suffix of the image, one with another suffix."""
    return [
        output_path(Path(), image, desc="sr"),
        output_path(Path(), image, space="orig", suffix="mask", desc="brain"),
    ]


def _without_rivals(image: AnatImage, rivals: set[str]) -> AnatImage:
    others = sorted(rivals - {image.relpath})
    if not others:
        return image
    reason = (
        f"{image.relpath}: its outputs would have the same names as those of {', '.join(others)}; "
        "expected one image per name, so none of them is used. Remove or rename all but one."
    )
    return replace(image, action="fail", reason=reason)
