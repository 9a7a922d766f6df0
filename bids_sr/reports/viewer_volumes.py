"""Volumes of the viewer: 8-bit NIfTI copies, cropped to the head, that a browser can show.

A copy keeps its place in the scanner's space, and its header keeps the unit: value = slope * byte
+ intercept.  Which images are copied is in :mod:`.viewer_files`, the page in :mod:`.viewer`.
"""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nibabel as nb
import numpy as np
import numpy.typing as npt

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Volume
from bids_sr.reports.montage import display_window, foreground

MARGIN_MM = 5.0
"""Left around the head."""
HIGH_PERCENTILE = 99.95
"""Of the foreground: what is brighter is shown as this bright, and told as "at least"."""
WITHIN = 1.5
"""Times that range, up to which the brightest voxel is within what 8 bits hold."""
BRIGHT_PERCENTILE = 99.0
"""Of an uncertainty map: shown in the brightest colour."""
LEAST_RANGE = 1e-30
"""Of an image; 8 bits of a smaller one have steps that float32 cannot divide by."""
DATA_OFFSET = 352
"""Bytes of a NIfTI-1 header and the mark that no extension follows."""
COARSE_BELOW_MM = 1.5
"""Voxels of the uncertainty that are smaller are averaged in twos."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """The box of a result and the directions in which it is shown: along its own voxels."""

    to_display: npt.NDArray[np.float64]
    """(4, 4) rigid: scanner (RAS+, mm) to display; the middle of the box is the origin."""
    half: npt.NDArray[np.float64]
    """(3,) half of the box's lengths, mm."""

    @classmethod
    def of(cls, volume: Volume) -> Frame:
        """Find the box of the head in a volume, with a margin, within its field of view.

        Parameters
        ----------
        volume : Volume
            Canonical.
        """
        # The nearest rotation, for axes that are not quite at right angles.
        left, _, right = np.linalg.svd(volume.affine[:3, :3] / volume.spacings)
        turn = (left @ right).T
        box = np.array([(part.start, part.stop) for part in foreground(volume.data)], dtype=float)
        edges = np.array(list(itertools.product(*box))) - 0.5
        placed = edges @ (turn @ volume.affine[:3, :3]).T + turn @ volume.affine[:3, 3]
        low, high = placed.min(axis=0) - MARGIN_MM, placed.max(axis=0) + MARGIN_MM
        whole = np.array(list(itertools.product(*((0, n) for n in volume.shape)))) - 0.5
        placed = whole @ (turn @ volume.affine[:3, :3]).T + turn @ volume.affine[:3, 3]
        low, high = np.maximum(low, placed.min(axis=0)), np.minimum(high, placed.max(axis=0))
        to_display = np.eye(4)
        to_display[:3, :3] = turn
        to_display[:3, 3] = -(low + high) / 2
        return cls(to_display=to_display, half=(high - low) / 2)

    def crop(self, volume: Volume) -> Volume | None:
        """Return the voxels that touch the box; None if there are none.

        Parameters
        ----------
        volume : Volume
            Canonical, on any grid.
        """
        to_voxels = np.linalg.inv(self.to_display @ volume.affine)
        corners = np.array(list(itertools.product((-1, 1), repeat=3))) * self.half
        places = corners @ to_voxels[:3, :3].T + to_voxels[:3, 3] + 0.5
        # A border of the box that is one of the grid belongs to the voxels within.
        first = np.maximum(np.floor(places.min(axis=0) + 1e-3), 0).astype(int)
        last = np.minimum(np.ceil(places.max(axis=0) - 1e-3), volume.shape).astype(int)
        if (last <= first).any():
            return None
        return volume.part([slice(int(a), int(b)) for a, b in zip(first, last, strict=True)])


@dataclass(frozen=True, kw_only=True, eq=False)
class Copy:
    """An 8-bit copy as it lies in the page."""

    content: bytes
    """A NIfTI-1 file, compressed by gzip; the same bytes for the same volume."""
    facts: Mapping[str, Any]
    """What the page needs to know: ``shape``, ``affine``, ``slope``, ``inter``, and for an image
    ``low`` and ``high`` (ends of what 8 bits hold), ``clipped`` (whether some are brighter) and
    ``window`` (black and white)."""


def grey_copy(volume: Volume) -> Copy:
    """Copy an image in 256 grey levels.

    Parameters
    ----------
    volume : Volume
        Canonical, cropped.
    """
    data = volume.data
    black, white = display_window(data)
    low = min(black, float(data.min()))
    inside = data[foreground(data)]
    high = max(white, float(np.percentile(inside, HIGH_PERCENTILE)))
    if (highest := float(data.max())) - low <= WITHIN * (high - low):
        high = highest
    if not high - low >= LEAST_RANGE:  # the part that is shown is constant
        high = low + 1.0
    slope = (high - low) / 255
    stored = np.rint(np.clip((data - low) * np.float32(1 / slope), 0, 255)).astype(np.uint8)
    ends = {"low": low, "high": high, "clipped": highest > high, "window": [black, white]}
    return _copy(stored, volume.affine, slope, low, ends)


def uncertainty_copy(volume: Volume) -> Copy:
    """Copy an uncertainty map, coarser where its voxels are small: see ``COARSE_BELOW_MM``.

    Parameters
    ----------
    volume : Volume
        Canonical, cropped; not negative.
    """
    for axis in range(3):
        if volume.spacings[axis] < COARSE_BELOW_MM and volume.shape[axis] > 1:
            volume = _in_twos(volume, axis)
    high = float(np.percentile(volume.data, HIGH_PERCENTILE)) or 1.0
    stored = np.rint(np.clip(volume.data / high, 0, 1) * 255).astype(np.uint8)
    bright = float(np.percentile(volume.data, BRIGHT_PERCENTILE)) or high
    clipped = bool(volume.data.max() > high)
    ends = {"low": 0.0, "high": high, "clipped": clipped, "window": [0.0, min(bright, high)]}
    return _copy(stored, volume.affine, high / 255, 0.0, ends)


def label_copy(volume: Volume) -> Copy:
    """Copy a label map; ``labels`` of its facts has the label of each byte, 0 first.

    Parameters
    ----------
    volume : Volume
        Canonical, cropped, of whole numbers.

    Raises
    ------
    InputDataError
        If it has more than 255 labels.
    """
    labels = sorted({0, *np.unique(volume.data).tolist()})
    if len(labels) > 256:
        raise InputDataError(
            f"Found {len(labels)} labels; expected at most 255, as the viewer stores them."
        )
    labels = [0, *(label for label in labels if label != 0)]
    stored = np.zeros(volume.shape, dtype=np.uint8)
    for byte, label in enumerate(labels[1:], start=1):
        stored[volume.data == label] = byte
    return _copy(stored, volume.affine, 1.0, 0.0, {"labels": labels})


def with_fewer_levels(copy: Copy, levels: int) -> Copy:
    """Return a copy of an image in fewer grey levels, which is smaller.

    Parameters
    ----------
    copy : Copy
        Made by :func:`grey_copy`.
    levels : int
        A power of two.
    """
    step = 256 // levels
    content = bytearray(gzip.decompress(copy.content))
    stored = np.frombuffer(content, dtype=np.uint8, offset=DATA_OFFSET)
    middle = stored // step * step + step // 2
    # The ends stay what they are: darkest and brightest of what 8 bits hold.
    stored[:] = np.where((stored == 0) | (stored == 255), stored, middle)
    return Copy(content=_packed(bytes(content)), facts={**copy.facts, "levels": levels})


def coarser(copy: Copy) -> Copy:
    """Return a copy of an image in larger voxels: averaged in twos along its finest axes.

    Parameters
    ----------
    copy : Copy
        Made by :func:`grey_copy`.
    """
    shape, affine = copy.facts["shape"], np.array(copy.facts["affine"])
    content = gzip.decompress(copy.content)
    stored = np.frombuffer(content, dtype=np.uint8, offset=DATA_OFFSET).reshape(shape, order="F")
    volume = Volume(stored.astype(np.float32), affine)
    finest = volume.spacings[np.array(shape) > 1].min(initial=np.inf)
    for axis in range(3):
        if shape[axis] > 1 and volume.spacings[axis] < 1.5 * finest:
            volume = _in_twos(volume, axis)
    stored = np.rint(volume.data).astype(np.uint8)
    return _copy(stored, volume.affine, copy.facts["slope"], copy.facts["inter"], copy.facts)


def _in_twos(volume: Volume, axis: int) -> Volume:
    """Average neighbouring planes in twos; the last one of an odd number stays alone."""
    data = volume.data
    size = data.shape[axis]
    if size % 2:
        data = np.concatenate([data, np.take(data, [size - 1], axis=axis)], axis=axis)
    first, second = (
        data[tuple(slice(start, None, 2) if a == axis else slice(None) for a in range(3))]
        for start in (0, 1)
    )
    grid = volume.grid.rescaled(axis, 2.0, (size + 1) // 2)
    return Volume((first + second) / 2, grid.affine)


def _copy(
    stored: npt.NDArray[np.uint8],
    affine: npt.NDArray[np.float64],
    slope: float,
    inter: float,
    facts: Mapping[str, Any],
) -> Copy:
    header = nb.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(stored.shape)
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=1, strip_shears=True)
    header.set_xyzt_units("mm")
    header.set_slope_inter(slope, inter)
    header["magic"], header["vox_offset"] = b"n+1", DATA_OFFSET
    content = header.binaryblock + bytes(4) + stored.tobytes(order="F")
    return Copy(
        content=_packed(content),
        facts={
            **facts,
            "shape": list(stored.shape),
            "affine": affine.tolist(),
            "slope": slope,
            "inter": inter,
        },
    )


def _packed(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=6, mtime=0)
