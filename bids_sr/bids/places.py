"""Where the images of a dataset lie, and whether they belong to a subject there.

An image is its subject's only directly in ``sub-<label>[/ses-<label>]/anat/`` below the root,
under the labels of its folders.  Every other file that looks like an image is listed too, with the
reason why it is not a subject's.  Only names and links are read; no image is opened.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bids_sr.bids.ignored import BidsIgnore
from bids_sr.bids.names import LABEL, parse_name, specification
from bids_sr.exceptions import InputDataError
from bids_sr.files import read_json

LOGGER = logging.getLogger(__name__)
EXTENSIONS = (".nii", ".nii.gz")
NOT_OF_SUBJECTS = ("derivatives", "sourcedata", "code", "stimuli", "models", "phenotype")
"""Folders at the root that BIDS has for other things."""
DATATYPES = (
    "beh", "dwi", "eeg", "emg", "fmap", "func", "ieeg", "meg", "micr", "motion", "mrs", "nirs",
    "perf", "pet",
)  # fmt: skip
_SUBJECT = rf"sub-(?P<subject>{LABEL})(/ses-(?P<session>{LABEL}))?"
_IN_SUBJECT = re.compile(rf"sub-(?P<subject>[^/]+)/(ses-(?P<session>{LABEL})/)?")
_WAY = re.compile(rf"{_SUBJECT}(/anat)?")
_HOME = re.compile(rf"{_SUBJECT}/anat")
_OTHER_DATATYPE = re.compile(rf"{_SUBJECT}/({'|'.join(DATATYPES)})")
_IMAGE = re.compile(r"\.(nii(\..*)?|hdr|img(\.gz)?|mgh|mgz|mnc|nrrd|nhdr|mha|mhd)$", re.IGNORECASE)
EXPECTED = (
    "expected sub-<label>[/ses-<label>]/anat/ directly below the root of the dataset, the labels "
    "of letters and digits"
)


@dataclass(frozen=True, kw_only=True)
class FoundImage:
    """A file that is an image by its name."""

    relpath: str
    """Its path below the root, with slashes."""
    subject: str
    """Label of the subject whose folder it lies in; empty outside of these."""
    session: str | None
    """Label of the session whose folder it lies in."""
    ignored: str = ""
    """The line of ``.bidsignore`` that excludes it; empty for none."""
    misplaced: str = ""
    """Why it is not the image of its subject, in words; empty where it is."""
    note: str = ""
    """What a user should check, in words; empty if nothing."""
    unreadable: bool = False
    """Whether it is a subject's folder that cannot be listed."""


def find_subjects(root: Path) -> set[str]:
    """Return the labels, without ``sub-``, of the subjects that have a folder in a dataset."""
    with os.scandir(root) as entries:
        return {
            entry.name.removeprefix("sub-")
            for entry in entries
            if entry.name.startswith("sub-") and is_folder(entry)
        }


def find_images(
    root: Path, subjects: Iterable[str] = (), left_out: Iterable[Path] = ()
) -> list[FoundImage]:
    """List what looks like an image in a dataset.

    Parameters
    ----------
    root : Path
        Root of the dataset.
    subjects : iterable of str
        Labels of the subjects to look at, without ``sub-``; empty for all.
    left_out : iterable of Path
        Folders that do not belong to the dataset even if they lie in it, such as the results.

    Returns
    -------
    list of FoundImage
        By path.  Without images of other datatypes in their folders, hidden files, and folders at
        the root with another purpose (``derivatives``, ``sourcedata``, ...).

    Raises
    ------
    InputDataError
        If ``.bidsignore`` cannot be read.

    Notes
    -----
    Links to folders are followed only where a subject's, a session's or the ``anat`` folder is
    expected, so loops cannot occur.
    """
    others = frozenset(os.path.realpath(folder) for folder in left_out)
    finder = _Finder(Path(os.path.realpath(root)), frozenset(subjects), others)
    return sorted(finder.walk(), key=lambda image: image.relpath)


class _Finder:
    def __init__(self, root: Path, subjects: frozenset[str], left_out: frozenset[str]) -> None:
        self.root = root
        self.subjects = subjects
        self.left_out = left_out
        self.ignored = BidsIgnore.of(root)

    def walk(self) -> Iterator[FoundImage]:
        """Go through all folders, without recursion: a broken dataset can be very deep."""
        folders = [""]
        while folders:
            folder = folders.pop()
            other = _OTHER_DATATYPE.fullmatch(folder)
            try:
                entries = list(os.scandir(self.root / folder))
            except OSError as error:
                yield from self._unreadable(folder, error)
                continue
            for entry in entries:
                relpath = f"{folder}/{entry.name}" if folder else entry.name
                looks = looks_like_image(entry.name)
                if entry.name.startswith("."):
                    continue
                if not looks and is_folder(entry):
                    if not other and self._descends(relpath, entry):
                        folders.append(relpath)
                elif not looks and _WAY.fullmatch(relpath) and entry.is_symlink():
                    yield from self._lost(relpath)
                elif looks and self._wanted(relpath) and not (other and _fits(entry.name)):
                    yield self._image(relpath)

    def _descends(self, folder: str, entry: os.DirEntry[str]) -> bool:
        """Tell whether to look into a folder."""
        if folder in NOT_OF_SUBJECTS or not self._wanted(folder, folder=True):
            return False
        real = os.path.realpath(entry.path)
        if real in self.left_out:
            return False
        if _WAY.fullmatch(folder):
            if entry.is_symlink() and _is_within(os.path.realpath(Path(entry.path).parent), real):
                LOGGER.warning("%s is a link to a folder that contains it: not followed", folder)
                return False
            return True
        if entry.is_symlink() and not _OTHER_DATATYPE.fullmatch(folder):
            LOGGER.warning("%s is a link to a folder and is not followed; %s", folder, EXPECTED)
            return False
        if _is_derivative(self.root / folder / "dataset_description.json"):
            LOGGER.info("%s is ignored: it is a derivative dataset", folder)
            return False
        return True

    def _wanted(self, relpath: str, *, folder: bool = False) -> bool:
        """Tell whether a path belongs to the chosen subjects, if only by name.

        Outside of subjects' folders, only files named after a chosen subject count: otherwise each
        of a thousand jobs would report the same files.
        """
        if not self.subjects:
            return True
        named = [match[1] for match in re.finditer(r"(?:^|/)sub-([^/_]+)", relpath)]
        if folder and not named:
            return True
        return bool(named) and named[0] in self.subjects

    def _image(self, relpath: str) -> FoundImage:
        place = _IN_SUBJECT.match(relpath)
        misplaced, note = why_misplaced(self.root, relpath)
        return FoundImage(
            relpath=relpath,
            subject=place["subject"] if place else "",
            session=place["session"] if place else None,
            ignored=self.ignored.line_for(relpath),
            misplaced=misplaced,
            note=note,
        )

    def _lost(self, folder: str) -> Iterator[FoundImage]:
        """Report a subject's, session's or ``anat`` folder that is a broken link."""
        try:
            if self._wanted(folder):
                (self.root / folder).stat()
        except OSError as error:
            yield from self._unreadable(folder, error)

    def _unreadable(self, folder: str, error: OSError) -> Iterator[FoundImage]:
        if not _WAY.fullmatch(folder):
            LOGGER.warning("%s: the folder cannot be listed (%s)", folder, error.strerror)
            return
        place = _IN_SUBJECT.match(f"{folder}/")
        assert place
        yield FoundImage(
            relpath=folder,
            subject=place["subject"],
            session=place["session"],
            misplaced=f"the folder cannot be listed ({error.strerror}); expected a readable "
            "folder. Repair the link or its permissions.",
            unreadable=True,
        )


def looks_like_image(name: str) -> bool:
    """Tell whether a file is an image by the end of its name, in whatever case."""
    return _IMAGE.search(name) is not None


def is_at_home(relpath: str) -> bool:
    """Tell whether the path of an image is that of a subject; links are not resolved."""
    home = _HOME.fullmatch(relpath.rpartition("/")[0])
    return home is not None and not _misnamed(relpath.rpartition("/")[2], home)


def why_misplaced(root: Path, relpath: str) -> tuple[str, str]:
    """Say why an image is not a subject's, by its path and by the target of links.

    Parameters
    ----------
    root : Path
        Root of the dataset, without links.
    relpath : str
        Path of the image from there, with slashes.

    Returns
    -------
    why : str
        Empty where it is the image of the subject in whose folder it lies.
    note : str
        What a user should check nevertheless; empty if nothing.
    """
    home = _HOME.fullmatch(relpath.rpartition("/")[0])
    if home is None:
        folder = relpath.rpartition("/")[0] or "the root of the dataset"
        return f"it lies in {folder}; {EXPECTED}", ""
    why = _misnamed(relpath.rpartition("/")[2], home)
    return (why, "") if why else foreign_link(root, relpath, home["subject"])


def _misnamed(name: str, home: re.Match[str]) -> str:
    parsed = parse_name(name)
    if not name.endswith(EXTENSIONS):
        ending = "".join(Path(name).suffixes[-2:])
        return f"its name ends with {ending}; expected {' or '.join(EXTENSIONS)}"
    for entity, prefix in (("subject", "sub-"), ("session", "ses-")):
        stated, expected = parsed.entities.get(entity), home[entity]
        if stated != expected:
            in_name = f"{prefix}{stated}" if stated else f"no {prefix}<label>"
            in_folder = f"{prefix}{expected}" if expected else f"no {prefix}<label>"
            return (
                f"its name has {in_name}, its folder {in_folder}; expected the same label in both"
            )
    if parsed.extension not in EXTENSIONS:
        return f"its name has {parsed.extension!r} after the first point; expected one ending"
    return ""


def foreign_link(root: Path, relpath: str, subject: str) -> tuple[str, str]:
    """Say that a file is a link to one of another subject.

    Parameters
    ----------
    root : Path
        Root of the dataset, without links.
    relpath : str
        Path of the file from there, with slashes.
    subject : str
        Label of the subject that it should belong to, without ``sub-``.

    Returns
    -------
    why : str
        That it is one of another subject of the dataset; empty where it is not.
    note : str
        That it leads out of the dataset to a name with another label; empty where it does not.
    """
    real = Path(os.path.realpath(root / relpath))
    inside = real.is_relative_to(root)
    target = (real.relative_to(root) if inside else real).as_posix()
    place = _IN_SUBJECT.match(target)
    owner = place["subject"] if place else parse_name(real.name).entities.get("subject")
    if owner in (None, subject):
        return "", ""
    if inside:
        return f"it is a link to {target}, of sub-{owner}; expected one of sub-{subject}", ""
    return "", f"it is a link to {target}, whose name says sub-{owner}: is it the same person?"


def _fits(name: str) -> bool:
    """Tell whether an image in the folder of another datatype belongs there."""
    return parse_name(name).suffix not in specification()["anat_suffixes"]


def _is_derivative(description: Path) -> bool:
    try:
        return read_json(description, any_encoding=True).get("DatasetType") == "derivative"
    except InputDataError:  # most folders have none
        return False


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is a folder or a link to one; a link to itself is neither."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
