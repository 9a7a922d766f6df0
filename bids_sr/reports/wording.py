"""Wording: numbers, names and records of a run as a reader wants to see them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

DASH = "–"
# Written in capitals, or with a sign, in running text.
_SPELLING = {"sr": "SR", "qc": "QC", "lr": "LR", "hr": "HR", "fwhm": "FWHM", "sha256": "SHA-256"}
_UNITS = {"seconds": "s", "mm": "mm", "ml": "mL", "percent": "%", "gb": "GB", "db": "dB"}

ALT_TEXTS = {
    "sr": "The acquired voxels, their interpolation and the result in three planes",
    "fused": "The stacks, their mean and the fused volume in three planes",
    "weights": "How much each slice of each stack counts, and the residual of each stack",
    "mask": "Outline of the brain mask on the acquired image in three planes",
    "uncertainty": "Expected standard deviation of the super-resolved image",
    "slices": "Difference of each slice to what its neighbours predict",
    "slicegain": "Change of the brightness of each slice",
    "sliceprofile": "Slice profile",
    "learningcurve": "Learning curve",
    "guide": "The result without and with the guide in three planes",
    "guidealigned": "The registered guide and the result without it in three planes",
}
"""What figures show, by their names; for those who cannot see them."""


def number(value: Any, digits: int = 4) -> str:
    """Write a number with `digits` significant digits; a dash where there is none.

    >>> number(1234567.0), number(0.00012345), number(None), number(3)
    ('1,235,000', '0.0001234', '–', '3')
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return DASH
    if isinstance(value, int) or (value == int(value) and abs(value) < 10**digits):
        return f"{int(value):,}".replace("-", "−")
    magnitude = math.floor(math.log10(abs(value)))
    rounded = round(value, digits - 1 - magnitude)
    decimals = max(0, digits - 1 - magnitude)
    text = f"{rounded:,.{decimals}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")


def duration(seconds: Any) -> str:
    """Write a time: ``0.4 s``, ``42 s``, ``3 min 05 s``, ``1 h 12 min``.

    >>> duration(0.41), duration(185), duration(4320), duration(None)
    ('0.41 s', '3 min 05 s', '1 h 12 min', '–')
    """
    if number(seconds) == DASH:
        return DASH
    if seconds < 59.5:
        return f"{number(seconds, 2)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def sizes(values: Any, unit: str = "") -> str:
    """Write the sizes of a grid: ``320 × 320 × 36`` or ``0.72 × 0.72 × 4 mm``."""
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        return DASH
    return " × ".join(number(value, 3) for value in values) + (f" {unit}" if unit else "")


def span(values: Any) -> str:
    """Write a range of intensities: ``0 to 1,204``."""
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 2:
        return DASH
    return f"{number(values[0])} to {number(values[1])}"


def label(name: str) -> str:
    """Turn a key of a record into words.

    >>> label("TrainingSeconds"), label("brain_mask"), label("WeightsSHA256")
    ('Training (s)', 'Brain mask', 'Weights SHA-256')
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    parts = words.replace("_", " ").split()
    unit = _UNITS.get(parts[-1].lower()) if len(parts) > 1 else None
    if unit:
        parts = parts[:-1]
    parts = [
        _SPELLING.get(part.lower(), part if part.isupper() and len(part) > 1 else part.lower())
        for part in parts
    ]
    text = " ".join(parts)
    return capital(text) + (f" ({unit})" if unit else "")


def capital(text: str) -> str:
    """Begin a text with a capital letter, and leave the rest."""
    return text[:1].upper() + text[1:]


def value_text(value: Any) -> str:
    """Write a value of a record in one line."""
    if value is None or value == "" or value == [] or value == {}:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        # Seeds and years are no amounts: no thousands separator.
        return str(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        return "; ".join(f"{label(str(k)).lower()}: {value_text(v)}" for k, v in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) > 24:
            return f"{len(value)} values"
        return ", ".join(value_text(item) for item in value)
    return str(value)


def record_lines(record: Any) -> Iterator[tuple[str, str]]:
    """Lay out a record as lines of name and value, nested objects one level deep."""
    if not isinstance(record, Mapping):
        return
    for key, value in record.items():
        if isinstance(value, Mapping) and value:
            for inner, item in value.items():
                yield f"{label(str(key))}: {label(str(inner)).lower()}", value_text(item)
        else:
            yield label(str(key)), value_text(value)
