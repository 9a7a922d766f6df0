"""Does a brain mask fit its image: tissue in its rim, and no brain beside it, on every side."""

from __future__ import annotations

from collections.abc import Iterator

import nibabel as nb
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.imaging import RobustScaler, Volume

Image = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]
_VOXEL = 2.0  # mm in-plane that are fine enough
_RIM = 5.0  # mm within the mask
_DARK = 0.1  # of the robust range
_SHELL = 6.0  # mm around the mask
_BRAIN_LIKE = (15, 85)  # percentiles of the intensities in the mask
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
    data, inside, sampling = _coarse(volume, mask)
    if not inside.any():  # a few voxels, between those that are looked at
        return None
    scaler = RobustScaler.fit(volume.data)
    dark = data < scaler.offset + _DARK * scaler.width
    rim = inside & (ndimage.distance_transform_edt(inside, sampling=sampling) <= _RIM)
    codes = nb.orientations.aff2axcodes(volume.affine)
    return _worst_percent(dark, rim, _sides(inside, sampling, codes))


def brain_outside_percent(volume: Volume, mask: Volume) -> float | None:
    """Return how many voxels around a brain mask look like brain, on its worst side.

    Parameters
    ----------
    volume : Volume
        The acquired slices.
    mask : Volume
        Brain mask on their grid, not empty.

    Returns
    -------
    float or None
        Percent of the voxels within 6 mm of the mask; None where no side has enough.

    Notes
    -----
    Around a mask that fits lie fluid, bone, air and fat, which are darker or brighter than most
    of the brain.  A mask that was shifted or is too small leaves brain beside it.  What looks
    like brain has an intensity between the 15th and 85th percentile of the mask.  Sides as in
    :func:`dark_rim_percent`.
    """
    data, inside, sampling = _coarse(volume, mask)
    if not inside.any():  # a few voxels, between those that are looked at
        return None
    low, high = np.percentile(data[inside], _BRAIN_LIKE)
    alike = (data >= low) & (data <= high)
    shell = ~inside & (ndimage.distance_transform_edt(~inside, sampling=sampling) <= _SHELL)
    codes = nb.orientations.aff2axcodes(volume.affine)
    return _worst_percent(alike, shell, _sides(inside, sampling, codes))


def _coarse(volume: Volume, mask: Volume) -> tuple[Image, Mask, list[float]]:
    """Return some voxels of an image and its mask, and their spacings, mm."""
    steps = [max(1, round(_VOXEL / float(spacing))) for spacing in volume.spacings]
    sparse = tuple(slice(None, None, step) for step in steps)
    sampling = [float(s) * step for s, step in zip(volume.spacings, steps, strict=True)]
    return volume.data[sparse], np.asarray(mask.data[sparse] > 0), sampling


def _worst_percent(chosen: Mask, among: Mask, sides: Iterator[Mask]) -> float | None:
    """Return the share of the chosen voxels on the side where it is largest, percent."""
    shares = [
        100 * float(np.mean(chosen[side & among]))
        for side in sides
        if np.count_nonzero(side & among) >= _LEAST_VOXELS
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
