"""Records of a run as they lie on disk: what the pages are assembled from.

Reads the decisions table, QC files, sidecars, figures and run logs below an output
folder.  A piece that is missing or broken becomes a sentence in ``problems``, never
an exception: a report must be written above all when things went wrong.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_sr.bids.places import is_at_home
from bids_sr.bids.status import checked_row
from bids_sr.exceptions import InputDataError
from bids_sr.files import TABLE_LIMIT, read_bytes, read_json, read_text, read_toml
from bids_sr.records.quality import QualityRecord
from bids_sr.records.verdict import Verdict

FIGURE_NAMES = (
    "sr",
    "uncertainty",
    "mask",
    "slices",
    "slicegain",
    "sliceprofile",
    "learningcurve",
    "guide",
    "guidealigned",
)
SEGMENTATION = "seg"
"""Figures of segmentations are named after it and the tool: ``segatropos``."""
NOT_AVAILABLE = ("", "n/a")
_ENTITY = re.compile(r"([A-Za-z]+)-([^_]+)")


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """All that is known about one image of the input dataset."""

    image: str
    """Path below the root of the input dataset."""
    row: Mapping[str, str] = field(default_factory=dict)
    """Its row of ``decisions.tsv``, without what is not available."""
    quality: QualityRecord | None = None
    """Its QC file; None where there is none."""
    sidecar: Mapping[str, Any] = field(default_factory=dict)
    """Sidecar of the product; empty where there is none."""
    figures: Mapping[str, Path] = field(default_factory=dict)
    """Name (of ``FIGURE_NAMES``) -> file."""
    problems: tuple[str, ...] = ()
    """What could not be read, in sentences."""

    @property
    def stem(self) -> str:
        """File name without its extension."""
        return self.image.rpartition("/")[2].split(".")[0]

    @property
    def suffix(self) -> str:
        """``T1w``, ``FLAIR``, ..."""
        return self.stem.rpartition("_")[2]

    @property
    def subject(self) -> str:
        """Participant with ``sub-``, from the table or the file name."""
        return self.row.get("participant_id") or f"sub-{dict(self.entities).get('sub', '')}"

    @property
    def session(self) -> str:
        """Session with ``ses-``, or an empty text."""
        session = dict(self.entities).get("ses", "")
        return self.row.get("session_id") or (f"ses-{session}" if session else "")

    @property
    def entities(self) -> tuple[tuple[str, str], ...]:
        """Entities of the file name in their order."""
        return tuple(_ENTITY.findall(self.stem))

    @property
    def anchor(self) -> str:
        """Name of the image's section in the page of its subject."""
        name = self.stem if is_at_home(self.image) else self.image
        return "image-" + re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")

    @property
    def action(self) -> str:
        """``super-resolve``, ``pass-through``, ``skip`` or ``fail``; or an empty text."""
        return self.row.get("action", "") or (self.quality.action if self.quality else "")

    @property
    def outcome(self) -> str:
        """``done``, ``interpolated``, ``passed-through``, ``skipped``, ``failed``, ``unfinished``.

        Only ``done`` says that the image was super-resolved.
        """
        status = self.row.get("status", "done" if self.quality else "")
        if status == "failed" or self.action == "fail":
            return "failed"
        if status == "skipped" or self.action == "skip":
            return "skipped"
        if status != "done":
            return "unfinished"
        if self.action == "pass-through":
            return "passed-through"
        interpolated = self.quality is not None and self.quality.method.interpolated
        return "interpolated" if interpolated else "done"

    @property
    def has_result(self) -> bool:
        """Whether the latest run, or an earlier one that still counts, made its product."""
        return self.outcome in ("done", "interpolated", "passed-through")

    @property
    def sloppy(self) -> bool:
        """Whether it was made with ``--sloppy``: not a result."""
        return self.result.sloppy

    @property
    def result(self) -> QualityRecord:
        """Its QC file where that is of the result; a file next to a failed image is older."""
        known = self.quality if self.has_result else None
        return known or QualityRecord(image=self.image)

    @property
    def verdict(self) -> Verdict | None:
        """Verdict on its result; None where there is no result, or an older QC file."""
        return self.result.verdict

    @property
    def message(self) -> str:
        """Error or warnings of the run."""
        return self.row.get("message", "")


@dataclass(frozen=True, kw_only=True)
class CrashRecord:
    """A crash file of a node."""

    name: str
    node: str
    """Full name of the node, or an empty text."""
    text: str


@dataclass(frozen=True, kw_only=True)
class RunLog:
    """What is written down about a run in ``sub-X/log/<run>/``."""

    name: str
    table: Mapping[str, Any] = field(default_factory=dict)
    """Content of ``run.toml``: ``run``, ``versions``, ``config``."""
    crashes: tuple[CrashRecord, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SubjectRecord:
    """All that is known about one participant."""

    label: str
    """With ``sub-``."""
    images: tuple[ImageRecord, ...]
    """In the order of the decisions table."""
    run: RunLog | None
    """The latest run; None where no log was found."""
    methods: Mapping[Path, tuple[str, ...]] = field(default_factory=dict)
    """Methods text -> stems of the images that were made so; only images with a result."""
    problems: tuple[str, ...] = ()


def read_subject(output_dir: str | Path, subject: str) -> SubjectRecord:
    """Read what lies on disk about a participant.

    Parameters
    ----------
    output_dir : path
        Root of the output dataset.
    subject : str
        Label, with or without ``sub-``.

    Returns
    -------
    SubjectRecord

    Raises
    ------
    InputDataError
        If nothing at all is known of this participant.
    """
    root = Path(output_dir)
    label = f"sub-{subject.removeprefix('sub-')}"
    rows, problems = read_decisions(root, label)
    if not rows and not (root / label).is_dir():
        raise InputDataError(
            f"{root} has no folder {label} and no row of it in decisions.tsv, expected at least "
            "one of them; check the label or run the participant level first."
        )
    images, broken = _read_images(root, label, rows)
    log = root / label / "log"
    return SubjectRecord(
        label=label,
        images=images,
        run=read_run_log(log),
        methods=_methods_of_results(root, log, images),
        problems=(*problems, *broken),
    )


def read_all(output_dir: str | Path) -> list[ImageRecord]:
    """Read all images of an output dataset, for the group level."""
    root = Path(output_dir)
    own: dict[str, list[dict[str, str]]] = {
        path.name: [] for path in root.glob("sub-*") if path.is_dir()
    }
    for row in read_decisions(root)[0]:
        if "participant_id" in row:
            own.setdefault(row["participant_id"], []).append(row)
    return [image for label in sorted(own) for image in _read_images(root, label, own[label])[0]]


def read_decisions(root: Path, label: str = "") -> tuple[list[dict[str, str]], list[str]]:
    """Read ``decisions.tsv``.

    Parameters
    ----------
    root : Path
        Root of the output dataset.
    label : str
        Participant with ``sub-`` whose rows are wanted; empty for all.

    Returns
    -------
    tuple
        Rows without the cells that are not available, and what went wrong.
    """
    path = root / "decisions.tsv"
    try:
        text = read_text(path, what="the table", limit=TABLE_LIMIT)
        stream = io.StringIO(text, newline="")
        head = stream.readline()
        # Most lines are of others: they are not taken apart.
        lines = itertools.chain([head], (line for line in stream if label in line))
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (InputDataError, csv.Error) as error:
        return [], [f"{_within(root, error)} Decisions are not shown."]
    decisions = [
        {key: cell for key, cell in row.items() if key and cell and cell not in NOT_AVAILABLE}
        for row in rows
    ]
    return [row for row in decisions if row and label in ("", row.get("participant_id"))], []


def read_run_log(folder: Path) -> RunLog | None:
    """Read the latest run; names of runs begin with their time, so they sort by it."""
    runs = sorted(path for path in folder.glob("*") if path.is_dir())
    if not runs:
        return None
    latest = runs[-1]
    table: dict[str, Any] = {}
    problems = []
    try:
        table = read_toml(latest / "run.toml")
    except InputDataError as error:
        problems.append(_within(folder, error))
    crashes = tuple(_read_crash(path) for path in sorted(latest.glob("crash*")) if path.is_file())
    return RunLog(name=latest.name, table=table, crashes=crashes, problems=tuple(problems))


def _read_crash(path: Path) -> CrashRecord:
    try:
        text = read_bytes(path).decode("utf-8", "replace")
    except InputDataError as error:
        text = _within(path.parent, error)
    node = re.search(r"^Node: *(\S+)", text, re.MULTILINE)
    return CrashRecord(name=path.name, node=node[1] if node else "", text=text.strip())


def _read_images(
    root: Path, label: str, rows: list[dict[str, str]]
) -> tuple[tuple[ImageRecord, ...], list[str]]:
    qualities: dict[str, QualityRecord] = {}
    broken = []
    for path in sorted((root / label).rglob("*_qc.json")):
        try:
            quality = read_json(path, what="the QC file")
        except InputDataError as error:
            broken.append(_within(root, error))
            continue
        if record := QualityRecord.from_dict(quality):
            qualities[record.image] = record
    by_image = {row["image"]: checked_row(root, row) for row in rows if "image" in row}
    images = [
        _read_image(root, label, image, by_image.get(image, {}), qualities.get(image))
        for image in dict.fromkeys([*by_image, *qualities])
    ]
    return tuple(images), broken


def _read_image(
    root: Path, label: str, image: str, row: dict[str, str], quality: QualityRecord | None
) -> ImageRecord:
    problems = []
    sidecar: dict[str, Any] = {}
    output = row.get("output")
    if output:
        path = root / f"{output.removesuffix('.gz').removesuffix('.nii')}.json"
        try:
            sidecar = read_json(path, what="the sidecar")
        except InputDataError as error:
            problems.append(_within(root, error))
    if row and not quality and row.get("status") == "done":
        problems.append("No QC file was found for this image.")
    if quality and not row:
        problems.append("This image has a QC file but no row in decisions.tsv.")
    plain = ImageRecord(image=image, row=row, quality=quality, problems=tuple(problems))
    if not is_at_home(image):  # what bears its name is of the image that is
        return plain
    prefix, _, suffix = plain.stem.rpartition("_")
    figures: dict[str, Path] = {}
    for name in FIGURE_NAMES:
        for extension in (".svg", ".png"):
            path = root / label / "figures" / f"{prefix}_desc-{name}_{suffix}{extension}"
            with contextlib.suppress(OSError):  # a name too long for the file system
                if path.is_file():
                    figures.setdefault(name, path)
    for path in sorted((root / label / "figures").glob(f"*_desc-{SEGMENTATION}*_{suffix}.svg")):
        name = path.name.removeprefix(f"{prefix}_desc-").removesuffix(f"_{suffix}.svg")
        if name.startswith(SEGMENTATION):  # of this image, not of one with more entities
            figures[name] = path
    return ImageRecord(
        image=image,
        row=row,
        quality=quality,
        sidecar=sidecar,
        figures=figures,
        problems=tuple(problems),
    )


def _methods_of_results(
    root: Path, log: Path, images: Iterable[ImageRecord]
) -> dict[Path, tuple[str, ...]]:
    """Find the methods text of each result: that of the latest run that made it."""
    runs = sorted(path for path in log.glob("*") if path.is_dir())
    run_of = {
        row["image"]: run
        for run in runs
        for row in (read_decisions(run)[0] if (run / "decisions.tsv").is_file() else ())
        if row.get("status") == "done" and "image" in row
    }
    stems: dict[Path, tuple[str, ...]] = {}
    texts: dict[str, Path] = {}  # several runs of the same methods count as one
    for image in images:
        if not image.has_result:
            continue
        own = run_of.get(image.image, runs[-1] if runs else log) / "CITATION.md"
        # The text in logs/ is that of whichever job wrote last.
        path = own if own.is_file() else root / "logs" / "CITATION.md"
        with contextlib.suppress(InputDataError):
            path = texts.setdefault(read_text(path, what="the methods text"), path)
        stems[path] = (*stems.get(path, ()), image.stem)
    return stems


def _within(folder: Path, error: Exception) -> str:
    """Return what an error says, with the path of its file below a folder."""
    return str(error).removeprefix(f"{folder}/")
