"""The skull-stripped image: a brain whose skull and scalp were removed before.

It is recognised by the traces of skull stripping: around a region of the size of a brain all
voxels have one value, and there is no skull under its surface.  That region is the brain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.engines.foreground import largest_component
from bids_sr.engines.registration_image import isotropic
from bids_sr.engines.template_mask import VOLUMES, free_axes
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume

_LEAST_BACKGROUND = 0.2  # of the image
_LEAST_EMPTY_EDGE = 0.9
_CLOSING = 5.0  # mm
_MOST_SKULL = 1.2
_VAULT = 75.0  # mm below the top; further down nothing is as regular as scalp and skull
_SHELL = 2.0  # mm
_DEEPEST = 26.0  # mm


def stripped_brain(volume: Volume) -> tuple[Volume | None, dict[str, Any]]:
    """Find the brain of a skull-stripped image, or that the image is not skull-stripped.

    Parameters
    ----------
    volume : Volume
        The image as acquired: later steps may change the background.

    Returns
    -------
    mask : Volume or None
        uint8, on the volume's own grid; None if the image is not skull-stripped.
    record : dict
        ``Background`` (share of voxels with the commonest value at the edge), ``EmptyEdge``
        (their share at the edge of the image), ``VolumeMl`` and ``Skull``: how much darker than
        what lies over and under it the darkest layer is, 1 where there is none.
    """
    piece, record = _foreground(volume)
    low, high = VOLUMES
    if (
        record["Background"] < _LEAST_BACKGROUND
        or record["EmptyEdge"] < _LEAST_EMPTY_EDGE
        or not low <= record["VolumeMl"] <= high
    ):
        return None, record
    mask = _closed(piece, volume)
    record["VolumeMl"] = _millilitres(mask.data > 0, volume)
    record["Skull"] = round(_skull(volume, mask), 3)
    if record["Skull"] > _MOST_SKULL:
        return None, record
    return mask, record


def given_brain(volume: Volume) -> tuple[Volume, dict[str, Any]]:
    """Return the brain of an image that is marked as skull-stripped.

    Parameters
    ----------
    volume : Volume
        The image as acquired.

    Returns
    -------
    mask : Volume
        uint8, on the volume's own grid.
    record : dict
        As of :func:`stripped_brain`.

    Raises
    ------
    EngineError
        If the non-background voxels do not have the volume of a brain.
    """
    piece, record = _foreground(volume)
    low, high = VOLUMES
    if not low <= record["VolumeMl"] <= high:
        raise EngineError(
            f"Found {record['VolumeMl']:.0f} mL in an image marked as skull-stripped; expected "
            f"{low:.0f} to {high:.0f} mL. Check that it shows a brain alone; with "
            "--skull-strip-anat force the brain is extracted."
        )
    mask = _closed(piece, volume)
    return mask, record | {"VolumeMl": _millilitres(mask.data > 0, volume)}


def _foreground(volume: Volume) -> tuple[npt.NDArray[np.bool_], dict[str, Any]]:
    edge = np.concatenate(
        [
            np.take(volume.data, [0, -1], axis).ravel()
            for axis in range(3)
            if axis not in free_axes(volume)
        ]
    )
    values, counts = np.unique(edge, return_counts=True)
    background = values[np.argmax(counts)]
    inside = volume.data != background
    piece = largest_component(inside)
    record = {
        "Method": "non-background voxels of a skull-stripped image",
        "Background": round(1 - float(inside.mean()), 3),
        "EmptyEdge": round(float(counts.max()) / edge.size, 3),
        "VolumeMl": _millilitres(piece, volume),
    }
    return piece, record


def _millilitres(inside: npt.NDArray[np.bool_], volume: Volume) -> float:
    return round(float(np.count_nonzero(inside)) * float(np.prod(volume.spacings)) / 1000, 1)


def _closed(piece: npt.NDArray[np.bool_], volume: Volume) -> Volume:
    """Close gaps narrower than 10 mm, and fill holes, also within each slice."""
    width = np.ceil(_CLOSING / volume.spacings).astype(int) + 1
    padded = np.pad(piece, [(n, n) for n in width])
    spacings = tuple(volume.spacings)
    grown = ndimage.distance_transform_edt(~padded, sampling=spacings) <= _CLOSING
    closed = ndimage.distance_transform_edt(grown, sampling=spacings) > _CLOSING
    inner = tuple(slice(n, -n) for n in width)
    mask = ndimage.binary_fill_holes(closed[inner] | piece)
    slices = np.moveaxis(mask, volume.slice_axis, 0)
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in slices])
    return volume.with_data(np.moveaxis(filled, 0, volume.slice_axis).astype(np.uint8))


def _skull(volume: Volume, mask: Volume) -> float:
    """Measure the darkest layer under the surface against the brightest over and under it."""
    image = isotropic(volume.canonical(), _SHELL)
    head = isotropic(mask.with_data(mask.data.astype(np.float32)).canonical(), _SHELL).data > 0.5
    # In-plane the image may end at the brain; where a stack ends there is no surface.
    padded = np.pad(head, [(1, 1), (1, 1), (0, 0)])
    depth = ndimage.distance_transform_edt(padded)[1:-1, 1:-1] * _SHELL
    levels = np.arange(head.shape[2])
    top = int(np.flatnonzero(head.any(axis=(0, 1))).max())
    vault = head & ((top - levels) * _SHELL < _VAULT)
    layers = []
    for deep in np.arange(0, _DEEPEST, _SHELL):
        layer = image.data[vault & (depth > deep) & (depth <= deep + _SHELL)]
        if layer.size:
            layers.append(float(np.median(layer)))
    if len(layers) < 3:
        return 1.0
    over = np.maximum.accumulate(layers)
    under = np.maximum.accumulate(layers[::-1])[::-1]
    ratios = np.minimum(over, under) / np.maximum(layers, 1e-6 * max(np.max(layers), 1e-12))
    return float(np.max(ratios))
