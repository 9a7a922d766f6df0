"""Segment what ``bids_sr-tools evaluate --downstream`` compares, by our own tools.

Comparisons stand below the tools; so they are handed in from here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_sr.evaluation.downstream import Segmented, Segmenter
from bids_sr.files import write_atomic
from bids_sr.imaging import Volume


def segmenter(folder: Path, *, threads: int, seed: int) -> Segmenter:
    """Return how images are segmented: tissues by ``atropos``, lesions by ``wmh``.

    Parameters
    ----------
    folder : Path
        Where a segmentation that has a name is kept, and found again.
    threads : int
    seed : int
    """

    def segment(
        volume: Volume, mask: npt.NDArray[np.bool_], lesions: bool, name: str
    ) -> Segmented:
        kept = folder / f"{name}.npz"
        if name and kept.is_file():
            with np.load(kept) as found:
                tissues, wmh = found["tissues"], found["lesions"]
            return Segmented(tissues=tissues, lesions=wmh if lesions else None)
        made = _segment(volume, mask, lesions, threads, seed)
        if name:
            wmh = np.zeros(0, bool) if made.lesions is None else made.lesions
            write_atomic(
                kept,
                lambda path: np.savez_compressed(path, tissues=made.tissues, lesions=wmh),
            )
        return made

    return segment


def _segment(
    volume: Volume, mask: npt.NDArray[np.bool_], lesions: bool, threads: int, seed: int
) -> Segmented:
    from bids_sr.engines.segmentation import make_segmentation

    brain = volume.with_data(mask.astype(np.uint8))  # one object: the tools share its priors
    tissues = make_segmentation("atropos", threads=threads, seed=seed).segment(volume, brain)
    found = None
    if lesions:
        made = make_segmentation("wmh", threads=threads, seed=seed).segment(volume, brain)
        found = made.labels.data > 0
    return Segmented(tissues=tissues.labels.data, lesions=found)
