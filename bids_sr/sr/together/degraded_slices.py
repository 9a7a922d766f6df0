"""The acquired slices degraded once more: examples of what a method misses beside a guide.

A direction within the slices plays the part of the one across them.  Spots are planted, some
in the image alone and some in the guide alone: the one must be kept, the other not believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from bids_sr.imaging import Acquisition, ForwardModel, Grid, lr_grid
from bids_sr.imaging.resample import interpolation_matrix
from bids_sr.sr.networks.backbone import Backbone
from bids_sr.sr.networks.thick_slice import BRIGHTEST, Upsampling, to_rows
from bids_sr.sr.together.relation import Array, Examples, Scene

Mask = npt.NDArray[np.bool_]
DARK = 0.08
"""Scaled intensity of air."""
HOLD_OUT = 5
"""Every so many slices one is only judged on."""
_PLANES = 4  # at once
_SPOTS_A_PLANE = 12
_SPOT_RADII = (1.2, 4.5)  # voxels
_SPOT_CONTRAST = (0.1, 0.6)
_EDGE = 0.7  # voxels over which a spot fades
_AROUND = 4.0  # voxels around a spot that are learnt from
_GUIDE_PROFILE = "gaussian"
_GUIDE_ONLY = 3  # more sets of spots in the guide alone: they cost no network
_MOST = 200_000  # examples of a kind


@dataclass(frozen=True, eq=False)
class ThickPair:
    """Hold the slices of an image and the guide as thick as they are."""

    slices: Array
    """(X, Y, K), slice axis where it is, intensities of about 0 to 1."""
    guide: Array
    """The same for the guide."""
    covered: Mask
    """Where the guide shows something."""
    acquisition: Acquisition
    spacing: float
    """Voxel size within the slices and of the reconstruction, mm."""
    backbone: Backbone
    """What puts degraded slices back."""
    detail: float
    """Factor on the detail that it finds."""
    guide_spacing: float = 0.0
    """Distance of the guide's voxels across the slices, mm; 0 where it is as fine as the grid."""
    noise: float = 0.0
    """Standard deviation of the noise of the slices."""

    @property
    def slice_axis(self) -> int:
        """Array axis across the slices."""
        assert self.acquisition.slice_axis is not None
        return self.acquisition.slice_axis

    def examples(self, directions: Sequence[int], seed: int) -> tuple[Examples, Examples]:
        """Return examples to learn from and, of other slices, to judge by.

        Parameters
        ----------
        directions : sequence of int
            Array axes within the slices along which they are degraded.
        seed : int
            Of the spots and of the choice of voxels.
        """
        learnt, judged = [], []
        generator = np.random.default_rng(seed)
        for along in directions:
            across = 3 - along - self.slice_axis
            order = (self.slice_axis, along, across)
            slices, guide = (
                np.ascontiguousarray(values.transpose(order))
                for values in (self.slices, self.guide)
            )
            covered = self.covered.transpose(order)
            held_out = np.arange(len(slices)) % HOLD_OUT == HOLD_OUT // 2
            plain = _Degraded.of(self, slices, self._as_fine(guide), generator)
            seen = covered & plain.whole & near(slices > DARK)
            learnt.append(plain.examples(seen & ~held_out[:, None, None], generator))
            judged.append(plain.examples(seen & held_out[:, None, None], generator))
            image_spots, guide_spots = (_spots(slices > DARK, generator) for _ in range(2))
            shown = self._as_fine(guide + guide_spots)
            planted = _Degraded.of(self, slices + image_spots, shown, generator)
            around = near((image_spots != 0) | (guide_spots != 0))
            learnt.append(planted.examples(seen & around & ~held_out[:, None, None], generator))
            for _ in range(_GUIDE_ONLY):
                spots = _spots(slices > DARK, generator)
                misled = plain.beside(self._as_fine(guide + spots))
                there = seen & (spots != 0) & ~held_out[:, None, None]
                learnt.append(misled.examples(there, generator))
        return Examples.joined(learnt), Examples.joined(judged)

    def _as_fine(self, guide: Array) -> Array:
        """Return a guide (K, rows, columns) as fine along the rows as it is across the slices."""
        if not self.guide_spacing:
            return guide
        fine = Grid((guide.shape[1], 1, 1), np.diag([self.spacing] * 3 + [1.0]))
        scan = Acquisition(
            spacing=self.guide_spacing,
            thickness=self.guide_spacing,
            profile=_GUIDE_PROFILE,
            slice_axis=0,
        )
        thick = lr_grid(fine, scan)
        matrix = ForwardModel.between(fine, thick, scan).matrix  # (k, rows)
        coordinates = thick.coordinates_of(fine, 0)
        back = interpolation_matrix(coordinates, thick.shape[0], "bspline") @ matrix
        return np.asarray(back.toarray().astype(np.float32) @ guide)


@dataclass(frozen=True, eq=False)
class _Degraded:
    """Hold slices (K, rows, columns), degraded along the rows and put back."""

    slices: Array
    scene: Scene
    whole: Mask
    """(1, rows, 1): which rows lie within the degraded slices."""

    @classmethod
    def of(
        cls, pair: ThickPair, slices: Array, guide: Array, generator: np.random.Generator
    ) -> _Degraded:
        fine = Grid((slices.shape[1], 1, 1), np.diag([pair.spacing] * 3 + [1.0]))
        acquisition = replace(pair.acquisition, slice_axis=0)
        thick = lr_grid(fine, acquisition)
        matrix = ForwardModel.between(fine, thick, acquisition).matrix.toarray()  # (k, rows)
        coordinates = thick.coordinates_of(fine, 0)  # (rows,)
        count = thick.shape[0]
        network = pair.backbone.for_acquisition(
            acquisition, pair.spacing, acquisition.slice_profile.fwhm
        )
        upsampling = Upsampling.at(coordinates, count, network.factor)
        thinned = matrix.astype(np.float32) @ slices  # (K, k, columns)
        thinned += _lacking_noise(matrix, pair.noise) * generator.standard_normal(
            thinned.shape, np.float32
        )
        degraded = torch.from_numpy(thinned)
        restored = np.empty_like(slices)
        with torch.inference_mode():
            for first in range(0, len(slices), _PLANES):
                part = degraded[first : first + _PLANES, None].clamp(-BRIGHTEST, BRIGHTEST)
                detail = network.detail(part, upsampling, mirrored="slices")
                back = to_rows(upsampling.skip, part[:, 0]) + pair.detail * detail
                restored[first : first + _PLANES] = back.numpy()
        phase = (coordinates - np.round(coordinates)).astype(np.float32)
        whole = (coordinates > -0.5) & (coordinates < count - 0.5)
        scene = Scene(restored, guide, phase, along=1, across=2)
        return cls(slices, scene, whole[None, :, None])

    def beside(self, guide: Array) -> _Degraded:
        """Return the same beside another guide."""
        return replace(self, scene=replace(self.scene, guide=guide))

    def examples(self, wanted: Mask, generator: np.random.Generator) -> Examples:
        places = np.array(np.nonzero(wanted))
        if places.shape[1] > _MOST:
            places = places[:, generator.choice(places.shape[1], _MOST, replace=False)]
        missing = (self.slices - self.scene.reconstruction)[tuple(places)]
        return Examples(self.scene.inputs(places), missing)


def _lacking_noise(matrix: npt.NDArray[np.float64], noise: float) -> np.float32:
    """Return the noise that means of several rows lack to be as noisy as acquired slices."""
    return np.float32(noise * np.sqrt(max(1 - float((matrix**2).sum(axis=1).mean()), 0)))


def _spots(foreground: Mask, generator: np.random.Generator) -> Array:
    """Return soft discs of either sign within the foreground of (K, rows, columns)."""
    result = np.zeros(foreground.shape, np.float32)
    for plane, bright in zip(result, foreground, strict=True):
        inside = np.argwhere(bright)
        if not len(inside):
            continue
        for row, column in inside[generator.integers(len(inside), size=_SPOTS_A_PLANE)]:
            radius = generator.uniform(*_SPOT_RADII)
            contrast = generator.uniform(*_SPOT_CONTRAST) * generator.choice((-1, 1))
            reach = int(np.ceil(radius + 3 * _EDGE))
            rows = slice(max(0, row - reach), row + reach + 1)
            columns = slice(max(0, column - reach), column + reach + 1)
            y, x = np.ogrid[rows, columns]
            y, x = y[: plane[rows].shape[0]], x[:, : plane[:, columns].shape[1]]
            distance = np.hypot(y - row, x - column)
            plane[rows, columns] += contrast / (1 + np.exp((distance - radius) / (_EDGE / 2)))
    result[np.abs(result) < 1e-3] = 0
    return result


def near(mask: Mask) -> Mask:
    """Return what lies within a few voxels of a mask, plane by plane."""
    step = ndimage.generate_binary_structure(2, 1)[None]
    return np.asarray(ndimage.binary_dilation(mask, step, iterations=round(_AROUND) - 1))
