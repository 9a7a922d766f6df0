"""Stacks brought to the intensities of the frame: a factor, and a smooth field of factors.

Scanners scale every stack as they like, and coils shade each plane in another way.  The
anatomy is the same, so what differs smoothly between two registered reconstructions is
shading; it is not known which of the two is shaded, and the frame counts as right.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numpy.polynomial import legendre

from bids_sr.imaging import Grid, Volume
from bids_sr.sr.together.placement import Array, Matrix, covered, placed
from bids_sr.sr.together.registration import pyramid
from bids_sr.sr.together.stack import Stack

LEAST_FIELD = 0.02
"""Standard deviation from which on a field is more than what two planes differ by anyway."""
_LEVEL = 2  # of the pyramid: 4 mm, where stacks of different planes look alike
_DEGREE = 3
_FOREGROUND = 0.2  # of the 99th percentile
_LEAST_POINTS = 1000  # a field is fitted to, below them only a factor
_REWEIGHTINGS = 5
_RIDGE = 1e-3  # of the weight of all points


def matched(stack: Stack, frame: Volume) -> tuple[Stack, dict[str, float]]:
    """Multiply the intensities of a stack so that they are those of the frame.

    Parameters
    ----------
    stack : Stack
        Registered.
    frame : Volume
        The reconstruction in whose frame it lies.

    Returns
    -------
    Stack
    record : dict
        ``Scale``, the median factor, and ``Field``, the standard deviation of its logarithm.

    Notes
    -----
    The logarithm of the factor is a polynomial of degree 3 of the place, fitted to the
    logarithm of the ratio where both are bright, blurred to 5.6 mm; Cauchy's weights leave
    out what only one of the two shows.  20 numbers for a head cannot follow anatomy.
    """
    moving, fixed = (pyramid(volume)[_LEVEL] for volume in (stack.reconstruction, frame))
    values = placed(fixed, moving.grid, stack.to_frame, order=1)
    bright = covered(fixed.grid, moving.grid, stack.to_frame)
    bright &= values > _FOREGROUND * np.percentile(fixed.data, 99)
    bright &= moving.data > _FOREGROUND * np.percentile(moving.data, 99)
    if not bright.any():
        return stack, {"Scale": 1.0, "Field": 0.0}
    places = _world(moving.grid, np.argwhere(bright))
    ratios = np.log(values[bright].astype(np.float64)) - np.log(moving.data[bright])
    sizes = np.minimum(values[bright], moving.data[bright]) ** 2
    field = _Field(places, ratios, sizes, _DEGREE)
    if np.std(field.fitted) < LEAST_FIELD:
        field = _Field(places, ratios, sizes, 0)
    record = {
        "Scale": round(float(np.exp(np.median(field.fitted))), 4),
        "Field": round(float(np.std(field.fitted)), 4),
    }
    factors = [field.factor(grid) for grid in (stack.slices.grid, stack.reconstruction.grid)]
    return stack.scaled(*factors), record


class _Field:
    """Hold a smooth field of factors that was fitted to logarithms of ratios."""

    def __init__(self, places: Matrix, ratios: Matrix, weights: Matrix, degree: int) -> None:
        self.low, self.high = places.min(axis=0), places.max(axis=0)
        self.degree = degree if len(places) >= _LEAST_POINTS else 0
        design = self._terms(places)
        weights = weights / weights.mean()
        trust = np.ones_like(ratios)
        ridge = _RIDGE * len(places) * np.eye(design.shape[1])
        ridge[0, 0] = 0.0
        for _ in range(_REWEIGHTINGS):
            weighted = design * (weights * trust)[:, None]
            self.coefficients = np.linalg.solve(weighted.T @ design + ridge, weighted.T @ ratios)
            difference = ratios - design @ self.coefficients
            spread = 1.4826 * np.median(np.abs(difference)) + 1e-6
            trust = 1 / (1 + (difference / (2 * spread)) ** 2) ** 2
        self.fitted = design @ self.coefficients

    def factor(self, grid: Grid) -> Array:
        """Return the factors on a grid of the world of the stack."""
        # A polynomial is smooth: every fourth plane is enough, linear in between.
        coarse = grid
        steps = [max(1, round(4.0 / float(spacing))) for spacing in grid.spacings]
        for axis, step in enumerate(steps):
            coarse = coarse.with_planes(axis, -(-grid.shape[axis] // step) + 1, step=step)
        places = _world(coarse, np.argwhere(np.ones(coarse.shape, bool)))
        logarithms = self._terms(places) @ self.coefficients
        logarithms = np.clip(logarithms, self.fitted.min(), self.fitted.max())
        field = Volume(np.exp(logarithms).reshape(coarse.shape).astype(np.float32), coarse.affine)
        return placed(field, grid, np.eye(4), order=1)

    def _terms(self, places: Matrix) -> Matrix:
        """Return the (n, terms) products of Legendre polynomials, the constant first."""
        unit = 2 * (places - self.low) / np.maximum(self.high - self.low, 1e-6) - 1
        powers = legendre.legvander(np.clip(unit, -1, 1), self.degree)  # (n, 3, degree + 1)
        degrees = range(self.degree + 1)
        terms = [
            powers[:, 0, first] * powers[:, 1, second] * powers[:, 2, third]
            for first in degrees
            for second in degrees
            for third in degrees
            if first + second + third <= self.degree
        ]
        return np.stack(terms, axis=1)


def _world(grid: Grid, indices: npt.NDArray[np.int_]) -> Matrix:
    """Return the (n, 3) places of voxels, mm."""
    return np.asarray(indices @ grid.affine[:3, :3].T + grid.affine[:3, 3])
