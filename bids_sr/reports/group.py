"""The group level: the QC of all subjects in one table and one page per suffix."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bids_sr.exceptions import InputDataError
from bids_sr.files.writing import write_text_atomic
from bids_sr.records.quality import QualityRecord
from bids_sr.reports import wording
from bids_sr.reports.assemble import OUTCOMES
from bids_sr.reports.fusion import group_rows
from bids_sr.reports.measures import metrics_of
from bids_sr.reports.outliers import LEAST_IMAGES, LIMIT, Outlier, find_outliers, protocol_of
from bids_sr.reports.page import render
from bids_sr.reports.ratings import COLUMNS, Ratings, read_ratings
from bids_sr.reports.records import ImageRecord, read_all
from bids_sr.reports.strip_plot import strip_plot

LOGGER = logging.getLogger(__name__)
TEXT_COLUMNS = (
    "participant_id",
    "session_id",
    "image",
    "outcome",
    "verdict",
    "look_at",
    "protocol",
    "stands_out_in",
)
LAST_COLUMNS = ("method", "brain_mask_method", "validity", "message")
SLOPPY = "not a result (--sloppy)"


def group_report(output_dir: str | Path) -> list[Path]:
    """Gather the QC of all subjects: ``group_<suffix>.tsv`` and ``group_<suffix>.html``.

    Parameters
    ----------
    output_dir : path
        Root of the output dataset.

    Returns
    -------
    list of Path
        A table and a page for each kind of image (T1w, FLAIR, ...); images that
        failed are in both, images that were skipped in neither.

    Raises
    ------
    InputDataError
        If no image was processed.
    """
    root = Path(output_dir)
    images = [image for image in read_all(root) if image.outcome != "skipped"]
    if not images:
        raise InputDataError(
            f"{root} has no processed image (no row in decisions.tsv, no *_qc.json), expected at "
            "least 1; run the participant level first."
        )
    suffixes = sorted({image.suffix for image in images})
    ratings = read_ratings(root, images)
    for problem in ratings.problems:
        LOGGER.warning("%s", problem)
    written = []
    for suffix in suffixes:
        own = [image for image in images if image.suffix == suffix]
        others = [name for name in suffixes if name != suffix]
        written.append(write_text_atomic(root / f"group_{suffix}.tsv", table(own, ratings)))
        context = {**_context(root, suffix, own, others), "ratings": ratings}
        page = render("group.html.j2", context)
        written.append(write_text_atomic(root / f"group_{suffix}.html", page))
    return written


def table(images: Iterable[ImageRecord], ratings: Ratings | None = None) -> str:
    """Write the table of one kind of image, tab-separated, ``n/a`` where not known."""
    images, ratings = list(images), ratings or Ratings()
    metrics = metrics_of(images)
    stands_out = _by_image(find_outliers(images, metrics))
    of_people = COLUMNS if ratings.by_image else ()
    names = (metric.name for metric in metrics)
    lines = ["\t".join([*TEXT_COLUMNS, *names, *of_people, *LAST_COLUMNS])]
    for place, image in enumerate(images):
        outliers = ", ".join(outlier.metric.name for outlier in stands_out.get(place, ()))
        own = [*_texts(image), _cell(protocol_of(image)), _cell(outliers)]
        values = [metric.value(image) for metric in metrics]
        numbers = ["n/a" if value is None else f"{value:.6g}" for value in values]
        thought = map(_own_words, ratings.cells(image.image))
        lines.append("\t".join([*own, *numbers, *thought, *_last_texts(image)]))
    return "\n".join(lines) + "\n"


def _context(
    root: Path, suffix: str, images: list[ImageRecord], others: list[str]
) -> dict[str, Any]:
    metrics = metrics_of(images)
    measured = {metric: [metric.value(image) for image in images] for metric in metrics}
    names = [(image.stem, _address(root, image)) for image in images]
    shown = [metric for metric in metrics if any(v is not None for v in measured[metric])]
    counts = Counter(image.outcome for image in images)
    outliers = find_outliers(images, metrics)
    stands_out = _by_image(outliers)
    scores: dict[str, dict[int, float]] = {}
    for outlier in outliers:
        scores.setdefault(outlier.metric.name, {})[outlier.place] = outlier.score
    return {
        "suffix": suffix,
        "others": others,
        "subjects": len({image.subject for image in images}),
        "fused": group_rows(root, sorted({image.subject for image in images}), suffix),
        "counts": [
            (name, words, counts[name]) for name, words in OUTCOMES.items() if counts[name]
        ],
        "outcomes": OUTCOMES,
        "judged": any(image.verdict for image in images),
        "look_count": sum(bool(image.verdict and image.verdict.looks) for image in images),
        "sloppy": sum(image.sloppy for image in images),
        "failed": [
            (image, address)
            for image, (_, address) in zip(images, names, strict=True)
            if image.outcome in ("failed", "unfinished")
        ],
        "plots": [
            (metric.title, strip_plot(metric, measured[metric], names, scores.get(metric.name)))
            for metric in shown
            if metric.plotted
        ],
        "least_images": LEAST_IMAGES,
        "limit": LIMIT,
        "outliers": [
            {
                "image": images[outlier.place],
                "address": names[outlier.place][1],
                "title": outlier.metric.title,
                "value": wording.number(outlier.value, outlier.metric.digits),
                "median": wording.number(outlier.median, outlier.metric.digits),
                "score": wording.number(outlier.score, 2),
                "protocol": protocol_of(images[outlier.place]),
            }
            for outlier in outliers
        ],
        "columns": [metric.title for metric in shown],
        "rows": [
            {
                "image": image,
                "address": names[n][1],
                "looks": _looks(image),
                "look_count": len(image.verdict.looks) if image.verdict else None,
                "stands_out": [outlier.metric.title for outlier in stands_out.get(n, ())],
                "cells": [
                    (wording.number(measured[metric][n], metric.digits), measured[metric][n])
                    for metric in shown
                ],
            }
            for n, image in enumerate(images)
        ],
    }


def _by_image(outliers: Iterable[Outlier]) -> dict[int, list[Outlier]]:
    """Sort outliers by the place of their image."""
    places: dict[int, list[Outlier]] = {}
    for outlier in outliers:
        places.setdefault(outlier.place, []).append(outlier)
    return places


def _address(root: Path, image: ImageRecord) -> str:
    """Return the image's section in the page of its subject, where there is such a page."""
    page = f"{image.subject}.html"
    return f"{quote(page)}#{image.anchor}" if (root / page).is_file() else ""


def _texts(image: ImageRecord) -> list[str]:
    verdict = image.verdict.status if image.verdict else ""
    texts = (image.subject, image.session, image.image, image.outcome, verdict, _looks(image))
    return [_cell(text) for text in texts]


def _looks(image: ImageRecord) -> str:
    """Name the checks that ask for a look; empty where none does."""
    return ", ".join(check.name for check in image.verdict.looks) if image.verdict else ""


def _last_texts(image: ImageRecord) -> list[str]:
    quality = image.quality or QualityRecord(image=image.image)
    method, mask = quality.method.method, quality.step("brain_mask").method
    validity = SLOPPY if image.sloppy else ""
    return [_cell(t) for t in (method, mask, validity, image.message)]


def _own_words(value: str) -> str:
    """Return a cell that people wrote, which a spreadsheet does not take for a formula."""
    cell = _cell(value)
    return f"'{cell}" if cell[0] in "=+-@" else cell


def _cell(value: Any) -> str:
    return " ".join(str(value or "").split()) or "n/a"
