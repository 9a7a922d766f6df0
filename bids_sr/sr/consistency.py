"""Data consistency: a reconstruction, degraded again, should give the acquired slices.

The residual is a quality number.  It says nothing about what the slices do not
contain.
"""

from __future__ import annotations

import numpy as np

from bids_sr.imaging import Acquisition, ForwardModel, Grid, RobustScaler, Volume, resample
from bids_sr.imaging import axis_coordinates as coordinates_between


def data_consistency_residual(sr: Volume, lr: Volume, acquisition: Acquisition) -> float:
    """Return the root mean square difference of the degraded SR to the acquired slices.

    Parameters
    ----------
    sr : Volume
        The reconstruction.
    lr : Volume
        The acquired slices; compared on the reconstruction's in-plane grid.
    acquisition : Acquisition
        How they were taken.

    Returns
    -------
    float
        Percent of the robust intensity range of the slices.

    Notes
    -----
    Slices that reach beyond the grid of the reconstruction by more than half of
    their thickness are left out, unless that leaves none.
    """
    acquisition = acquisition.for_volume(lr)
    axis = acquisition.slice_axis
    assert axis is not None
    kept = _covered(sr.grid, lr.grid, axis)
    shape, affine = list(sr.shape), sr.affine.copy()
    shape[axis] = kept.size
    affine[:3, axis] = lr.affine[:3, axis]
    start = coordinates_between(sr.grid, lr.grid, axis)[kept[0]]
    affine[:3, 3] = sr.affine[:3, 3] + start * sr.affine[:3, axis]
    grid = Grid((shape[0], shape[1], shape[2]), affine)
    degraded = ForwardModel.between(sr.grid, grid, acquisition).apply(sr.data)
    acquired = resample(lr, grid).data
    width = RobustScaler.fit(lr.data).width
    return float(100 * np.sqrt(np.mean((degraded - acquired) ** 2)) / width)


def _covered(sr: Grid, lr: Grid, axis: int) -> np.ndarray:
    """Return the indices of the slices whose centres are inside the fine grid."""
    centres = coordinates_between(sr, lr, axis)
    inside = (centres > -0.5 - 1e-3) & (centres < sr.shape[axis] - 0.5 + 1e-3)
    return np.flatnonzero(inside)
