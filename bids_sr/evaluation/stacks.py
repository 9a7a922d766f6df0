"""Several stacks simulated of one reference, and what is made of them together.

The patient moves between the stacks, each has noise of its own, and those of one plane are
interleaved.  Rivals of the fused volume are the best single stack and the mean of all, the
first placed where it truly lies, the second where registration lays it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_sr.evaluation.protocol_name import ProtocolName
from bids_sr.imaging import Acquisition, Grid, Volume, degrade
from bids_sr.seed import DEFAULT_SEED
from bids_sr.sr import FusedReconstruction, Method, Progress, Stack, fuse_stacks
from bids_sr.sr.together.least_squares import mean_of
from bids_sr.sr.together.placement import Matrix, covered, placed, rigid_motion

BEST_STACK, MEAN = "best single stack", "mean of the stacks"
"""What the rivals are called in tables."""
_MOTION_ORDER = 5  # of the spline by which the reference is moved: its own blur must not show
_POINTS_STEP = 7  # every which voxel of the mask registration is measured at


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulatedStack:
    """Hold the slices of one of several stacks and where the patient lay in it."""

    lr: Volume
    """The slices that a method gets."""
    acquisition: Acquisition
    grid: Grid
    """Where its own reconstruction lies: the voxels of the reference that its slices cover."""
    to_truth: Matrix
    """(4, 4) rigid transform from the world of the stack to that of the reference."""

    @property
    def from_truth(self) -> Matrix:
        """(4, 4) rigid transform from the world of the reference to that of the stack."""
        return np.asarray(np.linalg.inv(self.to_truth), dtype=np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Combination:
    """Hold what several stacks gave together, on the grid of the reference."""

    fused: FusedReconstruction
    volume: Volume
    uncertainty: Volume | None
    singles: tuple[tuple[Volume, float], ...]
    """Each stack's own reconstruction, truly placed, and its seconds."""
    mean: Volume
    """Mean of the registered reconstructions."""
    record: dict[str, Any] = field(default_factory=dict)


def simulated_stacks(
    reference: Volume, named: ProtocolName, *, noise: float, seed: int
) -> tuple[SimulatedStack, ...]:
    """Degrade a reference once for each stack that a protocol names.

    Parameters
    ----------
    reference : Volume
        In canonical orientation.
    named : ProtocolName
        With the plane of every stack.
    noise : float
    seed : int
        Of noise and motion.

    Notes
    -----
    All stacks but the first are moved: by the given distance in a random direction, and by the
    given angle about a random axis through the centre of the volume.
    """
    generator = np.random.default_rng(seed)
    stacks = []
    for number, acquisition in enumerate(named.stacks):
        to_truth = _motion(reference, named, generator) if number else np.eye(4)
        moved = reference.with_data(
            placed(reference, reference.grid, to_truth, order=_MOTION_ORDER)
        )
        if reference.data.min() >= 0:
            np.maximum(moved.data, 0, out=moved.data)
        axis = acquisition.slice_axis
        assert axis is not None
        same_plane = [other for other in named.stacks if other.slice_axis == axis]
        earlier = sum(other.slice_axis == axis for other in named.stacks[:number])
        shift = earlier * acquisition.spacing / len(same_plane)
        fine = moved.planes(axis, slice(round(shift / float(moved.spacings[axis])), None))
        lr = degrade(fine, acquisition, noise_fraction=noise, seed=seed + number)
        planes = lr.grid.coordinates_of(fine.grid, axis)
        inside = int(np.count_nonzero(planes <= lr.shape[axis] - 0.5))
        stacks.append(
            SimulatedStack(
                lr=lr,
                acquisition=acquisition.for_volume(lr),
                grid=fine.grid.with_planes(axis, inside),
                to_truth=to_truth,
            )
        )
    return tuple(stacks)


def covered_by_all(stacks: Sequence[SimulatedStack], grid: Grid) -> npt.NDArray[np.bool_]:
    """Mark the voxels of the reference that every stack has slices of."""
    inside = np.ones(grid.shape, dtype=bool)
    for stack in stacks:
        inside &= covered(stack.grid, grid, stack.from_truth)
    return inside


def combined(
    stacks: Sequence[SimulatedStack],
    grid: Grid,
    method: Method,
    *,
    seed: int = DEFAULT_SEED,
    progress: Progress | None = None,
) -> Combination:
    """Reconstruct each stack by a method, and all of them together.

    Parameters
    ----------
    stacks : sequence of SimulatedStack
    grid : Grid
        Of the reference.
    method : Method
    seed : int
        Of the registration.
    progress : callable, optional
    """
    joined, seconds, records = [], [], []
    for stack in stacks:
        start = time.perf_counter()
        result = method.reconstruct(stack.lr, stack.acquisition, stack.grid, progress=progress)
        seconds.append(time.perf_counter() - start)
        joined.append(Stack.of(stack.lr, stack.acquisition, result))
        records.append(result.record.to_dict())
    fused = fuse_stacks(joined, seed=seed, progress=progress)
    to_frame = stacks[fused.frame].from_truth

    def at_truth(volume: Volume, to_volume: Matrix, order: int = 3) -> Volume:
        return Volume(placed(volume, grid, to_volume, order=order), grid.affine)

    used = [
        replace(stack, slice_weights=None)
        for number, stack in enumerate(fused.stacks)
        if number == fused.frame or fused.residuals_percent[number] is not None
    ]
    uncertainty = fused.uncertainty
    return Combination(
        fused=fused,
        volume=at_truth(fused.volume, to_frame),
        uncertainty=uncertainty and at_truth(uncertainty, to_frame, 1),
        singles=tuple(
            (at_truth(own.reconstruction, stack.from_truth), spent)
            for own, stack, spent in zip(joined, stacks, seconds, strict=True)
        ),
        mean=Volume(mean_of(used, grid, to_frame)[0], grid.affine),
        record={**records[fused.frame], "Fusion": fused.record},
    )


def registration_error(
    stacks: Sequence[SimulatedStack],
    fused: FusedReconstruction,
    truth: Grid,
    mask: npt.NDArray[np.bool_],
) -> float:
    """Return how far from its true place registration lays a voxel of the mask, mean, mm."""
    indices = np.argwhere(mask)[::_POINTS_STEP]
    places = np.column_stack([indices, np.ones(len(indices))]) @ truth.affine.T  # (n, 4), mm
    errors = []
    for number, (stack, own) in enumerate(zip(stacks, fused.stacks, strict=True)):
        if number == fused.frame:
            continue
        there = stacks[fused.frame].to_truth @ own.to_frame @ stack.from_truth
        errors.append(np.linalg.norm((places @ (there - np.eye(4)).T)[:, :3], axis=1).mean())
    return float(np.mean(errors))


def _motion(reference: Volume, named: ProtocolName, generator: np.random.Generator) -> Matrix:
    """Return a motion of the given size about the centre of a volume."""
    axis, direction = (vector / np.linalg.norm(vector) for vector in generator.normal(size=(2, 3)))
    centre = reference.affine @ np.append((np.array(reference.shape) - 1) / 2, 1)
    return rigid_motion(np.deg2rad(named.degrees) * axis, named.shift * direction, centre[:3])


def rival_volumes(
    combination: Combination, scores: Sequence[Mapping[str, float]]
) -> dict[str, tuple[Volume, float | None]]:
    """Return the rivals of the fused volume by name, with their seconds where they are known.

    Parameters
    ----------
    combination : Combination
    scores : sequence of mapping
        Of its single stacks, with ``psnr``.
    """
    best = max(range(len(scores)), key=lambda number: scores[number]["psnr"])
    return {BEST_STACK: combination.singles[best], MEAN: (combination.mean, None)}
