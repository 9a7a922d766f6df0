"""Find images of one head that go by the names of two subjects.

    python benchmarks/same_head.py PATH ... --out same_head.tsv [--one-per-subject]
    python benchmarks/same_head.py PATH ... --of 'sub-07_*' 'sub-12_*'   # each with all others

Weights that learnt from a head say nothing about unseen heads when they are scored on it, so
run this before choosing which subjects a training leaves out.  Public images are passed on
under new names, stripped, resampled, sometimes without a word.

Every pair of images is brought together by a rigid registration (ANTs, Mattes mutual
information) of 2 mm copies, from several starts: the poses of both heads in the template, the
centres of their tissue, and their worlds as they are.  What is compared is the fine detail:
what is left in the common head, 6 mm within its edge, when a Gaussian mean (sigma 3 mm) is
taken away.  Other contrasts are allowed for: before, the intensities of one image are
replaced by the mean of the other at that intensity, and the better of both ways counts.

* score: correlation of the fine detail.  From THRESHOLD on a pair is called the same head; from
  LOOK on look at both, registered, side by side.
* common: volume of the compared region, mL.  Below LEAST_COMMON nothing is said.

A low score proves nothing.  Measured on pairs that are known to be one head (RESULTS.md), other
contrasts, positions and planes among them, it finds all but those with a distorted image:
2 mm of misalignment are enough to miss.  Neither does it find a mirrored copy, nor a child scanned
again after years.  Give the finest image of a subject.  Pairs of one subject are listed too; they
show what the score is worth on these images.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.bids.names import parse_name
from bids_sr.engines.head_pose import find_head
from bids_sr.engines.head_template import head_template
from bids_sr.engines.itk import ants_session, to_ants
from bids_sr.engines.registration_image import FLOOR, equalised, isotropic
from bids_sr.engines.stripped_image import stripped_brain
from bids_sr.evaluation.references import find_references
from bids_sr.exceptions import BidsSrError, EngineError
from bids_sr.imaging import Volume

THRESHOLD, LOOK = 0.4, 0.3
LEAST_COMMON = 100.0  # mL
SPACING = 2.0  # mm
COARSE = 4.0  # mm
DETAIL = 3.0  # mm, sigma of the mean that is taken away
EDGE = 6.0  # mm
BINS = 32
ORDER = ("T1w", "T2w", "FLAIR", "PDw")
COLUMNS = ("first", "second", "score", "common", "verdict", "s")
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])

FloatArray = npt.NDArray[np.floating[Any]]
Start = tuple[FloatArray, FloatArray, FloatArray]
"""Rotation (3, 3), its centre (3,) and the shift (3,) in mm, from the first image's world."""


def main(argv: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    paths = find_images(options)
    rows = [row for row in read_rows(options.out) if row["score"]]  # what failed is tried again
    known = {(row["first"], row["second"]) for row in rows}
    heads = [Head(path) for path in paths]
    for first, second in combinations(heads, 2):
        files = (first.path.name, second.path.name)
        selected = any(fnmatch(file, pattern) for file in files for pattern in options.of)
        if not selected or (first.name, second.name) in known:
            continue
        rows.append(compare(first, second, options.threads))
        if options.out:
            write_rows(options.out, rows)
    names = {head.name for head in heads}
    print(table([row for row in rows if {row["first"], row["second"]} <= names]))
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", type=Path, nargs="+", help="images, folders, BIDS datasets")
    parser.add_argument("--include", nargs="+", default=[], help="patterns of file names")
    parser.add_argument("--exclude", nargs="+", default=[], help="patterns of file names")
    parser.add_argument("--of", nargs="+", default=["*"], help="only pairs with such a file name")
    parser.add_argument("--one-per-subject", action="store_true", help="a T1w where there is one")
    parser.add_argument("--out", type=Path, help="TSV file; pairs that it has are not done again")
    parser.add_argument("--threads", type=int, default=1)
    return parser


def find_images(options: argparse.Namespace) -> list[Path]:
    images: dict[Path, None] = {}
    for path in options.paths:
        references = find_references(path, options.include, options.exclude)
        images |= dict.fromkeys(reference.path for reference in references)
    if not options.one_per_subject:
        return list(images)
    best: dict[str, Path] = {}
    for path in sorted(images, key=_preference):
        best.setdefault(path.name.split("_")[0], path)
    return sorted(best.values(), key=lambda path: path.name)


def _preference(path: Path) -> tuple[int, str]:
    suffix = parse_name(path.name).suffix
    return (ORDER.index(suffix) if suffix in ORDER else len(ORDER), path.name)


@dataclass(frozen=True)
class Head:
    """Hold an image, and what registrations of it begin with, found when first needed."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name.split(".")[0]

    @cached_property
    def image(self) -> Volume:
        """2 mm, intensities equalised to 0..1."""
        return equalised(isotropic(Volume.load(self.path).canonical(), SPACING))

    @cached_property
    def pose(self) -> tuple[FloatArray, FloatArray]:
        """Matrix (3, 3) of the template's pose and the centre (3,) of its brain, mm."""
        mask, _ = stripped_brain(Volume.load(self.path))
        coarse = isotropic(self.image, COARSE)
        pose = find_head(coarse, head_template(), stripped=mask is not None)
        return pose.matrix, pose.centre + pose.shift

    @cached_property
    def centre(self) -> FloatArray:
        """(3,) centre of the tissue, mm."""
        index = np.argwhere(self.image.data > FLOOR).mean(axis=0)
        return np.asarray(self.image.affine[:3, :3] @ index + self.image.affine[:3, 3])


def starts(first: Head, second: Head) -> Iterator[Start]:
    (first_rotation, centre), (second_rotation, goal) = first.pose, second.pose
    left, _, right = np.linalg.svd(second_rotation @ np.linalg.inv(first_rotation))
    yield left @ right, centre, goal - centre
    yield np.eye(3), first.centre, second.centre - first.centre
    yield np.eye(3), first.centre, np.zeros(3)


def compare(first: Head, second: Head, threads: int) -> dict[str, Any]:
    """Return the row of a pair."""
    start = time.process_time()
    row = {"first": first.name, "second": second.name}
    try:
        registered = register(first, second, threads)
        score, common = fine_detail(first.image.data, registered)
        row |= {"score": f"{score:.3f}", "common": f"{common:.0f}"}
        row["verdict"] = verdict(score, common)
    except (BidsSrError, ValueError) as error:
        row |= {"score": "", "common": "", "verdict": f"failed: {' '.join(str(error).split())}"}
    return {**row, "s": f"{time.process_time() - start:.1f}"}


def verdict(score: float, common: float) -> str:
    if common < LEAST_COMMON:
        return "too little in common"
    if score >= THRESHOLD:
        return "same head"
    return "look" if score >= LOOK else "different"


def register(first: Head, second: Head, threads: int) -> FloatArray:
    """Return the second image on the grid of the first, after rigid registration."""
    with (
        ants_session(threads=threads, seed=0) as (ants, _),
        TemporaryDirectory(prefix="same_head-") as folder,
    ):
        result = ants.registration(
            to_ants(ants, first.image),
            to_ants(ants, second.image),
            "Rigid",
            initial_transform=_coarse_transform(ants, first, second, Path(folder)),
            aff_random_sampling_rate=0.1,
            aff_iterations=(25,),
            aff_shrink_factors=(1,),
            aff_smoothing_sigmas=(0,),
            outprefix=str(Path(folder) / "fine_"),
        )
        return np.asarray(result["warpedmovout"].numpy())


def _coarse_transform(ants: ModuleType, first: Head, second: Head, folder: Path) -> str:
    """Register 4 mm copies from every start and return the file of the best transform."""
    coarse = [to_ants(ants, isotropic(head.image, COARSE)) for head in (first, second)]
    candidates: list[tuple[float, str]] = []
    for number, (matrix, centre, shift) in enumerate(starts(first, second)):
        transform = ants.create_ants_transform(
            transform_type="Euler3DTransform",
            dimension=3,
            matrix=_RAS_TO_LPS @ matrix @ _RAS_TO_LPS,
            center=_RAS_TO_LPS @ centre,
            translation=_RAS_TO_LPS @ shift,
        )
        file = str(folder / f"start{number}.mat")
        ants.write_transform(transform, file)
        with suppress(RuntimeError):  # ANTs fails where two images do not meet
            result = ants.registration(
                *coarse,
                "Rigid",
                initial_transform=file,
                aff_iterations=(100, 50),
                aff_shrink_factors=(2, 1),
                aff_smoothing_sigmas=(1, 0),
                outprefix=str(folder / f"coarse{number}_"),
            )
            information = -ants.image_mutual_information(coarse[0], result["warpedmovout"])
            candidates.append((float(information), str(result["fwdtransforms"][0])))
    if not candidates:
        raise EngineError(
            f"{first.name} and {second.name}: found no start from which ANTs could register "
            "them; expected two images of tissue. Look at both."
        )
    return max(candidates)[1]


def fine_detail(first: FloatArray, second: FloatArray) -> tuple[float, float]:
    """Return the correlation of the fine detail and the volume compared, mL."""
    steps = round(EDGE / SPACING)
    common = ndimage.binary_erosion(_filled(first) & _filled(second), iterations=steps)
    volume = float(np.count_nonzero(common)) * SPACING**3 / 1000
    if volume < LEAST_COMMON:
        return 0.0, volume
    pairs = (
        (_recoloured(first, second, common), second),
        (first, _recoloured(second, first, common)),
    )
    scores = []
    for image, reference in pairs:
        details = (_detail(image, common), _detail(reference, common))
        scores.append(float(np.corrcoef(*details)[0, 1]))
    return max(scores), volume


def _filled(image: FloatArray) -> npt.NDArray[np.bool_]:
    closed = ndimage.binary_closing(image > FLOOR, iterations=round(EDGE / SPACING))
    return np.asarray(ndimage.binary_fill_holes(closed))


def _recoloured(image: FloatArray, like: FloatArray, where: npt.NDArray[np.bool_]) -> FloatArray:
    """Replace each intensity by the mean of the other image at that intensity."""
    level = np.clip((image * BINS).astype(int), 0, BINS - 1)
    count = np.bincount(level[where], minlength=BINS)
    total = np.bincount(level[where], like[where], BINS)
    return np.asarray((total / np.maximum(count, 1))[level])


def _detail(image: FloatArray, where: npt.NDArray[np.bool_]) -> FloatArray:
    """Return the values in a region less their Gaussian mean within it."""
    sigma = DETAIL / SPACING
    weight = ndimage.gaussian_filter(where.astype(np.float32), sigma)
    total = ndimage.gaussian_filter(np.where(where, image, 0).astype(np.float32), sigma)
    return np.asarray(image[where] - total[where] / weight[where])


def read_rows(path: Path | None) -> list[dict[str, Any]]:
    if path is None or not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def table(rows: list[dict[str, Any]]) -> str:
    """Return all pairs as a table, the most alike first."""
    ordered = sorted(rows, key=lambda row: -float(row["score"] or 2))
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    lines += ["| " + " | ".join(str(row[name]) for name in COLUMNS) + " |" for row in ordered]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
