"""The classes of the methods by name, and the two calls that run one.

Which methods there are, and where their classes are, is said in :data:`.METHOD_FACTS`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, overload

import nibabel as nb

from bids_sr.compute.progress import Progress
from bids_sr.exceptions import AcquisitionError, ConfigError
from bids_sr.imaging import Acquisition, Grid, Volume, lay_out_grid
from bids_sr.imaging.volume import Image
from bids_sr.method_facts import DEFAULT_METHOD, METHOD_FACTS, OutputGrid
from bids_sr.sr.contract.results import Reconstruction
from bids_sr.sr.contract.settings import class_at, configured, present_names
from bids_sr.sr.methods.base import Method
from bids_sr.sr.slices.estimated_acquisition import estimated_acquisition

METHODS: dict[str, type[Method]] = {
    name: class_at(facts.implementation) for name, facts in METHOD_FACTS.items()
}
"""The class of every method."""


def parameters_for(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the parameters that a method has.

    Raises
    ------
    ConfigError
        If there is no such method.
    """
    if name not in METHODS:
        raise ConfigError(f"Found method {name!r}; expected one of {', '.join(METHODS)}.")
    known = {entry.name for entry in fields(METHODS[name])}
    if METHODS[name].presets:
        known.add("preset")
    current = present_names(parameters, known)
    return {entry: value for entry, value in current.items() if entry in known}


def make_method(name: str, parameters: Mapping[str, Any] | None = None) -> Method:
    """Return the method of that name with its hyper-parameters set.

    Parameters
    ----------
    name : str
        A name in :data:`METHODS`.
    parameters : mapping, optional
        Hyper-parameters by name.  ``preset`` names a set of them, over which the others win.

    Raises
    ------
    ConfigError
        If the name or a parameter is unknown, or a value is impossible.
    """
    return configured(METHODS, "method", name, parameters)


def grid_of_result(
    volume: Volume,
    acquisition: Acquisition,
    *,
    method: str,
    output_resolution: float | Literal["native"] | None,
    output_grid: OutputGrid,
) -> Grid:
    """Lay out the grid of a method's result; see :func:`.lay_out_grid`.

    Raises
    ------
    AcquisitionError
        If the resolution leaves less than two voxels along an axis.
    """
    if METHOD_FACTS[method].keeps_grid:
        return volume.grid
    assert acquisition.slice_axis is not None
    grid = lay_out_grid(
        volume,
        slice_axis=acquisition.slice_axis,
        output_resolution=output_resolution,
        output_grid=output_grid,
    )
    if min(grid.shape) < 2:
        fov = " x ".join(f"{size:.3g}" for size in volume.fov)
        raise AcquisitionError(
            f"Found an output resolution of {output_resolution or 'at least 1'} mm for a field of "
            f"view of {fov} mm, which makes "
            f"{' x '.join(map(str, grid.shape))} voxels; expected room for two voxels along every "
            "axis. Give a finer output resolution."
        )
    return grid


def reconstruct(
    volume: Volume,
    acquisition: Acquisition,
    *,
    method: str,
    grid: Grid,
    parameters: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Reconstruction:
    """Reconstruct a volume on a grid and say how; see :meth:`.Method.reconstruct`.

    Parameters
    ----------
    volume : Volume
        The acquired slices.
    acquisition : Acquisition
        How they were taken.
    method : str
        A name in :data:`METHODS`.
    grid : Grid
        The grid of the result.
    parameters : mapping, optional
        Hyper-parameters of the method by name.
    progress : callable, optional
        Called with (steps done, steps in all, text).
    """
    chosen = make_method(method, parameters)
    return chosen.reconstruct(volume, acquisition, grid, progress=progress)


@overload
def super_resolve(
    image: Volume | str | os.PathLike[str],
    acquisition: Acquisition | None = None,
    *,
    method: str = ...,
    output_resolution: float | Literal["native"] | None = ...,
    output_grid: OutputGrid = ...,
    **parameters: Any,
) -> Volume: ...


@overload
def super_resolve(
    image: nb.spatialimages.SpatialImage,
    acquisition: Acquisition | None = None,
    *,
    method: str = ...,
    output_resolution: float | Literal["native"] | None = ...,
    output_grid: OutputGrid = ...,
    **parameters: Any,
) -> nb.Nifti1Image: ...


def super_resolve(
    image: Image,
    acquisition: Acquisition | None = None,
    *,
    method: str = DEFAULT_METHOD,
    output_resolution: float | Literal["native"] | None = None,
    output_grid: OutputGrid = "fov",
    **parameters: Any,
) -> Volume | nb.Nifti1Image:
    """Super-resolve a thick-slice image.

    Parameters
    ----------
    image : Volume, nibabel image, or path of a NIfTI file
        The acquired slices.  A sidecar beside the file is not read: state what it says in
        `acquisition`.
    acquisition : Acquisition, optional
        How they were taken, for example ``Acquisition(thickness=5)``.  The spacing is that of the
        voxels; a thickness or profile that is not stated is estimated from the image.
    method : str
        A name in :data:`METHODS`.
    output_resolution : float, mm, or "native", optional
        Wanted isotropic spacing; default: the in-plane spacing, but at least 1 mm.
        ``native`` keeps the in-plane grid as acquired.
    output_grid : {"fov", "slice"}
        ``fov`` tiles the acquired field of view; ``slice`` holds the slice centres.
    **parameters
        Hyper-parameters of the method: the fields of its class in :data:`METHODS`.

    Returns
    -------
    Volume or nibabel image
        float32; of the kind of `image`, and a Volume for a path.  ``method="none"`` returns the
        values on their own grid.

    Raises
    ------
    InputDataError
        If the image cannot be used.
    AcquisitionError
        If the acquisition is impossible or contradicts the image.
    ConfigError
        If a method or one of its parameters does not exist, or a value is impossible.
    TypeError
        If `image` or `acquisition` is of a wrong type.
    """
    volume = Volume.of(image)
    acquisition = acquisition_of(volume, acquisition, estimate=True)
    chosen = make_method(method, parameters)
    grid = grid_of_result(
        volume,
        acquisition,
        method=method,
        output_resolution=output_resolution,
        output_grid=output_grid,
    )
    result = chosen.reconstruct(volume, acquisition, grid).volume
    given = isinstance(image, nb.spatialimages.SpatialImage)
    return result.to_nibabel() if given else result


def acquisition_of(
    volume: Volume, stated: Acquisition | None, *, estimate: bool = False
) -> Acquisition:
    """Return how a volume was acquired: what is stated, filled in from the volume.

    With `estimate`, a thickness and profile that are not stated are estimated from the image.

    Raises
    ------
    AcquisitionError
        If what is stated contradicts the volume.
    TypeError
        If `stated` is something else.
    """
    if stated is None:
        stated = Acquisition()
    if not isinstance(stated, Acquisition):
        raise TypeError(
            f"Found an acquisition of type {type(stated).__name__}; expected an Acquisition, for "
            "example Acquisition(thickness=5)."
        )
    acquisition = stated.for_volume(volume)
    if estimate and acquisition.assumed:
        return estimated_acquisition(volume, acquisition).acquisition
    return acquisition
