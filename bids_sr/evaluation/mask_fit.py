"""Does a brain mask fit its image: is there tissue in its rim, on every side."""

from __future__ import annotations

from collections.abc import Iterator

import nibabel as nb
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.imaging import RobustScaler, Volume

Mask = npt.NDArray[np.bool_]
_VOXEL = 2.0  # mm in-plane that are fine enough
_RIM = 5.0  # mm within the mask
_DARK = 0.1  # of the robust range
_LEAST_VOXELS = 100


def dark_rim_percent(volume: Volume, mask: Volume) -> float | None:
    """Return how many voxels in the outer 5 mm of a brain mask are dark, on its worst side.

    Parameters
    ----------
    volume : Volume
        The acquired slices.
    mask : Volume
        Brain mask on their grid, not empty.

    Returns
    -------
    float or None
        Percent; None where no side has enough voxels.

    Notes
    -----
    Bone and air are dark in every contrast, and a mask that was shifted or is too large reaches
    into them; a mask that leaves brain out does not show.  The sides are those of the six array
    directions; the lowest is left out, where the neck begins.
    """
    steps = [max(1, round(_VOXEL / float(spacing))) for spacing in volume.spacings]
    sparse = tuple(slice(None, None, step) for step in steps)
    sampling = [float(s) * step for s, step in zip(volume.spacings, steps, strict=True)]
    inside = mask.data[sparse] > 0
    scaler = RobustScaler.fit(volume.data)
    dark = volume.data[sparse] < scaler.offset + _DARK * scaler.width
    rim = inside & (ndimage.distance_transform_edt(inside, sampling=sampling) <= _RIM)
    sides = _sides(inside, sampling, nb.orientations.aff2axcodes(volume.affine))
    shares = [
        100 * float(np.mean(dark[side & rim]))
        for side in sides
        if np.count_nonzero(side & rim) >= _LEAST_VOXELS
    ]
    return max(shares, default=None)


def _sides(inside: Mask, sampling: list[float], codes: tuple[str, ...]) -> Iterator[Mask]:
    """Yield which voxels belong to each side, seen from the centre of the mask."""
    centre = [float(places.mean()) for places in np.nonzero(inside)]
    offsets = [
        (np.arange(size) - middle).reshape([-1 if axis == other else 1 for other in range(3)])
        * voxel
        for axis, (size, middle, voxel) in enumerate(
            zip(inside.shape, centre, sampling, strict=True)
        )
    ]
    sizes = [np.broadcast_to(np.abs(offset), inside.shape) for offset in offsets]
    for axis in range(3):
        others = [sizes[other] for other in range(3) if other != axis]
        most = (sizes[axis] > others[0]) & (sizes[axis] > others[1])
        for sign in (-1, 1):
            if (codes[axis], sign) not in (("S", -1), ("I", 1)):
                yield most & (sign * np.broadcast_to(offsets[axis], inside.shape) > 0)
