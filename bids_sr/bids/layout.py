"""The input dataset, and the plan of what happens to each of its anatomical images.

:func:`plan_images` accounts for every anatomical image of the selected subjects.
It reads headers and sidecars, never image data.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_sr.bids.database import EXTENSIONS, kept_layout
from bids_sr.bids.derivatives import output_path
from bids_sr.bids.image import Action, AnatImage
from bids_sr.bids.inheritance import SidecarReader
from bids_sr.bids.masks import find_mask
from bids_sr.bids.names import ParsedName, parse_name
from bids_sr.bids.references import choose_references
from bids_sr.bids.selection import Selection, check_filters, why_not
from bids_sr.bids.sidecar import AcquisitionFacts, is_brain, read_acquisition
from bids_sr.exceptions import AcquisitionError, ConfigError, InputDataError, in_words
from bids_sr.files import read_bytes
from bids_sr.imaging import Grid, InputReport, check_input, output_grid
from bids_sr.imaging.resample import DEFAULT_SPACING_MM

LOGGER = logging.getLogger(__name__)
NOT_INDEXED = ("derivatives", "sourcedata", "code", "stimuli", "models")
OTHER_DATATYPES = re.compile(r"/(beh|dwi|eeg|fmap|func|ieeg|meg|micr|motion|mrs|nirs|perf|pet)$")
SIDECARS = re.compile(r"\.(json|tsv|bval|bvec)$")  # read from disk: bids_sr.bids.inheritance


def open_layout(
    bids_dir: Path,
    *,
    database_dir: Path | None = None,
    participant_label: Iterable[str] = (),
) -> Any:
    """Index a BIDS dataset.

    Parameters
    ----------
    bids_dir : Path
        Root of the dataset.
    database_dir : Path, optional
        Folder that keeps the index of all subjects: :func:`.kept_layout`.
    participant_label : iterable of str
        Subjects to index where there is no database; empty for all.

    Returns
    -------
    bids.layout.BIDSLayout
        The index, without metadata: see :mod:`bids_sr.bids.inheritance`.

    Raises
    ------
    InputDataError
        If the dataset is missing, has no subject, or lacks one that was asked for.
    ConfigError
        If the database belongs to another dataset.
    """
    root = Path(bids_dir).resolve()
    subjects = Selection(participant_label=tuple(participant_label)).subjects
    _check_subjects(root, subjects)

    def index(database: Path | None, labels: Sequence[str]) -> Any:
        return _index(root, database, labels)

    if database_dir is None:
        return index(None, subjects)
    # Other tools would take an index without functional images and metadata for theirs.
    return kept_layout(Path(database_dir).resolve() / "bids_sr", root, subjects, index)


def _index(root: Path, database_dir: Path | None, subjects: Sequence[str]) -> Any:
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

    ignore: list[Any] = [*NOT_INDEXED, re.compile(r"/\."), OTHER_DATATYPES, SIDECARS]
    if subjects:
        ignore.append(re.compile(rf"/sub-(?!({'|'.join(map(re.escape, subjects))})(/|_|$))"))
    description = root / "dataset_description.json"  # which pybids opens, whatever it is
    if description.exists():
        read_bytes(description, what="the description of the dataset")
    try:
        return BIDSLayout(
            root,
            validate=False,
            database_path=database_dir,
            reset_database=database_dir is not None,
            indexer=BIDSLayoutIndexer(validate=False, ignore=ignore, index_metadata=False),
        )
    except RecursionError as error:
        raise InputDataError(
            f"{description}: found lists within lists without end; expected a JSON object. "
            "Correct the file."
        ) from error


def plan_images(layout: Any, selection: Selection) -> list[AnatImage]:
    """Decide on every anatomical image of the selected subjects.

    Parameters
    ----------
    layout : bids.layout.BIDSLayout
        From :func:`open_layout`.
    selection : Selection
        What the user wants.

    Returns
    -------
    list of AnatImage
        In the order of their paths.  Images that are not wanted are in it with the
        action ``skip``, those whose header or sidecar is bad with ``fail``.

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
    root = Path(str(layout.root))
    check_filters(selection.filters, selection.modalities)
    _check_subjects(root, selection.subjects)
    query = {"subject": list(selection.subjects)} if selection.subjects else {}
    files = layout.get(datatype="anat", return_type="filename", **query)
    files = [file for file in files if file.endswith(EXTENSIONS)]
    planner = _Planner(root, selection)
    planned = _without_collisions([planner.plan(Path(f)) for f in sorted(files)])
    return choose_references(planned, selection.reference)


class _Planner:
    """Decides on one image after the other, with one reader of sidecars."""

    def __init__(self, root: Path, selection: Selection) -> None:
        self.root = root
        self.selection = selection
        self.sidecars = SidecarReader(root)

    def plan(self, path: Path) -> AnatImage:
        name = parse_name(path.name)
        relpath = path.relative_to(self.root)
        image = AnatImage(
            path=path,
            relpath=relpath.as_posix(),
            entities={"subject": relpath.parts[0].removeprefix("sub-"), **name.entities},
            suffix=name.suffix,
            action="skip",
            reason=why_not(name, self.selection) or "",
        )
        if image.reason:
            return image
        try:
            return self._read(image, name)
        except ConfigError:  # an option, which is about all of them
            raise
        except Exception as error:  # of this image alone; the others are planned
            LOGGER.debug("%s: not planned", image.relpath, exc_info=True)
            return replace(image, action="fail", reason=in_words(error))

    def _read(self, image: AnatImage, name: ParsedName) -> AnatImage:
        report = check_input(image.path)
        if report.n_volumes > 1 and not self.selection.takes_series:
            reason = (
                f"4-D image of {report.n_volumes} volumes; --sr-method "
                f"{self.selection.sr_method} takes single volumes only"
            )
            return replace(image, reason=reason)
        metadata = self.sidecars.read(image.path)
        facts = self._acquisition(report, metadata)
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
        """Read the acquisition; an impossible thickness fails only what it is needed for."""
        try:
            return read_acquisition(report, metadata, self.selection.overrides)
        except AcquisitionError as error:
            others = {key: value for key, value in metadata.items() if key != "SliceThickness"}
            overrides = replace(self.selection.overrides, thickness=None)
            facts = read_acquisition(report, others, overrides)
            action, _, _ = decide(_respaced(report.grid, facts), facts, self.selection)
            if action != "pass-through":
                raise
            warning = f"the image is passed through, so this does not matter: {in_words(error)}"
            return replace(facts, warnings=(*facts.warnings, warning))


def decide(
    source: Grid, facts: AcquisitionFacts, selection: Selection
) -> tuple[Action, str, Grid]:
    """Decide whether an image is super-resolved, and on which grid.

    Parameters
    ----------
    source : Grid
        Acquired grid.
    facts : AcquisitionFacts
        Its acquisition.
    selection : Selection
        Method, output resolution, output grid and the smallest anisotropy.

    Returns
    -------
    action : {"super-resolve", "pass-through"}
    reason : str
        With the numbers that it rests on.
    grid : Grid
        Output grid.
    """
    axis = facts.acquisition.slice_axis
    assert axis is not None
    spacings = np.asarray(source.spacings, dtype=float)
    sizes = " x ".join(f"{value:.3g}" for value in spacings)
    anisotropy = float(spacings[axis] / np.delete(spacings, axis).min())
    if selection.sr_method == "none":
        return "pass-through", f"voxels of {sizes} mm: --sr-method none", source
    if anisotropy < selection.min_anisotropy:
        reason = (
            f"voxels of {sizes} mm: anisotropy {anisotropy:.2f} is below --min-anisotropy "
            f"{selection.min_anisotropy:g}"
        )
        return "pass-through", reason, source
    target = output_grid(
        source,
        slice_axis=axis,
        spacing=selection.output_resolution,
        mode=selection.output_grid,
    )
    scale = float(spacings[axis] / target.spacings[axis])
    if scale < selection.min_anisotropy:
        reason = (
            f"slices every {spacings[axis]:.3g} mm are {scale:.2f} times the output spacing of "
            f"{target.spacings[axis]:.3g} mm, below --min-anisotropy {selection.min_anisotropy:g}"
        )
        return "pass-through", reason, source
    reason = f"voxels of {sizes} mm: anisotropy {anisotropy:.2f}, scale {scale:.2f}"
    return "super-resolve", reason, target


def _check_subjects(root: Path, wanted: Iterable[str]) -> None:
    if not root.is_dir():
        raise InputDataError(
            f"{root}: no such folder; expected the root of a BIDS dataset. Check the path."
        )
    with os.scandir(root) as entries:
        found = [entry.name for entry in entries if entry.name[:4] == "sub-" and entry.is_dir()]
    existing = {name.removeprefix("sub-") for name in found}
    if not existing:
        raise InputDataError(
            f"{root}: no sub-* folder in it; expected the root of a BIDS dataset. Check the path."
        )
    missing = [label for label in wanted if label not in existing]
    if missing:
        shown = ", ".join(sorted(existing)[:50]) + (", ..." if len(existing) > 50 else "")
        raise InputDataError(
            f"{root}: no subject {', '.join(missing)}; expected labels out of {shown}. "
            "Correct --participant-label."
        )


def _respaced(grid: Grid, facts: AcquisitionFacts) -> Grid:
    """Return the grid with the slice spacing of the command line; the first slice stays."""
    if not facts.respaced:
        return grid
    affine = np.array(grid.affine)
    affine[:3, facts.acquisition.slice_axis] *= facts.acquisition.spacing / facts.header_spacing
    return Grid(grid.shape, affine)


def _nominal_spacing(
    source: Grid, target: Grid, action: Action, selection: Selection, facts: AcquisitionFacts
) -> float:
    """Return the spacing that was asked for, before it was made to divide the field of view."""
    if action == "pass-through":
        return float(max(target.spacings))
    axis = facts.acquisition.slice_axis
    assert axis is not None
    in_plane = float(np.delete(source.spacings, axis).min())
    if selection.output_resolution == "native":
        return in_plane
    return float(selection.output_resolution or max(DEFAULT_SPACING_MM, in_plane))


def _without_collisions(images: list[AnatImage]) -> list[AnatImage]:
    """Fail images whose outputs would take the names of an earlier image's."""
    owners: dict[Path, str] = {}
    kept = []
    for image in images:
        if image.processed:
            names = [
                output_path(Path(), image, desc="sr"),
                output_path(Path(), image, space="orig", suffix="mask", desc="brain"),
            ]
            taken = [owners[name] for name in names if name in owners]
            if taken:
                reason = (
                    f"{image.relpath}: its outputs would take the names of those of {taken[0]}; "
                    "expected one image a name. Remove or rename one of them."
                )
                image = replace(image, action="fail", reason=reason)
            else:
                owners |= dict.fromkeys(names, image.relpath)
        kept.append(image)
    return kept
