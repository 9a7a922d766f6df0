"""Settings of methods and recipes: dataclasses found by name, their fields set by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from importlib import import_module
from typing import Any, TypeVar

from bids_sr.exceptions import ConfigError

_Kind = TypeVar("_Kind")
RENAMED = {"averaging": "ema_decay", "noise": "noise_fraction"}
"""Parameters of earlier versions and their present names: files of settings stay valid."""


def require(condition: bool, name: str, value: object, expected: str) -> None:
    """Raise a ConfigError about a hyper-parameter unless the condition holds."""
    if not condition:
        raise ConfigError(f"Found {name} = {value!r}; expected {expected}. Change that parameter.")


def present_names(parameters: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return parameters, those of earlier versions by the names that they have among `known`."""
    return {
        RENAMED[name] if name not in known and RENAMED.get(name) in known else name: value
        for name, value in parameters.items()
    }


def class_at(place: str) -> type[Any]:
    """Return the class at ``module:class``."""
    module, name = place.split(":")
    kind: type[Any] = getattr(import_module(module), name)
    return kind


def configured(
    kinds: Mapping[str, type[_Kind]], what: str, name: str, parameters: Mapping[str, Any] | None
) -> _Kind:
    """Return an instance of the kind of that name with its parameters set.

    Parameters
    ----------
    kinds : mapping
        Dataclasses with ``presets``, by name.
    what : str
        What they are, for the errors.
    name : str
    parameters : mapping, optional
        Values by name.  ``preset`` names a set of them, over which the others win.

    Raises
    ------
    ConfigError
        If the name or a parameter is unknown, or a value is impossible.
    """
    if name not in kinds:
        raise ConfigError(f"Found {what} {name!r}; expected one of {', '.join(kinds)}.")
    kind: Any = kinds[name]
    known = {entry.name for entry in fields(kind)}
    values = present_names(parameters or {}, known)
    if (preset := values.pop("preset", None)) is not None:
        if preset not in kind.presets:
            raise ConfigError(
                f"Found preset {preset!r} for {what} {name!r}; expected "
                f"{' or '.join(kind.presets) or 'none: it has no presets'}."
            )
        values = {**kind.presets[preset], **values}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(
            f"Found parameter {', '.join(unknown)} for {what} {name!r}; expected one of "
            f"{', '.join(sorted(known))}."
        )
    instance: _Kind = kind(**values)
    return instance
