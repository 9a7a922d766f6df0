"""Data consistency: a reconstruction, degraded again, should give the acquired slices.

The residual is a measure of quality, and the reconstruction can be corrected by the part of
it that exceeds noise.  It says nothing about what the slices do not contain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage, sparse

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import (
    Acquisition,
    ForwardModel,
    Grid,
    RobustScaler,
    Volume,
    resample,
)
from bids_sr.imaging.noise import estimate_noise, flat_foreground, noise_in
from bids_sr.imaging.resample import apply_along_axis

Array = npt.NDArray[np.float32]
DAMPING = 0.01
_OCTAVES = 4
_REACH = 2.5  # voxels in-plane over which the highest octave's power is averaged
_REACH_SLICES = 0.7  # the same, across
_CAUTION = 1.3  # factor on the noise, since local powers are uncertain


def data_consistency_residual(
    sr: Volume,
    lr: Volume,
    acquisition: Acquisition,
    weights: Sequence[float] | Array | None = None,
) -> float:
    """Return the root mean square difference of the degraded SR to the acquired slices.

    Parameters
    ----------
    sr : Volume
        The reconstruction.
    lr : Volume
        The acquired slices; compared on the reconstruction's in-plane grid.
    acquisition : Acquisition
        How they were taken.
    weights : (n,) floats, optional
        What each slice counts, from 0 to 1; None: all in full.

    Returns
    -------
    float
        Percent of the robust intensity range of the slices; NaN where no slice centre lies
        on the grid of the reconstruction.

    Notes
    -----
    Slices whose centre is outside the grid of the reconstruction are left out.
    """
    axis = _slice_axis(lr, acquisition)
    covered = _covered(sr.grid, lr.grid, axis)
    if not covered.size:
        return float("nan")
    missing = _Comparison.of(sr.grid, lr, acquisition, covered).missing(sr.data)
    if weights is None:
        return float(100 * np.sqrt(np.mean(missing**2)) / _width(lr))
    counted = np.maximum(np.asarray(weights)[covered], 1e-6)
    power = np.moveaxis(missing, axis, 0).reshape(covered.size, -1)  # (K, pixels)
    square = np.average(np.mean(power.astype(float) ** 2, axis=1), weights=counted)
    return float(100 * np.sqrt(square) / _width(lr))


def make_consistent(
    sr: Volume,
    lr: Volume,
    acquisition: Acquisition,
    *,
    noise: float | None = None,
    damping: float = DAMPING,
    weights: Sequence[float] | Array | None = None,
) -> Volume:
    """Change a reconstruction as little as possible until it agrees with the slices.

    Parameters
    ----------
    sr : Volume
        The reconstruction, float32, on any grid parallel to `lr`.
    lr : Volume
        The acquired slices.
    acquisition : Acquisition
        How they were taken.
    noise : float, optional
        Standard deviation of the noise of the slices, in units of intensity; None to
        estimate it.  0: the residual is fitted in full.
    damping : float
        0 asks for exact agreement; larger values regularise what slices hardly determine.
    weights : (n,) floats, optional
        What each slice counts, from 0 to 1; None: all in full.  Of a slice of weight 0 nothing
        is asked: degraded, the result there stays as it was.

    Returns
    -------
    Volume

    Notes
    -----
    With ``y = A x`` the slices of a reconstruction x and acquired slices z, the answer is
    ``x + A' (A A' + d I)^-1 W (z - A x)``, d the damping times the mean diagonal of
    ``A A'``: for W = 1 the least change in the sense of squares.  W is a Wiener filter in
    octaves of in-plane frequency, local within the slices: with R the local power of the
    residual in an octave, it multiplies by ``max(0, 1 - q N / R)``.  N is the power of the
    noise there, q the share of the noise's amplitude that is left in the residual (the
    rest is in the reconstruction): with a residual ``q n + s``, q N is its covariance with
    the noise n.  q is read from residual and slices where both are flat.  The bias
    ``sigma**2 / 2 m`` of Rician magnitudes m counts as noise.  W holds the weight of the
    slice, too.

    Slices that reach beyond the grid are left out: what they contain outside of it is unknown.
    White noise is assumed; how in-plane resampling to the grid of the reconstruction colours
    it is taken into account.
    """
    axis = _slice_axis(lr, acquisition)
    reach = 0.5 * acquisition.slice_profile.fwhm / float(sr.spacings[axis])
    covered = _covered(sr.grid, lr.grid, axis, reach)
    if not covered.size:
        return sr
    comparison = _Comparison.of(sr.grid, lr, acquisition, covered)
    missing = comparison.missing(sr.data)
    if weights is not None:
        counted = np.asarray(weights, np.float32)[covered]
        missing = missing * np.expand_dims(counted, [other for other in range(3) if other != axis])
    matrix = comparison.forward.matrix.toarray()  # (K, n)
    values, vectors = np.linalg.eigh(matrix @ matrix.T)
    sigma = estimate_noise(lr, axis) if noise is None else noise
    if sigma > 0:
        missing = _above_noise(missing, comparison, sigma)
    inverse = vectors / (values + damping * values.mean() + 1e-12) @ vectors.T
    correction = apply_along_axis(sparse.csr_array(matrix.T @ inverse), missing, axis)
    return sr.with_data(sr.data + correction)


def agreement(
    sr: Volume,
    lr: Volume,
    acquisition: Acquisition,
    weights: Sequence[float] | Array | None = None,
) -> dict[str, float | None]:
    """Return residual and noise in percent of the robust intensity range, for a record."""
    residual = data_consistency_residual(sr, lr, acquisition, weights)
    noise_fraction = estimate_noise(lr, _slice_axis(lr, acquisition)) / _width(lr)
    return {
        "ResidualPercent": round(residual, 4) if np.isfinite(residual) else None,
        "NoisePercent": round(100 * noise_fraction, 4),
    }


@dataclass(frozen=True, eq=False)
class _Comparison:
    """Hold acquired slices on the in-plane grid of a reconstruction, and their forward model."""

    slices: Volume
    """Those slices that are covered by the reconstruction."""
    forward: ForwardModel
    source: Grid
    """The grid on which they were acquired."""

    @classmethod
    def of(
        cls, sr: Grid, lr: Volume, acquisition: Acquisition, covered: npt.NDArray[np.int_]
    ) -> _Comparison:
        axis = _slice_axis(lr, acquisition)
        grid = sr.with_planes_of(lr.grid, axis, first=int(covered[0]), size=covered.size)
        forward = ForwardModel.between(sr, grid, acquisition)
        return cls(resample(lr, grid), forward, lr.grid)

    def missing(self, data: npt.NDArray[np.floating]) -> Array:
        """Return the acquired minus the degraded slices."""
        degraded = self.forward.apply(data)
        return np.asarray(self.slices.data - degraded, dtype=np.float32)

    def noise_power(self, sigma: float) -> npt.NDArray[np.float64]:
        """Return the (H, W) variances that noise of the acquired slices has in each cosine."""
        axes = [axis for axis in range(3) if axis != self.forward.slice_axis]
        first, second = (self._gain(axis) for axis in axes)
        return sigma**2 * first[:, None] * second[None, :]

    def _gain(self, axis: int) -> npt.NDArray[np.float64]:
        """Return the variance of unit noise after resampling, for each cosine of an axis."""
        size = self.source.shape[axis]
        steps = self.source.coordinates_of(self.slices.grid, axis)  # (n,)
        affine, moved = np.eye(4), np.eye(4)
        if steps.size > 1:
            moved[0, 0] = steps[1] - steps[0]
        moved[0, 3] = steps[0]
        unit = Volume(np.eye(size)[:, :, None], affine)
        matrix = resample(unit, Grid((steps.size, size, 1), moved)).data[:, :, 0]
        return np.asarray(np.sum(fft.dct(matrix, axis=0, norm="ortho") ** 2, axis=1))


def _above_noise(missing: Array, comparison: _Comparison, sigma: float) -> Array:
    """Multiply a residual, octave by octave, by its local share of signal.

    Parameters
    ----------
    missing : (X, Y, Z) float32 array
        The residual.
    comparison : _Comparison
        The slices that it belongs to.
    sigma : float
        Standard deviation of the noise of the slices as acquired.
    """
    axis = comparison.forward.slice_axis
    residual = np.ascontiguousarray(np.moveaxis(missing, axis, 0))  # (K, H, W)
    slices = np.ascontiguousarray(np.moveaxis(comparison.slices.data, axis, 0), np.float32)
    flat = flat_foreground(slices)
    share = min(1.0, noise_in(residual, flat) / max(noise_in(slices, flat), 1e-12 * sigma))
    signal = np.maximum(ndimage.gaussian_filter(slices, (0, 2, 2)), sigma)
    bias = (sigma**2 / 2 / signal) ** 2
    power = comparison.noise_power(sigma)
    waves = fft.dctn(residual, axes=(1, 2), norm="ortho")
    filtered = np.zeros_like(residual)
    for octave, window in enumerate(_octaves(power.shape)):
        part = fft.idctn(waves * window, axes=(1, 2), norm="ortho")
        octave_noise = _CAUTION * (share * float(np.mean(power * window**2)) + bias)
        reach = _REACH * 2.0**octave
        around = ndimage.gaussian_filter(part**2, (_REACH_SLICES, reach, reach), truncate=3)
        filtered += part * np.maximum(0, 1 - octave_noise / np.maximum(around, 1e-30))
    return np.moveaxis(filtered.astype(np.float32), 0, axis)


def _octaves(shape: tuple[int, ...]) -> list[Array]:
    """Return windows over the in-plane cosines, highest octave first, that sum to 1."""
    rows, columns = (np.arange(size) / size for size in shape)
    frequency = np.hypot(rows[:, None], columns[None, :])  # of the highest along an axis
    height = np.log2(np.maximum(frequency, 1e-6))
    windows, above = [], np.ones(shape)
    for octave in range(1, _OCTAVES):
        below = np.cos(np.clip(height + octave + 0.5, 0, 1) * np.pi / 2) ** 2
        windows.append((above - below).astype(np.float32))
        above = below
    return [*windows, above.astype(np.float32)]


def _width(lr: Volume) -> float:
    """Return the robust intensity range; where there is none, the whole, or 1."""
    try:
        return RobustScaler.fit(lr.data).width
    except InputDataError:
        return float(np.ptp(lr.data)) or 1.0


def _slice_axis(lr: Volume, acquisition: Acquisition) -> int:
    axis = acquisition.for_volume(lr).slice_axis
    assert axis is not None
    return axis


def _covered(sr: Grid, lr: Grid, axis: int, reach: float = 0.0) -> npt.NDArray[np.int_]:
    """Return the indices of the slices that lie, by `reach` fine voxels, inside the grid."""
    centres = sr.coordinates_of(lr, axis)
    tolerance = 1e-3 - reach
    inside = (centres > -0.5 - tolerance) & (centres < sr.shape[axis] - 0.5 + tolerance)
    return np.flatnonzero(inside)
