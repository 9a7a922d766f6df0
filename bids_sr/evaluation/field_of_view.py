"""Does the field of view hold the head: brain that is cut off, and anatomy at both edges."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nb
import numpy as np
import numpy.typing as npt

from bids_sr.imaging import RobustScaler, Volume

Mask = npt.NDArray[np.bool_]
_EDGE_VOXELS = 3
_BRIGHT = 0.15  # of the robust range


@dataclass(frozen=True, kw_only=True)
class BrainCut:
    """Say how much of a brain lies on the faces of the field of view."""

    below_percent: float
    """Area of the brain on the lowest face, percent of its largest section along that axis."""
    elsewhere_percent: float
    """The same for the worst of the other five faces."""


def brain_cut(mask: Volume) -> BrainCut:
    """Measure where a brain mask is cut off by the field of view.

    Parameters
    ----------
    mask : Volume
        Brain mask on the grid of the acquired slices, not empty.

    Notes
    -----
    A brain that ends within the field of view has next to no area on its faces.  The lowest face
    is another matter: brain stem and cerebellum are often cut there.
    """
    data = mask.data > 0
    below, elsewhere = 0.0, 0.0
    directions = nb.orientations.aff2axcodes(mask.affine)
    for axis, towards in enumerate(directions):
        areas = data.sum(axis=tuple({0, 1, 2} - {axis}))
        shares = 100 * areas[[0, -1]] / areas.max()
        lowest = {"S": 0, "I": 1}.get(towards)
        for end, share in enumerate(shares):
            if end == lowest:
                below = max(below, float(share))
            else:
                elsewhere = max(elsewhere, float(share))
    return BrainCut(below_percent=below, elsewhere_percent=elsewhere)


def at_both_edges_percent(volume: Volume, slice_axis: int) -> float:
    """Return how many lines within the slices have anatomy at both of their ends.

    Parameters
    ----------
    volume : Volume
        The acquired slices of a head.
    slice_axis : int

    Returns
    -------
    float
        Percent of the lines with anatomy, of the in-plane axis where they are most.

    Notes
    -----
    A head that fits has air at one end at least, also where the neck leaves the image.  Where it
    is larger than the field of view, it is cut off at both ends, or what lies outside is folded
    onto the opposite side (wrap-around), which makes both ends bright.
    """
    scaler = RobustScaler.fit(volume.data)
    level = scaler.offset + _BRIGHT * scaler.width
    worst = 0.0
    for axis in {0, 1, 2} - {slice_axis}:
        lines = np.moveaxis(volume.data, axis, 0)
        if len(lines) < 4 * _EDGE_VOXELS:
            continue
        first = lines[:_EDGE_VOXELS].mean(axis=0) > level
        last = lines[-_EDGE_VOXELS:].mean(axis=0) > level
        occupied = np.count_nonzero((lines > level).sum(axis=0) >= _EDGE_VOXELS)
        if occupied:
            worst = max(worst, 100 * float(np.count_nonzero(first & last)) / float(occupied))
    return worst
