"""BIDS file names taken apart: entities, suffix, extension.

The entities and their order are those of ``data/io_spec.json``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

LABEL = r"[a-zA-Z0-9+]+"
_ENTITY = re.compile(rf"([a-zA-Z]+)-({LABEL})")


@dataclass(frozen=True, kw_only=True)
class ParsedName:
    """A file name in its parts."""

    entities: dict[str, str]
    """By pybids' names (``acquisition``, not ``acq``); ones unknown to us by their short name."""
    unknown: tuple[str, ...]
    """Parts that are not an entity of a raw image, or repeat another part."""
    suffix: str
    """The last part."""
    extension: str
    """From the first point on."""


@cache
def specification() -> dict[str, Any]:
    """Return the content of ``data/io_spec.json``.

    Returns
    -------
    dict
        ``patterns``, ``entities``, ``mask_entities`` and ``anat_suffixes`` (of BIDS 1.10).
    """
    text = resources.files("bids_sr.data").joinpath("io_spec.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def parse_name(name: str) -> ParsedName:
    """Take a file name apart.

    Parameters
    ----------
    name : str
        File name without folders.

    Returns
    -------
    ParsedName
        Its parts; never an error, see ``unknown``.
    """
    stem, point, rest = name.partition(".")
    *parts, suffix = stem.split("_")
    known: dict[str, str] = specification()["entities"]
    entities: dict[str, str] = {}
    unknown = []
    for part in parts:
        match = _ENTITY.fullmatch(part)
        key, value = match.groups() if match else ("", "")
        if key not in known or known[key] in entities:
            unknown.append(part)
        if key:
            entities.setdefault(known.get(key, key), value)
    return ParsedName(
        entities=entities, unknown=tuple(unknown), suffix=suffix, extension=point + rest
    )
