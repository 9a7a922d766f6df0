"""A label map on a finer grid: each label's membership reconstructed, the largest wins.

Labels are names, not quantities: values between two of them have no meaning.  The result
contains only labels of the input.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.compute.progress import Progress
from bids_sr.imaging import Acquisition, Volume
from bids_sr.imaging.labels import label_values
from bids_sr.method_facts import LABELS_METHOD, OutputGrid
from bids_sr.sr.registry import acquisition_of, grid_of_result, make_method

_RAMP_VOXELS = 1.5


def super_resolve_labels(
    volume: Volume,
    acquisition: Acquisition | None = None,
    *,
    method: str = LABELS_METHOD,
    output_resolution: float | Literal["native"] | None = None,
    output_grid: OutputGrid = "fov",
    progress: Progress | None = None,
    **parameters: Any,
) -> Volume:
    """Super-resolve a label map of thick slices.

    Parameters
    ----------
    volume : Volume
        Integer labels, on the grid of the acquired slices.
    acquisition, method, output_resolution, output_grid, **parameters
        As those of :func:`.super_resolve`, but for the default method: networks that learnt
        from images are no better on memberships (benchmarks/labels.py).  ``self`` needs
        the weights trained on the image of the map: ``reuse="image_desc-sr_model.safetensors"``.
    progress : callable, optional
        Called after every label.

    Returns
    -------
    Volume
        Of the type of the input.

    Raises
    ------
    InputDataError
        If the values are not integers.
    ConfigError
        If the method cannot treat labels.

    Notes
    -----
    The membership of a label rises from 0 to 1 over the 3 fine voxels around its outline
    within the slice, 0.5 on the outline.  Of the reconstructed memberships the largest gives
    the label, ties go to the lowest.  Memberships of 0 and 1 alone would end every
    label half-way between two slices, in steps; with the ramp an outline that moves from
    slice to slice is continued between them.

    References
    ----------
    Raya and Udupa 1990, Shape-based interpolation of multidimensional objects, IEEE Trans
    Med Imaging 9:32-42, doi:10.1109/42.52980.
    """
    labels = label_values(volume, "a label map")
    acquisition = acquisition_of(volume, acquisition)
    assert acquisition.slice_axis is not None
    chosen = make_method(method, parameters).for_labels()
    target = grid_of_result(
        volume,
        acquisition,
        method=method,
        output_resolution=output_resolution,
        output_grid=output_grid,
    )
    ramp = _RAMP_VOXELS * float(target.spacings[acquisition.slice_axis])
    best = np.full(target.shape, -np.inf, np.float32)
    winners = np.full(target.shape, labels[0], volume.data.dtype)
    for number, label in enumerate(labels):
        membership = _membership(
            volume.data == label, volume.spacings, acquisition.slice_axis, ramp
        )
        reconstructed = chosen.reconstruct(
            volume.with_data(membership), acquisition, target, judge_slices=False
        ).volume.data
        winners[reconstructed > best] = label
        np.maximum(best, reconstructed, out=best)
        if progress:
            progress(number + 1, labels.size, f"label {label:g}")
    return Volume(winners, target.affine)


def _membership(
    inside: npt.NDArray[np.bool_],
    spacings: npt.NDArray[np.float64],
    slice_axis: int,
    ramp: float,
) -> npt.NDArray[np.float32]:
    """Return (X, Y, Z) values from 0 to 1 that rise over `ramp` mm on each side of the outline."""
    slices = np.moveaxis(inside, slice_axis, 0)
    membership = slices.astype(np.float32)
    sampling = np.delete(spacings, slice_axis)
    edge = float(sampling.min()) / 2  # the outline lies between voxel centres
    for slice_, values in zip(slices, membership, strict=True):
        if slice_.any() and not slice_.all():
            within = ndimage.distance_transform_edt(slice_, sampling)
            beyond = ndimage.distance_transform_edt(~slice_, sampling)
            distance = np.where(slice_, within - edge, edge - beyond)
            values[...] = np.clip(0.5 + distance / (2 * ramp), 0, 1)
    return np.ascontiguousarray(np.moveaxis(membership, 0, slice_axis))
