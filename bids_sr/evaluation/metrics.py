"""A metric says how near an estimate comes to a reference within a mask.

All take arrays on one grid and look only at voxels of the mask.  Higher is better.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.metrics import structural_similarity

from bids_sr.exceptions import InputDataError

_SSIM_SIGMA = 1.5  # voxels; Wang et al. 2004
_SSIM_REACH = 5  # voxels: the window is 11 wide


def psnr(
    estimate: npt.NDArray[Any],
    reference: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_],
    data_range: float | None = None,
) -> float:
    """Return the peak signal-to-noise ratio within a mask, dB.

    Parameters
    ----------
    estimate, reference : (X, Y, Z) or (X, Y) arrays
    mask : bool array of the same shape
    data_range : float, optional
        The peak R; by default that of :func:`peak_range`.

    Returns
    -------
    float
        ``10 log10(R**2 / MSE)``, MSE the mean of ``(estimate - reference)**2`` over the
        mask; infinite where they are equal.
    """
    _check(estimate, reference, mask)
    peak = peak_range(reference, mask) if data_range is None else data_range
    errors = estimate[mask].astype(np.float64) - reference[mask].astype(np.float64)
    mean_square = float(np.mean(errors**2))
    return float(np.inf) if mean_square == 0 else 10 * float(np.log10(peak**2 / mean_square))


def ssim(
    estimate: npt.NDArray[Any],
    reference: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_],
    data_range: float | None = None,
) -> float:
    """Return the mean structural similarity within a mask.

    Parameters
    ----------
    estimate, reference : (X, Y, Z) or (X, Y) arrays
        At least 11 voxels along every axis.
    mask : bool array of the same shape
    data_range : float, optional
        The dynamic range L; by default that of :func:`peak_range`.

    Returns
    -------
    float
        Mean over the mask of the local index, up to 1.

    Notes
    -----
    The index of Wang et al. in as many dimensions as the arrays have: local means,
    variances and covariance with a Gaussian window (standard deviation 1.5 voxels, 11 wide,
    weights summing to 1),
    ``C1 = (0.01 L)**2`` and ``C2 = (0.03 L)**2``.  The window reaches beyond the mask:
    at its rim what is outside counts too.

    References
    ----------
    Wang et al. 2004, Image quality assessment: from error visibility to structural
    similarity, IEEE Trans Image Process 13:600-612, doi:10.1109/TIP.2003.819861.
    """
    _check(estimate, reference, mask)
    if min(reference.shape) <= 2 * _SSIM_REACH:
        raise InputDataError(
            f"Found an image of shape {reference.shape}; expected at least "
            f"{2 * _SSIM_REACH + 1} voxels along every axis for the structural similarity."
        )
    peak = peak_range(reference, mask) if data_range is None else data_range
    box = _box(mask)
    _, local = structural_similarity(
        reference[box].astype(np.float64),
        estimate[box].astype(np.float64),
        data_range=peak,
        gaussian_weights=True,
        sigma=_SSIM_SIGMA,
        use_sample_covariance=False,
        full=True,
    )
    return float(local[mask[box]].mean())


def peak_range(reference: npt.NDArray[Any], mask: npt.NDArray[np.bool_]) -> float:
    """Return the reference's maximum minus its minimum within the mask.

    Raises
    ------
    InputDataError
        If the reference is constant there.
    """
    values = reference[mask]
    width = float(values.max()) - float(values.min())
    if width <= 0:
        raise InputDataError(
            "Found a reference that is constant within the mask; expected an image. "
            "Check the mask."
        )
    return width


def _check(
    estimate: npt.NDArray[Any], reference: npt.NDArray[Any], mask: npt.NDArray[np.bool_]
) -> None:
    if not estimate.shape == reference.shape == mask.shape or reference.ndim not in (2, 3):
        raise InputDataError(
            f"Found an estimate of shape {estimate.shape}, a reference of {reference.shape} and "
            f"a mask of {mask.shape}; expected one 3-D shape, or that of a plane. Resample to the "
            "reference's grid."
        )
    if mask.dtype != bool or not mask.any():
        raise InputDataError(
            f"Found a mask of type {mask.dtype} with {np.count_nonzero(mask)} voxels set; "
            "expected a bool array with at least one. Check the mask."
        )


def _box(mask: npt.NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return a box around the mask that holds the windows of all its voxels."""
    box = []
    for axis, size in enumerate(mask.shape):
        others = tuple(across for across in range(mask.ndim) if across != axis)
        inside = np.flatnonzero(mask.any(axis=others))
        # One reach is enough for the result; two hold a whole window also in a corner.
        first = max(0, int(inside[0]) - 2 * _SSIM_REACH)
        last = min(size, int(inside[-1]) + 1 + 2 * _SSIM_REACH)
        box.append(slice(first, last))
    return tuple(box)
