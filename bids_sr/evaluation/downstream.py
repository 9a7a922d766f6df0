"""Downstream scores: how well a reconstruction can be segmented.

Compares label maps of our own tools: tissues with those of the reference, lesions with
manual ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import label

from bids_sr.files import write_atomic
from bids_sr.imaging import Volume

TISSUES = {1: "csf", 2: "gm", 3: "wm"}
_TOUCHING = np.ones((3, 3, 3))  # voxels of one lesion share at least a corner


@dataclass(frozen=True, kw_only=True)
class Segmented:
    """Hold the segmentation of an image."""

    tissues: npt.NDArray[np.integer]
    """(X, Y, Z), by the numbers of ``TISSUES``."""
    lesions: npt.NDArray[np.bool_] | None
    """(X, Y, Z); None where nobody looked for lesions."""


Segmenter = Callable[[Volume, npt.NDArray[np.bool_], bool, str], Segmented]
"""Image, brain mask, whether to look for lesions, name of what is kept (or empty)."""


def dice(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Compute the overlap of two masks, 2 |A ∩ B| / (|A| + |B|); 1 where both are empty."""
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 2 * int(np.count_nonzero(first & second)) / total if total else 1.0


def downstream_scores(
    estimate: Segmented,
    reference: Segmented,
    lesions: npt.NDArray[np.bool_] | None,
    region: npt.NDArray[np.bool_],
) -> dict[str, float]:
    """Score the segmentation of a reconstruction.

    Parameters
    ----------
    estimate, reference : Segmented
        Of the reconstruction and of the reference, by the same tools.
    lesions : (X, Y, Z) bool array, optional
        Drawn lesions.
    region : (X, Y, Z) bool array
        Where to compare.

    Returns
    -------
    dict of str to float
        ``dice_csf``, ``dice_gm``, ``dice_wm`` with the reference's tissues; with drawn
        lesions ``lesion_dice``, ``lesion_sensitivity``, ``lesion_precision``,
        ``lesion_volume_error`` (percent, signed), ``reference_lesion_dice``,
        ``reference_lesions`` (number of lesions of the reference's segmentation that touch
        a drawn one) and ``lost_lesions`` (how many of these the reconstruction has
        nothing of).
    """
    scores = {
        f"dice_{name}": dice(
            (estimate.tissues == code) & region, (reference.tissues == code) & region
        )
        for code, name in TISSUES.items()
    }
    if lesions is None or estimate.lesions is None or reference.lesions is None:
        return scores
    drawn_lesions, seen_lesions = lesions & region, estimate.lesions & region
    drawn_size, seen_size = (
        int(np.count_nonzero(drawn_lesions)),
        int(np.count_nonzero(seen_lesions)),
    )
    if not drawn_size:
        return scores
    both = int(np.count_nonzero(drawn_lesions & seen_lesions))
    apart, _ = label(reference.lesions & region, structure=_TOUCHING)
    true, seen = (
        set(np.unique(apart[mask]).tolist()) - {0} for mask in (drawn_lesions, seen_lesions)
    )
    scores |= {
        "reference_lesions": len(true),
        "lost_lesions": len(true - seen),
        "lesion_dice": dice(seen_lesions, drawn_lesions),
        "lesion_sensitivity": both / drawn_size,
        "lesion_volume_error": 100 * (seen_size - drawn_size) / drawn_size,
        "reference_lesion_dice": dice(reference.lesions & region, drawn_lesions),
    }
    return scores | ({"lesion_precision": both / seen_size} if seen_size else {})


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
        file = folder / f"{name}.npz"
        if name and file.is_file():
            with np.load(file) as arrays:
                tissues, wmh = arrays["tissues"], arrays["lesions"]
            return Segmented(tissues=tissues, lesions=wmh if lesions else None)
        segmented = _segment(volume, mask, lesions, threads, seed)
        if name:
            wmh = np.zeros(0, bool) if segmented.lesions is None else segmented.lesions
            write_atomic(
                file,
                lambda path: np.savez_compressed(path, tissues=segmented.tissues, lesions=wmh),
            )
        return segmented

    return segment


def _segment(
    volume: Volume, mask: npt.NDArray[np.bool_], lesions: bool, threads: int, seed: int
) -> Segmented:
    from bids_sr.engines.segmentation import make_segmentation

    brain = volume.with_data(mask.astype(np.uint8))  # one object: the tools share its priors
    tissues = make_segmentation("atropos", threads=threads, seed=seed).segment(volume, brain)
    lesion_mask = None
    if lesions:
        segmentation = make_segmentation("wmh", threads=threads, seed=seed).segment(volume, brain)
        lesion_mask = segmentation.labels.data > 0
    return Segmented(tissues=tissues.labels.data, lesions=lesion_mask)
