"""Published weights: their names, files, source and places (``data/weights.toml``).

It finds a complete folder, says what is missing, and brings it when it is asked to.  It
reads no weights and imports nothing heavy.
"""

from __future__ import annotations

import os
import tomllib
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from shutil import copyfileobj
from typing import Any

from bids_sr.download import Report, download
from bids_sr.exceptions import WeightsError
from bids_sr.files import file_digest, open_regular, write_atomic

VARIABLE = "BIDS_SR_WEIGHTS"
SYSTEM_FOLDER = Path("/opt/bids_sr/weights")
_END_OF_ZIP = 22 + 0xFFFF  # the last record and its comment
_LARGEST_LIST = 1 << 20  # bytes: some ten thousand members
PACKAGED_FOLDER = Path(str(resources.files("bids_sr.data") / "weights"))


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """Describe one published set of weights."""

    name: str
    title: str
    version: str
    page: str
    """Where a person finds them."""
    folder: str
    """Where the files lie under a weights folder."""
    licence: str
    reference: str
    files: dict[str, str | None]
    """Path within the folder -> SHA-256 of the released file, or None where unknown."""
    url: str | None = None
    """Of the one file, or of the archive that holds all; None where no address is recorded."""
    archive: bool = False
    """Whether `url` is a zip archive."""
    home: str | None = None
    """The tool's own place in the home folder, where it has one."""
    largest_mb: int = 1000
    """Neither the file that is fetched nor what comes out of it is larger, MB."""
    packaged: bool = False
    """Whether they come with this package, and are sought nowhere else."""

    def is_complete(self, folder: Path) -> bool:
        """Say whether every file is there."""
        return all((folder / path).is_file() for path in self.files)

    def verdict(self, digests: Mapping[str, str]) -> bool | None:
        """Say whether all files are the released ones.

        Parameters
        ----------
        digests : mapping
            Path within the folder -> SHA-256 of the file there.

        Returns
        -------
        bool or None
            None where nothing differs, but the digest of a released file is not known.
        """
        if any(known not in (None, digests.get(path)) for path, known in self.files.items()):
            return False
        return None if None in self.files.values() else True

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
        folder = self.find(weights_dir)
        if folder is not None:
            return folder
        fetch = "" if self.url is None else f"Run bids_sr-tools fetch {self.name}. By hand: "
        raise WeightsError(f"{self._missing(weights_dir)} {fetch}{self.advice(weights_dir)}")

    def fetch(
        self,
        weights_dir: Path | None = None,
        *,
        offline: bool = False,
        sha256: str | None = None,
        report: Report | None = None,
    ) -> Path:
        """Find the first complete folder, or bring the files.

        Parameters
        ----------
        weights_dir : Path, optional
            As in :meth:`find`; what is brought goes there, else to ``BIDS_SR_WEIGHTS``, else
            to the user's cache.
        offline : bool
            Refuse every connection.
        sha256 : str, optional
            Digest of what the address sends, where the caller knows it.
        report : callable, optional
            Told how far the download is.

        Returns
        -------
        folder : Path

        Raises
        ------
        WeightsError
            If the files are not there and cannot be brought; it says which file to put where.
        """
        complete = self.find(weights_dir)
        if complete is not None:
            return complete
        advice = self.advice(weights_dir)
        if offline or self.url is None:
            why = "the run is offline" if offline else "no download address is recorded"
            raise WeightsError(
                f"{self._missing(weights_dir)} Nothing was fetched: {why}. {advice}"
            )
        folder = self.target(weights_dir)
        try:
            if self.archive:
                name, expected = f"{self.name}.zip", sha256
            else:
                ((name, known),) = self.files.items()
                expected = sha256 or known
            limit = self.largest_mb * 1_000_000
            archive = download(
                self.url, folder / name, sha256=expected, limit=limit, report=report
            )
            if self.archive:
                try:
                    self._unpack(archive, folder)
                finally:
                    archive.unlink()
        except WeightsError as error:
            raise WeightsError(f"{error} {advice}") from error
        return folder

    def target(self, weights_dir: Path | None = None) -> Path:
        """Return the folder into which the files are brought."""
        root = weights_dir or os.environ.get(VARIABLE) or _cache()
        if not root:
            raise WeightsError(
                f"Found no folder for weights, because there is no home folder. Name it with "
                f"--weights-dir or {VARIABLE}."
            )
        return Path(root) / self.folder

    def advice(self, weights_dir: Path | None = None) -> str:
        """Say which file to put where."""
        root = weights_dir or os.environ.get(VARIABLE) or _cache() or SYSTEM_FOLDER
        last = Path(root) / self.folder / next(reversed(self.files))
        if self.url is None:
            what = f"Get {', '.join(self.files)} from {self.page} and put it so that"
        elif self.archive:
            what = f"Get {self.url} (see {self.page}) and unpack it so that"
        else:
            what = f"Get {self.url} (see {self.page}) and save it so that"
        return f"{what} {last} exists, or name its folder with --weights-dir or {VARIABLE}."

    def _missing(self, weights_dir: Path | None) -> str:
        candidates = self.candidates(weights_dir)
        partial = [
            f"{folder} lacks {path}"
            for folder in candidates
            if any((folder / path).is_file() for path in self.files)
            for path in self.files
            if not (folder / path).is_file()
        ]
        looked = "; ".join(partial) or ", ".join(str(folder) for folder in candidates)
        return (
            f"Found no complete weights of {self.title} (looked in: {looked}); expected "
            f"{', '.join(self.files)}."
        )

    def _unpack(self, packed: Path, folder: Path) -> None:
        """Take the files, and nothing else, out of an archive."""
        try:
            _check_directory(packed)
            with zipfile.ZipFile(packed) as archive:
                for path in self.files:
                    self._unpack_one(archive, path, folder / path)
        except WeightsError:
            raise
        except Exception as error:  # a damaged archive fails in any way
            raise WeightsError(
                f"Found {packed.name}, which is not a zip archive that can be unpacked ({error}). "
                "It was removed."
            ) from error

    def _unpack_one(self, archive: zipfile.ZipFile, path: str, target: Path) -> None:
        members = [
            member for member in archive.infolist() if f"/{member.filename}".endswith(f"/{path}")
        ]
        if len(members) != 1:
            raise WeightsError(f"Found {len(members)} files {path} in the archive; expected one.")
        limit = self.largest_mb * 1_000_000
        if members[0].file_size > limit:  # what is read is never longer than that
            raise WeightsError(
                f"Found {path} in the archive with {members[0].file_size} bytes; expected at most "
                f"{limit}. It was not unpacked."
            )

        def unpack(temporary: Path) -> None:
            with archive.open(members[0]) as source, temporary.open("wb") as stream:
                copyfileobj(source, stream)
            digest, known = file_digest(temporary), self.files[path]
            if known not in (None, digest):
                raise WeightsError(f"Found SHA-256 {digest} of {path}; expected {known}.")

        write_atomic(target, unpack)

    def candidates(self, weights_dir: Path | None = None) -> list[Path]:
        """List the folders in which the files may lie, in order."""
        if self.packaged:
            return [PACKAGED_FOLDER]
        roots = [weights_dir, os.environ.get(VARIABLE), SYSTEM_FOLDER, _cache()]
        folders = []
        for root in roots:
            if root:
                folders += [Path(root) / self.folder, Path(root) / self.version, Path(root)]
        if self.home:
            with suppress(RuntimeError):  # a uid without a home
                folders.append(Path.home() / self.home)
        return list(dict.fromkeys(folders))


def names() -> list[str]:
    """List the names of the registry."""
    return list(_registry())


def published_weights(name: str) -> PublishedWeights:
    """Read one entry of the registry.

    Parameters
    ----------
    name : str
        One of :func:`names`, for example ``"hd-bet"``.

    Returns
    -------
    weights : PublishedWeights

    Raises
    ------
    WeightsError
        If the registry has no such name.
    """
    registry = _registry()
    if name not in registry:
        raise WeightsError(
            f"Found no published weights named {name!r}; expected one of {', '.join(registry)}."
        )
    entry = registry[name]
    files = {file["path"]: file.get("sha256") for file in entry.pop("files")}
    return PublishedWeights(name=name, files=files, **entry)


def _registry() -> dict[str, Any]:
    text = (resources.files("bids_sr.data") / "weights.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _check_directory(packed: Path) -> None:
    """Refuse an archive whose list of members would fill the memory (BadZipFile)."""
    with open_regular(packed) as stream:
        stream.seek(-min(packed.stat().st_size, _END_OF_ZIP), os.SEEK_END)
        end = stream.read()
    place = end.rfind(b"PK\x05\x06")
    size = int.from_bytes(end[place + 12 : place + 16], "little")
    if place < 0 or size > _LARGEST_LIST:
        raise zipfile.BadZipFile("its list of members is absent or too long")


def _cache() -> Path | None:
    """Return the folder for weights in the user's cache; None for a uid without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bids_sr"
    except RuntimeError:
        return None
