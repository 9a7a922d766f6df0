"""The files of a subject that other tools can use: what each is, and on which grid it lies.

Read from the output folder as it is.  Which tool takes which file is in
:mod:`bids_sr.reports.next_steps`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Grid, check_input
from bids_sr.reports import wording
from bids_sr.reports.fusion import FusedVolume, fused_file
from bids_sr.reports.ratings import result_file
from bids_sr.reports.records import ImageRecord

Kind = Literal["reference", "product", "fused", "mask", "labels", "lesions", "uncertainty"]
_ORDER: tuple[Kind, ...] = (
    "reference",
    "fused",
    "product",
    "mask",
    "labels",
    "lesions",
    "uncertainty",
)
_BESIDE = (
    (
        r"_desc-preproc_(?P<suffix>T1w|T2w)$",
        "reference",
        "copy of a result for fMRIPrep, sMRIPrep",
    ),
    (r"_space-orig_desc-brain_mask$", "mask", "brain mask on the acquired slices"),
    (
        r"_space-(?P<suffix>\w+)_label-brain_desc-fused_mask$",
        "mask",
        "brain mask of the fused volume",
    ),
    (r"_space-(?P<suffix>\w+)_desc-brain_mask$", "mask", "brain mask of the result"),
    (r"_desc-brain_mask$", "mask", "brain mask of the T1w for fMRIPrep and sMRIPrep"),
    (r"_space-orig_seg-\w+_desc-\w+_dseg$", "labels", "segmentation on the acquired slices"),
    (r"_seg-\w+_desc-(sr|fused)_dseg$", "labels", "segmentation of the result"),
    (r"_space-orig_label-lesion_desc-\w+_mask$", "lesions", "lesions on the acquired slices"),
    (r"_label-lesion_desc-\w+_mask$", "lesions", "lesions in the result"),
    (r"_desc-(sr|fused)_uncertainty$", "uncertainty", "map of expected errors; not an image"),
)
_UNREADABLE = "the header could not be read"


@dataclass(frozen=True, kw_only=True)
class OutputFile:
    """One file, with what a user must know before using it."""

    path: Path
    """Absolute."""
    name: str
    """Path below the output folder, with slashes."""
    kind: Kind
    what: str
    """What it is, in words."""
    suffix: str = ""
    """Contrast; empty where the name does not say it."""
    image: ImageRecord | None = None
    """Of a product: the image it was made of."""
    grid: Grid | None = None
    """None where the header cannot be read."""
    grid_number: int = 0
    """Files of a session with the same number lie on the same voxels; 0 without a grid."""

    @property
    def voxels(self) -> str:
        """Voxel size in words: ``1 × 1 × 1 mm``."""
        if self.grid is None:
            return _UNREADABLE
        return wording.sizes([float(value) for value in self.grid.spacings], "mm")

    @property
    def matrix(self) -> str:
        """Number of voxels in words: ``230 × 230 × 144``."""
        return wording.sizes(self.grid.shape) if self.grid else wording.DASH

    @property
    def largest_voxel(self) -> float:
        """Largest side of a voxel, mm; 0 where it is not known."""
        return float(max(self.grid.spacings)) if self.grid else 0.0

    @property
    def largest_extent(self) -> float:
        """Largest side of the field of view, mm; 0 where it is not known."""
        if self.grid is None:
            return 0.0
        sizes = zip(self.grid.shape, self.grid.spacings, strict=True)
        return max(count * float(spacing) for count, spacing in sizes)


@dataclass(frozen=True, kw_only=True)
class SessionFiles:
    """The files of one session, or of a subject without sessions."""

    session: str
    """With ``ses-``; empty without sessions."""
    files: tuple[OutputFile, ...]

    def of(self, kind: Kind, suffix: str = "") -> tuple[OutputFile, ...]:
        """List the files of a kind, of one contrast if named."""
        return tuple(
            file for file in self.files if file.kind == kind and suffix in ("", file.suffix)
        )

    def best(self, suffix: str) -> OutputFile | None:
        """Choose the volume of a contrast: fused, else of the finest slices, ties by path."""
        if fused := self.of("fused", suffix):
            return fused[0]
        return min(self.of("product", suffix), key=_coarseness, default=None)

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Contrasts with a volume, T1w first."""
        found = {file.suffix for file in (*self.of("fused"), *self.of("product"))}
        return tuple(sorted(found, key=lambda suffix: (suffix != "T1w", suffix)))


def read_output_files(
    root: Path, label: str, images: Sequence[ImageRecord], fused: Sequence[FusedVolume]
) -> list[SessionFiles]:
    """List the files of a subject that other tools can use, by session.

    Parameters
    ----------
    root : Path
        Root of the output dataset.
    label : str
        Subject, with ``sub-``.
    images : sequence of ImageRecord
        All of its images; only those with a result have files here.
    fused : sequence of FusedVolume
        Its fused volumes.

    Returns
    -------
    list of SessionFiles
        Without sessions that have no result.
    """
    products = [file for image in images if (file := _product(root, image))]
    joined = [file for volume in fused if (file := _fused(root, label, volume))]
    folders = sorted({file.path.parent for file in (*products, *joined)})
    beside = [file for folder in folders for file in _beside(root, folder)]
    every = sorted((*products, *joined, *beside), key=lambda file: _session(file.name))
    return [
        SessionFiles(session=session, files=tuple(_numbered(files)))
        for session, files in groupby(every, key=lambda file: _session(file.name))
    ]


def _product(root: Path, image: ImageRecord) -> OutputFile | None:
    path = result_file(root, image)
    if path is None:
        return None
    what = {"done": "super-resolved", "interpolated": "interpolated"}.get(image.outcome)
    return OutputFile(
        path=path.absolute(),
        name=path.relative_to(root).as_posix(),
        kind="product",
        what=f"{image.suffix}, {what or 'kept on its acquired grid'}",
        suffix=image.suffix,
        image=image,
        grid=_grid(path),
    )


def _fused(root: Path, label: str, volume: FusedVolume) -> OutputFile | None:
    path = fused_file(root, label, volume.record)
    if path is None:
        return None
    used = sum(stack.used for stack in volume.record.stacks)
    return OutputFile(
        path=path.absolute(),
        name=path.relative_to(root).as_posix(),
        kind="fused",
        what=f"{volume.suffix}, {used} stacks fused into one volume",
        suffix=volume.suffix,
        grid=_grid(path),
    )


def _beside(root: Path, folder: Path) -> Iterator[OutputFile]:
    for path in sorted(folder.glob("*.nii.gz")):
        stem = path.name.removesuffix(".nii.gz")
        for pattern, kind, what in _BESIDE:
            if not (match := re.search(pattern, stem)):
                continue
            suffix = match.groupdict().get("suffix") or ""
            yield OutputFile(
                path=path.absolute(),
                name=path.relative_to(root).as_posix(),
                kind=kind,  # type: ignore[arg-type]
                what=f"{suffix}, {what}" if suffix else what,
                suffix=suffix,
                grid=_grid(path),
            )
            break


def _grid(path: Path) -> Grid | None:
    try:
        return check_input(path).grid
    except InputDataError:
        return None


def _numbered(files: Iterable[OutputFile]) -> Iterator[OutputFile]:
    """Give files on the same voxels the same number, in the order of the table."""
    grids: list[Grid] = []
    for file in sorted(files, key=lambda file: (_ORDER.index(file.kind), file.name)):
        if file.grid is None:
            yield file
            continue
        number = next((n for n, grid in enumerate(grids, 1) if grid.same(file.grid)), 0)
        if not number:
            grids.append(file.grid)
            number = len(grids)
        yield replace(file, grid_number=number)


def _session(name: str) -> str:
    match = re.search(r"/(ses-[^/]+)/", name)
    return match[1] if match else ""


def _coarseness(file: OutputFile) -> tuple[float, str]:
    try:
        return float(file.image.row.get("spacing", "") if file.image else ""), file.name
    except ValueError:
        return float("inf"), file.name
