"""A raw-shaped view of the dataset on disk, for tools that take only raw BIDS.

What is in it: :mod:`.view_contents`.  Super-resolved images are copies, sidecars are written
whole, all other files are links to the input dataset.  Nothing is written outside the view.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from bids_sr.bids.dataset import pipeline, read_description, subject_lock
from bids_sr.bids.image import AnatImage
from bids_sr.bids.view_contents import (
    Contents,
    dataset_contents,
    find_products,
    refuse_taken_name,
    subject_contents,
    suffix_of,
)
from bids_sr.bids.view_fused import find_fused
from bids_sr.exceptions import InputDataError
from bids_sr.files.writing import (
    copy_atomic,
    link_atomic,
    write_json_atomic,
    write_text_atomic,
)

SURFACE_CONTRASTS = frozenset({"T2w", "FLAIR"})
"""Contrasts that fMRIPrep and sMRIPrep refine pial surfaces with, if voxels are below 1.2 mm."""


def prepare_raw_view(
    root: Path, bids_dir: Path, output_dir: Path, images: Iterable[AnatImage]
) -> None:
    """Make the folder of the view; refuse a folder that cannot be used for it.

    Parameters
    ----------
    root : Path
        Folder of the view.
    bids_dir, output_dir : Path
        Input and output dataset.
    images : iterable of AnatImage
        The plan.

    Raises
    ------
    InputDataError
        If it overlaps with another dataset through links, holds something else, cannot be
        written, or the input dataset has a file with a name that the view needs.
    """
    real = root.resolve()
    for dataset in (bids_dir.resolve(), output_dir.resolve()):
        if real.is_relative_to(dataset) or dataset.is_relative_to(real):
            raise InputDataError(
                f"{root}: the raw-like folder and {dataset} are the same or lie in one another; "
                "expected a folder of its own. Give another --raw-like-dir."
            )
    for image in images:
        if image.action == "super-resolve":
            refuse_taken_name(bids_dir, image.relpath)
    if root.is_dir() and any(not path.name.startswith(".") for path in root.iterdir()):
        sources = _view_description(bids_dir, output_dir)["SourceDatasets"]
        earlier_sources = read_description(root).get("SourceDatasets")
        if earlier_sources != sources:
            raise InputDataError(
                f"{root}: the raw-like folder is not empty and was not made from {bids_dir} and "
                f"{output_dir} (its SourceDatasets: {earlier_sources}); expected an "
                "empty folder or an earlier view of the same two. Give another --raw-like-dir."
            )
    try:
        root.mkdir(parents=True, exist_ok=True)
        write_json_atomic(
            root / "dataset_description.json", _view_description(bids_dir, output_dir)
        )
    except OSError as error:
        raise InputDataError(
            f"{root}: the raw-like folder cannot be written ({error.strerror}); expected a folder "
            "with write permission. Give another one or change its permissions."
        ) from error


def write_raw_view(
    root: Path,
    bids_dir: Path,
    output_dir: Path,
    subjects: Iterable[str],
    *,
    surface_contrasts: Iterable[str] = (),
) -> list[str]:
    """Bring the view up to date for some subjects.

    Parameters
    ----------
    root : Path
        Folder of the view, from :func:`prepare_raw_view`.
    bids_dir, output_dir : Path
        Input and output dataset.
    subjects : iterable of str
        Labels without ``sub-``; the folders of others are left as they are.
    surface_contrasts : iterable of str
        Suffixes among ``SURFACE_CONTRASTS`` that it holds super-resolved; the others are as
        acquired, so that no tool refines surfaces with them unless requested.

    Returns
    -------
    list of str
        One sentence for each scan that is in the view as acquired because its
        super-resolution failed or is not done.

    Raises
    ------
    InputDataError
        If a folder of the view is a link, or a name that it needs is taken.

    Notes
    -----
    Each file appears whole or not at all, and old files are removed before new ones are added: an
    interrupted run can leave a scan out, but never shows it twice.
    """
    notes = []
    _place(root, dataset_contents(bids_dir))
    for subject in subjects:
        with subject_lock(output_dir, subject):
            products, missing = find_products(output_dir, subject)
            held_back = SURFACE_CONTRASTS - set(surface_contrasts)
            products = {
                relpath: product
                for relpath, product in products.items()
                if suffix_of(relpath) not in held_back
            }
            fused = find_fused(output_dir, subject, products)
            contents = subject_contents(bids_dir, subject, products, fused)
            _remove_others(root, f"sub-{subject}", contents.names())
            _place(root, contents)
        notes += [
            f"{relpath}: as acquired in {root}, its super-resolution {what}"
            for relpath, what in missing.items()
        ]
    return notes


def _view_description(bids_dir: Path, output_dir: Path) -> dict[str, Any]:
    raw = read_description(bids_dir)
    makers = [maker for maker in raw.get("GeneratedBy") or [] if isinstance(maker, dict)]
    entry = pipeline() | {
        "Description": "Raw-shaped view: thick-slice images are replaced by super-resolved ones "
        "(rec-SR), all other files are those of the source dataset"
    }
    kept = {name: value for name, value in raw.items() if name != "DatasetDOI"}
    source: dict[str, Any] = {"URL": bids_dir.resolve().as_uri()}
    if raw.get("DatasetDOI"):
        source["DOI"] = str(raw["DatasetDOI"])
    return {
        **kept,
        "Name": f"{raw.get('Name') or bids_dir.name}, with super-resolved images",
        "BIDSVersion": raw.get("BIDSVersion") or "1.10.0",
        "DatasetType": "raw",
        "GeneratedBy": [*makers, entry],
        "SourceDatasets": [source, {"URL": output_dir.resolve().as_uri()}],
    }


def _place(root: Path, contents: Contents) -> None:
    for relpath in sorted(contents.names()):
        target = root / relpath
        _refuse_linked_folder(root, relpath)
        if relpath in contents.links:
            link_atomic(contents.links[relpath], target)
        elif relpath in contents.copies:
            copy_atomic(contents.copies[relpath], target)
        elif relpath in contents.sidecars:
            write_json_atomic(target, contents.sidecars[relpath])
        else:
            write_text_atomic(target, contents.texts[relpath])


def _remove_others(root: Path, subject: str, view_files: set[str]) -> None:
    """Remove what an earlier run placed and this one does not."""
    _refuse_linked_folder(root, f"{subject}/x")
    for folder, _, files in os.walk(root / subject, topdown=False):
        for file in files:
            path = Path(folder) / file
            ours = path.is_symlink() or file.startswith("sub-")
            if ours and path.relative_to(root).as_posix() not in view_files:
                path.unlink()
        if not any(Path(folder).iterdir()):
            Path(folder).rmdir()


def _refuse_linked_folder(root: Path, relpath: str) -> None:
    folder = root
    for part in PurePosixPath(relpath).parts[:-1]:
        folder = folder / part
        if folder.is_symlink():
            raise InputDataError(
                f"{folder}: a folder of the raw-like view is a link; expected a folder, so that "
                "nothing is written elsewhere. Remove the link."
            )
