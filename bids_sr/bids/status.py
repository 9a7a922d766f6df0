"""The status of an image, checked against the files on disk.

A record is written when something ends; files can go afterwards, and a run can be killed
between a result and its record.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from bids_sr.bids.derivatives import assumptions_made
from bids_sr.files import read_json_or_empty
from bids_sr.records.quality import QualityRecord, read_quality

LEFT_UNDONE = "the run ended before it"
"""Message of an image that a run did not reach."""
NO_INPUT = (
    "the acquired image is not in the input dataset any more, and this is its result of an "
    "earlier run: remove its files from the output folder if it should not be used"
)
"""Message of a result whose acquired image was removed or renamed."""
GONE = "the result is not on disk any more: run again"


def checked_row(output_dir: Path, row: Mapping[str, str]) -> dict[str, str]:
    """Return a row of decisions, with the status ``planned`` if its result no longer exists."""
    output = row.get("output") or ""
    if row.get("status") != "done" or not output or (output_dir / output).is_file():
        return dict(row)
    return {**row, "status": "planned", "message": GONE, "output": ""}


def without_input(
    rows: Iterable[Mapping[str, str]], bids_dir: Path, subjects: Collection[str], known: set[str]
) -> list[dict[str, str]]:
    """Return the rows of results whose acquired image is gone, with a message that says so.

    Parameters
    ----------
    rows : iterable of mapping
        Of ``decisions.tsv``.
    bids_dir : Path
        Root of the input dataset.
    subjects : collection of str
        Labels of the subjects to look at, without ``sub-``; empty for all.
    known : set of str
        Paths of the images of the plan, which are there.
    """
    gone = []
    for row in rows:
        image, subject = row.get("image") or "", row.get("participant_id", "").removeprefix("sub-")
        chosen = not subjects or subject in subjects
        if row.get("status") != "done" or not row.get("output") or image in known or not chosen:
            continue
        if not os.path.lexists(bids_dir / image):
            before = (row.get("message") or "").replace(NO_INPUT, "").removeprefix("; ")
            gone.append({**row, "message": "; ".join(filter(None, [NO_INPUT, before]))})
    return gone


def true_row(output_dir: Path, row: Mapping[str, str]) -> dict[str, str]:
    """Return a row of decisions with the status that the files on disk show.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    row : mapping
        A row of ``decisions.tsv``.

    Returns
    -------
    dict
        As :func:`checked_row`; and ``done`` where product and QC file are there, but the run
        ended before it could say so.
    """
    checked = checked_row(output_dir, row)
    if checked.get("status") != "planned":
        return checked
    product, quality = find_result(output_dir, str(row.get("image")))
    if product is None or quality is None:
        return checked
    messages = [text for text in (row.get("message") or "").split("; ") if text != LEFT_UNDONE]
    messages += quality.warnings
    return {
        **row_as_made(row, quality),
        "status": "done",
        "message": "; ".join(dict.fromkeys(filter(None, messages))),
        "output": product.relative_to(output_dir).as_posix(),
    }


def row_as_made(row: Mapping[str, str], quality: QualityRecord | None) -> dict[str, str]:
    """Return a row of decisions with the verdict, and the acquisition used for the result.

    Assumptions of the plan can have changed when the image itself was read.

    Parameters
    ----------
    row : mapping
        A row of ``decisions.tsv`` of an image that is done.
    quality : QualityRecord, optional
        Its QC file, where there is one.
    """
    if quality is None:
        return dict(row)
    verdict = {"verdict": quality.verdict.cell} if quality.verdict else {}
    slices = quality.method.slices
    if slices is None:
        return {**row, **verdict}
    planned = (row.get("assumptions") or "").split("; ")
    return {
        **row,
        **verdict,
        "thickness": f"{slices.thickness:.4g}",
        "gap": f"{slices.gap:.4g}",
        "profile": slices.profile,
        "assumptions": "; ".join(assumptions_made(planned, quality.method)),
    }


def find_result(output_dir: Path, relpath: str) -> tuple[Path | None, QualityRecord | None]:
    """Find the newest product of an image and its QC file; None for a missing one.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    relpath : str
        Path of the acquired image in the input dataset.
    """
    acquired = Path(relpath)
    folder = output_dir / acquired.parent
    suffix = acquired.name.split(".")[0].rpartition("_")[2]
    products = [
        image
        for sidecar in folder.glob(f"*_desc-sr_{suffix}.json")
        if f"bids:raw:{relpath}" in (read_json_or_empty(sidecar).get("Sources") or [])
        and (image := sidecar.with_name(f"{sidecar.name.removesuffix('.json')}.nii.gz")).is_file()
    ]
    qualities = (read_quality(path) for path in folder.glob("*_desc-sr_qc.json"))
    quality = next((record for record in qualities if record and record.image == relpath), None)
    return max(products, key=lambda path: path.stat().st_mtime, default=None), quality
