"""Sharpness says how much fine detail a volume has across the slices, against in-plane.

It needs no truth: a reconstruction that only interpolates has next to nothing across
the slices that the slices did not have.  It cannot tell detail from noise or invention.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

_SOFT_EDGE = 2.0  # voxels


def sharpness(
    data: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_],
    spacings: npt.NDArray[np.float64],
    slice_axis: int,
    cutoff: float,
) -> float:
    """Return the fine detail across the slices, relative to that within them.

    Parameters
    ----------
    data : (X, Y, Z) array
    mask : (X, Y, Z) bool array
    spacings : (3,) array, mm
    slice_axis : int
    cutoff : float, 1/mm
        Frequencies above it are fine: half of one over the slice spacing, which is what
        slices so far apart can just hold.

    Returns
    -------
    float
        Share of the energy above `cutoff` along the slice axis, divided by the mean of the
        same share along the other two; about 1 for an isotropic image.  NaN where the
        cutoff leaves no frequency.

    Notes
    -----
    The mean within the mask is taken off and the mask's edge smoothed, so that the edge
    adds little above the cutoff.  All axes are looked at up to the same frequency.
    """
    box = tuple(
        slice(max(0, int(where.min()) - 6), int(where.max()) + 7) for where in np.nonzero(mask)
    )
    soft = ndimage.gaussian_filter(mask[box].astype(np.float32), _SOFT_EDGE)
    values = data[box].astype(np.float32)
    values = (values - float(values[mask[box]].mean())) * soft
    highest = float(0.5 / np.max(spacings))
    if cutoff >= highest:
        return float(np.nan)
    shares = [
        _fine_share(values, axis, float(spacings[axis]), (cutoff, highest)) for axis in range(3)
    ]
    in_plane = np.mean([shares[axis] for axis in range(3) if axis != slice_axis])
    return float(shares[slice_axis] / in_plane) if in_plane > 0 else float(np.nan)


def _fine_share(
    values: npt.NDArray[np.float32], axis: int, spacing: float, band: tuple[float, float]
) -> float:
    """Return the share of the energy of all lines along an axis that is within a band."""
    power = np.abs(np.fft.rfft(values, axis=axis)) ** 2
    power = power.sum(axis=tuple(across for across in range(3) if across != axis))
    power[1:] *= 2  # the negative frequencies
    frequencies = np.fft.rfftfreq(values.shape[axis], spacing)
    fine = (frequencies > band[0]) & (frequencies <= band[1] * (1 + 1e-6))
    known = frequencies <= band[1] * (1 + 1e-6)
    total = float(power[known].sum())
    return float(power[fine].sum()) / total if total > 0 else 0.0
