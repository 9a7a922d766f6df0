"""Sidecars of an image by the BIDS inheritance principle.

Read from the files at the time of the question, not from an index: a sidecar that
is not JSON fails the images it belongs to and no other, and a corrected one counts
at once even where the index is kept in a database.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bids_sr.bids.names import ParsedName, parse_name
from bids_sr.files import read_json


class SidecarReader:
    """Finds, reads and merges the sidecars of images; each folder is listed once.

    Parameters
    ----------
    root : Path
        Root of the dataset.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[Path, list[tuple[ParsedName, Path]]] = {}
        self._contents: dict[Path, dict[str, Any]] = {}

    def read(self, image: Path) -> dict[str, Any]:
        """Merge the sidecars of an image.

        Parameters
        ----------
        image : Path
            The image, below the root.

        Returns
        -------
        dict
            Fields; those of files nearer to the image win.

        Raises
        ------
        InputDataError
            If a sidecar cannot be read or does not hold a JSON object.
        """
        own = parse_name(image.name)
        merged: dict[str, Any] = {}
        for folder in self._folders_down_to(image.parent):
            candidates = [
                (len(name.entities), path)
                for name, path in self._listed(folder)
                if name.suffix == own.suffix and name.entities.items() <= own.entities.items()
            ]
            for _, path in sorted(candidates):
                merged |= self._content(path)
        return merged

    def _folders_down_to(self, folder: Path) -> list[Path]:
        parts = folder.relative_to(self._root).parts
        return [self._root.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]

    def _listed(self, folder: Path) -> list[tuple[ParsedName, Path]]:
        if folder not in self._folders:
            self._folders[folder] = [
                (parse_name(path.name), path)
                for path in folder.iterdir()
                if path.suffix == ".json"
            ]
        return self._folders[folder]

    def _content(self, path: Path) -> dict[str, Any]:
        if path not in self._contents:
            self._contents[path] = read_json(path, what="the sidecar")
        return self._contents[path]
