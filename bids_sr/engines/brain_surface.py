"""The brain surface: that of a registered template, moved to the surface of this brain.

An affine transform gives a mask the right position and size, but not the right shape.
Here every point of its surface moves along its normal to where the intensities of the
brain end, constrained by its neighbours.  It does not find a brain by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse, spatial
from skimage.measure import marching_cubes

from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume

FloatArray = npt.NDArray[np.floating]

_ROUNDS = 3
_REACH = 9.0  # mm, in one round
_STEP = 0.5  # mm
_BINS = 32
_INSIDE = (-20.0, -3.0)  # mm from the surface: intensities of the brain
_OUTSIDE = (4.0, 14.0)  # mm: intensities outside the brain
_MOST_EVIDENCE = 2.0  # nat
_MOST_AGAINST_BRIGHT = 0.2  # nat
_NEIGHBOURHOOD = 8.0  # mm, standard deviation
_TENSION = 0.35  # nat/mm
_SWEEPS = 20


def fit_surface(
    image: Volume, distance: FloatArray, freedom: FloatArray, *, bright_fluid: bool = False
) -> FloatArray:
    """Move a surface to the surface of the brain.

    Parameters
    ----------
    image : Volume
        Isotropic voxels, intensities equalised to 0..1.
    distance : (X, Y, Z) array, mm
        From the surface, negative within.
    freedom : (X, Y, Z) array, mm
        Standard deviation of how far the surface may be from where it is.
    bright_fluid : bool
        Whether fluid is brighter than the brain, as in T2w: then brightness is weak evidence
        against the brain, because every sulcus would otherwise pull the surface inward.

    Returns
    -------
    distance : (X, Y, Z) float32 array, mm
        From the moved surface.

    Raises
    ------
    EngineError
        If no part of the surface lies within the image.

    Notes
    -----
    The evidence of a voxel for the brain is the logarithm of the ratio of two histograms:
    of the intensities well within the surface, and of those just outside it.  This works for
    any contrast, as long as the tissue around the brain looks different.  Along its normal a
    point goes where the sum of that evidence is largest; a deviation from its neighbours'
    mean costs by its square.  One pair of histograms is used for the whole image, so a strong bias
    field must be removed before.  Histograms, surface and normals are
    computed again in every round.  Where
    the image ends there is no evidence.
    """
    spacing = float(image.spacings.mean())
    for _ in range(_ROUNDS):
        surface = _Surface.of(distance, freedom, spacing)
        shift = surface.fit(_evidence(image.data, distance, bright_fluid), spacing)
        distance = surface.carry(distance, shift, spacing)
    return distance


def signed_distance(mask: npt.NDArray[np.bool_], spacing: float) -> npt.NDArray[np.float32]:
    """Measure how far every voxel is from the surface of a mask.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
    spacing : float, mm

    Returns
    -------
    distance : (X, Y, Z) float32 array, mm
        Negative within; the surface lies half way between two voxels.
    """
    outward = ndimage.distance_transform_edt(~mask) - ndimage.distance_transform_edt(mask)
    return np.asarray((outward - 0.5 * np.sign(outward)) * spacing, dtype=np.float32)


def _evidence(
    data: FloatArray, distance: FloatArray, bright_fluid: bool
) -> npt.NDArray[np.float32]:
    edges = np.linspace(0, 1, _BINS + 1)

    def share(low: float, high: float) -> FloatArray:
        counts, _ = np.histogram(data[(distance > low) & (distance < high)], edges)
        smooth = ndimage.gaussian_filter1d(counts.astype(float), 1.0, mode="nearest")
        return np.asarray(smooth / max(float(smooth.sum()), 1.0) + 1e-3)

    inside = share(*_INSIDE)
    ratio = np.log(inside / share(*_OUTSIDE)).clip(-_MOST_EVIDENCE, _MOST_EVIDENCE)
    if bright_fluid:
        bright = np.cumsum(inside) > 0.5 * inside.sum()
        ratio[bright] = np.maximum(ratio[bright], -_MOST_AGAINST_BRIGHT)
    voxels = np.interp(data, (edges[1:] + edges[:-1]) / 2, ratio)
    return np.asarray(voxels, dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class _Surface:
    points: FloatArray
    """(N, 3) voxels."""
    normals: FloatArray
    """(N, 3) outward."""
    freedom: FloatArray
    """(N,) mm."""
    weights: sparse.csr_matrix
    """(N, N) share of each point in its neighbours' mean."""

    @classmethod
    def of(cls, distance: FloatArray, freedom: FloatArray, spacing: float) -> _Surface:
        smooth = ndimage.gaussian_filter(distance, 1.0)
        if not smooth.min() < 0 < smooth.max():
            raise EngineError(
                f"Found no surface of a brain within the {' x '.join(map(str, smooth.shape))} "
                f"voxels of {spacing:.3g} mm; expected a part of it. Check that the image shows "
                "a brain and has enough slices."
            )
        points = marching_cubes(smooth, 0.0, step_size=2)[0]
        slopes = np.gradient(smooth)
        normals = np.stack([_sample(slope, points) for slope in slopes], axis=1)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
        tree = spatial.cKDTree(points * spacing)
        pairs = tree.sparse_distance_matrix(tree, 2 * _NEIGHBOURHOOD, output_type="coo_matrix")
        near = np.exp(-0.5 * (pairs.data / _NEIGHBOURHOOD) ** 2)
        # The other side of a fold is near and looks elsewhere.
        alike = np.sum(normals[pairs.row] * normals[pairs.col], axis=1).clip(0, 1)
        weights = sparse.csr_matrix((near * alike, (pairs.row, pairs.col)), shape=pairs.shape)
        weights = sparse.diags(1 / np.asarray(weights.sum(axis=1)).ravel()) @ weights
        return cls(
            points=points, normals=normals, freedom=_sample(freedom, points), weights=weights
        )

    def fit(self, evidence: FloatArray, spacing: float) -> FloatArray:
        """Find how far every point moves, (N,) mm, outward positive."""
        steps = np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
        places = self.points[:, None] + self.normals[:, None] * (steps[:, None] / spacing)
        gain = ndimage.map_coordinates(evidence, places.reshape(-1, 3).T, order=1)
        gain = np.cumsum(gain.reshape(-1, steps.size), axis=1) * _STEP  # (N, steps)
        cost = 0.5 * (steps / self.freedom[:, None]) ** 2 - gain
        shift = np.zeros(len(self.points))
        for _ in range(_SWEEPS):
            around = self.weights @ shift
            shift = steps[np.argmin(cost + _TENSION * (steps - around[:, None]) ** 2, axis=1)]
        return np.asarray(self.weights @ shift)

    def carry(self, distance: FloatArray, shift: FloatArray, spacing: float) -> FloatArray:
        """Measure the distance from the surface after its points have moved."""
        near = np.abs(distance) < 2.5 * _REACH
        far, neighbours = spatial.cKDTree(self.points).query(np.argwhere(near), k=6)
        weights = 1 / (far + 0.5) ** 2
        new_distance = np.asarray(distance, dtype=np.float32).copy()
        new_distance[near] -= np.sum(shift[neighbours] * weights, axis=1) / weights.sum(axis=1)
        return signed_distance(new_distance < 0, spacing)


def _sample(data: FloatArray, points: FloatArray) -> FloatArray:
    return np.asarray(ndimage.map_coordinates(data, points.T, order=1, mode="nearest"))
