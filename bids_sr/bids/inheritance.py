"""Sidecars of an image by the BIDS inheritance principle.

Read from the files at the time of the question, not from an index: a sidecar that
is not JSON fails the images it belongs to and no other, and a corrected one counts at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_sr.bids.ignored import BidsIgnore
from bids_sr.bids.names import ParsedName, parse_name
from bids_sr.bids.places import foreign_link
from bids_sr.exceptions import InputDataError
from bids_sr.files import read_json

# Named first where an image inherits many fields: the plan rests on them.
_WEIGHTY = (
    "SliceThickness",
    "SpacingBetweenSlices",
    "BodyPartExamined",
    "BodyPart",
    "ContrastBolusIngredient",
    "SkullStripped",
)
_SHOWN_FIELDS = 6


@dataclass(frozen=True, kw_only=True)
class Sidecars:
    """The merged sidecars of one image."""

    metadata: dict[str, Any]
    """Fields; those of files nearer to the image take precedence."""
    own: bool
    """Whether the image has a sidecar with the same name."""
    origins: dict[str, str]
    """Field -> path of the sidecar that it is from, below the root."""
    warnings: tuple[str, ...] = ()
    """What a user should check, one sentence each."""

    @property
    def inherited_words(self) -> str:
        """Say what an image without a sidecar of its own inherits, and from where; else empty."""
        if self.own or not self.origins:
            return ""
        by_file: dict[str, list[str]] = {}
        for name, origin in self.origins.items():
            by_file.setdefault(origin, []).append(name)
        parts = [f"{_listed(names)} from {origin}" for origin, names in sorted(by_file.items())]
        return f"it has no sidecar of its own and inherits {'; '.join(parts)}"


class SidecarReader:
    """Finds, reads and merges the sidecars of images; each folder is listed once.

    Parameters
    ----------
    root : Path
        Root of the dataset.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ignored = BidsIgnore.of(root)
        self._folders: dict[Path, list[tuple[ParsedName, Path, bool]]] = {}
        self._contents: dict[Path, dict[str, Any]] = {}

    def read(self, image: Path) -> dict[str, Any]:
        """Return the fields of an image alone; see :meth:`find`."""
        return self.find(image).metadata

    def find(self, image: Path) -> Sidecars:
        """Merge the sidecars of an image.

        Parameters
        ----------
        image : Path
            The image, below the root.

        Returns
        -------
        Sidecars
            At most one file per folder, from the root down to the image.

        Raises
        ------
        InputDataError
            If a sidecar cannot be read, does not hold a JSON object, or is a link to one of
            another subject.

        Notes
        -----
        A sidecar applies where it has the suffix of the image and no entity that the image lacks.
        BIDS allows one such file per folder.  If there are more, such as ``sub-01_T1w.json`` and
        ``sub-01_acq-tse_T1w.json``, the one with the most entities is used; the others belong to
        other images.  If two have equally many, none is used.  A sidecar listed in ``.bidsignore``
        is read only for images that are listed there too, when a training uses these.
        """
        own = parse_name(image.name)
        metadata: dict[str, Any] = {}
        origins: dict[str, str] = {}
        warnings = []
        nearest = None
        set_aside = self._is_ignored(image)
        for folder in self._folders_down_to(image.parent):
            applicable = [
                (name, path)
                for name, path, ignored in self._listed(folder)
                if _applies(name, own) and (set_aside or not ignored)
            ]
            nearest, equals = _closest(applicable)
            if equals:
                names = ", ".join(path.name for path in equals)
                warnings.append(
                    f"{names} match equally well: BIDS allows one sidecar per folder, so none "
                    "is used"
                )
            if nearest is None:
                continue
            content = self._content(nearest)
            self._refuse_foreign(nearest, own)
            metadata |= content
            origins |= dict.fromkeys(content, nearest.relative_to(self._root).as_posix())
        exact = nearest is not None and parse_name(nearest.name).entities == own.entities
        return Sidecars(metadata=metadata, own=exact, origins=origins, warnings=tuple(warnings))

    def _folders_down_to(self, folder: Path) -> list[Path]:
        parts = folder.relative_to(self._root).parts
        return [self._root.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]

    def _listed(self, folder: Path) -> list[tuple[ParsedName, Path, bool]]:
        if folder not in self._folders:
            self._folders[folder] = [
                (name, path, self._is_ignored(path))
                for path in sorted(folder.iterdir())
                if (name := parse_name(path.name)).extension == ".json"
            ]
        return self._folders[folder]

    def _is_ignored(self, path: Path) -> bool:
        return bool(self._ignored.line_for(path.relative_to(self._root).as_posix()))

    def _content(self, path: Path) -> dict[str, Any]:
        if path not in self._contents:
            self._contents[path] = read_json(path, what="the sidecar", any_encoding=True)
        return self._contents[path]

    def _refuse_foreign(self, path: Path, own: ParsedName) -> None:
        relpath = path.relative_to(self._root).as_posix()
        root = Path(os.path.realpath(self._root))
        why = path.is_symlink() and foreign_link(root, relpath, own.entities.get("subject", ""))[0]
        if why:
            raise InputDataError(f"{path}: the sidecar: {why}. Replace the link by its own file.")


def _applies(sidecar: ParsedName, image: ParsedName) -> bool:
    return (
        sidecar.suffix == image.suffix
        and sidecar.entities.items() <= image.entities.items()
        and set(sidecar.unknown) <= set(image.unknown)
    )


def _closest(
    applicable: Iterable[tuple[ParsedName, Path]],
) -> tuple[Path | None, list[Path]]:
    """Return the sidecar with the most entities; or None, with those that have equally many."""
    by_entities: dict[int, list[Path]] = {}
    for name, path in applicable:
        by_entities.setdefault(len(name.entities), []).append(path)
    if not by_entities:
        return None, []
    best = by_entities[max(by_entities)]
    return (best[0], []) if len(best) == 1 else (None, best)


def _listed(names: list[str]) -> str:
    ranked = sorted(names, key=lambda name: _WEIGHTY.index(name) if name in _WEIGHTY else 99)
    more = len(ranked) - _SHOWN_FIELDS
    shown = ", ".join(ranked[:_SHOWN_FIELDS])
    return f"{shown} and {more} more fields" if more > 0 else shown
