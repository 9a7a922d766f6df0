"""A score compares a reconstruction with the truth of a test, in a mask.

States each measure, its definition, and the planes in which images are compared.
Higher is better except where :data:`MEASURES` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nb
import numpy as np
import numpy.typing as npt
from scipy import stats

from bids_sr.evaluation.metrics import peak_range, psnr, ssim
from bids_sr.evaluation.perceptual import perceptual
from bids_sr.evaluation.protocol import TestCase
from bids_sr.evaluation.sharpness import sharpness
from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Volume, resample
from bids_sr.records.uncertainty import COVERAGE_FACTOR

LEAST_COVERED = 0.5
"""Share of a test that an estimate on another grid has to cover."""
_PLANES_A_VIEW = 16
_LEAST_IN_PLANE = 400  # mask voxels that a plane needs to be looked at


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One column of scores."""

    name: str
    title: str
    digits: int
    definition: str
    lower_is_better: bool = False


MEASURES = (
    Measure(
        name="psnr",
        title="PSNR (dB)",
        digits=2,
        definition="10 log10(R² / MSE) over the mask, in three dimensions; R is the maximum minus "
        "the minimum of the reference in the mask",
    ),
    Measure(
        name="ssim",
        title="SSIM",
        digits=4,
        definition="mean over the mask of the 3-D index of Wang et al. 2004 (Gaussian window of "
        "1.5 voxels, dynamic range R); of the 2-D index in left-out slices",
    ),
    Measure(
        name="lesion_psnr",
        title="PSNR in lesions (dB)",
        digits=2,
        definition="the same PSNR, with the same R, over the lesion mask",
    ),
    *(
        Measure(
            name=f"dice_{name}",
            title=f"Dice of {name.upper()}",
            digits=4,
            definition="overlap of this tissue in the reconstruction and in the reference, both "
            "segmented by atropos within the same mask",
        )
        for name in ("csf", "gm", "wm")
    ),
    Measure(
        name="lesion_dice",
        title="Lesion Dice",
        digits=3,
        definition="overlap of the lesions that wmh finds in the reconstruction and those drawn",
    ),
    Measure(
        name="lesion_sensitivity",
        title="Lesion sensitivity",
        digits=3,
        definition="share of the drawn lesion voxels that are found",
    ),
    Measure(
        name="lesion_precision",
        title="Lesion precision",
        digits=3,
        definition="share of the found lesion voxels that are drawn",
    ),
    Measure(
        name="lesion_volume_error",
        title="Lesion volume error (%)",
        digits=1,
        definition="volume found minus volume drawn, in percent of the latter; 0 is best",
    ),
    Measure(
        name="reference_lesion_dice",
        title="Lesion Dice of the reference",
        digits=3,
        definition="the same overlap, for the lesions that wmh finds in the reference",
    ),
    Measure(
        name="reference_lesions",
        title="Lesions in the reference",
        digits=0,
        definition="connected lesions that wmh finds in the reference and that touch a drawn one",
    ),
    Measure(
        name="lost_lesions",
        title="Lost lesions",
        digits=0,
        definition="how many of these lesions wmh misses entirely in the reconstruction",
        lower_is_better=True,
    ),
    Measure(name="vif", title="VIF", digits=4, definition="visual information fidelity (piq)"),
    Measure(name="fsim", title="FSIM", digits=4, definition="feature similarity (piq)"),
    Measure(name="vsi", title="VSI", digits=4, definition="visual saliency index (piq)"),
    Measure(name="haarpsi", title="HaarPSI", digits=4, definition="Haar perceptual index (piq)"),
    Measure(
        name="dists",
        title="DISTS",
        digits=4,
        definition="deep image structure and texture distance (piq); lower is better",
        lower_is_better=True,
    ),
    Measure(
        name="sharpness",
        title="Sharpness",
        digits=3,
        definition="share of energy in detail finer than the slices can hold, across the slices "
        "relative to in-plane; compare with that of the reference",
    ),
    Measure(
        name="reference_sharpness",
        title="Sharpness of the reference",
        digits=3,
        definition="far below 1, the reference itself lacks detail across the slices",
    ),
    Measure(
        name="uncertainty_correlation",
        title="Correlation of error and uncertainty",
        digits=3,
        definition="rank correlation (Spearman) over the mask of the absolute error and of the "
        "uncertainty that the method states",
    ),
    Measure(
        name="uncertainty_ratio",
        title="Error / uncertainty",
        digits=2,
        definition="root mean square error over the mask, divided by the root mean square of the "
        "stated uncertainty: above 1, the method is too sure",
    ),
    Measure(
        name="uncertainty_coverage",
        title="Coverage of the 90 % interval (%)",
        digits=1,
        definition="share of the mask where the reference lies within "
        f"{COVERAGE_FACTOR:g} times the stated uncertainty of the result; 90 is best, and "
        "promised only where the method's uncertainty is calibrated",
    ),
    Measure(
        name="registration_error",
        title="Registration error (mm)",
        digits=3,
        definition="of several stacks: how far from its true place registration lays a voxel of "
        "the mask, mean over the mask and the stacks",
        lower_is_better=True,
    ),
)
PLANES_DEFINITION = (
    "VIF, FSIM, VSI, HaarPSI and DISTS are means over planes across the slices "
    f"({_PLANES_A_VIEW} of either view, evenly over the mask) or over the left-out slices, "
    "intensities scaled by R to 0 to 1, black outside of the mask"
)


def score(
    case: TestCase,
    estimate: Volume,
    *,
    mask: npt.NDArray[np.bool_],
    lesions: npt.NDArray[np.bool_] | None = None,
    uncertainty: Volume | None = None,
    measures: Sequence[str] = (),
) -> dict[str, float]:
    """Score a reconstruction.

    Parameters
    ----------
    case : TestCase
    estimate : Volume
        On the grid of the case, or on any other: it is then brought there by B-splines.
    mask : (X, Y, Z) bool array
        On the grid of ``case.truth``.
    lesions : (X, Y, Z) bool array, optional
        Likewise.
    uncertainty : Volume, optional
        Standard deviation that the method expects of every voxel, on the grid of the case.
    measures : sequence of str
        Perceptual measures to compute, out of :func:`.available`.

    Returns
    -------
    dict of str to float
        By names of :data:`MEASURES`, those that apply.

    Raises
    ------
    InputDataError
        If mask and slices have no voxel in common, or the reference is constant there.
    """
    estimate = on_grid(case, estimate)
    inside = mask & case.region
    if not inside.any():
        raise InputDataError(
            "Found no voxel of the mask within the slices; expected the part to be scored. "
            "Check the mask."
        )
    sr, truth = case.at_truth(estimate.data), case.truth.data
    peak = peak_range(truth, inside)
    scores = {"psnr": psnr(sr, truth, inside, peak)}
    if lesions is not None and (lesions & case.region).any():
        scores["lesion_psnr"] = psnr(sr, truth, lesions & case.region, peak)
    if uncertainty is not None:
        stated = case.at_truth(uncertainty.data)[inside]
        scores |= _uncertainty_scores(sr[inside] - truth[inside], stated)
    axis = case.acquisition.slice_axis
    assert axis is not None
    if case.planes is None:
        scores["ssim"] = ssim(sr, truth, inside, peak)
        cutoff = 0.5 / case.acquisition.spacing
        spacings = case.truth.spacings
        scores["sharpness"] = sharpness(sr, inside, spacings, axis, cutoff)
        scores["reference_sharpness"] = sharpness(truth, inside, spacings, axis, cutoff)
        views = [view for view in range(3) if view != axis]
    else:
        scores["ssim"] = _ssim_of_planes(sr, truth, inside, axis, peak)
        views = [axis]
    if measures:
        low = float(truth[inside].min())
        scaled = [
            np.where(inside, (data.astype(np.float32) - low) / peak, 0) for data in (sr, truth)
        ]
        pairs = [
            (np.take(scaled[0], index, view)[box], np.take(scaled[1], index, view)[box])
            for view in views
            for index, box in _planes(inside, view)
        ]
        scores |= perceptual(pairs, measures)
    return scores


def on_grid(case: TestCase, estimate: Volume) -> Volume:
    """Return an estimate on the grid of its test, brought there by B-splines if need be.

    Raises
    ------
    InputDataError
        If less than half of the test lies within its field of view.
    """
    if estimate.grid.same(case.grid):
        return estimate
    places = np.indices(case.grid.shape)[:, ::2, ::2, ::2].reshape(3, -1)
    voxels = nb.affines.apply_affine(np.linalg.inv(estimate.affine) @ case.grid.affine, places.T)
    within = (voxels > -0.51) & (voxels < np.array(estimate.shape) - 0.49)
    share = float(within.all(axis=1).mean())
    if share < LEAST_COVERED:
        raise InputDataError(
            f"Found a volume that covers {100 * share:.0f} % of its test; expected the field of "
            "view of the test, on any grid. Check the affine that the program wrote."
        )
    like = Volume(np.broadcast_to(np.float32(0), case.grid.shape), case.grid.affine)
    return resample(estimate.oriented_like(like), case.grid)


def _uncertainty_scores(errors: npt.NDArray[Any], stated: npt.NDArray[Any]) -> dict[str, float]:
    """Say whether a method errs where it says so, and by as much."""
    size, spread = np.abs(errors), float(np.sqrt(np.mean(stated.astype(np.float64) ** 2)))
    if spread == 0 or np.ptp(stated) == 0 or np.ptp(size) == 0:
        return {}
    return {
        "uncertainty_correlation": float(stats.spearmanr(size, stated).statistic),
        "uncertainty_ratio": float(np.sqrt(np.mean(errors.astype(np.float64) ** 2))) / spread,
        "uncertainty_coverage": 100 * float(np.mean(size <= COVERAGE_FACTOR * stated)),
    }


def _ssim_of_planes(
    sr: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_],
    axis: int,
    peak: float,
) -> float:
    """Return the mean over planes of the 2-D index; planes without mask do not count."""
    similarities = []
    for index in range(truth.shape[axis]):
        sr_plane, true_plane, inside = (np.take(part, index, axis) for part in (sr, truth, mask))
        if inside.any():
            similarities.append(ssim(sr_plane, true_plane, inside, peak))
    return float(np.mean(similarities))


def _planes(mask: npt.NDArray[np.bool_], axis: int) -> list[tuple[int, tuple[slice, slice]]]:
    """Choose planes spread evenly over a mask, each with the box of the mask in it."""
    sizes = np.count_nonzero(mask, axis=tuple(across for across in range(3) if across != axis))
    (good,) = np.nonzero(sizes >= min(_LEAST_IN_PLANE, int(sizes.max())))
    places = (np.arange(_PLANES_A_VIEW) + 0.5) / _PLANES_A_VIEW * good.size
    chosen = sorted({int(good[int(place)]) for place in places})
    planes = []
    for index in chosen:
        where: Any = np.nonzero(np.take(mask, index, axis))
        box = tuple(slice(int(some.min()), int(some.max()) + 1) for some in where)
        planes.append((index, (box[0], box[1])))
    return planes
