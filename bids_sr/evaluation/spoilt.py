"""Spoilt copies of acquired slices: what the checks of a verdict should notice.

Each function spoils one thing by a stated strength and leaves the rest as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from bids_sr.imaging import Acquisition, RobustScaler, Volume


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """Hold an acquired image with its brain mask and what is stated of its slices."""

    volume: Volume
    mask: Volume | None
    acquisition: Acquisition

    @property
    def axis(self) -> int:
        """Array axis across the slices."""
        axis = self.acquisition.for_volume(self.volume).slice_axis
        assert axis is not None
        return axis

    @property
    def longest(self) -> int:
        """In-plane axis along which the anatomy is longest."""
        tissue = RobustScaler.fit(self.volume.data).apply(self.volume.data) > 0.15
        extents = {}
        for axis in {0, 1, 2} - {self.axis}:
            occupied = np.flatnonzero(tissue.any(axis=tuple({0, 1, 2} - {axis})))
            extents[axis] = np.ptp(occupied) * float(self.volume.spacings[axis])
        return max(extents, key=lambda axis: extents[axis])


Spoil = Callable[[Scan, float], Scan]


def motion(scan: Scan, strength: float) -> Scan:
    """Shift and turn every tenth slice within its plane, by so many mm and degrees."""
    slices = np.moveaxis(scan.volume.data, scan.axis, 0).copy()
    spacing = float(np.delete(scan.volume.spacings, scan.axis).min())
    for place in range(4, len(slices), 10):
        turned = ndimage.rotate(slices[place], strength, reshape=False, order=1)
        slices[place] = ndimage.shift(turned, (strength / spacing, 0), order=1)
    return replace(scan, volume=scan.volume.with_data(np.moveaxis(slices, 0, scan.axis)))


def banding(scan: Scan, strength: float) -> Scan:
    """Make odd slices brighter than even ones, by so many percent."""
    size = scan.volume.shape[scan.axis]
    gain = 1 + strength / 200 * np.where(np.arange(size) % 2, 1, -1)
    shape = [size if axis == scan.axis else 1 for axis in range(3)]
    data = scan.volume.data * gain.reshape(shape).astype(np.float32)
    return replace(scan, volume=scan.volume.with_data(data))


def thickness(scan: Scan, strength: float) -> Scan:
    """State a thickness that is wrong by so many percent."""
    stated = scan.acquisition.nominal_thickness * (1 + strength / 100)
    return replace(scan, acquisition=replace(scan.acquisition, thickness=stated, assumed=()))


def mask_shift(scan: Scan, strength: float) -> Scan:
    """Shift the brain mask by so many mm along the longest axis."""
    assert scan.mask is not None
    steps = round(strength / float(scan.volume.spacings[scan.longest]))
    moved = np.roll(scan.mask.data, steps, axis=scan.longest)
    return replace(scan, mask=scan.mask.with_data(moved))


def mask_size(scan: Scan, strength: float) -> Scan:
    """Grow the brain mask by so many mm, or shrink it where they are negative."""
    assert scan.mask is not None
    inside = scan.mask.data > 0
    outer = strength > 0
    distance = ndimage.distance_transform_edt(
        ~inside if outer else inside, sampling=scan.mask.spacings
    )
    grown = distance <= strength if outer else distance > -strength
    return replace(scan, mask=scan.mask.with_data(grown.astype(np.uint8)))


def cropped(scan: Scan, strength: float) -> Scan:
    """Cut so many mm of the brain off, within the slices."""
    return _cut(scan, scan.longest, strength)


def cropped_above(scan: Scan, strength: float) -> Scan:
    """Leave out the slices that hold the last so many mm of the brain."""
    return _cut(scan, scan.axis, strength)


def _cut(scan: Scan, axis: int, millimetres: float) -> Scan:
    assert scan.mask is not None
    occupied = np.flatnonzero(scan.mask.data.any(axis=tuple({0, 1, 2} - {axis})))
    end = int(occupied[-1]) + 1 - round(millimetres / float(scan.volume.spacings[axis]))
    span = slice(0, end)
    return replace(scan, volume=scan.volume.planes(axis, span), mask=scan.mask.planes(axis, span))


def wrapped(scan: Scan, strength: float) -> Scan:
    """Make the field of view shorter than the head by so many mm; the rest is folded over."""
    axis, data = scan.longest, scan.volume.data
    tissue = RobustScaler.fit(data).apply(data) > 0.15
    counts = tissue.sum(axis=tuple({0, 1, 2} - {axis}))
    occupied = np.flatnonzero(counts > 0.02 * counts.max())
    first, end = int(occupied[0]), int(occupied[-1]) + 1
    size = end - first - round(strength / float(scan.volume.spacings[axis]))
    lines = np.moveaxis(data, axis, 0)[first:end]
    folded = lines[:size].copy()
    folded[: len(lines) - size] += lines[size:]
    kept = scan.volume.planes(axis, slice(first, first + size))
    volume = kept.with_data(np.ascontiguousarray(np.moveaxis(folded, 0, axis)))
    mask = scan.mask.planes(axis, slice(first, first + size)) if scan.mask else None
    return replace(scan, volume=volume, mask=mask)


def enhanced(scan: Scan, strength: float) -> Scan:
    """Make vessels near the surface of the brain brighter than white matter, so many times.

    A crude stand-in for a contrast agent: bands in the outer 4 mm of the brain.
    """
    assert scan.mask is not None
    inside = scan.mask.data > 0
    depth = ndimage.distance_transform_edt(inside, sampling=scan.mask.spacings)
    rng = np.random.default_rng(5)
    texture = ndimage.gaussian_filter(
        rng.normal(size=inside.shape), [2.0 / float(voxel) for voxel in scan.mask.spacings]
    )
    vessels = inside & (depth < 4) & (texture > np.percentile(texture, 85))
    bright = float(np.percentile(scan.volume.data[inside], 80))
    data = np.where(vessels, np.maximum(scan.volume.data, strength * bright), scan.volume.data)
    return replace(scan, volume=scan.volume.with_data(data.astype(np.float32)))


def clipped(scan: Scan, strength: float) -> Scan:
    """Clip the brightest so many percent of the tissue."""
    data = scan.volume.data
    tissue = data[RobustScaler.fit(data).apply(data) > 0.1]
    ceiling = np.float32(np.percentile(tissue, 100 - strength))
    return replace(scan, volume=scan.volume.with_data(np.minimum(data, ceiling)))


def noisy(scan: Scan, strength: float) -> Scan:
    """Add Rician noise of so many percent of the robust range."""
    data = scan.volume.data
    sigma = strength / 100 * RobustScaler.fit(data).width
    rng = np.random.default_rng(7)
    first, second = (rng.normal(0, sigma, data.shape) for _ in range(2))
    noise = np.hypot(data + first, second).astype(np.float32)
    return replace(scan, volume=scan.volume.with_data(noise))


SPOILS: dict[str, tuple[Spoil, tuple[float, ...]]] = {
    "motion, mm and degrees": (motion, (1, 2, 4)),
    "banding, %": (banding, (2, 5, 10)),
    "mask shifted, mm": (mask_shift, (10, 20, 30)),
    "mask grown, mm": (mask_size, (5, 10)),
    "mask shrunk, mm": (mask_size, (-5, -10)),
    "brain cut within the slices, mm": (cropped, (5, 10, 30)),
    "slices missing at the end, mm": (cropped_above, (15, 30)),
    "contrast agent, times": (enhanced, (1.3, 1.6, 2.0)),
    "clipped tissue, %": (clipped, (0.5, 2, 10)),
    "wrap-around, mm": (wrapped, (10, 20, 40)),
    "noise, %": (noisy, (3, 6, 12)),
}
"""What is spoilt -> function and strengths; wrong thickness needs known slices, see above."""
