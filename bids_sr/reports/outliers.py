"""Outliers of a group: images that differ much from the others of their protocol.

Robust z-scores: the distance to the median, over 1.4826 times the median absolute deviation, which
is the standard deviation of normally distributed values.  Nothing is said of few images, or where
more than half of the values are equal.

References
----------
Iglewicz and Hoaglin 1993, How to detect and handle outliers, ASQC Quality Press, who call values
beyond 3.5 outliers; as in the NIST/SEMATECH handbook of statistical methods,
https://www.itl.nist.gov/div898/handbook/eda/section3/eda35h.htm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bids_sr.reports.measures import Metric
from bids_sr.reports.records import ImageRecord

LEAST_IMAGES = 10
"""Of one protocol with a value; of fewer, none is called an outlier."""
LIMIT = 3.5
"""Robust z-score beyond which an image stands out."""
_DEVIATIONS = 1.4826


@dataclass(frozen=True, kw_only=True)
class Outlier:
    """One image that stands out by one measure."""

    place: int
    """Of the image in the group."""
    metric: Metric
    value: float
    score: float
    """Robust z-score."""
    median: float
    """Of its protocol."""


def protocol_of(image: ImageRecord) -> str:
    """Name the protocol of an image: ``acq``, slices in mm, and the method it was made by.

    Images of one protocol may be compared with each other.
    """
    acquisition = dict(image.entities).get("acq", "")
    cells = [
        f"acq-{acquisition}" if acquisition else "",
        _rounded(image.row.get("spacing"), "mm apart"),
        _rounded(image.row.get("thickness"), "mm thick"),
        image.result.method.method,
    ]
    return ", ".join(filter(None, cells)) or "unknown"


def robust_scores(values: Sequence[float]) -> list[float] | None:
    """Score values by their distance to the median.

    Parameters
    ----------
    values : sequence of float

    Returns
    -------
    list of float or None
        None where there are too few values, or more than half of them are equal.
    """
    if len(values) < LEAST_IMAGES:
        return None
    numbers = np.asarray(values, float)
    distances = numbers - np.median(numbers)
    scale = _DEVIATIONS * float(np.median(np.abs(distances)))
    return None if scale <= 1e-9 * float(np.abs(numbers).max()) else list(distances / scale)


def find_outliers(images: Sequence[ImageRecord], metrics: Sequence[Metric]) -> list[Outlier]:
    """Find the images of one kind that stand out within their protocol.

    Parameters
    ----------
    images : sequence of ImageRecord
        Of one suffix.
    metrics : sequence of Metric

    Returns
    -------
    list of Outlier
        The farthest first.
    """
    members: dict[str, list[int]] = {}
    for place, image in enumerate(images):
        if image.has_result:
            members.setdefault(protocol_of(image), []).append(place)
    found = []
    for metric in (metric for metric in metrics if metric.compared):
        for places in members.values():
            known = [(p, v) for p in places if (v := metric.value(images[p])) is not None]
            scores = robust_scores([value for _, value in known])
            if scores is None:
                continue
            median = float(np.median([value for _, value in known]))
            found += [
                Outlier(place=place, metric=metric, value=value, score=score, median=median)
                for (place, value), score in zip(known, scores, strict=True)
                if abs(score) > LIMIT
            ]
    return sorted(found, key=lambda outlier: -abs(outlier.score))


def _rounded(cell: str | None, unit: str) -> str:
    try:
        return f"{float(cell or ''):.1f} {unit}"
    except ValueError:
        return ""
