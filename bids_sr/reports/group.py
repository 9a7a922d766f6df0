"""The group level: the QC of all subjects in one table and one page per suffix."""

from __future__ import annotations

import logging
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from bids_sr.exceptions import InputDataError
from bids_sr.files.writing import write_text_atomic
from bids_sr.records.learning_curve import GAIN_OVER_CUBIC, Validation
from bids_sr.records.method_record import Output
from bids_sr.records.quality import QualityRecord
from bids_sr.reports import wording
from bids_sr.reports.assemble import OUTCOMES
from bids_sr.reports.fusion import group_rows
from bids_sr.reports.page import render
from bids_sr.reports.ratings import COLUMNS, Ratings, read_ratings
from bids_sr.reports.records import ImageRecord, read_all

LOGGER = logging.getLogger(__name__)
# A point of a plot: where it goes, and the row of the table it stands for.
_PLOTTED_LABELS = 6  # of a tool with more labels, volumes are in the table only
PLOT_WIDTH, PLOT_HEIGHT, MARGIN = 320.0, 92.0, 14.0


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number known of each image: one column of the table, one plot."""

    name: str
    """Column of the TSV file."""
    title: str
    value: Callable[[ImageRecord], float | None]
    """Reads it from an image; None where the image does not have it."""
    digits: int = 4
    plotted: bool = True


def _of_output(read: Callable[[Output], float | None]) -> Callable[[ImageRecord], float | None]:
    def value(image: ImageRecord) -> float | None:
        output = image.result.method.output
        return None if output is None else read(output)

    return value


def _cell_number(column: str) -> Callable[[ImageRecord], float | None]:
    def value(image: ImageRecord) -> float | None:
        try:
            return float(image.row.get(column, ""))
        except ValueError:
            return None

    return value


def _input_range(end: int) -> Callable[[ImageRecord], float | None]:
    def value(image: ImageRecord) -> float | None:
        ends = image.result.step("check").input_range
        return ends[end] if len(ends) == 2 else None

    return value


def _score(measure: Validation) -> Callable[[ImageRecord], float | None]:
    def value(image: ImageRecord) -> float | None:
        curve = image.result.curve
        return curve.last_score if curve.validation == measure else None

    return value


METRICS = (
    Metric(
        name="data_consistency_residual_percent",
        title="Data-consistency residual (%)",
        value=_of_output(lambda output: output.residual_percent),
        digits=3,
    ),
    Metric(
        name="validation_gain_db",
        title="Gain over cubic interpolation (dB)",
        value=_score(GAIN_OVER_CUBIC),
        digits=3,
    ),
    Metric(
        name="brain_mask_volume_ml",
        title="Brain mask (mL)",
        value=lambda image: image.result.step("brain_mask").volume_ml,
    ),
    Metric(
        name="super_resolution_seconds",
        title="Super-resolution (s)",
        value=lambda image: image.result.seconds.get("super_resolution"),
        digits=3,
    ),
    Metric(
        name="total_seconds",
        title="All steps (s)",
        value=lambda image: sum(image.result.seconds.values()) if image.result.seconds else None,
        digits=3,
    ),
    Metric(name="slice_spacing_mm", title="Slice spacing (mm)", value=_cell_number("spacing")),
    Metric(
        name="slice_thickness_mm", title="Slice thickness (mm)", value=_cell_number("thickness")
    ),
    Metric(name="input_min", title="Lowest, acquired", value=_input_range(0), plotted=False),
    Metric(name="input_max", title="Highest, acquired", value=_input_range(1), plotted=False),
    Metric(
        name="output_min",
        title="Lowest, result",
        value=_of_output(lambda output: output.intensities[0]),
        plotted=False,
    ),
    Metric(
        name="output_max",
        title="Highest, result",
        value=_of_output(lambda output: output.intensities[1]),
        plotted=False,
    ),
)
TEXT_COLUMNS = ("participant_id", "session_id", "image", "outcome", "verdict", "look_at")
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


def validation_metrics(images: Iterable[ImageRecord]) -> list[Metric]:
    """List the validation measures of training, except the gain over cubic interpolation."""
    measures = {image.result.curve.validation for image in images if image.result.curve.scores}
    return [
        Metric(
            name=_column(measure),
            title=wording.capital(measure.title),
            value=_score(measure),
            digits=3,
        )
        for measure in sorted(measures - {GAIN_OVER_CUBIC}, key=lambda measure: measure.title)
    ]


def _column(measure: Validation) -> str:
    known = "" if measure.quantity == Validation().quantity else "validation "
    return re.sub(r"\W+", "_", f"{known}{measure.title}".lower()).strip("_")


def segmentation_metrics(images: Iterable[ImageRecord]) -> list[Metric]:
    """List what the segmentations of some images measured: counts and volumes."""
    by_name: dict[str, Metric] = {}
    for image in images:
        for record in image.quality.segmentations if image.quality else ():
            tool, names = record.tool, list(record.volumes_ml)
            metrics = [
                Metric(
                    name=re.sub(r"\W+", "_", f"{tool}_{name}_ml"),
                    title=f"{name}, {tool} (mL)",
                    value=_volume(tool, name),
                    plotted=len(names) <= _PLOTTED_LABELS,
                )
                for name in names
            ]
            if record.count is not None:
                name = re.sub(r"\W+", "_", f"{tool}_count")
                title = f"Number of lesions, {tool}"
                metrics.append(Metric(name=name, title=title, value=_count(tool)))
            by_name |= {metric.name: metric for metric in metrics}
    return list(by_name.values())


def _volume(tool: str, label: str) -> Callable[[ImageRecord], float | None]:
    return lambda image: image.result.segmentation(tool).volumes_ml.get(label)


def _count(tool: str) -> Callable[[ImageRecord], float | None]:
    return lambda image: image.result.segmentation(tool).count


def metrics_of(images: Sequence[ImageRecord]) -> list[Metric]:
    """List the columns of a table of images."""
    return [*METRICS, *validation_metrics(images), *segmentation_metrics(images)]


def table(images: Iterable[ImageRecord], ratings: Ratings | None = None) -> str:
    """Write the table of one kind of image, tab-separated, ``n/a`` where not known."""
    images, ratings = list(images), ratings or Ratings()
    metrics = metrics_of(images)
    of_people = COLUMNS if ratings.by_image else ()
    names = (metric.name for metric in metrics)
    lines = ["\t".join([*TEXT_COLUMNS, *names, *of_people, *LAST_COLUMNS])]
    for image in images:
        values = [metric.value(image) for metric in metrics]
        numbers = ["n/a" if value is None else f"{value:.6g}" for value in values]
        thought = map(_cell, ratings.cells(image.image))
        lines.append("\t".join([*_texts(image), *numbers, *thought, *_last_texts(image)]))
    return "\n".join(lines) + "\n"


def strip_plot(values: Sequence[float | None], rows: Sequence[tuple[str, str]]) -> Markup:
    """Draw the values of one metric as points over a box from quartile to quartile.

    Parameters
    ----------
    values : sequence of float or None
        One an image.
    rows : sequence of tuple of str
        Name and address of each image, for tip and link.

    Returns
    -------
    Markup
        SVG; a sentence where there is no value.
    """
    known = [(value, n) for n, value in enumerate(values) if value is not None]
    if not known:
        return Markup('<p class="missing">not measured</p>')
    numbers = np.array([value for value, _ in known])
    low, high = float(numbers.min()), float(numbers.max())
    reach = high - low or abs(high) * 0.1 or 1.0
    scale = (PLOT_WIDTH - 2 * MARGIN) / (1.1 * reach)

    def place(value: float) -> float:
        return PLOT_WIDTH / 2 + (value - (low + high) / 2) * scale

    first, median, third = (float(q) for q in np.quantile(numbers, [0.25, 0.5, 0.75]))
    middle, baseline = (PLOT_HEIGHT - 18) / 2, PLOT_HEIGHT - 18
    radius = 3.0 if len(known) < 200 else 1.7
    parts = [
        Markup(
            '<svg viewBox="0 0 {:.0f} {:.0f}" role="img"><title>{} values, median {}</title>'
            '<rect class="box" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2"/>'
        ).format(
            PLOT_WIDTH, PLOT_HEIGHT, len(known), wording.number(median, 3),
            place(first), middle - 28, max(1.0, place(third) - place(first)), 56.0,
        ),
    ]  # fmt: skip
    for value, n in known:
        name, address = rows[n]
        # The jitter is drawn from the name: the same in every plot and every run.
        shift = (zlib.crc32(name.encode()) % 1000 / 1000 - 0.5) * 46
        point = Markup(
            '<circle data-n="{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}: {}</title></circle>'
        ).format(n, place(value), middle + shift, radius, name, wording.number(value))
        parts.append(Markup('<a href="{}">{}</a>').format(address, point) if address else point)
    parts.append(
        Markup(
            '<path class="median" d="M{:.1f} {:.1f}v{:.1f}"/>'
            '<path class="axis" d="M{:.1f} {:.1f}H{:.1f}"/>'
            '<text x="{:.1f}" y="{:.1f}">{}</text>'
            '<text x="{:.1f}" y="{:.1f}" text-anchor="middle">median {}</text>'
            '<text x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text></svg>'
        ).format(
            place(median), middle - 28, 56.0,
            MARGIN, baseline, PLOT_WIDTH - MARGIN,
            MARGIN, PLOT_HEIGHT - 4, wording.number(low, 3),
            PLOT_WIDTH / 2, PLOT_HEIGHT - 4, wording.number(median, 3),
            PLOT_WIDTH - MARGIN, PLOT_HEIGHT - 4, wording.number(high, 3),
        )
    )  # fmt: skip
    return Markup("").join(parts)


def _context(
    root: Path, suffix: str, images: list[ImageRecord], others: list[str]
) -> dict[str, Any]:
    metrics = metrics_of(images)
    measured = {metric: [metric.value(image) for image in images] for metric in metrics}
    names = [(image.stem, _address(root, image)) for image in images]
    shown = [metric for metric in metrics if any(v is not None for v in measured[metric])]
    counts = Counter(image.outcome for image in images)
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
            (metric.title, strip_plot(measured[metric], names))
            for metric in shown
            if metric.plotted
        ],
        "columns": [metric.title for metric in shown],
        "rows": [
            {
                "image": image,
                "address": names[n][1],
                "looks": _looks(image),
                "cells": [
                    (wording.number(measured[metric][n], metric.digits), measured[metric][n])
                    for metric in shown
                ],
            }
            for n, image in enumerate(images)
        ],
    }


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


def _cell(value: Any) -> str:
    return " ".join(str(value or "").split()) or "n/a"
