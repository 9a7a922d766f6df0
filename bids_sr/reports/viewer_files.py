"""Files of the viewer: which images of a subject are shown, and which of their files.

Masks, uncertainty and segmentations are those whose sidecar names the result as its spatial
reference, so that nothing of another run or image is taken for it.  Nothing here loads an image.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bids_sr.bids.places import is_at_home
from bids_sr.exceptions import InputDataError
from bids_sr.files import file_digest, read_json_or_empty, read_text
from bids_sr.reports.fusion import FusedVolume, fused_file, read_fused
from bids_sr.reports.ratings import result_file
from bids_sr.reports.records import ImageRecord, SubjectRecord

Kind = Literal["image", "uncertainty", "mask", "labels"]
RAW = "bids:raw:"
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
RESULT_TITLES = {"done": "Super-resolved", "interpolated": "Interpolated"}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One file that can be shown."""

    kind: Kind
    title: str
    """What the page calls it."""
    path: Path
    digest: str
    """SHA-256 of the file."""
    labels: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    """Name and colour (#rrggbb) of each label."""
    slice_axis: int | None = None
    """Array axis across the slices of an acquired image; None: not known."""
    slice_spacing: float | None = None
    """mm, where the header may be wrong about it."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One image, or one fused volume, with all that is shown of it."""

    image: str
    """Path of the acquired image, or the name of the fused volume: what a rating names."""
    title: str
    session: str
    outcome: str
    verdict: str
    anchor: str
    """Of its section in the report."""
    output: str
    """Path of the result below the output folder."""
    images: tuple[Layer, ...]
    """What can be put before and after; the result is the last one."""
    overlays: tuple[Layer, ...]
    missing: tuple[str, ...] = ()
    """What was not found, in sentences."""
    sloppy: bool = False
    """Whether it was made with ``--sloppy``: not a result."""

    @property
    def result(self) -> Layer:
        """The image that is rated."""
        return self.images[-1]


def entries_of(root: Path, record: SubjectRecord, bids_dir: Path) -> list[Entry]:
    """List the images of a subject that have a result, and then its fused volumes.

    Parameters
    ----------
    root : Path
        Root of the output dataset.
    record : SubjectRecord
        The subject.
    bids_dir : Path
        Root of the input dataset.
    """
    referring = _by_reference(root / record.label)
    entries = []
    for image in record.images:
        product = result_file(root, image)
        if product is not None and is_at_home(image.image):
            entries.append(_entry(root, bids_dir, image, product, referring))
    by_image = {image.image: image for image in record.images}
    for volume in read_fused(root, record.label):
        path = fused_file(root, record.label, volume.record)
        if path is not None:
            entries.append(_fused_entry(root, bids_dir, volume, path, by_image, referring))
    return entries


def _entry(
    root: Path,
    bids_dir: Path,
    image: ImageRecord,
    product: Path,
    referring: Mapping[str, list[tuple[Path, Mapping[str, Any]]]],
) -> Entry:
    missing: list[str] = []
    images = [_acquired(bids_dir, image, "Acquired", missing)]
    images += [
        _layer("image", "Acquired, denoised and bias-corrected", path)
        for path, _ in referring.get(RAW + image.image, ())
        if re.search(r"_space-orig_desc-n4_", path.name)
    ]
    guide = image.quality.method.guide if image.quality else None
    if guide is not None:
        source = guide.source.removeprefix(RAW)
        used = "Guide" if guide.used else "Guide (not used)"
        images.append(_raw(bids_dir, source, f"{used}: {_stem(source)}", missing))
    images.append(_layer("image", RESULT_TITLES.get(image.outcome, "Result"), product))
    output = product.relative_to(root).as_posix()
    return Entry(
        image=image.image,
        title=image.stem,
        session=image.session,
        outcome=image.outcome,
        verdict=image.verdict.status if image.verdict else "",
        anchor=image.anchor,
        output=output,
        images=tuple(layer for layer in images if layer is not None),
        overlays=_overlays(referring.get(f"bids::{output}", ())),
        missing=tuple(missing),
        sloppy=image.sloppy,
    )


def _fused_entry(
    root: Path,
    bids_dir: Path,
    volume: FusedVolume,
    path: Path,
    by_image: Mapping[str, ImageRecord],
    referring: Mapping[str, list[tuple[Path, Mapping[str, Any]]]],
) -> Entry:
    missing: list[str] = []
    images: list[Layer | None] = []
    stacks = [by_image[s.image] for s in volume.record.stacks if s.used and s.image in by_image]
    stacks.sort(key=lambda stack: stack.image != volume.record.frame)  # the frame first
    for stack in stacks:
        images.append(_acquired(bids_dir, stack, f"Stack: {stack.stem}", missing))
    for stack in stacks:
        if (product := result_file(root, stack)) is not None:
            title = f"{RESULT_TITLES.get(stack.outcome, 'Result')}: {stack.stem}"
            images.append(_layer("image", title, product))
    images.append(_layer("image", "Fused", path))
    output = path.relative_to(root).as_posix()
    return Entry(
        image=volume.record.product,
        title=volume.record.product,
        session=stacks[0].session if stacks else "",
        outcome="fused",
        verdict=volume.record.verdict.status if volume.record.verdict else "",
        anchor=volume.anchor,
        output=output,
        images=tuple(layer for layer in images if layer is not None),
        overlays=_overlays(referring.get(f"bids::{output}", ())),
        missing=tuple(missing),
        sloppy=any(stack.sloppy for stack in stacks),
    )


def _acquired(bids_dir: Path, image: ImageRecord, title: str, missing: list[str]) -> Layer | None:
    axis, spacing = image.row.get("slice_axis", ""), image.row.get("spacing", "")
    known = re.fullmatch(r"[012]", axis) and re.fullmatch(r"\d+(\.\d+)?", spacing)
    layer = _raw(bids_dir, image.image, title, missing)
    if layer is None or not known:
        return layer
    return Layer(
        kind="image",
        title=title,
        path=layer.path,
        digest=layer.digest,
        slice_axis=int(axis),
        slice_spacing=float(spacing),
    )


def _raw(bids_dir: Path, relpath: str, title: str, missing: list[str]) -> Layer | None:
    if not is_at_home(relpath):  # a path that others may have written
        return None
    layer = _layer("image", title, bids_dir / relpath)
    if layer is None:
        missing.append(f"{title}: {relpath} was not found in the input dataset.")
    return layer


def _layer(kind: Kind, title: str, path: Path, **facts: Any) -> Layer | None:
    try:
        return Layer(kind=kind, title=title, path=path, digest=file_digest(path), **facts)
    except (OSError, InputDataError):
        return None


def _overlays(files: Any) -> tuple[Layer, ...]:
    found: list[Layer | None] = []
    for path, sidecar in files:
        name = path.name
        if name.endswith("_uncertainty.nii.gz"):
            calibrated = sidecar.get("Calibrated") is True
            what = "calibrated" if calibrated else "not calibrated"
            title = f"Uncertainty (standard deviation, {what})"
            found.append(_layer("uncertainty", title, path))
        elif name.endswith("_mask.nii.gz") and sidecar.get("Type") != "Lesion":
            found.append(_layer("mask", "Brain mask", path, labels={1: ("brain", "#4aa3ff")}))
        elif name.endswith("_dseg.nii.gz"):
            tool = name.partition("_seg-")[2].partition("_")[0]
            table = path.with_name(name.removesuffix(".nii.gz") + ".tsv")
            title = f"Segmentation: {tool or 'labels'}"
            found.append(_layer("labels", title, path, labels=_labels(table)))
    order = {"uncertainty": 0, "mask": 1, "labels": 2}
    layers = [layer for layer in found if layer is not None]
    return tuple(sorted(layers, key=lambda layer: (order[layer.kind], layer.title)))


def _by_reference(folder: Path) -> dict[str, list[tuple[Path, Mapping[str, Any]]]]:
    """Map each spatial reference to the images that name it, with their sidecars."""
    referring: dict[str, list[tuple[Path, Mapping[str, Any]]]] = {}
    for path in sorted([*folder.glob("anat/*.json"), *folder.glob("ses-*/anat/*.json")]):
        sidecar = read_json_or_empty(path)
        image = path.with_name(f"{path.name.removesuffix('.json')}.nii.gz")
        reference = sidecar.get("SpatialReference")
        if isinstance(reference, str) and image.is_file():
            referring.setdefault(reference, []).append((image, sidecar))
    return referring


def _labels(table: Path) -> dict[int, tuple[str, str]]:
    """Read the names and colours of labels; those that cannot be read are left out."""
    try:
        text = read_text(table, what="the table of labels")
        rows = list(csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
    except (InputDataError, csv.Error):
        return {}
    labels = {}
    for row in rows:
        index, colour = row.get("index") or "", row.get("color") or ""
        if re.fullmatch(r"\d{1,9}", index) and int(index):
            fitting = colour if _COLOUR.fullmatch(colour) else ""
            labels[int(index)] = ((row.get("name") or index)[:80], fitting)
    return labels


def _stem(relpath: str) -> str:
    return relpath.rpartition("/")[2].split(".")[0]
