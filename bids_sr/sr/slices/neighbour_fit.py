"""A slice as its neighbours predict it: moved in its plane, dimmed, nearer to one of them.

One linear fit explains a slice by those before and after it.  Its coefficients say how far the
slice moved, how much signal it has and where between the two it lies.  Fine detail is not
looked at: slices are smoothed and coarse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.imaging import Volume

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
_COARSE_MM = 2.0  # size of a coarse pixel, and standard deviation of the smoothing
_FOREGROUND = 0.12  # of the robust range
_LEAST_PIXELS = 80  # of a slice that is judged
_LEAST_AREA = 0.3  # of the median slice
_ROUNDS = 3  # of alignment
_REWEIGHTED = 3
_LEAST_GAIN = 0.05
_BLOCK = 6  # coarse pixels
_LEAST_BLOCKS = 10
_BAND = 40  # slices apart, up to which they are compared


@dataclass(frozen=True, eq=False)
class CoarseSlices:
    """Hold the slices of an image, smoothed and coarse within the plane."""

    data: Array
    """(n, H, W) intensities above the background."""
    pixel: tuple[float, float]
    """Size of a coarse pixel, mm."""
    limit: float
    """Intensity above which a pixel is foreground."""

    @classmethod
    def of(cls, volume: Volume, slice_axis: int) -> CoarseSlices:
        """Smooth and coarsen the slices of a volume to pixels of about 2 mm."""
        data = np.moveaxis(volume.data, slice_axis, 0).astype(np.float32, copy=False)
        low, high = np.percentile(data[:, ::2, ::2], (0.5, 99.5))
        spacings = [float(volume.spacings[axis]) for axis in range(3) if axis != slice_axis]
        steps = [max(1, round(_COARSE_MM / spacing)) for spacing in spacings]
        blurs = []
        for spacing, step, size in zip(spacings, steps, data.shape[1:], strict=True):
            mean = ((step * spacing) ** 2 - spacing**2) / 12  # variance of the mean of pixels
            blur = float(np.sqrt(max(_COARSE_MM**2 - mean, 0.0))) / spacing
            blurs.append(min(blur, size / 4))
        smooth = ndimage.gaussian_filter(data, (0, *blurs), truncate=3)
        rows, columns = (size // step for size, step in zip(data.shape[1:], steps, strict=True))
        smooth = smooth[:, : rows * steps[0], : columns * steps[1]]
        blocks = smooth.reshape(len(data), rows, steps[0], columns, steps[1])  # (n, H, s, W, s)
        coarse = np.asarray(blocks.mean(axis=(2, 4)) - low, dtype=np.float32)
        pixel = (spacings[0] * steps[0], spacings[1] * steps[1])
        return cls(coarse, pixel, _FOREGROUND * float(high - low))

    @property
    def shown(self) -> Mask:
        """(n,) which slices show enough to be judged."""
        areas = np.count_nonzero(self.data > self.limit, axis=(1, 2))
        shown = areas[areas > 0.1 * areas.max(initial=0)]
        least = max(_LEAST_PIXELS, _LEAST_AREA * float(np.median(shown)) if shown.size else 0.0)
        return np.asarray(areas >= least)

    @property
    def judged(self) -> Mask:
        """(n,) which slices are judged: from the first to the last that show enough."""
        enough = np.flatnonzero(self.shown)
        judged = np.zeros(len(self.data), bool)
        if enough.size:
            judged[enough[0] : enough[-1] + 1] = True
        return judged

    def distances(self) -> npt.NDArray[np.float64]:
        """Return the (n, n) mean absolute differences of slices over the signal of both.

        Their gain does not count.  NaN where there is too little to compare, and for slices more
        than 40 apart.
        """
        count = len(self.data)
        distances = np.full((count, count), np.nan)
        for first in range(count):
            for second in range(first + 1, min(count, first + 1 + _BAND)):
                seen = np.maximum(self.data[first], self.data[second]) > self.limit
                if np.count_nonzero(seen) < _LEAST_PIXELS:
                    continue
                one, other = self.data[first][seen], self.data[second][seen]
                level, level_other = (max(float(part.mean()), 1e-12) for part in (one, other))
                apart = np.abs(one / level - other / level_other)
                distances[first, second] = distances[second, first] = float(apart.mean())
        return distances

    def jump(self, first: int) -> float | None:
        """Say how much more a slice differs from the next one than slices around do.

        Returns
        -------
        float or None
            Logarithm of the ratio, the median over blocks of the plane that all four slices
            show: where something appears or ends, a few blocks differ, and do not count.  None
            where there are too few blocks.
        """
        four = self.data[first - 1 : first + 3]
        if first < 1 or len(four) < 4:
            return None
        shown = np.asarray((four > self.limit).all(axis=0))
        levels = [max(float(part[shown].mean()), 1e-12) if shown.any() else 1.0 for part in four]
        even = four / np.asarray(levels, np.float32)[:, None, None]
        apart = np.asarray(np.abs(np.diff(even, axis=0)) * shown)  # (3, H, W)
        rows, columns = (size // _BLOCK for size in shown.shape)

        def blocks(values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
            cut = values[..., : rows * _BLOCK, : columns * _BLOCK]
            parts = cut.reshape(*values.shape[:-2], rows, _BLOCK, columns, _BLOCK)
            return np.asarray(parts.mean(axis=(-3, -1)))

        full = blocks(np.asarray(shown, np.float32)) > 0.5
        if np.count_nonzero(full) < _LEAST_BLOCKS:
            return None
        before, here, after = np.log(np.maximum(blocks(apart)[:, full], 1e-12))
        return float(np.median(here - (before + after) / 2))

    def fit(self, number: int, before: int, after: int) -> NeighbourFit | None:
        """Explain a slice by two others; None where there is too little to compare.

        Notes
        -----
        With P the mean of both, weighted by their distance, and D their difference, the slice
        is ``g P + b D - g u . grad P``, u a rigid motion in the plane: three coefficients.  The
        fit is repeated with the slice moved back, and is robust: what differs in a few places
        (a lesion, an artefact) does not count.
        """
        given, one, other = (self.data[place] for place in (number, before, after))
        share = (after - number) / (after - before)
        predicted, difference = share * one + (1 - share) * other, one - other
        seen = np.maximum(predicted, given) > self.limit
        if np.count_nonzero(seen) < _LEAST_PIXELS:
            return None
        seen = ndimage.binary_dilation(seen)
        plane = _Plane.of(seen, self.pixel)
        slopes = plane.motions(predicted)  # (N, 3)
        beside = np.stack([predicted[seen], difference[seen]], axis=1)
        _, apart = _robust_fit(beside, given[seen])
        columns = np.concatenate([slopes, beside], axis=1)
        motion, moved = np.zeros(3), given
        for _ in range(_ROUNDS):
            values, left = _robust_fit(columns, moved[seen])
            motion = motion + values[:3] / max(float(values[3]), _LEAST_GAIN)
            moved = plane.moved_back(given, motion)
        gain = max(float(values[3]), _LEAST_GAIN)
        levels = [_level(given[seen], near[seen], self.limit) for near in (one, other)]
        return NeighbourFit(
            reach=after - before,
            motion=(float(motion[0]), float(motion[1]), float(motion[2])),
            gain=float(values[3]),
            levels=(min(levels), max(levels)),
            position=float(values[4]) / gain,
            residual=left,
            residual_unmoved=apart,
            difference=float(np.mean(np.abs(given - predicted)[seen])),
        )


@dataclass(frozen=True, kw_only=True)
class NeighbourFit:
    """Say how a slice differs from what its neighbours predict."""

    reach: int
    """Slices from the neighbour before to that after: 2 where both are next to it."""
    motion: tuple[float, float, float]
    """Shift along both axes of the plane, and rotation at the radius of the slice, mm."""
    gain: float
    """Signal relative to the prediction."""
    levels: tuple[float, float]
    """Signal relative to each neighbour alone, the lower and the higher."""
    position: float
    """0 half-way between the neighbours (or where it should be), 0.5 at the one before."""
    residual: float
    """Mean absolute difference that motion, gain and position leave."""
    residual_unmoved: float
    """The same without motion."""
    difference: float
    """Mean absolute difference to the prediction."""

    @property
    def motion_mm(self) -> float:
        """Root of the sum of squares of shift and rotation."""
        return float(np.linalg.norm(self.motion))

    @property
    def explained(self) -> float:
        """Residual without motion over that with it: 1 where motion explains nothing."""
        return self.residual_unmoved / max(self.residual, 1e-12)


@dataclass(frozen=True, eq=False)
class _Plane:
    """Hold the positions of the pixels of a slice that are compared."""

    seen: Mask
    """(H, W)."""
    pixel: tuple[float, float]
    centre: tuple[float, float]
    """Of the compared pixels, mm."""
    radius: float
    """Root mean square distance of the compared pixels to it, mm."""

    @classmethod
    def of(cls, seen: Mask, pixel: tuple[float, float]) -> _Plane:
        rows, columns = np.nonzero(seen)
        centre = (float(rows.mean()) * pixel[0], float(columns.mean()) * pixel[1])
        down, right = rows * pixel[0] - centre[0], columns * pixel[1] - centre[1]
        return cls(seen, pixel, centre, float(np.sqrt(np.mean(down**2 + right**2))) + 1e-9)

    def motions(self, image: Array) -> npt.NDArray[np.float64]:
        """Return (N, 3) changes of an image per mm of shift down, right, and of rotation."""
        down, right = self._positions()
        slope_down, slope_right = np.gradient(image.astype(float), *self.pixel)
        turned = (right * slope_down - down * slope_right) / self.radius
        parts = [slope_down, slope_right, turned]
        return np.stack([part[self.seen] for part in parts], axis=1)

    def moved_back(self, image: Array, motion: Sequence[float] | npt.NDArray[np.float64]) -> Array:
        """Return an image with a motion undone."""
        down, right = self._positions()
        turn = motion[2] / self.radius
        rows = (down + self.centre[0] - motion[0] - turn * right) / self.pixel[0]
        columns = (right + self.centre[1] - motion[1] + turn * down) / self.pixel[1]
        moved = ndimage.map_coordinates(image, [rows, columns], order=1, mode="nearest")
        return np.asarray(moved, dtype=np.float32)

    def _positions(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        rows, columns = np.indices(self.seen.shape)
        return rows * self.pixel[0] - self.centre[0], columns * self.pixel[1] - self.centre[1]


def _level(given: Array, near: Array, limit: float) -> float:
    """Return the median ratio of a slice to a neighbour, dark places of that left out."""
    return float(np.median(given / np.maximum(near, limit / 4)))


def _robust_fit(
    columns: npt.NDArray[np.floating], values: npt.NDArray[np.floating]
) -> tuple[npt.NDArray[np.float64], float]:
    """Fit (N,) values by (N, p) columns; return coefficients and mean absolute residual."""
    columns, values = columns.astype(float), values.astype(float)
    weights = np.ones(len(values))
    for _ in range(_REWEIGHTED):
        normal = columns.T @ (columns * weights[:, None])
        normal += 1e-9 * np.trace(normal) / len(normal) * np.eye(len(normal))
        coefficients = np.linalg.solve(normal, columns.T @ (values * weights))
        left = np.abs(values - columns @ coefficients)
        scale = 2 * 1.4826 * float(np.median(left)) + 1e-12
        weights = np.minimum(1.0, scale / np.maximum(left, 1e-12))
    return np.asarray(coefficients), float(left.mean())
