"""The head pose: position and orientation of a head in an image, without a starting guess.

A similarity transform (shift, rotation, one scale) from the template's world to the
image's, found by a search over many starts, which also works for a shifted origin,
a tilted head or half a neck.  It initialises a finer registration.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize

from bids_sr.engines.head_template import CLASSES, SCALP_CLASS, HeadTemplate
from bids_sr.engines.registration_image import FLOOR
from bids_sr.imaging import Volume

_STRIDE = 3  # every third template voxel (6 mm) is compared
_BINS = 25
_TOP_TO_CENTRE = 80.0  # mm, from the top of a head to the centre of its brain
_SHIFTS = (-25.0, 0.0, 25.0)  # mm, along y
_HEIGHTS = (-20.0, 0.0, 20.0)  # mm, along z
_PITCHES = (-0.4, -0.2, 0.0, 0.2, 0.4)  # rad
_KEPT = 4
_EVALUATIONS = 350
_STEPS = (8.0, 8.0, 8.0, 0.1, 0.1, 0.1, 0.06)
_USUAL_SCALE = (-0.08, 0.08)
"""Mean and standard deviation of the logarithm of the scale of the bundled template, whose
brain is large."""
_SCALE_WEIGHT = 0.01  # nat
_SURFACE_WEIGHT = 0.3  # nat
_FULL_OVERLAP = 0.7
_LEAST_OVERLAP = 0.5


@dataclass(frozen=True, kw_only=True)
class HeadPose:
    """Hold ``y = matrix (x - centre) + centre + shift``, template world to image world."""

    matrix: npt.NDArray[np.float64]
    """(3, 3) rotation times scale."""
    centre: npt.NDArray[np.float64]
    """(3,) centre of the rotation, mm, RAS+."""
    shift: npt.NDArray[np.float64]
    """(3,) mm, RAS+."""

    def apply(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Move points (3, N) of the template's world to the image's."""
        rotated = self.matrix @ (points - self.centre[:, None])
        return np.asarray(rotated + (self.centre + self.shift)[:, None])


def find_head(volume: Volume, template: HeadTemplate, *, stripped: bool = False) -> HeadPose:
    """Search the pose of the head.

    Parameters
    ----------
    volume : Volume
        About 4 mm isotropic, intensities equalised to 0..1.
    template : HeadTemplate
    stripped : bool
        Whether the image may show a brain without its skull.

    Returns
    -------
    pose : HeadPose

    Notes
    -----
    The measure is the mutual information of template classes and image intensities
    over the template voxels that fall into the image; it works for any contrast.  Where
    less than 70 % of them fall in, it is lowered in proportion, so that the template
    is not pushed out of the image; an unusual size costs a little.
    Unless the image may be stripped, a scalp in the air and air within the head cost
    too: information alone cannot distinguish a scalp from a skull.
    """
    search = _Search(volume, template, surface_weight=0.0 if stripped else _SURFACE_WEIGHT)
    scored = sorted((search.cost(np.asarray(start)), start) for start in search.starts())
    starts: list[tuple[float, ...]] = []
    for _, start in scored:
        far = [
            np.linalg.norm(np.subtract(start, other)[:3]) > 15 or abs(start[3] - other[3]) > 0.3
            for other in starts
        ]
        if all(far):
            starts.append(start)
        if len(starts) == _KEPT:
            break
    results = [search.descend(np.asarray(start)) for start in starts]
    _, best = min(results, key=lambda result: result[0])
    return search.pose(best)


class _Search:
    """The measure and its starts, for one image."""

    def __init__(self, volume: Volume, template: HeadTemplate, surface_weight: float) -> None:
        self.surface_weight = surface_weight
        chosen = np.asarray(template.head.data) & np.all(
            np.indices(template.head.shape) % _STRIDE == 0, axis=0
        )
        affine = template.head.affine
        self.points = affine[:3, :3] @ np.argwhere(chosen).T + affine[:3, 3:]  # (3, N) mm
        self.classes = template.classes()[chosen]
        values = template.image.data[chosen]
        self.scalp, self.air = values == SCALP_CLASS, values == 0
        self.centre = template.centre
        self.usual_scale = _USUAL_SCALE[0] - np.log(template.size)
        scaled = np.clip(volume.data, 0, 1) * (_BINS - 1.01)
        self.binned = ndimage.gaussian_filter(scaled.astype(np.float32), 0.7)
        self.to_index = np.linalg.inv(volume.affine)
        tissue = np.argwhere(volume.data > FLOOR)
        world = volume.affine[:3, :3] @ tissue.T + volume.affine[:3, 3:]
        self.tissue_centre = world.mean(axis=1)
        self.tissue_top = float(np.percentile(world[2], 99.5))

    def starts(self) -> list[tuple[float, ...]]:
        """List shift (3), rotation (3) and logarithm of the scale of every start."""
        x, y, z = self.tissue_centre - self.centre
        levels = (z, self.tissue_top - _TOP_TO_CENTRE - self.centre[2])
        return [
            (x, y + dy, level + dz, pitch, 0.0, 0.0, self.usual_scale)
            for level, dz, dy, pitch in product(levels, _HEIGHTS, _SHIFTS, _PITCHES)
        ]

    def pose(self, x: npt.NDArray[np.float64]) -> HeadPose:
        matrix = _rotation(x[3:6]) * np.exp(x[6])
        return HeadPose(matrix=matrix, centre=self.centre, shift=x[:3].copy())

    def cost(self, x: npt.NDArray[np.float64]) -> float:
        index = self.to_index[:3, :3] @ self.pose(x).apply(self.points) + self.to_index[:3, 3:]
        size = np.asarray(self.binned.shape)[:, None]
        within = np.all((index >= -0.5) & (index <= size - 0.5), axis=0)
        overlap = float(within.mean())
        if overlap < _LEAST_OVERLAP:
            return 0.0
        values = ndimage.map_coordinates(self.binned, index[:, within], order=1, mode="nearest")
        joint = _joint_histogram(self.classes[within], values)
        dark = values < FLOOR * (_BINS - 1.01)
        misplaced = _share(dark, self.scalp[within]) + _share(~dark, self.air[within])
        unusual = _SCALE_WEIGHT * ((x[6] - self.usual_scale) / _USUAL_SCALE[1]) ** 2
        information = mutual_information(joint) * min(1.0, overlap / _FULL_OVERLAP)
        return float(unusual + self.surface_weight * misplaced - information)

    def descend(self, start: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        simplex = np.vstack([start, start + np.diag(_STEPS)])
        options = {
            "initial_simplex": simplex,
            "maxfev": _EVALUATIONS,
            "xatol": 0.02,
            "fatol": 1e-4,
        }
        result = optimize.minimize(self.cost, start, method="Nelder-Mead", options=options)
        return float(result.fun), np.asarray(result.x)


def mutual_information(joint: npt.NDArray[np.float64]) -> float:
    """Compute the mutual information of a joint histogram.

    Parameters
    ----------
    joint : (A, B) array
        Counts.

    Returns
    -------
    information : float, nat
    """
    share = joint / joint.sum()
    independent = share.sum(axis=1, keepdims=True) * share.sum(axis=0, keepdims=True)
    filled = share > 0
    return float(np.sum(share[filled] * np.log(share[filled] / independent[filled])))


def _joint_histogram(
    classes: npt.NDArray[np.intp], values: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    # A value between two bins counts for both by its distance: the measure is then smooth.
    low = np.floor(values).astype(np.intp)
    rest = values - low
    high = np.minimum(low + 1, _BINS - 1)
    cells = CLASSES * _BINS
    near = np.bincount(classes * _BINS + low, 1 - rest, minlength=cells)
    far = np.bincount(classes * _BINS + high, rest, minlength=cells)
    return np.asarray(near + far, dtype=np.float64).reshape(CLASSES, _BINS)


def _share(mask: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> float:
    return float(mask[among].mean()) if among.any() else 0.0


def _rotation(angles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_x @ about_y @ about_z)
