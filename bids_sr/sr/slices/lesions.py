"""Lesions of a super-resolved image, and what the acquired slices show of each.

A lesion rests on measured data if the slices that cut it show the contrast that the result
has there, made as thick as they are.  If they do not, the contrast comes from the network
or from the segmentation.  Nothing here finds lesions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.imaging import Acquisition, ForwardModel, Volume, resample
from bids_sr.imaging.noise import estimate_noise

LEAST_SHARE = 0.5
"""Share of the expected contrast that the acquired slices must show of a lesion."""
STANDARD_ERRORS = 3.0
"""By how many standard errors of the noise its contrast must exceed 0."""
_TOUCHING = np.ones((3, 3, 3))  # voxels of one lesion share at least a corner
_GAP, _RING = 1, 3  # voxels around a lesion that are left out, and that end its surroundings


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """Hold what is known of one lesion; contrasts are inside minus surroundings."""

    index: int
    """Numbered from 1, by volume, largest first."""
    volume_mm3: float
    centre_mm: tuple[float, float, float]
    """Centre of mass in the world, RAS+, mm."""
    slice_number: int
    """Acquired slice that holds most of it, from 0 along the slice axis."""
    contrast_acquired: float
    """In the slices, averaged over its share of their voxels."""
    contrast_interpolated: float
    contrast_result: float
    measured_share: float
    """Contrast in the slices, relative to what the result would show in such slices."""
    measured: bool
    """Whether it rests on measured data."""


def measure_lesions(
    mask: npt.NDArray[np.bool_], sr: Volume, lr: Volume, acquisition: Acquisition
) -> list[Lesion]:
    """Compare the contrast of each lesion in the slices, interpolated, and in the result.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
        Lesions, on the grid of the result.
    sr : Volume
        The super-resolved image.
    lr : Volume
        The acquired slices, as they were super-resolved; parallel to it.
    acquisition : Acquisition
        How they were taken.

    Returns
    -------
    list of Lesion
        Largest first.

    Notes
    -----
    Surroundings are 2 and 3 voxels away, without other lesions.  The standard error of a
    contrast supposes white noise in the slices.
    """
    model = ForwardModel.between(sr.grid, lr.grid, acquisition)
    axis = model.slice_axis
    comparison = _Comparison(
        model=model,
        slices=resample(lr, sr.grid.with_planes_of(lr.grid, axis)).data,
        interpolated=resample(lr, sr.grid).data,
        result=sr.data,
        noise=estimate_noise(lr, axis),
    )
    numbers, _ = ndimage.label(mask, structure=_TOUCHING)
    boxes = ndimage.find_objects(numbers)
    sizes = np.bincount(numbers.ravel())[1:]
    lesions = []
    for index, place in enumerate(np.argsort(-sizes, kind="stable"), start=1):
        box = _widened(boxes[place], numbers.shape)
        inside = numbers[box] == place + 1
        centre = np.argwhere(inside).mean(axis=0) + [side.start for side in box]
        lesions.append(
            Lesion(
                index=index,
                volume_mm3=round(float(sizes[place] * np.prod(sr.spacings)), 1),
                centre_mm=tuple(np.round(sr.affine[:3] @ [*centre, 1], 1).tolist()),
                **comparison.of(inside, numbers[box] > 0, box),
            )
        )
    return lesions


def lesions_tsv(lesions: Sequence[Lesion]) -> str:
    """Write one row a lesion; contrasts in units of intensity."""
    columns = (
        *("index", "volume_mm3", "x_mm", "y_mm", "z_mm", "slice", "contrast_acquired"),
        *("contrast_interpolated", "contrast_result", "measured_share", "rests_on"),
    )
    lines = ["\t".join(columns)]
    for lesion in lesions:
        contrasts = (
            lesion.contrast_acquired,
            lesion.contrast_interpolated,
            lesion.contrast_result,
        )
        values = [
            *(lesion.index, lesion.volume_mm3, *lesion.centre_mm, lesion.slice_number),
            *(f"{value:.5g}" for value in contrasts),
            f"{lesion.measured_share:.2f}",
            "measurement" if lesion.measured else "estimate",
        ]
        lines.append("\t".join(map(str, values)))
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Comparison:
    """Hold an image as slices, interpolated and super-resolved; in-plane on one grid."""

    model: ForwardModel
    slices: npt.NDArray[np.floating]
    interpolated: npt.NDArray[np.floating]
    result: npt.NDArray[np.floating]
    noise: float

    def of(
        self,
        inside: npt.NDArray[np.bool_],
        lesions: npt.NDArray[np.bool_],
        box: tuple[slice, ...],
    ) -> dict[str, Any]:
        """Measure the contrasts of a lesion within a box."""
        near = ndimage.binary_dilation(inside, _TOUCHING, iterations=_GAP)
        ring = ndimage.binary_dilation(inside, _TOUCHING, iterations=_RING) & ~near & ~lesions
        fine = {
            name: _contrast(values[box], inside, ring)
            for name, values in (
                ("contrast_interpolated", self.interpolated),
                ("contrast_result", self.result),
            )
        }
        axis = self.model.slice_axis
        matrix = self.model.matrix[:, box[axis]].toarray()  # (n_lr, n)
        rows = np.flatnonzero(matrix.sum(axis=1) > 0)
        matrix = matrix[rows]

        def thick(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
            applied = np.tensordot(matrix, values.astype(np.float64), axes=(1, axis))
            return np.moveaxis(applied, 0, axis)

        shares, around = thick(inside), thick(ring)
        slab = list(box)
        slab[axis] = slice(int(rows[0]), int(rows[-1]) + 1)
        acquired = self.slices[tuple(slab)]
        # the surroundings in slices: voxels that no lesion reaches
        around = np.where(thick(lesions) < 0.02, around, 0)
        weights = np.where(shares >= 0.5 * shares.max(), shares, 0)
        seen = _weighted(acquired, weights, around)
        expected = _weighted(thick(self.result[box]), weights, around)
        error = self.noise * np.sqrt(_variance(weights) + _variance(around))
        share = seen / expected if abs(expected) > 0 else 0.0
        shown = seen * fine["contrast_result"] > 0 and abs(seen) >= STANDARD_ERRORS * error
        per_slice = np.delete(np.arange(3), axis)
        return fine | {
            "contrast_acquired": seen,
            "slice_number": int(rows[shares.sum(axis=tuple(per_slice)).argmax()]),
            "measured_share": float(np.clip(share, -9.99, 9.99)),
            "measured": bool(shown and share >= LEAST_SHARE),
        }


def _widened(box: tuple[slice, ...], shape: Sequence[int]) -> tuple[slice, ...]:
    margin = _RING + 1
    return tuple(
        slice(max(0, side.start - margin), min(size, side.stop + margin))
        for side, size in zip(box, shape, strict=True)
    )


def _contrast(
    values: npt.NDArray[np.floating],
    inside: npt.NDArray[np.bool_],
    ring: npt.NDArray[np.bool_],
) -> float:
    if not ring.any():
        return float("nan")
    return float(values[inside].mean(dtype=np.float64) - values[ring].mean(dtype=np.float64))


def _weighted(
    values: npt.NDArray[np.floating],
    inside: npt.NDArray[np.floating],
    around: npt.NDArray[np.floating],
) -> float:
    if not (inside.sum() > 0 and around.sum() > 0):
        return 0.0
    return float(np.average(values, weights=inside) - np.average(values, weights=around))


def _variance(weights: npt.NDArray[np.floating]) -> float:
    """Return the variance of a weighted mean of values of variance 1."""
    total = float(weights.sum())
    return float((weights**2).sum()) / total**2 if total > 0 else 0.0
