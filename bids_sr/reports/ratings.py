"""Ratings: what people who looked at results in the viewer thought of them, for the group level.

Reads the tables in ``ratings/`` of an output folder.  They come from the hands of people, so
nothing in them is trusted: a line that cannot be used becomes a sentence.  A rating names the
SHA-256 of the file that was seen, so that one of an older result is recognised.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bids_sr.exceptions import InputDataError
from bids_sr.files import file_digest, read_text
from bids_sr.reports.fusion import fused_file, read_fused
from bids_sr.reports.records import ImageRecord

FOLDER = "ratings"
"""Folder in the output folder; each of its ``.tsv`` files is read."""
RATINGS = ("accept", "look again", "reject")
NEEDED = ("participant_id", "image", "rating", "sha256")
COLUMNS = ("rating", "rating_note")
"""Columns of a group table that has ratings."""
MOST_FILES = 10_000
MOST_LINES = 100_000
"""Lines of one file."""
MOST_LETTERS = 1000
"""Letters of a cell; the viewer lets nobody write longer notes."""
MOST_PROBLEMS = 20
OUTDATED = "of an older result"


@dataclass(frozen=True, kw_only=True)
class Rating:
    """What one person thought of one result."""

    rating: str
    """One of ``RATINGS``."""
    rater: str = ""
    note: str = ""
    date: str = ""
    """As the viewer wrote it, ISO 8601: texts sort by time."""
    outdated: bool = False
    """Whether the result that was seen is no longer the one on disk."""

    @property
    def words(self) -> str:
        """The rating, and who gave it."""
        about = [text for text in (self.rater, OUTDATED if self.outdated else "") if text]
        return f"{self.rating} ({', '.join(about)})" if about else self.rating


@dataclass(frozen=True, kw_only=True)
class Ratings:
    """The ratings of an output folder."""

    by_image: Mapping[str, tuple[Rating, ...]] = field(default_factory=dict)
    """By the path of the acquired image, or the name of the fused volume."""
    problems: tuple[str, ...] = ()
    """What could not be used, in sentences."""

    def words(self, image: str) -> str:
        """Say what is thought of an image; empty without a rating."""
        return "; ".join(rating.words for rating in self.by_image.get(image, ()))

    def note(self, image: str) -> str:
        """Return the notes on an image, each after who wrote it."""
        known = [rating for rating in self.by_image.get(image, ()) if rating.note]
        return "; ".join(f"{r.rater}: {r.note}" if r.rater else r.note for r in known)

    def cells(self, image: str) -> list[str]:
        """Return what the columns of a table hold, ``COLUMNS``; none where nobody rated."""
        return [self.words(image), self.note(image)] if self.by_image else []


def read_ratings(root: Path, images: Iterable[ImageRecord]) -> Ratings:
    """Read the ratings of an output folder.

    Parameters
    ----------
    root : Path
        Root of the output dataset.
    images : iterable of ImageRecord
        The images with their results, all that can be rated beside fused volumes.
    """
    folder = root / FOLDER
    if not folder.is_dir():
        return Ratings()
    paths = sorted(folder.glob("*.tsv"))
    problems: list[str] = []
    if len(paths) > MOST_FILES:
        problems.append(f"{FOLDER} has {len(paths)} tables; the first {MOST_FILES} were read.")
    results = _results(root, list(images))
    found: dict[tuple[str, str], Rating] = {}
    digests: dict[Path, str] = {}
    for path in paths[:MOST_FILES]:
        try:
            rows = _rows(path)
        except InputDataError as error:
            problems.append(str(error).removeprefix(f"{root}/"))
            continue
        for line, row in rows:
            where = f"{FOLDER}/{path.name}, line {line}"
            image, rating = row["image"], row["rating"]
            if rating not in RATINGS:
                problems.append(f"{where}: the rating {rating!r} is none of {', '.join(RATINGS)}.")
                continue
            if image not in results or re.split("[/_]", image)[0] != row["participant_id"]:
                problems.append(f"{where}: {row['participant_id']} has no image {image!r} here.")
                continue
            result = results[image]
            if result and result not in digests:
                digests[result] = _digest(result)
            known = Rating(
                rating=rating,
                rater=row.get("rater", ""),
                note=row.get("note", ""),
                date=row.get("date", ""),
                outdated=result is None or digests[result] != row["sha256"],
            )
            key = (image, known.rater)
            if key not in found or found[key].date <= known.date:  # the last word counts
                found[key] = known
    more = len(problems) - MOST_PROBLEMS
    if more > 0:
        problems = [*problems[:MOST_PROBLEMS], f"{more} further lines could not be used."]
    by_image: dict[str, tuple[Rating, ...]] = {}
    for (image, _), known in sorted(found.items()):
        by_image[image] = (*by_image.get(image, ()), known)
    return Ratings(by_image=by_image, problems=tuple(problems))


def result_file(root: Path, image: ImageRecord) -> Path | None:
    """Return the product of an image, where it has one that lies in its subject's folder."""
    parts = image.row.get("output", "").split("/")
    if not image.has_result or parts[0] != image.subject or {"", ".", ".."} & {*parts}:
        return None
    path = root.joinpath(*parts)
    return path if path.is_file() else None


def _results(root: Path, images: list[ImageRecord]) -> dict[str, Path | None]:
    results = {image.image: result_file(root, image) for image in images}
    for label in sorted({image.subject for image in images}):
        for volume in read_fused(root, label):
            results[volume.record.product] = fused_file(root, label, volume.record)
    return results


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except (OSError, InputDataError):
        return ""


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Read the lines of a table with what is needed, and their numbers in the file."""
    text = read_text(path, what="the ratings", any_encoding=True)
    try:
        lines = list(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
    except csv.Error as error:
        raise InputDataError(
            f"{path}: the ratings cannot be read ({error}); expected a table. Export them again."
        ) from error
    head = [cell.strip() for cell in lines[0]] if lines else []
    missing = [name for name in NEEDED if name not in head]
    if missing or len(lines) > MOST_LINES:
        found = f"no column {', '.join(missing)}" if missing else f"{len(lines)} lines"
        raise InputDataError(
            f"{path}: found {found}; expected a table as the viewer exports it, with at most "
            f"{MOST_LINES} lines. Export the ratings again."
        )
    return [
        (number, dict(zip(head, map(_cell, cells), strict=False)) | _blank(head, cells))
        for number, cells in enumerate(lines[1:], start=2)
        if any(cell.strip() for cell in cells)
    ]


def _blank(head: list[str], cells: list[str]) -> dict[str, str]:
    """Return the columns that a short line lacks."""
    return dict.fromkeys(head[len(cells) :], "")


def _cell(cell: str) -> str:
    text = "".join(c if c.isprintable() else " " for c in cell)[:MOST_LETTERS].strip()
    return "" if text == "n/a" else text
