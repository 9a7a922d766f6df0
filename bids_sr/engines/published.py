"""Published weights of the engines: their names, files and source (``data/weights.toml``).

It finds a complete folder and says what is missing; it downloads nothing and
imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from bids_sr.exceptions import WeightsError

VARIABLE = "BIDS_SR_WEIGHTS"
SYSTEM_FOLDER = Path("/opt/bids_sr/weights")


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """Describe one published set of weights."""

    name: str
    title: str
    version: str
    url: str
    page: str
    folder: str
    """Where the files lie under a weights folder or the home folder, as the tool has it."""
    licence: str
    reference: str
    files: dict[str, str | None]
    """Path within the folder -> SHA-256 of the released file, or None where unknown."""

    def is_complete(self, folder: Path) -> bool:
        """Say whether every file is there."""
        return all((folder / path).is_file() for path in self.files)

    def find(self, weights_dir: Path | None = None) -> Path | None:
        """Find the first complete folder.

        Parameters
        ----------
        weights_dir : Path, optional
            Sought first, then ``BIDS_SR_WEIGHTS``, ``/opt/bids_sr/weights`` and the
            tool's own place in the home folder.

        Returns
        -------
        folder : Path or None
        """
        for folder in self.candidates(weights_dir):
            if self.is_complete(folder):
                return folder
        return None

    def require(self, weights_dir: Path | None = None) -> Path:
        """Find the first complete folder, or say what to put where.

        Parameters
        ----------
        weights_dir : Path, optional
            As in :meth:`find`.

        Returns
        -------
        folder : Path

        Raises
        ------
        WeightsError
            If no folder is complete.
        """
        found = self.find(weights_dir)
        if found is not None:
            return found
        candidates = self.candidates(weights_dir)
        partial = [
            f"{folder} lacks {path}"
            for folder in candidates
            if folder.is_dir()
            for path in self.files
            if not (folder / path).is_file()
        ]
        looked = "; ".join(partial) or ", ".join(str(folder) for folder in candidates)
        target = (weights_dir or SYSTEM_FOLDER) / self.folder
        raise WeightsError(
            f"Found no complete weights of {self.title} (looked in: {looked}); expected "
            f"{', '.join(self.files)}. Get {self.url} (see {self.page}) and unpack it so that "
            f"{target / next(reversed(self.files))} exists, or name its folder with --weights-dir "
            f"or {VARIABLE}."
        )

    def candidates(self, weights_dir: Path | None = None) -> list[Path]:
        """List the folders in which the files may lie, in order."""
        roots = [weights_dir, os.environ.get(VARIABLE), SYSTEM_FOLDER]
        folders = []
        for root in roots:
            if root:
                folders += [Path(root) / self.folder, Path(root) / self.version, Path(root)]
        with suppress(RuntimeError):  # a uid without a home
            folders.append(Path.home() / self.folder)
        return list(dict.fromkeys(folders))


def published_weights(name: str) -> PublishedWeights:
    """Read one entry of the registry.

    Parameters
    ----------
    name : str
        For example ``"hd-bet"``.

    Returns
    -------
    weights : PublishedWeights

    Raises
    ------
    WeightsError
        If the registry has no such name.
    """
    text = (resources.files("bids_sr.data") / "weights.toml").read_text(encoding="utf-8")
    registry = tomllib.loads(text)
    if name not in registry:
        raise WeightsError(
            f"Found no published weights named {name!r}; expected one of {', '.join(registry)}."
        )
    entry = registry[name]
    files = {file["path"]: file.get("sha256") for file in entry.pop("files")}
    return PublishedWeights(name=name, files=files, **entry)


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    digest : str
        64 hexadecimal digits.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
