"""The masks in which a comparison scores: existing ones, and those computed for it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bids_sr import __version__
from bids_sr.evaluation.pool import TaskPool
from bids_sr.evaluation.references import Reference, existing_mask, not_zero
from bids_sr.exceptions import BidsSrError, InputDataError
from bids_sr.files import read_json_or_empty, write_json_atomic
from bids_sr.imaging import Volume

if TYPE_CHECKING:
    from bids_sr.evaluation.pool import Ended

LOGGER = logging.getLogger(__name__)
MADE = ("auto", "nonzero", "template")
"""Kinds of masks that can be computed."""


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Where to score an image."""

    path: Path | None = None
    """None: everywhere, or nowhere if there is a problem."""
    origin: str = "whole image"
    problem: str = ""
    """Why there is none."""


@dataclass(frozen=True, kw_only=True)
class MaskFinder:
    """Find or compute the masks of images."""

    kind: str
    """``none``, one of ``MADE``, or the path of a mask or a folder of them."""
    folder: Path
    """Where computed masks are stored."""
    derivatives: Sequence[Path]
    """BIDS derivatives with masks."""
    threads: int
    """For computing one mask."""
    seed: int

    def find(self, references: Sequence[Reference]) -> dict[str, Mask | None]:
        """Return the mask of each image by its name; None where it has to be computed."""
        masks: dict[str, Mask | None] = {}
        for reference in references:
            try:
                masks[reference.name] = self._at_hand(reference)
            except BidsSrError as error:
                masks[reference.name] = Mask(origin="", problem=str(error))
        return masks

    def make(self, references: Sequence[Reference], pool: TaskPool) -> dict[str, Mask]:
        """Compute masks of images in processes of their own."""
        tasks = [(reference.name, self._task(reference)) for reference in references]
        return {
            references[ended.number].name: self._computed(references[ended.number], ended)
            for ended in pool.run(tasks)
        }

    def _computed(self, reference: Reference, ended: Ended) -> Mask:
        mask = self._stored(reference)
        if mask is None:
            name, problem = reference.name, ended.message or "the image changed meanwhile"
            LOGGER.warning("%s: no mask, give one or --mask none: %s", name, problem)
            return Mask(origin="", problem=problem)
        return mask

    def _at_hand(self, reference: Reference) -> Mask | None:
        if self.kind == "none":
            return Mask()
        location = None if self.kind in MADE else Path(self.kind)
        if self.kind == "auto" or location is not None:
            existing = existing_mask(
                reference, location, self.derivatives if location is None else []
            )
            if existing is not None:
                return Mask(path=existing[0], origin=existing[1])
            if location is not None:
                return Mask(origin="", problem=f"{location} has no mask of {reference.path.name}")
        if self.kind == "auto" and not reference.is_brain:
            return Mask()
        return self._stored(reference)

    def _stored(self, reference: Reference) -> Mask | None:
        """Return the mask that :func:`make_mask` wrote for the image as it is now."""
        path = self._path(reference)
        record = read_json_or_empty(_record_path(path))
        if record.get("Made") != self._sources(reference) or not path.is_file():
            return None
        return Mask(path=path, origin=str(record["Origin"]))

    def _path(self, reference: Reference) -> Path:
        return (self.folder / f"{reference.name}.nii.gz").absolute()

    def _sources(self, reference: Reference) -> list[Any]:
        status = reference.path.stat()
        return [self.kind, status.st_size, status.st_mtime_ns, __version__]

    def _task(self, reference: Reference) -> dict[str, Any]:
        return {
            "do": "mask",
            "image": str(reference.path),
            "out": str(self._path(reference)),
            "kind": self.kind,
            "threads": self.threads,
            "seed": self.seed,
            "sources": self._sources(reference),
        }


def make_mask(
    image: Path, out: Path, *, kind: str, threads: int, seed: int, sources: Sequence[Any]
) -> None:
    """Compute the mask of an image in this process, and write a record of its origin.

    Raises
    ------
    InputDataError
        If it is empty.
    """
    volume = Volume.load(image).canonical()
    if kind == "nonzero":
        mask, origin = not_zero(volume), "non-zero voxels, holes filled"
    else:
        mask, origin = _brain(volume, engine_only=kind != "auto", threads=threads, seed=seed)
    if not mask.any():
        raise InputDataError(f"{image}: found an empty mask; give one with --mask.")
    volume.with_data(mask.astype(np.uint8)).save(out)
    write_json_atomic(_record_path(out), {"Origin": origin, "Made": sources})


def _brain(
    volume: Volume, *, engine_only: bool, threads: int, seed: int
) -> tuple[npt.NDArray[np.bool_], str]:
    """Return the brain of an image, skull-stripped or not, and the origin of the mask."""
    from bids_sr.engines.ants import template_brain_mask
    from bids_sr.engines.stripped_image import stripped_brain

    brain = None if engine_only else stripped_brain(volume)[0]
    origin = "non-background voxels of a skull-stripped image"
    if brain is None:
        brain, _ = template_brain_mask(volume, threads=threads, seed=seed)
        origin = "template engine"
    return brain.data > 0, origin


def _record_path(mask: Path) -> Path:
    return mask.with_suffix("").with_suffix(".json")
