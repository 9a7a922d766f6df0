"""The forward model: a thick-slice acquisition of a high-resolution volume.

``y = D B x``: x is weighted by the slice profile along the slice axis (B) and sampled
at the slice centres (D).  One sparse matrix holds both.  In-plane nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from bids_sr.exceptions import AcquisitionError, InputDataError
from bids_sr.imaging.acquisition import Acquisition
from bids_sr.imaging.grid import Grid
from bids_sr.imaging.resample import apply_along_axis
from bids_sr.imaging.volume import Volume
from bids_sr.seed import DEFAULT_SEED

_LEAST_SHARE = 0.05  # of its profile that a slice must have inside the fine grid


@dataclass(frozen=True, eq=False)
class ForwardModel:
    """Apply the slice profile and the sampling along one axis, and the adjoint of both.

    Attributes
    ----------
    matrix : sparse.csr_array
        (n_lr, n_hr) weights of the fine voxels in each slice; rows sum to 1.
    slice_axis : int
        Array axis across the slices.

    Notes
    -----
    A fine voxel is a box: its weight is the integral of the profile over its extent.
    The profile is applied unchanged, so the blur of the fine image itself adds to
    it; :meth:`.SliceProfile.narrowed` corrects for that.  At the ends of the fine grid the
    part of the profile outside is left out and the rest is scaled to sum to 1.
    """

    matrix: sparse.csr_array = field(repr=False)
    slice_axis: int

    @classmethod
    def between(cls, hr: Grid, lr: Grid, acquisition: Acquisition) -> ForwardModel:
        """Build the model that takes slices of grid `lr` from voxels of grid `hr`.

        Only the slice axis matters: in-plane the grids may differ.

        Raises
        ------
        InputDataError
            If the axes are not parallel or a slice lies outside the fine grid.
        """
        axis = lr.slice_axis if acquisition.slice_axis is None else acquisition.slice_axis
        centres = hr.coordinates_of(lr, axis)  # (n_lr,), fine voxels
        edges = np.arange(hr.shape[axis] + 1) - 0.5
        spacing = float(hr.spacings[axis])
        distances = (edges[None, :] - centres[:, None]) * spacing  # mm
        weights = np.diff(acquisition.slice_profile.cumulative(distances), axis=1)
        shares = weights.sum(axis=1)
        if shares.min() < _LEAST_SHARE:
            raise InputDataError(
                f"Found slice {int(shares.argmin())} outside the fine grid "
                f"({100 * shares.min():.1f} % of it inside); expected every slice to be "
                "covered. Check that both grids describe the same field of view."
            )
        return cls(sparse.csr_array(weights / shares[:, None]), axis)

    def apply(self, data: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Return A x: (.., n_hr, ..) to (.., n_lr, ..) along the slice axis."""
        return apply_along_axis(self.matrix, data, self.slice_axis)

    def adjoint(self, data: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Return A' y: (.., n_lr, ..) to (.., n_hr, ..) along the slice axis."""
        return apply_along_axis(sparse.csr_array(self.matrix.T), data, self.slice_axis)


def lr_grid(hr: Grid, acquisition: Acquisition) -> Grid:
    """Lay out the slices that an acquisition takes from a fine grid.

    The first slice begins at the lower edge of the field of view, and as many whole
    slice spacings follow as fit.

    Raises
    ------
    InputDataError
        If fewer than 2 slices fit.
    """
    axis = hr.slice_axis if acquisition.slice_axis is None else acquisition.slice_axis
    spacing = acquisition.known_spacing
    count = int(np.floor(hr.fov[axis] / spacing + 1e-6))
    if count < 2:
        raise InputDataError(
            f"Found a field of view of {hr.fov[axis]:.4g} mm along axis {axis} and a slice "
            f"spacing of {spacing:.4g} mm; expected room for at least 2 slices."
        )
    return hr.rescaled(axis, spacing / float(hr.spacings[axis]), count)


def degrade(
    volume: Volume,
    acquisition: Acquisition,
    *,
    noise_fraction: float = 0.0,
    seed: int = DEFAULT_SEED,
) -> Volume:
    """Simulate a thick-slice acquisition of a volume.

    Parameters
    ----------
    volume : Volume
        The fine image.
    acquisition : Acquisition
        Slice axis None: the volume's own.
    noise_fraction : float
        Standard deviation of the noise in either channel of the complex signal, as a
        fraction of the 99th percentile of the noise-free slices; the magnitude is Rician.
    seed : int
        Seed of the noise.

    Returns
    -------
    Volume
        float32.

    Raises
    ------
    AcquisitionError
        If the noise is negative or not finite.
    """
    if not (np.isfinite(noise_fraction) and noise_fraction >= 0):
        raise AcquisitionError(f"Found a noise level of {noise_fraction}; expected 0 or more.")
    if acquisition.slice_axis is None:
        acquisition = replace(acquisition, slice_axis=volume.slice_axis)
    grid = lr_grid(volume.grid, acquisition)
    model = ForwardModel.between(volume.grid, grid, acquisition)
    slices: npt.NDArray[Any] = model.apply(volume.data.astype(np.float32, copy=False))
    if noise_fraction > 0:
        sigma = noise_fraction * float(np.percentile(slices, 99))
        real, imaginary = np.random.default_rng(seed).normal(0.0, sigma, (2, *slices.shape))
        slices = np.hypot(slices + real, imaginary).astype(np.float32)
    return Volume(np.ascontiguousarray(slices), grid.affine)
