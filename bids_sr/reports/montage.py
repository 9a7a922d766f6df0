"""A montage: which slices of a volume are shown in three planes, and where they go.

Coordinates of the drawing are mm, so that thick slices keep their shape.  Voxels are
shown as they are: nothing is interpolated here.  How a montage is drawn is in
:mod:`bids_sr.reports.drawing`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bids_sr.imaging import Volume

Image8 = npt.NDArray[np.uint8]

# Axis across the plane -> (horizontal axis, vertical axis) of canonical (RAS+) data.
PLANES = {2: (0, 1), 1: (0, 2), 0: (1, 2)}
# Where the large slices lie: off the midline, which shows little cortex.
LARGE = (0.36, 0.45, 0.56)
MARGIN_MM = 6.0
GAP_MM = 3.0
STRIP = 0.0165
"""Height of the strip with labels below a row, as a share of the drawing's width."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One slice: where it comes from in the volume, and where it goes in the drawing."""

    axis: int
    """Array axis (0, 1, 2) across the plane."""
    index: int
    """Slice number along that axis."""
    crop: tuple[slice, slice]
    """Rows and columns kept, in display order (first row at the top)."""
    box: tuple[float, float, float, float]
    """Left, top, width, height in the drawing, mm."""
    position: float
    """World coordinate of the slice's centre along the anatomical axis, mm."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Tiles next to each other, with a strip for their labels below."""

    tiles: tuple[Tile, ...]
    bottom: float
    """Lower edge of the strip, mm in the drawing."""
    scale: float
    """Length in the drawing / length in the body."""


@dataclass(frozen=True, kw_only=True)
class Montage:
    """Rows of tiles with the size of the whole drawing."""

    rows: tuple[Row, ...]
    width: float
    """mm"""
    height: float
    """mm"""

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles, row by row."""
        return tuple(tile for row in self.rows for tile in row.tiles)

    @property
    def font_size(self) -> float:
        """Height of the small print, mm: the same share of any drawing's width."""
        return self.width * STRIP * 0.75


def _steps(data: npt.NDArray[np.floating]) -> list[int]:
    return [max(1, size // 128) for size in data.shape]


def _coarse(data: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Take every n-th voxel of large images: percentiles need no more."""
    steps = _steps(data)
    return data[:: steps[0], :: steps[1], :: steps[2]]


def foreground(data: npt.NDArray[np.floating]) -> tuple[slice, slice, slice]:
    """Find the box that holds the object, leaving out empty margins.

    Parameters
    ----------
    data : (X, Y, Z) float array

    Returns
    -------
    tuple of slice
        The box; the whole volume where nothing stands out.
    """
    coarse = np.abs(_coarse(data))
    bright = coarse > 0.12 * np.percentile(coarse, 99)
    box = []
    for axis, (step, size) in enumerate(zip(_steps(data), data.shape, strict=True)):
        share = bright.mean(axis=tuple(a for a in range(3) if a != axis))
        (inside,) = np.nonzero(share > 0.01)
        if not inside.size:
            return (slice(0, data.shape[0]), slice(0, data.shape[1]), slice(0, data.shape[2]))
        box.append(slice(int(inside[0]) * step, min(size, (int(inside[-1]) + 1) * step)))
    return (box[0], box[1], box[2])


def display_window(data: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Choose the intensities shown as black and as white.

    Returns
    -------
    tuple of float
        The 1st percentile of all voxels, or 0 where that is near: a little below by the
        ringing of an interpolation, it would turn the background grey.  The 99.7th
        percentile of the foreground.  Apart even where the image is constant.
    """
    inside = _coarse(data[foreground(data)])
    low, high = float(np.percentile(_coarse(data), 1)), float(np.percentile(inside, 99.7))
    if abs(low) < 0.1 * abs(high):
        low = 0.0
    return (low, high) if high > low else (low, low + 1.0)


def in_display_order(
    data: npt.NDArray[np.generic], axis: int, index: int
) -> npt.NDArray[np.generic]:
    """Cut a slice as it is shown: rows from top to bottom, columns from L (or P) to R (or A)."""
    cut: npt.NDArray[np.generic] = np.take(data, index, axis=axis).T[::-1]
    return cut


def _spread(start: int, stop: int, count: int) -> list[int]:
    """Choose `count` indices in [start, stop), evenly, each in the middle of its share."""
    places = start + (np.arange(count) + 0.5) * (stop - start) / count
    return sorted({int(place) for place in places})


def lay_out(
    volume: Volume,
    *,
    region: tuple[slice, slice, slice] | None = None,
    columns: int = 5,
    large: bool = False,
) -> Montage:
    """Choose the slices of three planes and their places.

    Parameters
    ----------
    volume : Volume
        In canonical orientation.
    region : tuple of slice, optional
        Slices are spread over this box, which is shown whole; default: the foreground.
    columns : int
        Slices of the widest plane; narrower planes get as many as fit.
    large : bool
        Whether a row of one large slice a plane comes first.

    Returns
    -------
    Montage
        All but the large slices at the same scale.
    """
    shown = foreground(volume.data)
    region = region or shown
    crop = [
        _with_margin(part, region_part, size, max(1, round(MARGIN_MM / spacing)))
        for part, region_part, size, spacing in zip(
            shown, region, volume.shape, volume.spacings, strict=True
        )
    ]
    extent = [(c.stop - c.start) * float(s) for c, s in zip(crop, volume.spacings, strict=True)]
    width = max(extent[h] for h, _ in PLANES.values()) * columns + GAP_MM * (columns - 1)
    builder = _Builder(volume=volume, crop=crop, extent=extent, width=width)
    if large:
        places = {a: int(p.start + LARGE[a] * (p.stop - p.start)) for a, p in enumerate(region)}
        total = sum(extent[horizontal] for horizontal, _ in PLANES.values())
        scale = (width - GAP_MM * (len(PLANES) - 1)) / total
        builder.add_row([(axis, places[axis]) for axis in PLANES], scale=scale)
    for axis, (horizontal, _) in PLANES.items():
        count = min(8, max(1, int((width + GAP_MM) / (extent[horizontal] + GAP_MM) + 1e-6)))
        indices = _spread(region[axis].start, region[axis].stop, count)
        builder.add_row([(axis, index) for index in indices], scale=1.0)
    return Montage(rows=tuple(builder.rows), width=width, height=builder.top)


@dataclass(kw_only=True)
class _Builder:
    """A montage that grows row by row."""

    volume: Volume
    crop: list[slice]
    extent: list[float]
    width: float
    top: float = 0.0
    rows: list[Row] = field(default_factory=list)

    def add_row(self, places: list[tuple[int, int]], *, scale: float) -> None:
        """Add slices, given as axis and index, spread over the whole width."""
        sizes = [
            (self.extent[PLANES[axis][0]] * scale, self.extent[PLANES[axis][1]] * scale)
            for axis, _ in places
        ]
        height = max(size[1] for size in sizes)
        free = self.width - sum(size[0] for size in sizes)
        gap = free / (len(sizes) - 1) if len(sizes) > 1 else 0.0
        left, tiles = 0.0, []
        for (axis, index), (w, h) in zip(places, sizes, strict=True):
            box = (left, self.top + (height - h) / 2, w, h)
            tiles.append(self._tile(axis, index, box))
            left += w + gap
        self.top += height + self.width * STRIP
        self.rows.append(Row(tiles=tuple(tiles), bottom=self.top, scale=scale))

    def _tile(self, axis: int, index: int, box: tuple[float, float, float, float]) -> Tile:
        horizontal, vertical = PLANES[axis]
        size, rows = self.volume.shape[vertical], self.crop[vertical]
        centre = (np.asarray(self.volume.shape) - 1) / 2
        centre[axis] = index
        world = self.volume.affine[:3, :3] @ centre + self.volume.affine[:3, 3]
        return Tile(
            axis=axis,
            index=index,
            crop=(slice(size - rows.stop, size - rows.start), self.crop[horizontal]),
            box=box,
            position=float(world[axis]),
        )


def _with_margin(first: slice, second: slice, size: int, margin: int) -> slice:
    """Join two spans and widen them, within an axis of `size` voxels."""
    start = max(0, min(first.start, second.start) - margin)
    return slice(start, min(size, max(first.stop, second.stop) + margin))


def rasters(
    data: npt.NDArray[np.floating], montage: Montage, window: tuple[float, float]
) -> list[Image8]:
    """Cut the tiles of a montage out of a volume and scale them to 8 bit.

    Parameters
    ----------
    data : (X, Y, Z) float array
    montage : Montage
    window : tuple of float
        Intensities shown as black and as white.

    Returns
    -------
    list of (rows, columns) uint8 array
    """
    low, high = window
    cut = [in_display_order(data, tile.axis, tile.index)[tile.crop] for tile in montage.tiles]
    return [
        np.round(255 * np.clip((np.asarray(image, float) - low) / (high - low), 0, 1)).astype(
            np.uint8
        )
        for image in cut
    ]
