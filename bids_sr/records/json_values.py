"""Values of a JSON file that others may have changed: each of the wanted kind, or none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def text(value: Any) -> str:
    """Return a text; empty where the value is none."""
    return value if isinstance(value, str) else ""


def in_one_line(value: Any) -> str:
    """Return a value as a text, the entries of a list joined; empty where there is none."""
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(in_one_line, value)))
    return "" if value is None or value is False else str(value).strip()


def texts(value: Any) -> tuple[str, ...]:
    """Return the entries of a list, as texts."""
    return tuple(str(item) for item in value) if isinstance(value, list | tuple) else ()


def number(value: Any) -> float | None:
    """Return a finite number; None where the value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:
        return None


def numbers(value: Any) -> tuple[float, ...]:
    """Return a list of numbers; empty where one of them is none."""
    if not isinstance(value, list | tuple):
        return ()
    read = [number(item) for item in value]
    return tuple(item for item in read if item is not None) if None not in read else ()


def mapping(value: Any) -> Mapping[str, Any]:
    """Return an object; empty where the value is none."""
    return value if isinstance(value, Mapping) else {}
