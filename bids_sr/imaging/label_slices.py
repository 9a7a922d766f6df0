"""Labels on the acquired slices: what thick slices would have shown of a fine label map.

Made by the forward model, so that a slice voxel gets the label that fills most of its
profile.  Does not segment, and says nothing of what the slices themselves show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bids_sr.imaging.acquisition import Acquisition
from bids_sr.imaging.degrade import ForwardModel
from bids_sr.imaging.grid import Grid
from bids_sr.imaging.resample import resample
from bids_sr.imaging.volume import Volume

Shares = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LabelSlices:
    """Bring labels of a fine grid onto acquired slices."""

    fine: Grid
    slices: Grid
    """Parallel to `fine`."""
    model: ForwardModel

    @classmethod
    def between(cls, fine: Grid, slices: Grid, acquisition: Acquisition) -> LabelSlices:
        """Prepare the forward model between two grids.

        Raises
        ------
        InputDataError
            If the axes are not parallel or a slice lies outside the fine grid.
        """
        return cls(fine, slices, ForwardModel.between(fine, slices, acquisition))

    def shares(self, mask: npt.NDArray[np.bool_]) -> Shares:
        """Return how much of every slice voxel a structure fills.

        Parameters
        ----------
        mask : (X, Y, Z) bool array
            On the fine grid.

        Returns
        -------
        (x, y, z) float32 array
            0 to 1, on the slices.
        """
        thick = self.model.apply(mask.astype(np.float32))
        between = self.fine.with_planes_of(self.slices, self.model.slice_axis)
        shares = resample(Volume(thick, between.affine), self.slices, kernel="linear").data
        return np.asarray(np.clip(shares, 0, 1), dtype=np.float32)

    def labels(self, labels: Volume) -> Volume:
        """Give every slice voxel the label that fills most of it; ties go to the smallest.

        Parameters
        ----------
        labels : Volume
            Whole numbers on the fine grid; 0 is background.

        Returns
        -------
        Volume
            On the slices, of the same type.
        """
        values = np.unique(labels.data)
        largest = np.zeros(self.slices.shape, np.float32)
        chosen = np.zeros(self.slices.shape, labels.data.dtype)
        for value in values:
            shares = self.shares(labels.data == value)
            more = shares > largest + 1e-6
            chosen[more] = value
            largest[more] = shares[more]
        return Volume(chosen, self.slices.affine)

    def mask(self, mask: Volume) -> Volume:
        """Return the slice voxels of which a structure fills at least half, as uint8."""
        filled = self.shares(mask.data > 0) >= 0.5
        return Volume(filled.astype(np.uint8), self.slices.affine)
