"""Contents of the raw-shaped view of a dataset; :mod:`.raw_view` writes it.

Every scan of a subject is in it once: super-resolved with ``SR`` appended to its ``rec-``, or
as acquired.  What is super-resolved is read from the output dataset on disk.  Nothing here
writes a file.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from bids_sr.bids.dataset import read_decisions
from bids_sr.bids.inheritance import SidecarReader
from bids_sr.bids.names import ParsedName, parse_name, specification
from bids_sr.bids.places import EXTENSIONS, looks_like_image, why_misplaced
from bids_sr.bids.view_fused import FusedProduct
from bids_sr.exceptions import InputDataError
from bids_sr.files import TABLE_LIMIT, read_json_or_empty, read_text

LABEL = "SR"
FOLDERS = ("phenotype", "stimuli")
# Fields of the product's sidecar that BIDS knows in derivatives only.
DERIVATIVE_FIELDS = ("Sources", "SpatialReference", "Resolution", "SkullStripped")


@dataclass(frozen=True, kw_only=True)
class Product:
    """A product in the output dataset."""

    path: Path
    metadata: dict[str, Any]
    action: str


@dataclass
class Contents:
    """Contents of a subject's folder in the view; paths from the root of the view."""

    links: dict[str, Path] = field(default_factory=dict)
    copies: dict[str, Path] = field(default_factory=dict)
    sidecars: dict[str, dict[str, Any]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def names(self) -> set[str]:
        """Return all paths."""
        return {*self.links, *self.copies, *self.sidecars, *self.texts}


def view_name(relpath: str) -> str:
    """Name the super-resolved image of a scan in the view.

    Parameters
    ----------
    relpath : str
        Path of the acquired image in the input dataset.

    Returns
    -------
    str
        ``.../sub-01_rec-SR_T1w.nii.gz``; of ``rec-norm``, ``rec-normSR``.
    """
    from bids.layout.writing import build_path

    path = PurePosixPath(relpath)
    name = parse_name(path.name)
    reconstruction = name.entities.get("reconstruction", "") + LABEL
    entities = {
        **name.entities,
        "datatype": "anat",
        "reconstruction": reconstruction,
        "suffix": name.suffix,
        "extension": ".nii.gz",
    }
    built = build_path(entities, specification()["patterns"], strict=True)
    assert isinstance(built, str), relpath  # products have names of the same patterns
    return (path.parent / PurePosixPath(built).name).as_posix()


def suffix_of(relpath: str) -> str:
    """Return the suffix of an image by its path."""
    return parse_name(PurePosixPath(relpath).name).suffix


def refuse_taken_name(bids_dir: Path, relpath: str) -> None:
    """Raise :class:`InputDataError` where the input dataset has a file of the view's name."""
    _refuse_taken(bids_dir, relpath, view_name(relpath))


def _refuse_taken(bids_dir: Path, relpath: str, name: str) -> None:
    if os.path.lexists(bids_dir / name):
        raise InputDataError(
            f"{relpath}: its super-resolved image would be {name} in the raw-like view, but the "
            "input dataset has such a file; expected none. Rename it or leave out --raw-like-dir."
        )


def find_products(output_dir: Path, subject: str) -> tuple[dict[str, Product], dict[str, str]]:
    """Find the super-resolved images, and those whose super-resolution is missing.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    subject : str
        Label without ``sub-``.

    Returns
    -------
    products : dict of str to Product
        By the path of the acquired image.
    missing : dict of str to str
        Acquired images whose super-resolution ``failed`` or is ``not done``.
    """
    by_image: dict[str, list[Product]] = {}
    for sidecar in (output_dir / f"sub-{subject}").glob("**/anat/*_desc-sr_*.json"):
        path = sidecar.with_name(sidecar.name.removesuffix(".json") + ".nii.gz")
        metadata = read_json_or_empty(sidecar)
        record = metadata.get("SuperResolution")
        sources = metadata.get("Sources") or [""]
        if not path.is_file() or not isinstance(record, dict):
            continue
        relpath = str(sources[0]).removeprefix("bids:raw:")
        product = Product(path=path, metadata=metadata, action=str(record.get("Action")))
        by_image.setdefault(relpath, []).append(product)
    rows = {row["image"]: row for row in read_decisions(output_dir)}
    failed = [relpath for relpath, row in rows.items() if row["status"] == "failed"]
    chosen = {}
    for relpath, products in by_image.items():
        # A run with another resolution leaves the earlier product; a run of another session
        # does not know which one is the right one.
        recorded = rows.get(relpath, {}).get("output")
        products.sort(
            key=lambda item: (item.path == output_dir / str(recorded), item.path.stat().st_mtime)
        )
        if products[-1].action == "super-resolve" and relpath not in failed:
            chosen[relpath] = products[-1]
    missing = {
        relpath: "failed" if relpath in failed else "is not done"
        for relpath, row in sorted(rows.items())
        if relpath.startswith(f"sub-{subject}/")
        and (relpath in failed or (row["action"], row["status"]) == ("super-resolve", "planned"))
        and relpath not in chosen
    }
    return chosen, missing


def subject_contents(
    bids_dir: Path,
    subject: str,
    products: Mapping[str, Product],
    fused: Mapping[str, FusedProduct] | None = None,
) -> Contents:
    """List the contents of a subject's folder in the view.

    Parameters
    ----------
    bids_dir : Path
        Root of the input dataset.
    subject : str
        Label without ``sub-``.
    products : mapping of str to Product
        Super-resolved images, by the path of the acquired one.
    fused : mapping of str to FusedProduct, optional
        Fused volumes, each by the paths of all stacks in whose place it is.

    Returns
    -------
    Contents
        Nothing is written.

    Notes
    -----
    The phase image of a scan whose magnitude was super-resolved is left out, because the two would
    have different grids.  An image that is not the subject's is left out too: :mod:`.places`.
    """
    contents = Contents()
    reader = SidecarReader(bids_dir)
    root = bids_dir.resolve()
    subject_files = sorted(_files(bids_dir, f"sub-{subject}"))
    misplaced = {
        relpath
        for relpath, name in subject_files
        if _is_image(relpath, name) and why_misplaced(root, relpath)[0]
    }
    files = [(relpath, name) for relpath, name in subject_files if relpath not in misplaced]
    images = {relpath: name for relpath, name in files if _is_image(relpath, name)}
    replaced = {relpath: products[relpath] for relpath in images if relpath in products}
    joined = {relpath: volume for relpath, volume in (fused or {}).items() if relpath in replaced}
    names = {old: joined[old].name if old in joined else view_name(old) for old in replaced}
    renamed = {PurePosixPath(old).name: PurePosixPath(new).name for old, new in names.items()}
    scans = {_scan(images[relpath]) for relpath in replaced}
    left_out = misplaced | {
        relpath
        for relpath, name in images.items()
        if relpath not in replaced and "part" in name.entities and _scan(name) in scans
    }
    left_out |= {stack for volume in joined.values() for stack in volume.stacks[1:]}  # one row
    suffixes = {(PurePosixPath(relpath).parent, name.suffix) for relpath, name in images.items()}
    for relpath, name in files:
        source = bids_dir / relpath
        folder = PurePosixPath(relpath).parent
        if relpath in replaced:
            product = joined.get(relpath, replaced[relpath])
            _refuse_taken(bids_dir, relpath, names[relpath])
            contents.copies[names[relpath]] = product.path
            contents.sidecars[_sidecar(names[relpath])] = _raw_metadata(product.metadata)
        elif relpath in images:
            if relpath not in left_out:
                contents.links[relpath] = source
                _add_sidecar(contents, reader, relpath, bids_dir)
        elif name.extension == ".json" and (
            (folder, name.suffix) in suffixes or _is_inherited(folder, name)
        ):
            continue  # its fields are in the sidecar of each image
        elif name.extension == ".json" or source.name.endswith("_scans.tsv"):
            _add_text(contents, relpath, source, renamed, left_out)
        else:
            contents.links[relpath] = source
    return contents


def dataset_contents(bids_dir: Path) -> Contents:
    """Link the files at the root of the dataset and its folders that belong to raw data."""
    contents = Contents()
    for path in sorted(bids_dir.iterdir()):
        name = parse_name(path.name)
        if path.name == "dataset_description.json" or path.is_dir() or looks_like_image(path.name):
            continue
        if name.extension == ".json" and _is_inherited(PurePosixPath(), name):
            continue
        if not path.name.startswith(".") or path.name == ".bidsignore":
            contents.links[path.name] = path
    for folder in FOLDERS:
        for relpath, _ in _files(bids_dir, folder):
            contents.links[relpath] = bids_dir / relpath
    return contents


def _raw_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if name not in DERIVATIVE_FIELDS}


def _add_sidecar(contents: Contents, reader: SidecarReader, relpath: str, bids_dir: Path) -> None:
    """Add the sidecar of an image as acquired, with inherited fields: see _is_inherited."""
    own = _sidecar(relpath)
    try:
        metadata = reader.read(bids_dir / relpath)
    except InputDataError:
        if (bids_dir / own).exists():
            contents.links[own] = bids_dir / own
        return
    if metadata:
        contents.sidecars[own] = metadata


def _is_inherited(folder: PurePosixPath, name: ParsedName) -> bool:
    """Tell whether a sidecar above ``anat/`` applies to anatomical images.

    It would restore fields that are not valid for super-resolved images; every image of the
    view has a complete sidecar of its own instead.
    """
    return folder.name != "anat" and name.suffix in specification()["anat_suffixes"]


def _add_text(
    contents: Contents,
    relpath: str,
    source: Path,
    renamed: Mapping[str, str],
    left_out: Container[str],
) -> None:
    """Add a table or sidecar that may name images, under the names of the view.

    Rows of images that are left out are left out too.
    """
    try:
        text = read_text(source, limit=TABLE_LIMIT, any_encoding=True)
    except InputDataError:
        contents.links[relpath] = source
        return
    changed = text
    if source.suffix == ".tsv":
        folder = PurePosixPath(relpath).parent
        changed = "".join(
            line
            for line in text.splitlines(keepends=True)
            if posixpath.normpath(folder / line.split("\t")[0].strip()) not in left_out
        )
    for old, new in renamed.items():
        changed = re.sub(rf"(?<![\w.+-]){re.escape(old)}(?![\w.+-])", new, changed)
    if changed == text:
        contents.links[relpath] = source
    else:
        contents.texts[relpath] = changed


def _files(bids_dir: Path, folder: str) -> Iterator[tuple[str, ParsedName]]:
    """List the files below a folder that are not hidden, with their parsed names.

    Only links to folders outside the dataset are followed, each folder once: other links would
    show a scan twice, or never end.
    """
    root = os.path.realpath(bids_dir)
    seen = {root}

    def enters(path: Path) -> bool:
        real = os.path.realpath(path)
        if real in seen or (path.is_symlink() and (_is_in(real, root) or _is_in(root, real))):
            return False
        seen.add(real)
        return True

    for directory, folders, files in os.walk(bids_dir / folder, followlinks=True):
        folders[:] = [
            name for name in folders if not name.startswith(".") and enters(Path(directory, name))
        ]
        for file in files:
            if not file.startswith("."):
                relpath = (Path(directory) / file).relative_to(bids_dir).as_posix()
                yield relpath, parse_name(file)


def _is_in(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)


def _is_image(relpath: str, name: ParsedName) -> bool:
    return "anat" in PurePosixPath(relpath).parts and name.extension in EXTENSIONS


def _scan(name: ParsedName) -> tuple[Any, ...]:
    """Return what the magnitude and the phase image of one scan have in common."""
    return name.suffix, tuple(sorted((k, v) for k, v in name.entities.items() if k != "part"))


def _sidecar(relpath: str) -> str:
    path = PurePosixPath(relpath)
    return (path.parent / f"{path.name.split('.')[0]}.json").as_posix()
