"""The measures of a group: one column of its table and one plot of its page each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bids_sr.records.learning_curve import GAIN_OVER_CUBIC, Validation
from bids_sr.records.method_record import Output
from bids_sr.reports import wording
from bids_sr.reports.records import ImageRecord

_PLOTTED_LABELS = 6  # of a tool with more labels, volumes are in the table only
MOST = 1e30
"""Larger numbers come from files that were damaged or written by others."""
_ALREADY = ("mask_volume",)
"""Checks whose value has a measure of its own."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number known of each image: one column of the table, one plot."""

    name: str
    """Column of the TSV file."""
    title: str
    value: Callable[[ImageRecord], float | None]
    """Reads it from an image; None where the image does not have it, or no possible number: above
    ``MOST``."""
    digits: int = 4
    plotted: bool = True
    compared: bool = True
    """Whether an image that differs much from its like stands out by it."""
    low: float | None = None
    """Lowest value that a check expects; None where none does."""
    high: float | None = None
    """Highest value that a check expects; None where none does."""

    def __post_init__(self) -> None:
        """Leave out values that are not finite, or impossible."""
        read = self.value

        def value(image: ImageRecord) -> float | None:
            known = read(image)
            return known if known is not None and abs(known) <= MOST else None

        object.__setattr__(self, "value", value)


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
        compared=False,
    ),
    Metric(
        name="total_seconds",
        title="All steps (s)",
        value=lambda image: sum(image.result.seconds.values()) if image.result.seconds else None,
        digits=3,
        compared=False,
    ),
    Metric(
        name="slice_spacing_mm",
        title="Slice spacing (mm)",
        value=_cell_number("spacing"),
        compared=False,
    ),
    Metric(
        name="slice_thickness_mm",
        title="Slice thickness (mm)",
        value=_cell_number("thickness"),
        compared=False,
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


def check_metrics(images: Iterable[ImageRecord]) -> list[Metric]:
    """List what the checks behind the verdicts read, with the ranges that they expect."""
    rules = {
        check.name: check
        for image in images
        for check in (image.verdict.checks if image.verdict else ())
        if check.name not in _ALREADY
    }
    return [
        Metric(
            name=f"check_{name}",
            title=f"{check.title} ({check.unit})" if check.unit else check.title,
            value=_checked(name),
            digits=3,
            low=check.low,
            high=check.high,
        )
        for name, check in rules.items()
    ]


def _checked(name: str) -> Callable[[ImageRecord], float | None]:
    def value(image: ImageRecord) -> float | None:
        checks = image.verdict.checks if image.verdict else ()
        return next((check.value for check in checks if check.name == name), None)

    return value


def metrics_of(images: Sequence[ImageRecord]) -> list[Metric]:
    """List the columns of a table of images."""
    return [
        *METRICS,
        *validation_metrics(images),
        *check_metrics(images),
        *segmentation_metrics(images),
    ]
