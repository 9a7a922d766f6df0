"""Slices that disagree, laid where they agree: moved back, and brightened.

A patient who moves for one slice makes it show another plane, not a wrong one.  What moved
and what lost a part of its signal still says what it shows, if it agrees with the other
stacks as well as its neighbours do once it is moved and brightened.  Such a slice becomes a
stack of its own.  It is not used for the mean: its stack was reconstructed with it at the
wrong place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bids_sr.imaging import ForwardModel, Volume
from bids_sr.sr.together.disagreement import OddSlice, Prediction
from bids_sr.sr.together.least_squares import acquired, mean_of
from bids_sr.sr.together.placement import Array, Matrix, covered, placed, rigid_motion
from bids_sr.sr.together.stack import Stack

MOST_ODD = 2.0
"""Spreads above the median of its stack that a slice may differ by once it is moved back."""
MOST_SHIFT_MM = 10.0
MOST_TURN = np.deg2rad(10.0)
LEAST_GAIN = 0.2
"""Share of its signal that a slice must have kept."""
_REACH_MM = 8.0  # of the search for a start
_SEARCH_STEP_MM = 2.0
_ROUNDS = 8
_ARM_MM = 60.0  # lever by which rotations are counted as motion
_STEP_MM = 0.3  # of the derivative
_STILL_MM = 0.02
_COVERED = 0.99
_LEAST_CHANGE = 0.15  # of the signal, below which nothing was lost
_LEAST_POINTS = 150


def moved_back(
    stacks: Sequence[Stack], odd: Sequence[Sequence[OddSlice]]
) -> tuple[list[Stack], list[list[OddSlice]]]:
    """Lay slices that disagree where they agree.

    Parameters
    ----------
    stacks : sequence of Stack
        Registered, with intensities matched and weights of slices.
    odd : sequence of sequences of OddSlice
        Which slices of each are weighed down.

    Returns
    -------
    stacks : list of Stack
        One of a single slice for each that agrees now, to be fused beside the others.
    odd : list of lists of OddSlice
        As given, with what was done.

    Notes
    -----
    The slice is compared with what the other stacks predict of it, by Gauss-Newton steps on
    three shifts, three rotations and a factor, from the best of many shifts.
    """
    slices, names = [], []
    for number, found in enumerate(odd):
        names.append(list(found))
        if not found:
            continue
        prediction = Prediction.of(stacks, number)
        others = [*stacks[:number], *stacks[number + 1 :]]
        for place, slice_ in enumerate(found):
            search = _Search.of(stacks[number], others, slice_.number)
            fit = search.best()
            if fit is None or prediction.odds(slice_.number, *fit.compared) > MOST_ODD:
                continue
            slices.append(search.stack_at(fit))
            names[-1][place] = replace(slice_, mended=True, shift_mm=fit.shift, gain=fit.gain)
    return slices, names


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fit:
    """Hold where a slice fits."""

    motion: Matrix
    """(4, 4), from where its header puts it to where it belongs, world of its stack."""
    shift: float
    """By how much its middle was moved, mm."""
    gain: float
    """What is left of its signal."""
    compared: tuple[Array, Array, npt.NDArray[np.bool_]]
    """(rows, columns): the brightened slice, what is predicted there, where both are known."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Search:
    """Look for the place of one slice in what other stacks show."""

    stack: Stack
    """Of this slice alone."""
    target: Array
    """Its voxels in the plane of the reconstruction, one plane across `axis`."""
    forward: ForwardModel
    around: Volume
    """What the others show there."""
    known: Volume
    """1 where they show something."""

    @classmethod
    def of(cls, stack: Stack, others: Sequence[Stack], number: int) -> _Search:
        axis, fine = stack.slice_axis, stack.reconstruction
        here = float(fine.grid.coordinates_of(stack.slices.grid, axis)[number])
        thick = 1.5 * max(stack.acquisition.nominal_thickness, stack.acquisition.spacing)
        spans = []
        for reach in (thick, thick + _REACH_MM + MOST_SHIFT_MM):
            planes = reach / float(fine.spacings[axis])
            spans.append(slice(max(0, int(here - planes)), int(here + planes) + 2))
        single = replace(
            stack,
            slices=stack.slices.planes(axis, slice(number, number + 1)),
            reconstruction=fine.planes(axis, spans[0]),
            uncertainty=None,
            slice_weights=np.ones(1, np.float32),
        )
        grid = fine.planes(axis, spans[1]).grid
        mean, coverage, _ = mean_of(others, grid, stack.to_frame)
        slices, forward = acquired(single)
        return cls(
            stack=single,
            target=np.asarray(slices.data, np.float32),
            forward=forward,
            around=Volume(mean, grid.affine),
            known=Volume((coverage > 0.5).astype(np.float32), grid.affine),
        )

    @property
    def centre(self) -> Matrix:
        """Middle of the slice, mm."""
        grid = self.stack.reconstruction.grid
        middle = grid.affine @ [*((np.array(grid.shape) - 1) / 2), 1]
        return np.asarray(middle[:3])

    def predicted(self, motion: Matrix, volume: Volume, order: int = 1) -> Array:
        """Return what the slice would show of a volume if it lay elsewhere."""
        fine = placed(volume, self.stack.reconstruction.grid, motion, order=order)
        return np.asarray(self.forward.apply(fine), np.float32)

    def seen(self, motion: Matrix, wanted: Array) -> npt.NDArray[np.bool_]:
        """Mark what can be compared."""
        inside = covered(self.around.grid, self.stack.reconstruction.grid, motion)
        whole = self.forward.apply(
            inside * placed(self.known, self.stack.reconstruction.grid, motion, order=1)
        )
        bright = np.maximum(wanted, self.target) > Prediction.FOREGROUND * self.stack.width
        return np.asarray((whole > _COVERED) & bright)

    def best(self) -> _Fit | None:
        """Return where the slice fits best; None where that is too far or nothing is seen."""
        values = self._start()
        for _ in range(_ROUNDS):
            step = self._step(values)
            if step is None:
                return None
            values = values + step
            if np.linalg.norm(step) < _STILL_MM:
                break
        shift = float(np.linalg.norm(values[:3]))
        if shift > MOST_SHIFT_MM or np.linalg.norm(values[3:]) / _ARM_MM > MOST_TURN:
            return None
        motion = self.motion(values)
        wanted = self.predicted(motion, self.around, order=3)
        seen = self.seen(motion, wanted)
        if np.count_nonzero(seen) < _LEAST_POINTS:
            return None
        gain = _gain(self.target[seen], wanted[seen])
        if abs(gain - 1) < _LEAST_CHANGE:
            gain = 1.0
        if gain < LEAST_GAIN:
            return None
        axis = self.stack.slice_axis
        planes = (np.take(part, 0, axis=axis) for part in (self.target / gain, wanted, seen))
        first, second, third = planes
        return _Fit(motion=motion, shift=shift, gain=gain, compared=(first, second, third))

    def stack_at(self, fit: _Fit) -> Stack:
        """Return the slice as a stack where it fits, brightened."""
        ones = np.ones((1, 1, 1), np.float32)
        single = replace(self.stack, to_frame=self.stack.to_frame @ fit.motion)
        return single.scaled(ones / np.float32(fit.gain), ones)

    def motion(self, values: Matrix) -> Matrix:
        """Return the transform of three shifts and three rotations, all in mm."""
        return rigid_motion(values[3:] / _ARM_MM, values[:3], self.centre)

    def _step(self, values: Matrix) -> Matrix | None:
        """Return one Gauss-Newton step; None where too little is seen."""
        wanted = self.predicted(self.motion(values), self.around)
        seen = self.seen(self.motion(values), wanted)
        if np.count_nonzero(seen) < _LEAST_POINTS:
            return None
        columns = []
        for number in range(6):
            sides = []
            for sign in (-1, 1):
                beside = values.copy()
                beside[number] += sign * _STEP_MM
                sides.append(self.predicted(self.motion(beside), self.around)[seen])
            columns.append((sides[1] - sides[0]) / (2 * _STEP_MM))
        given, model = self.target[seen].astype(np.float64), wanted[seen].astype(np.float64)
        gain = _gain(given, model)
        design = np.column_stack([*(gain * column for column in columns), model])
        difference = given - gain * model
        spread = 1.4826 * np.median(np.abs(difference)) + 1e-12
        trust = 1 / (1 + (difference / (2 * spread)) ** 2)
        weighted = design * trust[:, None]
        ridge = 1e-6 * np.trace(weighted.T @ design) / 7 * np.eye(7)
        change = np.linalg.solve(weighted.T @ design + ridge, weighted.T @ difference)[:6]
        return np.asarray(np.clip(change, -_SEARCH_STEP_MM, _SEARCH_STEP_MM))

    def _start(self) -> Matrix:
        """Return the best of many shifts, by correlation."""
        axis = self.stack.slice_axis
        directions = self.around.affine[:3, :3] / self.around.spacings
        others = [other for other in range(3) if other != axis]
        pixel = [float(self.around.spacings[other]) for other in others]
        target = np.take(self.target, 0, axis=axis)
        best, values = -np.inf, np.zeros(6)
        for across in np.arange(-_REACH_MM, _REACH_MM + 1, _SEARCH_STEP_MM):
            offset = np.concatenate([across * directions[:, axis], np.zeros(3)])
            wanted = self.predicted(self.motion(offset), self.around)
            seen = np.take(self.seen(self.motion(offset), wanted), 0, axis=axis)
            if np.count_nonzero(seen) < _LEAST_POINTS:
                continue
            likeness = _likeness(target, np.take(wanted, 0, axis=axis), seen, pixel)
            for (row, column), value in likeness:
                if value > best:
                    best = value
                    values = offset.copy()
                    values[:3] += row * pixel[0] * directions[:, others[0]]
                    values[:3] += column * pixel[1] * directions[:, others[1]]
        return values


def _likeness(
    target: Array, wanted: Array, seen: npt.NDArray[np.bool_], pixel: Sequence[float]
) -> list[tuple[tuple[int, int], float]]:
    """Return the correlation of a plane, shifted back by pixels, with what is wanted."""
    steps = [max(1, round(_SEARCH_STEP_MM / size)) for size in pixel]
    reach = [int(_REACH_MM / (size * step)) for size, step in zip(pixel, steps, strict=True)]
    values = wanted[seen].astype(np.float64)
    values -= values.mean()
    values /= np.linalg.norm(values) + 1e-12
    result = []
    for row in range(-reach[0], reach[0] + 1):
        for column in range(-reach[1], reach[1] + 1):
            shift = (row * steps[0], column * steps[1])
            given = np.roll(target, shift, axis=(0, 1))[seen].astype(np.float64)
            given -= given.mean()
            result.append((shift, float(values @ given / (np.linalg.norm(given) + 1e-12))))
    return result


def _gain(given: npt.NDArray[np.floating], wanted: npt.NDArray[np.floating]) -> float:
    """Return the factor from what is wanted to what is given."""
    return float(np.vdot(given, wanted) / max(float(np.vdot(wanted, wanted)), 1e-12))
