"""Data consistency: a reconstruction, degraded again, should give the acquired slices.

The residual is a quality number.  It says nothing about what the slices do not
contain.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from bids_sr.imaging import Acquisition, ForwardModel, Grid, RobustScaler, Volume, resample
from bids_sr.imaging import axis_coordinates as coordinates_between
from bids_sr.imaging.resample import apply_along_axis


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


def make_consistent(
    sr: Volume, lr: Volume, acquisition: Acquisition, *, damping: float = 0.1
) -> Volume:
    """Change a reconstruction as little as possible until it agrees with the slices.

    Parameters
    ----------
    sr : Volume
        The reconstruction, float32; in-plane on the grid of `lr`.
    lr : Volume
        The acquired slices.
    acquisition : Acquisition
        How they were taken.
    damping : float
        0 asks for exact agreement, noise included; more leaves a part of it out.

    Returns
    -------
    Volume

    Notes
    -----
    With ``y = A x`` the slices of a reconstruction x, the answer to acquired slices z is
    ``x + A' (A A' + d I)^-1 (z - A x)``, d the damping times the mean diagonal of
    ``A A'``: the least change in the sense of squares.  Slices that reach beyond the
    grid are not asked for: what they saw outside of it is unknown.
    """
    acquisition = acquisition.for_volume(lr)
    axis = acquisition.slice_axis
    assert axis is not None
    forward = ForwardModel.between(sr.grid, lr.grid, acquisition)
    reach = 0.5 * acquisition.slice_profile.fwhm / float(sr.spacings[axis])
    kept = _covered(sr.grid, lr.grid, axis, reach)
    matrix = forward.matrix.toarray()[kept]  # (K, n)
    gram = matrix @ matrix.T
    gram += damping * np.mean(np.diag(gram)) * np.eye(len(gram))
    inverse = sparse.csr_array(np.linalg.solve(gram, matrix).T)  # (n, K)
    missing = lr.data.astype(np.float32) - forward.apply(sr.data)
    correction = apply_along_axis(inverse, np.take(missing, kept, axis), axis)
    return sr.with_data(sr.data + correction)


def _covered(sr: Grid, lr: Grid, axis: int, reach: float = 0.0) -> npt.NDArray[np.int_]:
    """Return the indices of the slices that lie, by `reach` fine voxels, inside the grid."""
    centres = coordinates_between(sr, lr, axis)
    tolerance = 1e-3 - reach
    inside = (centres > -0.5 - tolerance) & (centres < sr.shape[axis] - 0.5 + tolerance)
    return np.flatnonzero(inside)
