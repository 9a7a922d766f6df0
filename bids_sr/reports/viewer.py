"""The viewer of a subject: ``sub-X_viewer.html``, one page to scroll through its images.

It holds NiiVue, 8-bit copies of the images and nothing that needs a server or a network.  It is
made from the files on disk, and named in the page's head by what it was made of: a page of other
files is never linked.  What is shown of an image is in :mod:`.viewer_files`.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
from markupsafe import Markup

import bids_sr
from bids_sr.exceptions import InputDataError, in_words
from bids_sr.files import jsonable, open_regular, text_digest, write_text_atomic
from bids_sr.imaging import Series, Volume
from bids_sr.reports.assemble import OUTCOMES
from bids_sr.reports.page import render
from bids_sr.reports.records import SubjectRecord, read_subject
from bids_sr.reports.viewer_files import Entry, Layer, entries_of
from bids_sr.reports.viewer_volumes import (
    Copy,
    Frame,
    coarser,
    grey_copy,
    label_copy,
    uncertainty_copy,
    with_fewer_levels,
)

LOGGER = logging.getLogger(__name__)
MOST_BYTES = 25_000_000
"""Of the page."""
FEWER_LEVELS = (128, 64)
"""Grey levels to fall back to, one after the other, where the page would be larger."""
PALETTE = ("#3b82f6", "#22c55e", "#facc15", "#f97316", "#a855f7", "#ec4899", "#14b8a6", "#ef4444")
"""Of labels without a colour of their own."""
_HEAD_BYTES = 4096
_MADE_OF = re.compile(r'<meta name="made-of" content="([0-9a-f]{64})">')
MOST_HALVINGS = 3
"""Of the voxels of the last image, where it alone would be too large."""
Key = tuple[str, str]
"""Kind and path of a layer: what is copied once, however often it is shown."""


def viewer_path(root: Path, label: str) -> Path:
    """Return where the viewer of a subject lies; `label` with ``sub-``."""
    return root / f"{label}_viewer.html"


def update_viewer(root: Path, subject: str, bids_dir: Path, *, write: bool) -> str:
    """Write the viewer of a subject, and remove one that shows other files than those on disk.

    Parameters
    ----------
    root : Path
        Root of the output dataset.
    subject : str
        Label, with or without ``sub-``.
    bids_dir : Path
        Root of the input dataset, for the acquired images.
    write : bool
        Whether it may be written; else one that is up to date stays.

    Returns
    -------
    str
        Name of the page; empty where there is none.  The viewer is an extra: what goes wrong
        is logged as a warning, never raised.
    """
    label = f"sub-{subject.removeprefix('sub-')}"
    path = viewer_path(root, label)
    if not write and not path.is_file():
        return ""
    try:
        record = read_subject(root, label)
    except InputDataError:  # nothing is known of it, which the report says
        return ""
    try:
        entries = entries_of(root, record, bids_dir)
        made_of = _made_of(entries)
        if entries and _is_of(path, made_of):
            return path.name
        path.unlink(missing_ok=True)
        if not entries or not write:
            return ""
        page = _page(record, entries, made_of)
        return write_text_atomic(path, page).name if page else ""
    except Exception as error:
        LOGGER.warning("no viewer of %s: %s", label, in_words(error))
        LOGGER.debug("viewer of %s", label, exc_info=True)
        _remove(path)
        return ""


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        LOGGER.warning("%s is out of date and cannot be removed: %s", path, error)


def _made_of(entries: Sequence[Entry]) -> str:
    """Return the digest of all that goes into the page."""
    layers = [[e.image, e.title, e.outcome, e.verdict, *map(_facts, _layers(e))] for e in entries]
    missing = [[*entry.missing, entry.sloppy] for entry in entries]
    parts = [_template_digest(), layers, missing]
    return text_digest(json.dumps(jsonable(parts), ensure_ascii=True, sort_keys=True))


def _template_digest() -> str:
    """Return the digest of the version and what the page looks like and does."""
    folder = resources.files("bids_sr.data").joinpath("report")
    names = ("viewer.html.j2", "viewer.css", "viewer.js", "style.css")
    texts = [folder.joinpath(name).read_text(encoding="utf-8") for name in names]
    return text_digest("\n".join([bids_sr.__version__, *texts]))


def _facts(layer: Layer) -> list[Any]:
    labels = sorted((str(index), *facts) for index, facts in layer.labels.items())
    place = [layer.path.name, layer.slice_axis, layer.slice_spacing]
    return [layer.kind, layer.title, layer.digest, *place, labels]


def _is_of(path: Path, made_of: str) -> bool:
    if not path.is_file():
        return False
    with open_regular(path) as stream:
        found = _MADE_OF.search(stream.read(_HEAD_BYTES).decode("utf-8", "replace"))
    return found is not None and found[1] == made_of


def _layers(entry: Entry) -> list[Layer]:
    return [*entry.images, *entry.overlays]


@dataclass(frozen=True, kw_only=True)
class _Content:
    """What fits into the page, and what was done for that."""

    images: list[dict[str, Any]]
    copies: dict[Key, Copy]
    reductions: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of the copies in base64, and of what the page says of them."""
        facts = json.dumps(jsonable({"i": self.images, "f": [c.facts for c in self.used]}))
        return sum(4 * (len(c.content) // 3 + 1) for c in self.used) + 2 * len(facts)

    @property
    def used(self) -> list[Copy]:
        """The copies that one of the images shows."""
        return [self.copies[key] for key in self.keys]

    @property
    def keys(self) -> list[Key]:
        """Their keys, in the order of the images."""
        shown = [part["key"] for i in self.images for part in (*i["images"], *i["overlays"])]
        return list(dict.fromkeys(shown))

    def in_levels(self, levels: int) -> _Content:
        """Return the same in fewer grey levels."""
        copies = {
            key: with_fewer_levels(copy, levels) if key[0] == "image" else copy
            for key, copy in self.copies.items()
        }
        words = f"Grey levels: {levels} instead of 256, so that the page stays below 25 MB."
        return _Content(images=self.images, copies=copies, reductions=[words])

    def halved(self) -> _Content:
        """Return the same in larger voxels."""
        copies = {
            key: coarser(copy) if key[0] == "image" and key in self.keys else copy
            for key, copy in self.copies.items()
        }
        begin = "Voxels: averaged in twos"
        words = f"{begin} along the finest axes, so that the page stays below 25 MB."
        rest = [text for text in self.reductions if not text.startswith(begin)]
        return _Content(images=self.images, copies=copies, reductions=[*rest, words])

    def without(self, number: int) -> _Content:
        """Return the same without one of the images, and say so."""
        images = [image for n, image in enumerate(self.images) if n != number]
        words = f"Left out, so that the page stays below 25 MB: {self.images[number]['title']}."
        return _Content(images=images, copies=self.copies, reductions=[*self.reductions, words])


def _page(record: SubjectRecord, entries: Sequence[Entry], made_of: str) -> str:
    """Fill in the page; empty where no image can be shown."""
    data = resources.files("bids_sr.data").joinpath("viewer")
    bundle = json.loads(data.joinpath("niivue.json").read_text(encoding="utf-8"))
    script = _base64(data.joinpath(bundle["file"]).read_bytes())
    content = _content(entries)
    if not content.images:
        return ""
    parts = {
        "subject": record.label,
        "made_of": made_of,
        "niivue": script,
        "niivue_version": bundle["version"],
        "licences": data.joinpath("LICENSES.txt").read_text(encoding="utf-8"),
    }
    empty = render("viewer.html.j2", {**parts, "content": {}, "volumes": [], "reductions": []})
    content = _fitting(content, MOST_BYTES - len(empty.encode()))
    ids = {key: f"volume-{number}" for number, key in enumerate(content.keys)}
    for image in content.images:
        for part in (*image["images"], *image["overlays"]):
            part["volume"] = ids[part.pop("key")]
    volumes = {ids[key]: copy for key, copy in content.copies.items() if key in ids}
    shown = {
        "subject": record.label,
        "images": content.images,
        "volumes": {name: copy.facts for name, copy in volumes.items()},
    }
    context = {
        "content": jsonable(shown),
        "volumes": [(name, _base64(copy.content)) for name, copy in volumes.items()],
        "reductions": content.reductions,
    }
    return render("viewer.html.j2", {**parts, **context})


def _fitting(content: _Content, most: int) -> _Content:
    """Reduce the content until it fits: fewer grey levels, then fewer images.

    Images that were passed through go first, then the last one.  The first image stays, in larger
    voxels where it alone is too large.

    Raises
    ------
    InputDataError
        If even that is too large.
    """
    full = content
    for levels in FEWER_LEVELS:
        if content.size > most:
            content = full.in_levels(levels)
    while content.size > most and len(content.images) > 1:
        passed = [n for n, i in enumerate(content.images) if i["outcome"] == "passed-through"]
        content = content.without(passed[-1] if passed else len(content.images) - 1)
    for _ in range(MOST_HALVINGS):
        if content.size > most:
            content = content.halved()
    if content.size > most:
        raise InputDataError(
            f"Found {content.size / 1e6:.0f} MB of images in large voxels; expected at most 25 MB "
            "in one page. Use another viewer."
        )
    return content


def _content(entries: Sequence[Entry]) -> _Content:
    copies: dict[Key, Copy] = {}
    images = []
    for entry in entries:
        try:
            images.append(_image(entry, copies))
        except Exception as error:  # the other images are shown
            LOGGER.warning("the viewer leaves out %s: %s", entry.title, in_words(error))
            LOGGER.debug("viewer of %s", entry.title, exc_info=True)
    return _Content(images=images, copies=copies)


def _image(entry: Entry, copies: dict[Key, Copy]) -> dict[str, Any]:
    """Copy what is shown of an image, and describe it for the page."""
    notes = list(entry.missing)
    result, _ = _load(entry.result)
    frame = Frame.of(result)
    axis = result.slice_axis
    shown: dict[str, list[dict[str, Any]]] = {"images": [], "overlays": []}
    for layer in _layers(entry):
        key = (layer.kind, str(layer.path))
        kind = "images" if layer.kind == "image" else "overlays"
        try:
            volume = result if layer is entry.result else None
            if layer is entry.images[0]:
                volume, axis = _load(layer)
            copy = copies.get(key) or _copied(volume or _load(layer)[0], layer, frame)
        except Exception as error:  # the other layers are shown
            notes.append(f"{layer.title}: cannot be shown. {in_words(error)}")
            LOGGER.debug("viewer, %s of %s", layer.title, entry.title, exc_info=True)
            continue
        copies[key] = copy
        part: dict[str, Any] = {"key": key, "title": layer.title, "kind": layer.kind}
        if layer.labels or "labels" in copy.facts:
            part["labels"] = _legend(layer, copy.facts.get("labels", []))
        shown[kind].append(part)
    if not any(part["key"] == ("image", str(entry.result.path)) for part in shown["images"]):
        raise InputDataError("; ".join(notes))
    return {
        "image": entry.image,
        "title": entry.title,
        "session": entry.session,
        "outcome": entry.outcome,
        "outcomeWords": OUTCOMES.get(entry.outcome, entry.outcome),
        "verdict": entry.verdict,
        "sloppy": entry.sloppy,
        "anchor": entry.anchor,
        "output": entry.output,
        "sha256": entry.result.digest,
        "toDisplay": frame.to_display.tolist(),
        "half": frame.half.tolist(),
        "sliceAxis": axis,
        "notes": notes,
        **shown,
    }


def _load(layer: Layer) -> tuple[Volume, int]:
    """Load a layer, of a series its first frame, and tell its canonical slice axis."""
    if layer.kind in ("mask", "labels"):
        volume = Volume.load(layer.path, dtype=np.int32)
    else:
        volume = next(Series.load(layer.path).frames())
    axis = layer.slice_axis
    if axis is not None and layer.slice_spacing is not None:
        if abs(volume.spacings[axis] / layer.slice_spacing - 1) > 0.01:  # --slice-spacing
            volume = volume.with_slice_spacing(layer.slice_spacing, axis)
        axis = int(nb.orientations.io_orientation(volume.affine)[axis, 0])
    canonical = volume.canonical()
    return canonical, canonical.slice_axis if axis is None else axis


def _copied(volume: Volume, layer: Layer, frame: Frame) -> Copy:
    cropped = frame.crop(volume)
    if cropped is None:
        raise InputDataError("It does not overlap with the result.")
    make = {"image": grey_copy, "uncertainty": uncertainty_copy}.get(layer.kind, label_copy)
    return make(cropped)


def _legend(layer: Layer, labels: Sequence[int]) -> list[dict[str, Any]]:
    """Name and colour each byte of a copy of labels, the first is 1."""
    legend = []
    for byte, label in enumerate(labels[1:], start=1):
        name, colour = layer.labels.get(label, (f"label {label}", ""))
        legend.append({"name": name, "colour": colour or PALETTE[byte % len(PALETTE)]})
    return legend


def _base64(content: bytes) -> Markup:
    return Markup(base64.b64encode(content).decode("ascii"))
