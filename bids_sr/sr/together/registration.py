"""Rigid registration of two fine volumes, and whether to believe it.

Reconstructions are fine in all directions, so that thick slices of any planes can be
compared.  Two contrasts are compared by what the one predicts of the other.  Nothing is
resampled: the result is a transform.

References
----------
Roche et al. 1998, The correlation ratio as a new similarity measure for multimodal image
registration, MICCAI, doi:10.1007/BFb0056301 (one contrast as a function of the other).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.imaging import Volume
from bids_sr.seed import DEFAULT_SEED
from bids_sr.sr.together.judgement import BLUR, LEAST_SHIFT_MM, Judge, Registration
from bids_sr.sr.together.placement import Matrix, rigid_motion

LEVELS_MM = (1.0, 2.0, 4.0, 8.0)
"""Spacings of the pyramid."""
_BLUR = 0.6  # standard deviation at each level, in its spacings
_JUDGED = 2  # level: 4 mm
_POINTS = 150_000
_STEPS = 20
_STILL_MM = 0.003  # a step that moves the anatomy by less ends a level
_ARM_MM = 60.0  # lever by which rotations are counted as motion
_LEAST_POINTS = 200
_TURNS = np.deg2rad(20.0)  # of the other starts
_TONES = 16  # intensities of the fixed volume between which the prediction is linear


def register(
    fixed: Volume,
    moving: Volume,
    start: Matrix | None = None,
    *,
    contrasts: bool = False,
    spacing: float = LEAST_SHIFT_MM,
    seed: int = DEFAULT_SEED,
) -> Registration:
    """Find the rigid transform that lays one volume on another.

    Parameters
    ----------
    fixed, moving : Volume
        Of the same contrast, up to a factor and an offset, unless `contrasts` differ.
    start : (4, 4) array, optional
        Where to begin; without it where the headers say.
    contrasts : bool
        Whether the moving intensity may be any function of the fixed one.
    spacing : float, mm
        Largest distance between the slices that the two were made of.
    seed : int
        Seed of the choice of points.

    Returns
    -------
    Registration
        Where the start leads to nothing that is believed, the best from several others: the
        centres of mass laid on each other, turned by 20 degrees about each axis.

    Notes
    -----
    Gauss-Newton steps from coarse to fine on the difference ``moving - f(fixed)`` at the
    points of most structure, f fitted along with the motion, weighted by Cauchy's function
    so that spoilt slices and what only one volume shows count little.  f is a factor and an
    offset; where `contrasts` differ, it is linear between a few intensities.  What is not
    believed at 4 mm is not refined.
    """
    pyramids = [pyramid(volume) for volume in (fixed, moving)]
    pairs = [
        _Pair(below, above, np.random.default_rng(seed), contrasts=contrasts)
        for below, above in zip(*pyramids, strict=True)
    ]
    judge = _judge(pyramids[0][_JUDGED], pyramids[1][_JUDGED], spacing, seed, contrasts)
    fine, coarse = pairs[_JUDGED - 1 :: -1], pairs[: _JUDGED - 1 : -1]
    first = judge.judged(_descend(coarse, np.eye(4) if start is None else start))
    fit = first if first.believed else _from_other_starts(coarse, judge)
    return judge.judged(_descend(fine, fit.to_fixed)) if fit else first


def _judge(fixed: Volume, moving: Volume, spacing: float, seed: int, contrasts: bool) -> Judge:
    """Return the judge of two volumes of the level that is judged."""
    shift = LEAST_SHIFT_MM if contrasts else max(spacing, LEAST_SHIFT_MM)
    blur = np.sqrt(max((BLUR * shift) ** 2 - (_BLUR * LEVELS_MM[_JUDGED]) ** 2, 0.0))
    fixed, moving = (
        volume.with_data(ndimage.gaussian_filter(volume.data, blur / volume.spacings))
        for volume in (fixed, moving)
    )
    pair = _Pair(fixed, moving, np.random.default_rng(seed), contrasts=contrasts)
    return Judge(pair=pair, shift=shift, contrasts=contrasts)


def _from_other_starts(pairs: Sequence[_Pair], judge: Judge) -> Registration | None:
    """Return a believable fit from another start; None where there is none."""
    reached = [_descend(pairs[:1], start) for start in _other_starts(pairs[0])]
    reached.sort(key=pairs[0].residual)
    for transform in reached[:2]:
        fit = judge.judged(_descend(pairs[1:], transform))
        if fit.believed:
            return fit
    return None


def pyramid(volume: Volume) -> list[Volume]:
    """Return the volume blurred and thinned out to each of the spacings of the levels."""
    levels, reached = [], 0.0
    for spacing in LEVELS_MM:
        wanted = _BLUR * spacing
        sigma = np.sqrt(wanted**2 - reached**2) / volume.spacings
        data = ndimage.gaussian_filter(volume.data.astype(np.float32), sigma, truncate=3)
        grid = volume.grid
        steps = [max(1, round(spacing / float(length))) for length in volume.spacings]
        for axis, step in enumerate(steps):
            grid = grid.with_planes(axis, -(-volume.shape[axis] // step), step=step)
        thinned = data[tuple(slice(None, None, step) for step in steps)]
        volume, reached = Volume(np.ascontiguousarray(thinned), grid.affine), wanted
        levels.append(volume)
    return levels


class _Pair:
    """Compare two volumes at the points where the moving one has structure."""

    def __init__(
        self,
        fixed: Volume,
        moving: Volume,
        generator: np.random.Generator,
        *,
        contrasts: bool = False,
    ) -> None:
        self.fixed, self.moving = fixed, moving
        self.tones = _Tones.of(fixed.data) if contrasts else None
        data = moving.data
        slope = np.zeros_like(data)
        for axis in range(3):
            if data.shape[axis] > 1:
                slope += (np.gradient(data, axis=axis) / moving.spacings[axis]) ** 2
        bright = data > 0.1 * np.percentile(data, 99)
        least = np.percentile(slope[bright], 30) if bright.any() else np.inf
        places = np.flatnonzero(slope > least)
        if places.size > _POINTS:
            places = generator.choice(places, _POINTS, replace=False)
        indices = np.array(np.unravel_index(places, data.shape))
        self.points = (moving.affine[:3, :3] @ indices + moving.affine[:3, 3:]).T  # (n, 3), mm
        self.values = data.ravel()[places].astype(np.float64)
        self.to_index = np.linalg.inv(fixed.affine)

    def inside(self, to_fixed: Matrix) -> tuple[npt.NDArray[np.bool_], Matrix, Matrix]:
        """Return which points the fixed volume covers, where they are in it, and as indices."""
        places = self.points @ to_fixed[:3, :3].T + to_fixed[:3, 3]
        indices = (places @ self.to_index[:3, :3].T + self.to_index[:3, 3]).T  # (3, n)
        last = np.array(self.fixed.shape)[:, None] - 1
        covered = np.all((indices >= 0) & (indices <= last), axis=0)
        return covered, places[covered], indices[:, covered]

    def sampled(self, indices: Matrix) -> Matrix:
        """Return the fixed volume at some indices."""
        values = ndimage.map_coordinates(self.fixed.data, indices, order=1, mode="nearest")
        return np.asarray(values, dtype=np.float64)

    def slopes(self, indices: Matrix) -> Matrix:
        """Return the (n, 3) gradient of the fixed volume in the world, 1/mm."""
        steps = np.eye(3)[:, :, None]
        parts = [
            (self.sampled(indices + step) - self.sampled(indices - step)) / 2 for step in steps
        ]
        return np.asarray(np.stack(parts, axis=1) @ self.to_index[:3, :3])

    def overlap(self, to_fixed: Matrix) -> float:
        """Return the share of the points that the fixed volume covers."""
        return float(np.mean(self.inside(to_fixed)[0])) if self.values.size else 0.0

    def residual(self, to_fixed: Matrix) -> float:
        """Return the robust spread of the difference; infinite without overlap."""
        covered, _, indices = self.inside(to_fixed)
        if np.count_nonzero(covered) < _LEAST_POINTS:
            return float("inf")
        _, difference, _ = _fitted(self.design(self.sampled(indices)), self.values[covered])
        return _spread(difference)

    def design(self, values: Matrix) -> Matrix:
        """Return (n, k) values of the functions that predict the moving intensity."""
        if self.tones is None:
            return np.column_stack([values, np.ones_like(values)])
        return self.tones.design(values)

    def derivative(self, values: Matrix, factors: Matrix) -> Matrix:
        """Return the (n,) derivative of the prediction with these (k,) factors."""
        if self.tones is None:
            return np.full_like(values, factors[0])
        return self.tones.derivative(values, factors)

    def step(self, to_fixed: Matrix) -> Matrix | None:
        """Return the (4, 4) motion of one Gauss-Newton step; None where too little is left."""
        covered, places, indices = self.inside(to_fixed)
        if np.count_nonzero(covered) < _LEAST_POINTS:
            return None
        values = self.sampled(indices)
        function = self.design(values)
        factors, difference, weights = _fitted(function, self.values[covered])
        slopes = self.slopes(indices) * self.derivative(values, factors)[:, None]
        centre = places.mean(axis=0)
        design = np.column_stack([np.cross(places - centre, slopes), slopes, function])
        solution = _solved(design, weights, difference)
        return rigid_motion(solution[:3], solution[3:6], centre)


@dataclass(frozen=True, eq=False)
class _Tones:
    """Hold the intensities between which a prediction is linear."""

    nodes: Matrix
    """(k,) rising."""

    @classmethod
    def of(cls, data: npt.NDArray[np.floating]) -> _Tones:
        bright = data[data > 0.05 * np.percentile(data, 99)]
        if not bright.size:
            return cls(np.array([0.0, 1.0]))
        nodes = np.quantile(bright, np.linspace(0, 1, _TONES - 1))
        return cls(np.unique([min(float(data.min()), float(nodes[0])), *nodes]))

    def design(self, values: Matrix) -> Matrix:
        """Return the (n, k) share of every node in each value."""
        lower, share = self._places(values)
        shares = np.zeros((values.size, self.nodes.size))
        rows = np.arange(values.size)
        shares[rows, lower] = 1 - share
        shares[rows, lower + 1] = share
        return shares

    def derivative(self, values: Matrix, heights: Matrix) -> Matrix:
        """Return the (n,) slope of the prediction whose (k,) heights are given."""
        lower, share = self._places(values)
        slopes = np.diff(heights) / np.diff(self.nodes)
        return np.asarray(np.where((share > 0) & (share < 1), slopes[lower], 0.0))

    def _places(self, values: Matrix) -> tuple[npt.NDArray[np.intp], Matrix]:
        last = self.nodes.size - 2
        lower = np.clip(np.searchsorted(self.nodes, values, side="right") - 1, 0, last)
        width = self.nodes[lower + 1] - self.nodes[lower]
        return lower, np.clip((values - self.nodes[lower]) / width, 0, 1)


def _fitted(design: Matrix, wanted: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Fit ``wanted = design factors`` robustly: the factors, the residuals, and their weights."""
    weights = np.ones_like(wanted)
    factors, difference = np.zeros(design.shape[1]), wanted
    for _ in range(3):
        factors = _solved(design, weights, wanted)
        difference = wanted - design @ factors
        weights = 1 / (1 + (difference / (2.5 * _spread(difference))) ** 2)
    return factors, difference, weights


def _solved(design: Matrix, weights: Matrix, wanted: Matrix) -> Matrix:
    """Return the (k,) weighted least-squares solution of ``design solution = wanted``."""
    weighted = design * weights[:, None]
    normal = weighted.T @ design
    normal += 1e-9 * np.diag(np.diag(normal)) + 1e-30 * np.eye(len(normal))
    return np.asarray(np.linalg.solve(normal, weighted.T @ wanted))


def _spread(difference: Matrix) -> float:
    """Return the standard deviation as the median absolute value tells it."""
    return float(1.4826 * np.median(np.abs(difference))) + 1e-12


def _descend(pairs: Sequence[_Pair], start: Matrix) -> Matrix:
    """Go down the levels, coarse ones first."""
    transform = start
    for pair in pairs:
        for _ in range(_STEPS):
            motion = pair.step(transform)
            if motion is None:
                break
            transform = motion @ transform
            turn = np.arccos(np.clip((np.trace(motion[:3, :3]) - 1) / 2, -1, 1))
            centre = pair.points.mean(axis=0)
            shift = motion[:3, :3] @ centre + motion[:3, 3] - centre
            if np.linalg.norm(shift) + _ARM_MM * turn < _STILL_MM:
                break
    return transform


def _other_starts(pair: _Pair) -> Iterator[Matrix]:
    """Yield transforms that lay the centres of mass on each other, turned this way and that."""
    if not pair.values.size:
        return
    fixed, moving = (_centre_of_mass(volume) for volume in (pair.fixed, pair.moving))
    turns = [np.zeros(3)]
    for first in (-1, 0, 1):
        for second in (-1, 0, 1):
            for third in (-1, 0, 1):
                if first or second or third:
                    turns.append(_TURNS * np.array([first, second, third]))
    for turn in turns:
        yield rigid_motion(turn, fixed - moving, moving)


def _centre_of_mass(volume: Volume) -> Matrix:
    """Return the mean place of what is bright, mm."""
    bright = volume.data > 0.1 * np.percentile(volume.data, 99)
    indices = np.argwhere(bright) if bright.any() else np.array([volume.shape]) / 2
    return np.asarray(volume.affine[:3, :3] @ indices.mean(axis=0) + volume.affine[:3, 3])
