"""Whether to believe a registration: it must fit much better than shifted copies of itself.

How the transform was found does not matter here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bids_sr.sr.together.placement import Matrix

LEAST_OVERLAP = 0.15
"""Share of a stack that the frame must cover."""
MOST_RESIDUAL = 0.48
"""Residual of a believable registration, relative to the mean of that of shifted copies: stacks
of one patient had at most 0.46, other patients and mirrored heads at least 0.52."""
LEAST_AGREEMENT = 0.86
"""Correlation with the frame that three of four blocks of a stack must reach: those of one patient
had at least 0.93 (0.88 with one of 12 slices spoilt), other patients and mirrored heads at most
0.84 (benchmarks/RESULTS.md)."""
MOST_RESIDUAL_OF_CONTRASTS = 0.9
"""The same where one contrast predicts the other, from :meth:`Compared.residual`: right guides of
whole heads and spines had 0.71 to 0.85, wrong ones of brains less.  It only finds what fits
nowhere; slices that are held out decide."""
LEAST_SHIFT_MM = 6.0
"""By how much the copies are shifted, where slices are not farther apart."""
BLUR = 0.4
"""Standard deviation of the detail that is judged, in shifts: there the planes of the slices do
not count."""
_BLOCK = 2.0  # in shifts
_SHARE = 25  # percent of the blocks that may agree less
_LEAST_OF_BLOCK = 12  # points
_LEAST_BLOCKS = 20


class Compared(Protocol):
    """Points of a moving volume, and the fixed one at their places."""

    points: Matrix
    values: Matrix

    def inside(self, to_fixed: Matrix) -> tuple[npt.NDArray[np.bool_], Matrix, Matrix]:
        """Return which points the fixed volume covers, where they are in it, and as indices."""

    def sampled(self, indices: Matrix) -> Matrix:
        """Return the fixed volume at some indices."""

    def overlap(self, to_fixed: Matrix) -> float:
        """Return the share of the points that the fixed volume covers."""

    def residual(self, to_fixed: Matrix) -> float:
        """Return the robust spread of the difference; infinite without overlap."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Registration:
    """Hold a transform and how well it fits."""

    to_fixed: Matrix
    """(4, 4), from the world of the moving volume to that of the fixed one."""
    overlap: float
    """Share of the structure of the moving volume that lies within the fixed one."""
    residual: float
    """What one volume leaves unexplained of the other, relative to shifted copies."""
    most_residual: float = MOST_RESIDUAL
    """What is believed at most."""
    agreement: float = 1.0
    """Correlation that three of four blocks reach; 1 for different contrasts, which have none."""

    @property
    def believed(self) -> bool:
        """Whether the two volumes show the same anatomy there."""
        return (
            self.overlap >= LEAST_OVERLAP
            and self.residual <= self.most_residual
            and self.agreement >= LEAST_AGREEMENT
        )

    @property
    def reason(self) -> str:
        """What speaks against it, in words."""
        if self.overlap < LEAST_OVERLAP:
            return f"only {100 * self.overlap:.0f} % of it lies within the frame"
        if not np.isfinite(self.residual):
            return "too little of it overlaps with the frame to judge how it fits"
        if self.residual <= self.most_residual:
            return (
                "a part of it shows something else than the frame (a quarter correlates by less "
                f"than {self.agreement:.2f}; at least {LEAST_AGREEMENT:g} is accepted)"
            )
        return (
            "it fits hardly better than when shifted by a slice "
            f"(residual {self.residual:.2f} of that; at most {self.most_residual:g} is accepted)"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """Compare the fit of two volumes with that of shifted copies."""

    pair: Compared
    """Blurred to the detail that is judged."""
    shift: float = LEAST_SHIFT_MM
    """By how much the copies are shifted, mm."""
    contrasts: bool = False
    """Whether the two volumes are of different contrasts."""

    def judged(self, to_fixed: Matrix) -> Registration:
        """Return the transform with what speaks for and against it."""
        residual: Callable[[Matrix], float] = (
            self.pair.residual if self.contrasts else self.unexplained
        )
        beside = []
        for axis in range(3):
            for sign in (-1, 1):
                moved = to_fixed.copy()
                moved[axis, 3] += sign * self.shift
                beside.append(residual(moved))
        around = float(np.mean(beside))
        known = np.isfinite(around) and around > 0
        return Registration(
            to_fixed=to_fixed,
            overlap=self.pair.overlap(to_fixed),
            residual=residual(to_fixed) / around if known else float("inf"),
            most_residual=MOST_RESIDUAL_OF_CONTRASTS if self.contrasts else MOST_RESIDUAL,
            agreement=1.0 if self.contrasts else self.agreement(to_fixed),
        )

    def agreement(self, to_fixed: Matrix) -> float:
        """Return the correlation that three of four blocks reach; 0 without overlap.

        Another head, or the same one mirrored, may look alike in most places, never in all.
        """
        correlations = self.correlations(to_fixed)
        return float(np.percentile(correlations, _SHARE)) if correlations.size else 0.0

    def unexplained(self, to_fixed: Matrix) -> float:
        """Return the share of the moving volume that the fixed one does not explain.

        Standard deviation about the best line (factor and offset) in a block, of that in the
        block without it; the median over the blocks; infinite without overlap.  Shading is one
        factor in a small block, and spoilt slices are in few blocks.
        """
        correlations = self.correlations(to_fixed)
        if not correlations.size:
            return float("inf")
        return float(np.sqrt(np.median(1 - correlations**2)))

    def correlations(self, to_fixed: Matrix) -> Matrix:
        """Return the correlation of the two volumes in every block, at least 0.

        Empty where too few blocks overlap.
        """
        covered, _, indices = self.pair.inside(to_fixed)
        cells = np.floor(self.pair.points[covered] / (_BLOCK * self.shift)).astype(int)
        _, block, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
        block = block.ravel()
        judged = counts >= _LEAST_OF_BLOCK
        if np.count_nonzero(judged) < _LEAST_BLOCKS:
            return np.zeros(0)
        first, second = (
            values - (np.bincount(block, values) / counts)[block]
            for values in (self.pair.sampled(indices), self.pair.values[covered])
        )
        own, other, both = (
            np.bincount(block, part)[judged] for part in (first**2, second**2, first * second)
        )
        correlations = np.maximum(both, 0) / np.sqrt(np.maximum(own * other, 1e-30))
        return np.asarray(np.minimum(correlations, 1))
