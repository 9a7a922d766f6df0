"""Plain values, as TOML and JSON hold them, to and from the types of a dataclass's fields.

It converts types and judges no value: whether a number is too small is its dataclass's matter.
"""

from __future__ import annotations

import dataclasses
import math
import os
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal


class WrongTypeError(ValueError):
    """A value is not of the type that is wanted; the message says what was expected."""

    def __init__(self, value: Any, hint: Any) -> None:
        super().__init__(_described(hint))
        self.value = value


def field_types(kind: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields by name."""
    hints = typing.get_type_hints(kind)
    return {item.name: hints[item.name] for item in dataclasses.fields(kind)}


def structured(value: Any, hint: Any) -> Any:
    """Return a value in the type that is wanted.

    Parameters
    ----------
    value : object
        As TOML or JSON hold it, or of that type already.
    hint : type
        bool, int, float, str, Path, Literal, None, tuple, dict, unions of these, a dataclass.

    Raises
    ------
    WrongTypeError
        If it is another; with the item that does not fit where it is within a tuple or a dict.

    Notes
    -----
    Whole numbers become floats, which are finite; paths become absolute, and lists tuples.
    Nothing else changes its type: neither ``"3"`` nor ``true`` is a number.
    """
    origin, choices = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or (hint is type(None) and value is None):
        return value
    if origin in (types.UnionType, typing.Union):
        return _one_of(value, hint)
    if origin is Literal and value in choices:
        return value
    if hint is Path and isinstance(value, str | Path) and str(value):
        return Path(os.path.abspath(value))
    if hint in (bool, str) and isinstance(value, hint):
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int and number and isinstance(value, int):
        return value
    if hint is float and number and math.isfinite(value):
        return float(value)
    if origin is tuple and isinstance(value, list | tuple):
        inner = choices[:1] * len(value) if choices[-1] is ... else choices
        if len(inner) == len(value):
            return tuple(structured(*pair) for pair in zip(value, inner, strict=True))
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {str(key): structured(item, choices[1]) for key, item in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
        hints = field_types(hint)
        return hint(**{key: structured(item, hints[key]) for key, item in value.items()})
    raise WrongTypeError(value, hint)


def plain(value: Any) -> Any:
    """Return a value as TOML and JSON hold it; undone by :func:`structured`."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    return value


def _one_of(value: Any, union: Any) -> Any:
    for hint in typing.get_args(union):
        try:
            return structured(value, hint)
        except WrongTypeError:
            continue
    raise WrongTypeError(value, union)


def _described(hint: Any) -> str:
    origin, choices = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_described(part) for part in choices if part is not type(None))
    if origin is Literal:
        return " or ".join(repr(choice) for choice in choices)
    if origin is tuple and choices[-1] is ...:
        return "a list of " + _described(choices[0]).removeprefix("a ") + "s"
    if origin is tuple:
        return "a list of " + ", ".join(_described(part) for part in choices)
    names = {bool: "true or false", int: "a whole number", float: "a finite number"}
    names |= {str: "a text", Path: "a path"}
    return names.get(hint, "a table")
