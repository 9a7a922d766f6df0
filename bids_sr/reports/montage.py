"""A montage: slices of a volume in three planes, drawn to scale in one SVG.

Coordinates of the drawing are mm, so that thick slices keep their shape.  Each
slice is an embedded raster of its own voxels; nothing is interpolated here.
Says how slices are chosen, cropped, windowed and encoded; not which images are
shown (:mod:`bids_sr.reports.figures`).
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from bids_sr.imaging import Volume

Image8 = npt.NDArray[np.uint8]

# A figure with two layers of tiles stays below 600 kB with this many bytes of base64.
BYTE_BUDGET = 520_000
MAX_TILE_PIXELS = 384
MARGIN_MM = 4.0
GAP_MM = 3.0
# Tried in turn until a figure fits its budget: format and quality.
ENCODINGS = (("png", 0), ("jpeg", 92), ("jpeg", 86), ("jpeg", 78), ("jpeg", 65), ("jpeg", 45))
# Axis across the plane -> (horizontal axis, vertical axis) of canonical (RAS+) data.
PLANES = {2: (0, 1), 1: (0, 2), 0: (1, 2)}
NEGATIVE, POSITIVE = "LPI", "RAS"


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
class Montage:
    """Tiles in rows, one row a plane, with the size of the whole drawing."""

    tiles: tuple[Tile, ...]
    width: float
    """mm"""
    height: float
    """mm"""

    @property
    def font_size(self) -> float:
        """Height of the small print, mm: the same share of any drawing's width."""
        return self.width * 0.0125


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
    bright = np.abs(data) > 0.12 * np.percentile(np.abs(data), 99)
    box = []
    for axis in range(3):
        share = bright.mean(axis=tuple(a for a in range(3) if a != axis))
        (inside,) = np.nonzero(share > 0.01)
        if not inside.size:
            return (slice(0, data.shape[0]), slice(0, data.shape[1]), slice(0, data.shape[2]))
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return (box[0], box[1], box[2])


def display_window(data: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Choose the intensities shown as black and as white.

    Returns
    -------
    tuple of float
        The 1st percentile of all voxels and the 99.7th of the foreground, apart
        even where the image is constant.
    """
    box = foreground(data)
    low, high = float(np.percentile(data, 1)), float(np.percentile(data[box], 99.7))
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
    volume: Volume, *, region: tuple[slice, slice, slice] | None = None, columns: int = 5
) -> Montage:
    """Choose the slices of three planes and their places.

    Parameters
    ----------
    volume : Volume
        In canonical orientation.
    region : tuple of slice, optional
        Slices are spread over this box; default: over the foreground.
    columns : int
        Slices of the widest plane; narrower planes get as many as fit.

    Returns
    -------
    Montage
        All planes at the same scale.
    """
    shown = foreground(volume.data)
    region = region or shown
    margins = [max(1, round(MARGIN_MM / spacing)) for spacing in volume.spacings]
    crop = [
        (max(0, part.start - margin), min(size, part.stop + margin))
        for part, margin, size in zip(shown, margins, volume.shape, strict=True)
    ]
    extent = [(c[1] - c[0]) * s for c, s in zip(crop, volume.spacings, strict=True)]
    width = max(extent[h] for h, _ in PLANES.values()) * columns + GAP_MM * (columns - 1)
    tiles: list[Tile] = []
    top = 0.0
    for axis, (horizontal, vertical) in PLANES.items():
        count = min(8, max(1, int((width + GAP_MM) / (extent[horizontal] + GAP_MM))))
        indices = _spread(region[axis].start, region[axis].stop, count)
        pitch = (width - extent[horizontal]) / (len(indices) - 1) if len(indices) > 1 else 0.0
        rows = slice(
            volume.shape[vertical] - crop[vertical][1], volume.shape[vertical] - crop[vertical][0]
        )
        for number, index in enumerate(indices):
            centre = (np.asarray(volume.shape) - 1) / 2
            centre[axis] = index
            tiles.append(
                Tile(
                    axis=axis,
                    index=index,
                    crop=(rows, slice(*crop[horizontal])),
                    box=(number * pitch, top, extent[horizontal], extent[vertical]),
                    position=float((volume.affine[:3, :3] @ centre + volume.affine[:3, 3])[axis]),
                )
            )
        top += extent[vertical] + GAP_MM
    return Montage(tiles=tuple(tiles), width=width, height=top - GAP_MM)


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


def _encode(image: Image8, kind: str, quality: int) -> str:
    from PIL import Image

    picture = Image.fromarray(image)
    scale = MAX_TILE_PIXELS / max(picture.size)
    if scale < 1:
        smaller = [max(1, round(side * scale)) for side in picture.size]
        picture = picture.resize((smaller[0], smaller[1]), Image.Resampling.BOX)
    stream = io.BytesIO()
    options = {"quality": quality} if kind == "jpeg" else {"optimize": True}
    picture.save(stream, format=kind.upper(), **options)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def encode(images: list[Image8], budget: int = BYTE_BUDGET) -> list[str]:
    """Encode tiles as data URIs, without loss where that fits the budget.

    Parameters
    ----------
    images : list of (rows, columns) uint8 array
    budget : int
        Bytes for all of them together.

    Returns
    -------
    list of str
        All in the same encoding, so that no tile looks better than its neighbour.
    """
    encoded: list[str] = []
    for kind, quality in ENCODINGS:
        encoded = [_encode(image, kind, quality) for image in images]
        if sum(map(len, encoded)) <= budget:
            break
    return encoded


def image_layer(montage: Montage, uris: list[str], *, pixelated: bool = False) -> str:
    """Draw the tiles; `pixelated` shows voxels as they are, without smoothing."""
    style = ' style="image-rendering:pixelated"' if pixelated else ""
    return "".join(
        f'<image x="{x:.2f}" y="{y:.2f}" width="{w:.2f}" height="{h:.2f}" '
        f'preserveAspectRatio="none"{style} href="{uri}"/>'
        for (x, y, w, h), uri in zip((t.box for t in montage.tiles), uris, strict=True)
    )


def outline(mask: npt.NDArray[np.bool_], width: float, height: float) -> str:
    """Trace the edges between voxels inside and outside of a mask.

    The exact voxel boundary: a smooth contour would hide how coarse a thick slice is.

    Parameters
    ----------
    mask : (rows, columns) bool array
    width, height : float, mm
        Size of the tile.

    Returns
    -------
    str
        SVG path data; empty for an empty mask.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    dx, dy = width / mask.shape[1], height / mask.shape[0]
    path = []
    for vertical in (True, False):
        grid = padded if vertical else padded.T
        edges = np.abs(np.diff(grid, axis=1))  # (lines + 2, places)
        steps = np.diff(edges, axis=0).T  # (places, lines + 1): +1 where a run starts
        places, starts = np.nonzero(steps == 1)
        _, stops = np.nonzero(steps == -1)
        for place, start, stop in zip(places, starts, stops, strict=True):
            if vertical:
                path.append(f"M{place * dx:.2f} {start * dy:.2f}V{stop * dy:.2f}")
            else:
                path.append(f"M{start * dx:.2f} {place * dy:.2f}H{stop * dx:.2f}")
    return "".join(path)


def labels(montage: Montage) -> str:
    """Write position, anatomical directions and a scale bar on the tiles."""
    size = montage.font_size
    parts = [f'<g font-size="{size:.2f}" fill="#d8dee6">']
    seen: set[int] = set()
    for tile in montage.tiles:
        x, y, w, h = tile.box
        inset = size * 0.4
        label = f"{'xyz'[tile.axis]} = {tile.position:+.0f} mm".replace("-", "−")
        parts.append(f'<text x="{x + inset:.2f}" y="{y + h - inset:.2f}">{label}</text>')
        if tile.axis in seen:
            continue
        seen.add(tile.axis)
        horizontal, vertical = PLANES[tile.axis]
        middle = y + h / 2 + size / 3
        parts.append(
            f'<g font-weight="700"><text x="{x + inset:.2f}" y="{middle:.2f}">'
            f"{NEGATIVE[horizontal]}</text>"
            f'<text x="{x + w - inset:.2f}" y="{middle:.2f}" text-anchor="end">'
            f"{POSITIVE[horizontal]}</text>"
            f'<text x="{x + w / 2:.2f}" y="{y + size:.2f}" text-anchor="middle">'
            f"{POSITIVE[vertical]}</text></g>"
        )
    parts.append(_scale_bar(montage))
    return "".join(parts) + "</g>"


def _scale_bar(montage: Montage) -> str:
    length = 50 if montage.width > 400 else 20
    size = montage.font_size
    right, bottom = montage.width - size * 0.5, montage.height - size * 0.6
    return (
        f'<rect x="{right - length:.2f}" y="{bottom - size * 0.2:.2f}" width="{length}" '
        f'height="{size * 0.2:.2f}"/>'
        f'<text x="{right - length / 2:.2f}" y="{bottom - size * 0.5:.2f}" '
        f'text-anchor="middle">{length} mm</text>'
    )


def svg_document(montage: Montage, body: str, *, title: str, attributes: str = "") -> str:
    """Wrap layers into a stand-alone SVG on black, with a strip for a caption below.

    Parameters
    ----------
    montage : Montage
    body : str
        SVG elements.
    title : str
        Read aloud by screen readers.
    attributes : str
        More attributes of the root element.
    """
    height = montage.height + montage.font_size * 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {montage.width:.2f} {height:.2f}" '
        f'role="img" font-family="system-ui, \'DejaVu Sans\', Arial, sans-serif" {attributes}>'
        f"<title>{escape(title)}</title>"
        f'<rect width="100%" height="100%" fill="#000"/>{body}</svg>\n'
    )
