"""Neighbour ratio: how much brighter a slice is than the mean of its two neighbours.

It is measured where the anatomy hardly changes, within the slice and across it, and is a
logarithm, so that smooth fields of coils cancel.  It does not say why a slice is brighter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.imaging import View, Volume

Array = npt.NDArray[np.float64]

_SMOOTHING_MM = 1.5  # within the slice: less noise, more alike edges
_STEP_MM = 2.0  # of the places that are read
_BLOCK_MM = 16.0  # anatomy further apart is taken for independent
_SIGNAL = 0.1  # of the 99th percentile of the brighter half of the voxels
_FOREGROUND = 0.5  # of the median of the voxels with signal
_FLAT = 0.5  # share of places with the smallest gradients that is kept; the same across slices
_WIDTH = 0.06  # ratios that differ more from that of the slice do not count
_LEAST_OVERLAP = 0.55  # of the foreground of three slices; less at the ends of a head
_ERRORS = (1.5, 0.003, 0.02)
"""Factor of the clusters' standard error, and what is added to it: always, and per share of the
foreground that three slices do not have in common.  From images without banding."""
_LEAST_PLACES = 60
_LEAST_BLOCKS = 6
_ROUNDS = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class NeighbourRatios:
    """Hold the ratio of each inner slice to its neighbours, and how sure it is."""

    values: Array
    """(K - 2,) natural logarithms, first slice: the second of the stack; NaN: not measured."""
    errors: Array
    """(K - 2,) standard errors, by how much parts of the slice differ; NaN likewise."""

    @property
    def measured(self) -> npt.NDArray[np.int_]:
        """Indices of the ratios that are known."""
        return np.flatnonzero(np.isfinite(self.values))


def neighbour_ratios(volume: Volume, slice_axis: int) -> NeighbourRatios:
    """Measure how bright each slice is, compared with the mean of its two neighbours.

    Parameters
    ----------
    volume : Volume
        The acquired slices; their intensities are magnitudes, zero without signal.
    slice_axis : int
        Array axis across the slices.

    Notes
    -----
    Of the places where all three slices have signal, the half with the smallest gradient
    within the slices is taken, and of these the half whose neighbours are most alike, after
    the median of their difference.  The ratio is a Tukey mean, which leaves out places where
    one slice shows other anatomy.  The standard error is that of clusters (blocks of 16 mm):
    a brightness that the whole slice shares is sure, anatomy that differs from block to
    block is not.
    """
    view = View.in_plane(slice_axis)
    spacings = [float(volume.spacings[axis]) for axis in (view.rows, view.columns)]
    logarithms, bright, slopes = _places(view.split(volume.data), spacings)
    block = _blocks(logarithms.shape[1:], spacings)
    values, errors = np.full((2, max(len(logarithms) - 2, 0)), np.nan)
    for k in range(1, len(logarithms) - 1):
        before, here, after = logarithms[k - 1 : k + 2]
        inside = bright[k - 1 : k + 2].all(axis=0)
        anywhere = np.count_nonzero(bright[k - 1 : k + 2].any(axis=0))
        overlap = int(np.count_nonzero(inside)) / max(int(anywhere), 1)
        if np.count_nonzero(inside) < _LEAST_PLACES or overlap < _LEAST_OVERLAP:
            continue
        difference = np.abs(after - before - np.median((after - before)[inside]))
        steepest = slopes[k - 1 : k + 2].max(axis=0)
        inside &= steepest <= np.quantile(steepest[inside], _FLAT)
        inside &= difference <= np.quantile(difference[inside], _FLAT)
        ratios = (here - (before + after) / 2)[inside].astype(np.float64)
        values[k - 1], error = _tukey_mean(ratios, block[inside])
        factor, always, apart = _ERRORS
        errors[k - 1] = np.sqrt((factor * error) ** 2 + always**2 + (apart * (1 - overlap)) ** 2)
    return NeighbourRatios(values=values, errors=errors)


def _places(
    slices: npt.NDArray[np.floating], spacings: list[float]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Return logarithms, foreground and gradients of (K, H, W) slices, at fewer places."""
    sigmas = (0.0, *(_SMOOTHING_MM / spacing for spacing in spacings))
    smooth = ndimage.gaussian_filter(slices.astype(np.float32, copy=False), sigmas)
    step = [max(1, int(_STEP_MM / spacing)) for spacing in spacings]
    smooth = smooth[:, :: step[0], :: step[1]]
    brighter = smooth[smooth > np.median(smooth)]
    least = _SIGNAL * float(np.percentile(brighter, 99)) if brighter.size else 0.0
    level = _FOREGROUND * float(np.median(smooth[smooth > least])) if least > 0 else 0.0
    if level <= 0 or min(smooth.shape[1:]) < 3:
        nothing = np.zeros(smooth.shape, np.float32)
        return nothing, np.zeros(smooth.shape, bool), nothing
    logarithms = np.log(np.maximum(smooth / np.float32(level), np.float32(1e-3)))
    first, second = np.gradient(logarithms, axis=(1, 2))
    return logarithms, smooth > level, np.hypot(first, second)


def _blocks(shape: tuple[int, ...], spacings: list[float]) -> npt.NDArray[np.int_]:
    """Return the number of the block that each place of a slice belongs to."""
    rows, columns = (
        (np.arange(size) * max(1, int(_STEP_MM / spacing)) * spacing / _BLOCK_MM).astype(int)
        for size, spacing in zip(shape, spacings, strict=True)
    )
    return np.asarray(rows[:, None] * (columns.max(initial=0) + 1) + columns[None, :])


def _tukey_mean(ratios: Array, block: npt.NDArray[np.int_]) -> tuple[float, float]:
    """Return the mean of the bulk of some ratios and its standard error; NaN where too few."""
    centre = float(np.median(ratios))
    for _ in range(_ROUNDS):
        weights = np.maximum(0, 1 - ((ratios - centre) / _WIDTH) ** 2) ** 2
        if np.count_nonzero(weights) < _LEAST_PLACES / 2:
            return np.nan, np.nan
        centre = float(weights @ ratios / weights.sum())
    squares = ((ratios - centre) / _WIDTH) ** 2
    influence = np.bincount(block, weights * (ratios - centre))
    slope = np.sum(np.where(squares < 1, (1 - squares) * (1 - 5 * squares), 0))
    count = np.unique(block[weights > 0]).size
    if count < _LEAST_BLOCKS or slope <= 0:
        return np.nan, np.nan
    error = np.sqrt(np.sum(influence**2) * count / (count - 1)) / slope
    return centre, float(error)
