"""Fusion combines the reconstructions of the two through-plane views into one volume.

Each view is a stack of planes that the network processes one by one, so a view is more
reliable along the columns of its planes than across the stack.  Fusion neither trains nor
resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import fft

from bids_sr.imaging import View

Array = npt.NDArray[np.float32]
Fusion = Callable[[Sequence[tuple[View, Array]], npt.NDArray[np.float64]], Array]
"""Called with (view, detail of that view) pairs and the spacings (3,), mm."""


def fuse_mean(views: Sequence[tuple[View, Array]], spacings: npt.NDArray[np.float64]) -> Array:
    """Return the voxelwise mean of the (X, Y, Z) details of the views."""
    total = np.zeros_like(views[0][1])
    for _, detail in views:
        total += detail
    return total / np.float32(len(views))


def fuse_directional(
    views: Sequence[tuple[View, Array]], spacings: npt.NDArray[np.float64]
) -> Array:
    """Weight every spatial frequency by its angle to the planes of each view.

    Parameters
    ----------
    views : sequence of (View, (X, Y, Z) array)
        The two through-plane views and the detail of each.
    spacings : (3,) float array, mm
        Voxel spacings.

    Returns
    -------
    (X, Y, Z) float32 array

    Notes
    -----
    With f the in-plane frequency vector, a view whose columns run along axis c has the
    weight ``f_c**2 / |f|**2``, cosine squared of the angle between the wave and the
    view's planes; the weights of the two views sum to 1.  Measured against the
    truth on T1w and FLAIR heads, the best linear weights follow this rule closely
    wherever there is power (benchmarks/RESULTS.md).
    """
    axes = tuple(view.columns for view, _ in views)
    padded = [fft.next_fast_len(size + _PADDING, real=True) for size in views[0][1].shape]
    sizes = [padded[axis] for axis in axes]
    # A real transform halves the last of the axes that are given.
    squared = [_frequencies(axis, axes, sizes, spacings) ** 2 for axis in axes]
    total = squared[0] + squared[1]
    total[total == 0] = np.inf
    spectrum: npt.NDArray[np.complex64] | None = None
    for (_, detail), along in zip(views, squared, strict=True):
        weight = np.where(np.isinf(total), 0.5, along / total).astype(np.float32)
        part = fft.rfftn(detail, s=sizes, axes=axes) * weight
        spectrum = part if spectrum is None else spectrum + part
    fused = fft.irfftn(spectrum, s=sizes, axes=axes, overwrite_x=True)
    shape = views[0][1].shape
    return np.ascontiguousarray(fused[: shape[0], : shape[1], : shape[2]], dtype=np.float32)


def fuse_burst(views: Sequence[tuple[View, Array]], spacings: npt.NDArray[np.float64]) -> Array:
    """Take every frequency mostly from the view in which it is strongest.

    Parameters
    ----------
    views : sequence of (View, (X, Y, Z) array)
        Any number of views and the detail of each.
    spacings : (3,) float array, mm
        Not needed.

    Returns
    -------
    (X, Y, Z) float32 array

    Notes
    -----
    Fourier burst accumulation: with F_i the spectrum of a view, the result is the sum of
    ``w_i F_i`` with ``w_i = |F_i|**p / sum_j |F_j|**p``, p = 11; blur only
    attenuates, so the stronger component is the sharper.  The weights come from magnitudes, as
    complex values have no order.  Noise in a single view is kept too.

    References
    ----------
    Delbracio and Sapiro 2015, Removing camera shake via weighted Fourier burst
    accumulation, IEEE Trans. Image Process. 24:3293-3307, doi:10.48550/arXiv.1505.02731.
    """
    shape = views[0][1].shape
    spectra = [fft.rfftn(detail) for _, detail in views]
    magnitudes = [np.abs(spectrum) for spectrum in spectra]
    strongest = np.maximum.reduce(magnitudes)
    strongest[strongest == 0] = 1  # nothing there: any weights do
    weights = [(magnitude / strongest) ** _BURST_POWER for magnitude in magnitudes]
    total = np.maximum(sum(weights), np.finfo(np.float32).tiny)
    fused = sum(
        spectrum * (weight / total) for spectrum, weight in zip(spectra, weights, strict=True)
    )
    # The half spectrum does not tell whether the last axis was odd.
    return np.asarray(fft.irfftn(fused, s=shape), dtype=np.float32)


FUSIONS: dict[str, Fusion] = {
    "directional": fuse_directional,
    "mean": fuse_mean,
    "fba": fuse_burst,
}
_BURST_POWER = 11
_PADDING = 16  # voxels: what leaves at one border must not come back at the other


def _frequencies(
    axis: int,
    axes: tuple[int, ...],
    sizes: list[int],
    spacings: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return the frequencies along one axis, 1/mm, shaped to broadcast over the spectrum."""
    size = sizes[axes.index(axis)]
    sample = fft.rfftfreq if axis == axes[-1] else fft.fftfreq
    frequencies = np.asarray(sample(size, float(spacings[axis])))
    return np.expand_dims(frequencies, sorted({0, 1, 2} - {axis}))
