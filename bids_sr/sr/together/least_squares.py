"""One volume that agrees with the slices of all stacks, as far as their noise allows.

The prior is the mean of the stacks' own reconstructions; what the slices of all stacks say
together is found by conjugate gradients.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bids_sr.compute.progress import Progress
from bids_sr.imaging import ForwardModel, Grid, Volume, resample
from bids_sr.sr.together.placement import Array, covered, interpolation, placed
from bids_sr.sr.together.stack import LEAST_NOISE, Stack

PRIOR_ERROR = 0.1
"""Standard deviation of the prior, as a share of the robust intensity range: measured best
with noise as it is estimated (benchmarks/RESULTS.md)."""
ROUNDS = 2
"""Times that the difference to the slices is taken, by cubic interpolation."""
ITERATIONS = 3
"""Of conjugate gradients in each round, by linear interpolation."""
_WHOLE = 0.999  # share of its profile by which a slice counts as covered
_LEAST_WEIGHT = 1e-3


def acquired(stack: Stack) -> tuple[Volume, ForwardModel]:
    """Return the slices in the plane of the reconstruction, and what takes them from it."""
    fine, axis = stack.reconstruction.grid, stack.slice_axis
    slices = resample(stack.slices, fine.with_planes_of(stack.slices.grid, axis))
    return slices, ForwardModel.between(fine, slices.grid, stack.acquisition)


def along(weights: npt.NDArray[np.float32], axis: int) -> Array:
    """Return one value a slice in a shape that multiplies the slices."""
    shape = [1, 1, 1]
    shape[axis] = -1
    return weights.reshape(shape)


def trust(stack: Stack) -> Array:
    """Return the weights of the planes of a stack's reconstruction, to be multiplied with it.

    Between two slices the lower weight counts: the reconstruction there is made of both.
    """
    axis = stack.slice_axis
    planes = stack.slices.grid.coordinates_of(stack.reconstruction.grid, axis)
    last = stack.weights.size - 1
    lower, upper = (np.clip(side(planes).astype(int), 0, last) for side in (np.floor, np.ceil))
    return along(np.minimum(stack.weights[lower], stack.weights[upper]), axis)


def mean_of(
    stacks: Sequence[Stack], grid: Grid, to_frame: npt.NDArray[np.float64], *, order: int = 3
) -> tuple[Array, Array, Array]:
    """Return the weighted mean of the reconstructions, how much covers it, and their variance.

    Parameters
    ----------
    stacks : sequence of Stack
    grid : Grid
    to_frame : (4, 4) array
        From the world of `grid` to that of the frame.
    order : int
        Of the spline.

    Returns
    -------
    mean : array of the shape of `grid`
        0 where nothing covers it.
    coverage : array
        Sum of the weights.
    variance : array
        Weighted mean square of the differences from the mean.
    """
    total, squares, coverage = (np.zeros(grid.shape, np.float32) for _ in range(3))
    for stack in stacks:
        to_stack = stack.from_frame @ to_frame
        fine = stack.reconstruction.grid
        weights = covered(fine, grid, to_stack).astype(np.float32)
        # Where nothing better covers a voxel, a distrusted slice is better than none.
        planes = np.broadcast_to(np.maximum(trust(stack), _LEAST_WEIGHT), fine.shape)
        if stack.weights.min() < 1:
            weights *= np.maximum(
                placed(Volume(planes, fine.affine), grid, to_stack, order=1), _LEAST_WEIGHT
            )
        values = placed(stack.reconstruction, grid, to_stack, order=order)
        total += weights * values
        squares += weights * values**2
        coverage += weights
    safe = np.maximum(coverage, 1e-6)
    mean = total / safe
    return mean, coverage, np.maximum(squares / safe - mean**2, 0)


class _Equations:
    """Hold what the slices of one stack say of a volume in the frame."""

    def __init__(self, stack: Stack, grid: Grid, width: float) -> None:
        self.stack, self.grid = stack, grid
        self.slices, self.forward = acquired(stack)
        fine = stack.reconstruction.grid
        self.matrix = interpolation(grid, fine, stack.to_frame)
        inside = self.forward.apply(covered(grid, fine, stack.to_frame).astype(np.float32))
        # A plane that was acquired in finer voxels than it is compared in has less noise.
        cells = [np.prod(volume.spacings) for volume in (stack.slices, self.slices)]
        noise = max(stack.noise * min(1.0, float(cells[0] / cells[1])) ** 0.5, LEAST_NOISE * width)
        shares = along(stack.weights, stack.slice_axis) / noise**2
        self.weights = np.asarray(shares * (inside > _WHOLE), dtype=np.float32)

    def missing(self, data: Array) -> Array:
        """Return the acquired slices minus those of a volume."""
        fine = placed(
            Volume(data, self.grid.affine), self.stack.reconstruction.grid, self.stack.to_frame
        )
        return np.asarray(self.slices.data - self.forward.apply(fine), dtype=np.float32)

    def adjoint(self, slices: Array) -> Array:
        """Return the adjoint of :meth:`apply`, applied to the weighted slices."""
        fine = np.ascontiguousarray(self.forward.adjoint(self.weights * slices))
        if self.matrix is None:
            return np.asarray(fine, dtype=np.float32)
        return np.asarray((self.matrix.T @ fine.ravel()).reshape(self.grid.shape))

    def apply(self, data: Array) -> Array:
        """Return the slices of a volume, by linear interpolation."""
        if self.matrix is None:
            return np.asarray(self.forward.apply(data))
        shape = self.stack.reconstruction.shape
        return np.asarray(self.forward.apply((self.matrix @ data.ravel()).reshape(shape)))

    def residual(self, data: Array) -> float | None:
        """Return the root mean square of what is missing; None where nothing is asked for."""
        asked = self.weights > 0.5 * self.weights.max(initial=0.0)
        if not asked.any():
            return None
        return float(np.sqrt(np.mean(self.missing(data)[asked] ** 2)))


def agreed(
    stacks: Sequence[Stack], prior: Volume, width: float, progress: Progress
) -> tuple[Array, list[float | None]]:
    """Change the prior until it agrees with all slices.

    Parameters
    ----------
    stacks : sequence of Stack
        Registered, with intensities matched.
    prior : Volume
        In the frame.
    width : float
        Robust intensity range.
    progress : callable

    Returns
    -------
    data : array
    residuals : list of float or None
        Root mean square difference of each stack to its slices; None where it has none here.

    Notes
    -----
    With x the volume, m the prior, A the slices it would give and z those acquired, minimises
    ``sum w (z - A x)**2 / sigma**2 + (x - m)**2 / tau**2``, sigma the noise, w the weights of
    the slices, tau :data:`PRIOR_ERROR`.  A linear interpolation blurs: the difference to the
    slices is taken by a cubic one, the linear one only leads there.
    """
    equations = [_Equations(stack, prior.grid, width) for stack in stacks]
    pull = np.float32(1 / (PRIOR_ERROR * width) ** 2)
    data = prior.data
    steps = ROUNDS * ITERATIONS
    for number in range(ROUNDS):
        remainder = -pull * (data - prior.data)
        for part in equations:
            remainder += part.adjoint(part.missing(data))
        change = np.zeros_like(data)
        direction = remainder.copy()
        power = _product(remainder, remainder)
        for iteration in range(ITERATIONS):
            if power == 0:
                break
            curvature = pull * direction
            for part in equations:
                curvature += part.adjoint(part.apply(direction))
            length = np.float32(power / _product(direction, curvature))
            change += length * direction
            remainder -= length * curvature
            before, power = power, _product(remainder, remainder)
            direction *= np.float32(power / before)
            direction += remainder
            done = number * ITERATIONS + iteration + 1
            progress(done, steps, f"agreement with all slices, step {done} of {steps}")
        data = data + change
    return data, [part.residual(data) for part in equations]


def _product(first: Array, second: Array) -> float:
    return float(np.dot(first.ravel(), second.ravel()))
