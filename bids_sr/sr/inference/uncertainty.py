"""Uncertainty is the standard deviation to expect of every voxel of a reconstruction.

The network processes the views of a volume independently of each other; where they disagree,
at least one is wrong.  An error that all views share does not show in their disagreement, so
the detail that was added to interpolation counts too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[np.float32]
DISAGREEMENT = 3.8
"""Standard deviation to expect for a disagreement of 1; measured (benchmarks/RESULTS.md)."""
DETAIL = 0.32
"""Standard deviation to expect for a detail of 1; measured likewise."""
_REACH = 1.5  # voxels: a difference of one voxel says little


class Disagreement:
    """Accumulate how far pairs of views differ.

    Attributes
    ----------
    squared : (X, Y, Z) float32 array or None
        Sum over the pairs of half the squared difference: twice the variance of a mean.
    pairs : int
        Pairs added.
    """

    def __init__(self) -> None:
        self.squared: Array | None = None
        self.pairs = 0

    def add(self, squared: Array) -> None:
        """Add half the squared difference of a pair of views, on the fine grid."""
        squared = np.maximum(squared, 0)
        self.squared = squared if self.squared is None else self.squared + squared
        self.pairs += 1

    def standard_deviation(self, detail: Array) -> Array:
        """Return the standard deviation to expect.

        Parameters
        ----------
        detail : (X, Y, Z) float32 array
            Difference of the fused views from interpolation.

        Returns
        -------
        (X, Y, Z) float32 array
            In the units of `detail`.

        Notes
        -----
        ``sqrt(a**2 <d**2> + b**2 <h**2>)``: d the difference of views over the root of 2,
        h the detail, < > a local mean, and a, b constants that make the root mean square
        right on simulated acquisitions.
        """
        if self.squared is None:
            raise ValueError("Found no views; expected at least one pair. Call add first.")
        variance = DISAGREEMENT**2 * _local_mean(self.squared / np.float32(self.pairs))
        variance += DETAIL**2 * _local_mean(detail**2)
        return np.asarray(np.sqrt(np.maximum(variance, 0)), dtype=np.float32)


def half_squared_difference(first: Array, second: Array) -> Array:
    """Return what :meth:`Disagreement.add` takes: the variance of one of two views."""
    difference = first - second
    return np.asarray(difference * difference / np.float32(2), dtype=np.float32)


def _local_mean(values: Array) -> Array:
    return np.asarray(ndimage.gaussian_filter(values, _REACH, mode="nearest", truncate=3))
