"""Training pairs from one image: its own slices, degraded within the plane.

An in-plane axis stands in for the axis across the slices: the slice profile and the slice
spacing are applied along it, and the slice as acquired is the target.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bids_sr.imaging import Acquisition, ForwardModel, Grid


@dataclass(frozen=True)
class PatchExtent:
    """State how long a pair is.

    Notes
    -----
    The fine window is longer than the target by a margin at both ends, as long as the
    slice profile reaches, so that no thick slice of a pair lacks a part of its profile.
    """

    rows: int
    """Rows of the target, n: as many as whole voxels fit the slices."""
    margin: int
    """Extra rows of the window at both ends."""
    scale: float
    """Slice spacing / in-plane voxel."""

    @classmethod
    def of(cls, acquisition: Acquisition, spacing: float, slices: int) -> PatchExtent:
        """Return the extent of pairs of `slices` thick slices, rows `spacing` (mm) apart."""
        scale = acquisition.scale(spacing)
        profile = acquisition.slice_profile
        reach = max(-profile.positions[0], profile.positions[-1])
        margin = max(0, int(np.ceil((reach - acquisition.spacing / 2) / spacing)))
        return cls(int(slices * scale + 1e-6), margin, scale)


@dataclass(frozen=True, eq=False)
class PatchGeometry:
    """State the sizes of a pair and the operator between its halves (:class:`PatchExtent`)."""

    slices: int
    """Thick slices a patch, K."""
    width: int
    """Columns of a patch."""
    rows: int
    """Rows of the target, n: as many as whole voxels fit K slices."""
    margin: int
    """Extra rows of the window at both ends."""
    matrix: npt.NDArray[np.float32]
    """(K, n + 2 margin) weights of the window's rows in every thick slice."""
    scale: float
    """Slice spacing / in-plane voxel."""

    @classmethod
    def of(
        cls, acquisition: Acquisition, spacing: float, *, slices: int, width: int
    ) -> PatchGeometry:
        """Lay out patches whose rows are `spacing` (mm) apart."""
        extent = PatchExtent.of(acquisition, spacing, slices)
        rows, margin, scale = extent.rows, extent.margin, extent.scale
        window = Grid((rows + 2 * margin, 1, 1), np.diag([spacing, 1.0, 1.0, 1.0]))
        thick = np.diag([acquisition.spacing, 1.0, 1.0, 1.0])
        # The lower edge of the first slice is that of the target.
        thick[0, 3] = (margin - 0.5) * spacing + acquisition.spacing / 2
        model = ForwardModel.between(
            window,
            Grid((slices, 1, 1), thick),
            Acquisition(
                spacing=acquisition.spacing,
                thickness=acquisition.thickness,
                profile=acquisition.profile,
                slice_axis=0,
            ),
        )
        return cls(slices, width, rows, margin, model.matrix.toarray().astype(np.float32), scale)

    def coordinates(self) -> npt.NDArray[np.float64]:
        """Return the (n,) centres of the target's rows in units of slices."""
        return np.asarray((np.arange(self.rows) + 0.5) / self.scale - 0.5, dtype=np.float64)


class SlicePatches:
    """Draw pairs of patches from a stack of slices, more often where weights are high."""

    def __init__(
        self,
        stack: npt.NDArray[np.float32],
        weights: npt.NDArray[np.float32],
        geometry: PatchGeometry,
        *,
        seed: int,
    ) -> None:
        """Prepare the stack for both in-plane directions.

        Parameters
        ----------
        stack : (N, H, W) float32 array
            In-plane slices, scaled to about 0 to 1.
        weights : (N, H, W) float32 array
            A place is drawn in proportion to the sum of weights in its target.
        geometry : PatchGeometry
            Sizes and operator of a pair.
        seed : int
            The same seed draws the same pairs.
        """
        self.geometry = geometry
        self._random = np.random.default_rng(seed)
        self._operator = torch.from_numpy(geometry.matrix)
        self._pools: list[npt.NDArray[np.float32]] = []
        self._cumulative: list[npt.NDArray[np.float64]] = []
        window = geometry.rows + 2 * geometry.margin
        for axes in ((0, 1, 2), (0, 2, 1)):
            self._pools.append(_padded(stack.transpose(axes), window, geometry))
            padded = _padded(weights.transpose(axes), window, geometry)
            self._cumulative.append(np.cumsum(_sums(padded, geometry), dtype=np.float64))
        self._places = [
            (len(pool), pool.shape[1] - window + 1, pool.shape[2] - geometry.width + 1)
            for pool in self._pools
        ]

    def draw(self, number: int) -> tuple[Tensor, Tensor]:
        """Return the next `number` pairs.

        Returns
        -------
        lr : (number, 1, K, width) tensor
        hr : (number, n, width) tensor
        """
        geometry = self.geometry
        window = geometry.rows + 2 * geometry.margin
        patches = np.empty((number, window, geometry.width), np.float32)
        totals = np.array([cumulative[-1] for cumulative in self._cumulative])
        for patch in patches:
            pool = int(self._random.random() * totals.sum() >= totals[0])
            cumulative = self._cumulative[pool]
            place = np.searchsorted(cumulative, self._random.random() * totals[pool], "right")
            place = min(int(place), cumulative.size - 1)
            index, row, column = np.unravel_index(place, self._places[pool])
            source = self._pools[pool][index, row : row + window, column : column + geometry.width]
            vertical, horizontal = self._random.integers(0, 2, 2) * 2 - 1
            patch[...] = source[::vertical, ::horizontal]
        fine = torch.from_numpy(patches)
        lr = (self._operator @ fine)[:, None]
        return lr, fine[:, geometry.margin : geometry.margin + geometry.rows]

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of pairs for ever."""
        while True:
            yield self.draw(size)


def _padded(
    slices: npt.NDArray[np.float32], window: int, geometry: PatchGeometry
) -> npt.NDArray[np.float32]:
    """Continue the slices by their edge values: by the margin, or to the patch's size."""
    rows = max(geometry.margin, -(-(window - slices.shape[1]) // 2))
    columns = max(0, -(-(geometry.width - slices.shape[2]) // 2))
    return np.pad(slices, ((0, 0), (rows, rows), (columns, columns)), mode="edge")


def _sums(weights: npt.NDArray[np.float32], geometry: PatchGeometry) -> npt.NDArray[np.float64]:
    """Return the sum of the weights in the target at every place, (N, places)."""
    below = np.cumsum(np.cumsum(weights, axis=1, dtype=np.float64), axis=2)
    below = np.pad(below, ((0, 0), (1, 0), (1, 0)))  # (N, H + 1, W + 1)
    window = geometry.rows + 2 * geometry.margin
    top = np.arange(weights.shape[1] - window + 1) + geometry.margin
    left = np.arange(weights.shape[2] - geometry.width + 1)
    bottom, right = top + geometry.rows, left + geometry.width
    sums = (
        below[:, bottom][:, :, right]
        - below[:, top][:, :, right]
        - below[:, bottom][:, :, left]
        + below[:, top][:, :, left]
    )
    # Rounding may leave tiny negative sums; without any weight all places are alike.
    sums = np.maximum(sums, 0)
    return sums if sums.max() > 0 else np.ones_like(sums)
