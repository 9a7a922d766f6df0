"""A drawing: a montage as one SVG, with rasters embedded and outlines as paths."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
import numpy.typing as npt

from bids_sr.reports.montage import PLANES, Image8, Montage, Row, Tile

# A figure with two layers of tiles stays below 600 kB with this many bytes of base64.
BYTE_BUDGET = 540_000
# Tried in turn until a figure fits its budget: format, quality, longer side in pixels.
ENCODINGS = (
    ("png", 0, 448),
    *(("jpeg", quality, 448) for quality in (92, 86, 78, 65)),
    ("jpeg", 65, 256),
    ("jpeg", 50, 160),
)
NEGATIVE, POSITIVE = "LPI", "RAS"


def _encode(image: Image8, kind: str, quality: int, pixels: int) -> str:
    from PIL import Image

    picture = Image.fromarray(image)
    scale = pixels / max(picture.size)
    if scale < 1:
        smaller = [max(1, round(side * scale)) for side in picture.size]
        picture = picture.resize((smaller[0], smaller[1]), Image.Resampling.BOX)
    stream = io.BytesIO()
    options = {"quality": quality} if kind == "jpeg" else {"compress_level": 6}
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
    for kind, quality, pixels in ENCODINGS:
        encoded = [_encode(image, kind, quality, pixels) for image in images]
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
                path.append(f"M{place * dx:.1f} {start * dy:.1f}V{stop * dy:.1f}")
            else:
                path.append(f"M{start * dx:.1f} {place * dy:.1f}H{stop * dx:.1f}")
    return "".join(path)


def labels(montage: Montage) -> str:
    """Write positions below the slices, anatomical directions next to them, and scale bars."""
    size = montage.font_size
    parts = [f'<g font-size="{size:.2f}" fill="#c3cbd4">']
    for row in montage.rows:
        parts.extend(_position(tile, row, size) for tile in row.tiles)
        first = {tile.axis: tile for tile in reversed(row.tiles)}
        parts.extend(_directions(tile, size) for tile in first.values())
    last = montage.rows[-1]
    if montage.rows[0].scale != last.scale:
        where = montage.width - size * 0.4
        parts.append(_scale_bar(montage, where, montage.rows[0].bottom, montage.rows[0].scale))
    # That of the small slices stands in the caption, between its two texts.
    parts.append(_scale_bar(montage, montage.width / 2, last.bottom + size * 1.47, last.scale))
    return "".join(parts) + "</g>"


def _position(tile: Tile, row: Row, size: float) -> str:
    x, _, w, _ = tile.box
    where = f"{round(tile.position):+d}".replace("-", "−") if round(tile.position) else "0"
    return (
        f'<text x="{x + w / 2:.2f}" y="{row.bottom - size * 0.32:.2f}" text-anchor="middle">'
        f"{'xyz'[tile.axis]} = {where} mm</text>"
    )


def _directions(tile: Tile, size: float) -> str:
    x, y, w, h = tile.box
    horizontal, vertical = PLANES[tile.axis]
    middle, inset = y + h / 2 + size / 3, size * 0.2
    return (
        f'<g font-weight="700"><text x="{x + inset:.2f}" y="{middle:.2f}">'
        f"{NEGATIVE[horizontal]}</text>"
        f'<text x="{x + w - inset:.2f}" y="{middle:.2f}" text-anchor="end">'
        f"{POSITIVE[horizontal]}</text>"
        f'<text x="{x + w / 2:.2f}" y="{y + size * 0.8:.2f}" text-anchor="middle">'
        f"{POSITIVE[vertical]}</text></g>"
    )


def _scale_bar(montage: Montage, right: float, bottom: float, scale: float) -> str:
    length = 50 if montage.width > 600 and scale < 1.5 else 20
    size = montage.font_size
    left, y, tick = right - length * scale, bottom - size * 0.65, size * 0.6
    line = f"M{left:.2f} {y - tick / 2:.2f}v{tick:.2f}M{left:.2f} {y:.2f}H{right:.2f}"
    return (
        f'<path d="{line}M{right:.2f} {y - tick / 2:.2f}v{tick:.2f}" fill="none" '
        f'stroke="#c3cbd4" stroke-width="{size * 0.1:.2f}"/>'
        f'<text x="{left - size * 0.4:.2f}" y="{bottom - size * 0.32:.2f}" '
        f'text-anchor="end">{length} mm</text>'
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
    height = montage.height + montage.font_size * 1.65
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {montage.width:.2f} {height:.2f}" '
        f'role="img" font-family="system-ui, \'DejaVu Sans\', Arial, sans-serif" {attributes}>'
        f"<title>{escape(title)}</title>"
        f'<rect width="100%" height="100%" fill="#000"/>{body}</svg>\n'
    )
