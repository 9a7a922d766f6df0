"""Masks of several stacks joined on the grid of the fused volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bids_sr.imaging import Grid, Volume
from bids_sr.sr.together.placement import covered, placed


def joined_masks(
    masks: Sequence[Volume], to_frame: Sequence[npt.NDArray[np.float64]], grid: Grid
) -> Volume:
    """Return what at least half of the masks hold that cover a voxel.

    Parameters
    ----------
    masks : sequence of Volume
        Binary, each on the grid of its stack's reconstruction.
    to_frame : sequence of (4, 4) array
        Rigid transforms from their worlds to that of `grid`, mm.
    grid : Grid
        Of the fused volume.
    """
    inside, coverage = (np.zeros(grid.shape, np.float32) for _ in range(2))
    for mask, transform in zip(masks, to_frame, strict=True):
        to_mask = np.asarray(np.linalg.inv(transform), dtype=np.float64)
        here = covered(mask.grid, grid, to_mask)
        inside += here * placed(mask, grid, to_mask, order=1)
        coverage += here
    return Volume(((inside >= coverage / 2) & (coverage > 0)).astype(np.uint8), grid.affine)
