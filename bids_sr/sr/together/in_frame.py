"""A stack's own reconstruction as it lies in the frame of the fused volume, to look at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bids_sr.imaging import Grid, Volume
from bids_sr.sr.together.placement import covered, placed


def in_frame(
    reconstruction: Volume, to_frame: npt.ArrayLike, grid: Grid
) -> tuple[Volume, npt.NDArray[np.bool_]]:
    """Return a reconstruction on the grid of the frame, and where it has values.

    Parameters
    ----------
    reconstruction : Volume
        Of a stack.
    to_frame : (4, 4) array
        Rigid transform from the world of the stack to that of `grid`, mm.
    grid : Grid
        Of the fused volume.

    Returns
    -------
    volume : Volume
        0 outside of the field of view of the stack.
    inside : (X, Y, Z) bool array
    """
    to_stack = np.asarray(np.linalg.inv(np.asarray(to_frame, dtype=np.float64)))
    inside = covered(reconstruction.grid, grid, to_stack)
    data = placed(reconstruction, grid, to_stack, order=1)
    return Volume(np.where(inside, data, 0).astype(np.float32), grid.affine), inside
