"""Files of the output dataset that belong to no single image.

Several jobs may write to one output folder at once: fixed files are written with
the same content by all of them, the table of decisions is merged under a lock.  Each run
also keeps its own rows of that table, from which the group level makes it whole again.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bids_sr import __version__
from bids_sr.bids.status import true_row
from bids_sr.exceptions import InputDataError, printable
from bids_sr.files import (
    TABLE_LIMIT,
    read_json_or_empty,
    read_text,
    write_json_atomic,
    write_text_atomic,
)
from bids_sr.files.locking import locked
from bids_sr.records.json_values import mapping

LOGGER = logging.getLogger(__name__)
BIDS_VERSION = "1.10.0"
LONGEST_CELL = 20_000
"""Characters of a cell of a table; the reader of tables stops at 131,072."""
DECISION_COLUMNS = (
    "participant_id",
    "session_id",
    "image",
    "action",
    "reason",
    "status",
    "verdict",
    "message",
    "output",
    "slice_axis",
    "spacing",
    "thickness",
    "gap",
    "profile",
    "assumptions",
)
# The validator compares an entry without a slash with every part of a path.
IGNORED = (
    "figures",
    "log",
    "logs",
    "decisions.tsv",
    "group_*",
    "ratings",
    "*.html",
    "*_qc.json",
    "*_sliceprofile.tsv",
    "*_volumes.tsv",
    "*_lesions.tsv",
    "*_uncertainty.nii.gz",
    "*_uncertainty.json",
    "*_model.safetensors",
    "*_model.json",
    "*_xfm.txt",
)
DESCRIPTIONS = {
    "sr": "super-resolved or interpolated image, or the image itself where it was passed through",
    "preproc": "the super-resolved image that stands for its contrast in the session",
    "brain": "brain mask",
    "denoised": "image after denoising, on the acquired grid",
    "n4": "image after denoising and bias field correction, on the acquired grid",
    "fused": "volume fused of several stacks of one contrast",
}


def write_dataset_files(
    output_dir: Path, bids_dir: Path, *, derivatives: Mapping[str, Path] | None = None
) -> None:
    """Write ``dataset_description.json``, ``descriptions.tsv`` and ``.bidsignore``.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    bids_dir : Path
        Root of the input dataset.
    derivatives : mapping of str to Path, optional
        Other datasets that results may come from, by name.
    """
    with dataset_lock(output_dir):
        description = dataset_description(bids_dir, derivatives or {})
        earlier = mapping(read_description(output_dir).get("DatasetLinks"))
        # Sidecars of earlier runs may point to datasets that this run does not use.
        description["DatasetLinks"] = {**earlier, **description["DatasetLinks"]}
        write_json_atomic(output_dir / "dataset_description.json", description)
    rows = [
        {"desc_id": f"desc-{name}", "description": text} for name, text in DESCRIPTIONS.items()
    ]
    write_text_atomic(output_dir / "descriptions.tsv", _table(("desc_id", "description"), rows))
    write_text_atomic(output_dir / ".bidsignore", "\n".join(IGNORED) + "\n")


def dataset_description(bids_dir: Path, derivatives: Mapping[str, Path]) -> dict[str, Any]:
    """Describe the output dataset.

    Parameters
    ----------
    bids_dir : Path
        Root of the input dataset; its name, licence and DOI are taken over.
    derivatives : mapping of str to Path
        Other datasets that results may come from, by name.

    Returns
    -------
    dict
        Content of ``dataset_description.json``.
    """
    bids_dir = Path(bids_dir).resolve()
    raw = read_description(bids_dir)
    links = {name: Path(path).resolve().as_uri() for name, path in derivatives.items()}
    source = {"URL": bids_dir.as_uri()}
    if raw.get("DatasetDOI"):
        source["DOI"] = str(raw["DatasetDOI"])
    description: dict[str, Any] = {
        "Name": f"Super-resolved anatomical images of {raw.get('Name') or bids_dir.name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [pipeline()],
        "SourceDatasets": [source],
        "DatasetLinks": {"raw": bids_dir.as_uri(), **links},
    }
    if raw.get("License"):
        description["License"] = raw["License"]
    return description


def pipeline() -> dict[str, Any]:
    """Describe this software as an entry of ``GeneratedBy``."""
    entry: dict[str, Any] = {
        "Name": "bids_sr",
        "Version": __version__,
        "Description": "Super-resolution of thick-slice anatomical MRI",
    }
    container = _container()
    return entry | ({"Container": container} if container else {})


def update_decisions(
    output_dir: Path, rows: Iterable[Mapping[str, str]], *, keep_in: Iterable[Path] = ()
) -> Path:
    """Merge rows into the table of decisions.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    rows : iterable of mapping
        From :func:`bids_sr.bids.image.decision_row`; a row replaces the one of the same
        image, others are kept.  Where nothing was done to an image (``planned``, ``skipped``),
        the row of a result that is on disk stays.
    keep_in : iterable of Path
        Folders ``sub-X/log/<run>`` of the run, which keep their subject's rows.

    Returns
    -------
    Path
        ``decisions.tsv``.
    """
    rows = [dict(row) for row in rows]
    keep_decisions(keep_in, rows)
    path = output_dir / "decisions.tsv"
    with dataset_lock(output_dir):
        return write_text_atomic(path, _merged(output_dir, rows))


def keep_decisions(folders: Iterable[Path], rows: Iterable[Mapping[str, str]]) -> None:
    """Write the rows of a run to its folders ``sub-X/log/<run>``, to each those of its subject."""
    rows = list(rows)
    for folder in folders:
        own = [row for row in rows if row["participant_id"] == folder.parents[1].name]
        write_text_atomic(folder / "decisions.tsv", _table(DECISION_COLUMNS, own))


def read_decisions(output_dir: Path) -> list[dict[str, str]]:
    """Read the table of decisions.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.

    Returns
    -------
    list of dict
        Rows, by image; ``n/a`` is read as empty text.  Empty where there is no table.
    """
    text = io.StringIO(_decisions_text(output_dir), newline="")
    rows = []
    try:
        for row in csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE):
            rows.append({name: _empty_if_na(row.get(name)) for name in DECISION_COLUMNS})
    except csv.Error as error:
        LOGGER.warning("%s: rows are lost (%s)", output_dir / "decisions.tsv", error)
    return rows


def _decisions_text(output_dir: Path) -> str:
    """Read the table; empty if it cannot be read, and the rows of each run then rebuild it."""
    path = output_dir / "decisions.tsv"
    if not path.exists():
        return ""
    try:
        return read_text(path, what="the table of decisions", limit=TABLE_LIMIT)
    except InputDataError as error:
        LOGGER.warning("%s", error)
        return ""


def restore_decisions(output_dir: Path, subjects: Iterable[str] | None = None) -> Path:
    """Bring the table of decisions up to date with the files on disk.

    The rows of each run are read again; for an image, its latest run counts.  A table can lack
    rows where the file system has no locks, or where other machines do not see them.
    Then the status of each image follows its files: :func:`bids_sr.bids.status.true_row`.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    subjects : iterable of str, optional
        Labels without ``sub-``; None for all.

    Returns
    -------
    Path
        ``decisions.tsv``.
    """
    labels = {"sub-*"} if subjects is None else {f"sub-{subject}" for subject in subjects}
    tables = [path for label in labels for path in output_dir.glob(f"{label}/log/*/decisions.tsv")]
    rows = [
        row
        for table in sorted(tables, key=lambda path: path.parent.name)
        for row in read_decisions(table.parent)
    ]
    path = update_decisions(output_dir, rows) if rows else output_dir / "decisions.tsv"
    recorded = [
        row
        for row in read_decisions(output_dir)
        if subjects is None or row["participant_id"] in labels
    ]
    pairs = [(row, true_row(output_dir, row)) for row in recorded]
    changed = [now for before, now in pairs if now != before]
    return update_decisions(output_dir, changed) if changed else path


def dataset_lock(output_dir: Path) -> AbstractContextManager[None]:
    """Return the lock of the dataset-wide files."""
    return locked(output_dir / "logs" / ".dataset.lock")


def subject_lock(output_dir: Path, subject: str) -> AbstractContextManager[None]:
    """Return the lock of the files that all sessions of a subject share; no ``sub-``."""
    return locked(output_dir / f"sub-{subject}" / "log" / ".subject.lock")


def _merged(output_dir: Path, rows: Iterable[Mapping[str, str]]) -> str:
    """Put rows into the text of the table; lines of other images are not taken apart.

    Each of a thousand jobs merges twice: a line is copied in a sixth of the time that
    reading and writing its cells takes.
    """
    head, *new_lines = _table(DECISION_COLUMNS, rows).splitlines(keepends=True)
    columns = len(DECISION_COLUMNS)
    text = _decisions_text(output_dir) or head
    earlier_lines = [f"{line}\n" for line in text.split("\n") if line]
    if earlier_lines[:1] != [head] or any(
        line.count("\t") != columns - 1 for line in earlier_lines
    ):
        earlier_lines = _table(DECISION_COLUMNS, read_decisions(output_dir)).splitlines(
            keepends=True
        )
    place = DECISION_COLUMNS.index("image")
    lines = {line.split("\t", place + 1)[place]: line for line in earlier_lines[1:]}
    for line in new_lines:
        image = line.split("\t", place + 1)[place]
        if not _stays(output_dir, lines.get(image), line):
            lines[image] = line
    return head + "".join(lines[image] for image in sorted(lines))


def _stays(output_dir: Path, line: str | None, other: str) -> bool:
    """Tell whether a line reports a result on disk that the new line would replace by none."""
    if line is None:
        return False
    before, now = (
        dict(zip(DECISION_COLUMNS, text.rstrip("\n").split("\t"), strict=True))
        for text in (line, other)
    )
    idle = now["status"] in ("planned", "skipped") and before["status"] == "done"
    return idle and before["output"] != "n/a" and (output_dir / before["output"]).is_file()


def _table(columns: Iterable[str], rows: Iterable[Mapping[str, str]]) -> str:
    lines = [list(columns)]
    lines += [[_cell(row.get(column)) for column in lines[0]] for row in rows]
    return "".join("\t".join(line) + "\n" for line in lines)


def _cell(value: str | None) -> str:
    text = printable(" ".join(str(value or "").split()))
    return (text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]}...") or "n/a"


def _empty_if_na(value: str | None) -> str:
    return "" if value in (None, "n/a") else str(value)


def read_description(folder: Path) -> dict[str, Any]:
    """Read ``dataset_description.json``; empty where there is none that can be read."""
    return read_json_or_empty(folder / "dataset_description.json", any_encoding=True)


def _container() -> dict[str, str]:
    """Say which container this runs in, as far as its environment tells."""
    image = os.environ.get("APPTAINER_CONTAINER") or os.environ.get("SINGULARITY_CONTAINER")
    if image:
        return {"Type": "singularity", "URI": image}
    tag = os.environ.get("BIDS_SR_DOCKER_TAG")
    return {"Type": "docker", "Tag": tag} if tag else {}
