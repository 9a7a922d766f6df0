"""Voxels that are finer than the detail they hold, read from the spectrum of an image.

A scanner that fills up its raw data with zeros returns fine voxels without fine detail: the
spectrum along that axis ends before its highest frequency, in a step.  Thick slices alone do not
do this: their spectrum falls smoothly, down to the noise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from bids_sr.imaging import Acquisition, Grid, Volume
from bids_sr.records.voxel_detail import InterpolatedAxis

_LEAST_SAMPLES = 16  # along an axis whose spectrum is read
_WINDOW = 0.12  # of the highest frequency, over which a step is sought
_LOWEST = 0.3  # of the highest frequency, where a step may be
_HIGHEST = 0.85  # above, voxels are hardly finer than the detail
_STEP_DECADES = 0.7  # by which power falls within the window
_STEEPER = 0.4  # decades more than beside the step
_LINES = 20000  # along an axis; more add nothing


def interpolated_axes(
    lr: Volume, acquisition: Acquisition, grid: Grid
) -> tuple[InterpolatedAxis, ...]:
    """Find the axes along which the scanner interpolated an image.

    Parameters
    ----------
    lr : Volume
        The acquired slices.
    acquisition : Acquisition
        How they were taken.
    grid : Grid
        Where the voxels of the result will lie.
    """
    across = acquisition.for_volume(lr).slice_axis
    return tuple(
        InterpolatedAxis(
            axis=axis,
            voxel_mm=float(lr.spacings[axis]),
            detail_mm=detail,
            through_plane=axis == across,
            output_mm=float(grid.spacings[axis]),
        )
        for axis in range(3)
        if (detail := detail_limit(lr, axis)) is not None
    )


def detail_limit(volume: Volume, axis: int) -> float | None:
    """Return the size of the finest detail along an axis, mm, where voxels are finer.

    Parameters
    ----------
    volume : Volume
        The image as acquired.
    axis : int
        Array axis.

    Returns
    -------
    float or None
        Voxel size over the share of the frequencies that are there; None where the spectrum
        has no step, or one so near to its end that voxels are hardly finer.

    Notes
    -----
    Power is averaged over the lines along the axis.  Zeros in the raw data leave nothing above
    the highest acquired frequency, noise included; only rounding and the magnitude fill it by
    a small part.  Without zeros, noise is white and power ends in a plateau.  The step is where
    power falls most within 12 % of the frequencies, by 0.7 decades or more; filters of the
    scanner spread it over about as much.
    """
    spectrum = _spectrum(volume, axis)
    if spectrum is None:
        return None
    frequency = np.arange(spectrum.size) / (volume.shape[axis] / 2)  # of the highest
    window = max(1, round(_WINDOW * volume.shape[axis] / 2))
    half = (window + 1) // 2
    fall = np.full(spectrum.size, -np.inf)
    fall[half : spectrum.size - half] = spectrum[: -2 * half] - spectrum[2 * half :]
    inside = (frequency >= _LOWEST) & (frequency <= _HIGHEST)
    if not inside.any():
        return None
    place = int(np.argmax(np.where(inside, fall, -np.inf)))
    beside = [
        fall[other] for other in (place - 2 * half, place + 2 * half) if 0 <= other < fall.size
    ]
    beside = [value for value in beside if np.isfinite(value)]
    usual = max([*beside, 0.0])
    if fall[place] < _STEP_DECADES or fall[place] < usual + _STEEPER:
        return None
    return float(volume.spacings[axis] / frequency[place])


def _spectrum(volume: Volume, axis: int) -> npt.NDArray[np.float64] | None:
    """Return the logarithm of the mean power along an axis; None where it says nothing."""
    data = np.moveaxis(volume.data, axis, -1)
    count = data.shape[-1]
    if count < _LEAST_SAMPLES or not np.ptp(data) > 0:
        return None
    step = max(1, int(np.sqrt(data.shape[0] * data.shape[1] / _LINES)))
    lines = data[::step, ::step].reshape(-1, count).astype(np.float32)
    power = np.mean(np.abs(fft.rfft(lines, axis=1)) ** 2, axis=0, dtype=float)
    power = ndimage.uniform_filter1d(power, 3, mode="nearest") if count > 100 else power
    return np.asarray(np.log10(np.maximum(power, 1e-12 * power.max())))
