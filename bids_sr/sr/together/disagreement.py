"""Slices that disagree with what the other stacks show.

A patient who moves for one slice, or an echo that was lost, spoils that slice alone.  It is
found by its difference to what the other stacks predict of it, relative to the differences of
the other slices of its stack, and weighed down.  Whether it can be used elsewhere is found in
:mod:`.moved_slices`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.sr.together.least_squares import acquired, mean_of
from bids_sr.sr.together.placement import Array, Matrix
from bids_sr.sr.together.stack import Stack

ODD = 4.0
"""Spreads above the median of its stack from which on a difference is odd."""
_WEIGHT_POWER = 4.0
_SPREAD_SHARE = 0.12  # of the median: least spread, so that even stacks accuse nobody
_LEAST_VOXELS = 150  # of a slice that is judged
_LEAST_SHARE = 0.15  # the same, of the median slice
_LEAST_SLICES = 4
_LEAST_SLOPE = 0.5  # of the median slice: a bland slice is not odd for its noise
_ROUNDS = 4
_ACCUSED = 0.5  # weight below which a slice is named
_FIRST_SHARE = 0.7  # of the worst slice: what is accused before that one is out of the way
_AROUND = 7  # slices
_DARKER = 0.15
_SHIFT_MM = 1.5
_MOVED_MM = 0.5  # from which on a motion is worth a word
_SHIFT_GAIN = 0.8  # residual that is left when a slice is shifted back


@dataclass(frozen=True, kw_only=True)
class OddSlice:
    """Name a slice that was weighed down."""

    number: int
    """Index along the slice axis."""
    weight: float
    """What it still counts, from 0 to 1."""
    what: str
    """What is wrong with it, in words."""
    mended: bool = False
    """Whether it is used all the same, moved back and brightened."""
    shift_mm: float = 0.0
    """By how much it was then moved."""
    gain: float = 1.0
    """What it then had kept of its signal."""

    @property
    def words(self) -> str:
        """What is wrong with it and what was done."""
        done = []
        if self.shift_mm >= _MOVED_MM:
            done.append(f"moved back by {self.shift_mm:.1f} mm")
        if self.gain != 1:
            done.append(f"brightened from {100 * self.gain:.0f} % of its signal")
        return (
            f"{self.what}; used, {' and '.join(done) or 'turned back'}"
            if self.mended
            else self.what
        )


def weighed(stacks: Sequence[Stack]) -> tuple[list[Stack], list[list[OddSlice]]]:
    """Weigh down the slices that disagree.

    Parameters
    ----------
    stacks : sequence of Stack
        Registered, with intensities matched.

    Returns
    -------
    stacks : list of Stack
        With weights of slices.
    odd : list of lists of OddSlice
        Those below a weight of 0.5, of each stack.

    Notes
    -----
    In rounds, the most different slices first: what a spoilt slice does to the prediction of
    others must not accuse them, and is gone when it no longer counts.
    """
    judged = list(stacks)
    for remaining in reversed(range(_ROUNDS)):
        views = [Prediction.of(judged, number) for number in range(len(judged))]
        oddness = [view.oddness(first=remaining > 0) for view in views]
        worst = max(
            float(np.max(values[stack.weights >= _ACCUSED], initial=0.0))
            for values, stack in zip(oddness, judged, strict=True)
        )
        limit = ODD if not remaining else max(ODD, _FIRST_SHARE * worst)
        weights = [_weights(values, limit) for values in oddness]
        odd = [view.named(values) for view, values in zip(views, weights, strict=True)]
        judged = [
            replace(stack, slice_weights=values)
            for stack, values in zip(judged, weights, strict=True)
        ]
        if worst < ODD / 2:
            break
    return judged, odd


@dataclass(frozen=True, eq=False)
class Prediction:
    """Compare the slices of one stack with what the others predict."""

    FOREGROUND: ClassVar = 0.15
    """Share of the robust range from which on a voxel is compared."""

    slices: Array
    """(n, rows, columns), as acquired."""
    predicted: Array
    """The same from the other stacks."""
    seen: npt.NDArray[np.bool_]
    """Where there is something to compare."""
    pixel: tuple[float, float]
    """Size of a voxel in the plane, mm."""

    @classmethod
    def of(cls, stacks: Sequence[Stack], number: int) -> Prediction:
        """Compare a stack with all others."""
        stack, axis = stacks[number], stacks[number].slice_axis
        others = [*stacks[:number], *stacks[number + 1 :]]
        slices, forward = acquired(stack)
        fine = stack.reconstruction.grid
        mean, coverage, _ = mean_of(others, fine, stack.to_frame, order=1)
        whole = forward.apply((coverage > _ACCUSED).astype(np.float32)) > 0.99
        predicted = forward.apply(mean)
        limit = cls.FOREGROUND * stack.width
        seen = whole & (np.maximum(predicted, slices.data) > limit)
        first, second = (float(slices.spacings[other]) for other in range(3) if other != axis)
        arrays = [np.moveaxis(values, axis, 0) for values in (slices.data, predicted, seen)]
        return cls(arrays[0], arrays[1], arrays[2], (first, second))

    def oddness(self, *, first: bool = False) -> Matrix:
        """Return by how many spreads of its stack each slice differs from its prediction.

        Parameters
        ----------
        first : bool
            Count a slice more that differs from its neighbours in its own stack more than
            those around it do: where two stacks contradict each other, it is the spoilt one.
        """
        judged = self._judged()
        oddness = np.zeros(judged.size)
        if np.count_nonzero(judged) < _LEAST_SLICES:
            return oddness
        differences = self._differences(self.predicted, judged)
        median, spread = _usual(differences)
        oddness[judged] = (differences - median) / spread
        if first:
            apart = self._differences(self._neighbours(), judged)
            usual = ndimage.median_filter(apart, _AROUND, mode="nearest")
            oddness[judged] *= np.maximum(apart / np.maximum(usual, 1e-12), 1)
        return oddness

    def odds(self, number: int, given: Array, wanted: Array, seen: npt.NDArray[np.bool_]) -> float:
        """Return by how many spreads of its stack a slice differs that was moved.

        Parameters
        ----------
        number : int
            Index of the slice, which says nothing of the stack.
        given, wanted, seen : (rows, columns) arrays
            The slice, what the others predict at its new place, and where to compare them.
        """
        judged = self._judged()
        judged[number] = False
        if np.count_nonzero(judged) < _LEAST_SLICES:
            return float("inf")
        median, spread = _usual(self._differences(self.predicted, judged))
        slopes = self._slopes(self.predicted[judged], self.seen[judged])
        apart = self._apart(given[None], wanted[None], seen[None], float(np.median(slopes)))
        return float((apart[0] - median) / spread)

    def _judged(self) -> npt.NDArray[np.bool_]:
        """Mark the slices with enough to compare."""
        counts = np.count_nonzero(self.seen, axis=(1, 2))
        return np.asarray(counts >= max(_LEAST_VOXELS, _LEAST_SHARE * np.median(counts)))

    def _neighbours(self) -> Array:
        """Return the mean of the slices before and after each; at the ends the next one."""
        before = np.concatenate([self.slices[1:2], self.slices[:-1]])
        after = np.concatenate([self.slices[1:], self.slices[-2:-1]])
        return np.asarray((before + after) / 2)

    def named(self, weights: Array) -> list[OddSlice]:
        """Say what is wrong with each slice that counts less than half."""
        return [
            OddSlice(number=int(number), weight=float(weights[number]), what=self._what(number))
            for number in np.flatnonzero(weights < _ACCUSED)
        ]

    def _differences(self, other: Array, judged: npt.NDArray[np.bool_]) -> Matrix:
        """Return the mean absolute difference of each judged slice over the mean slope, mm."""
        seen, wanted, given = self.seen[judged], other[judged], self.slices[judged]
        return self._apart(given, wanted, seen, float(np.median(self._slopes(wanted, seen))))

    def _apart(
        self, given: Array, wanted: Array, seen: npt.NDArray[np.bool_], usual: float
    ) -> Matrix:
        """Return the mean absolute difference of slices over the mean slope, mm."""
        counts = np.maximum(np.count_nonzero(seen, axis=(1, 2)), 1)
        apart = np.sum(np.abs(given - wanted) * seen, axis=(1, 2)) / counts
        slopes = self._slopes(wanted, seen)
        return np.asarray(apart / np.maximum(slopes, _LEAST_SLOPE * usual + 1e-12))

    def _slopes(self, wanted: Array, seen: npt.NDArray[np.bool_]) -> Matrix:
        """Return the mean slope of each slice, 1/mm."""
        rows, columns = (
            np.gradient(wanted, spacing, axis=axis)
            for axis, spacing in zip((1, 2), self.pixel, strict=True)
        )
        counts = np.maximum(np.count_nonzero(seen, axis=(1, 2)), 1)
        return np.asarray(np.sum(np.hypot(rows, columns) * seen, axis=(1, 2)) / counts)

    def _what(self, number: int) -> str:
        """Say in words what is wrong with a slice."""
        seen = self.seen[number]
        wanted, given = self.predicted[number], self.slices[number]
        gain = float(np.median(given[seen] / np.maximum(wanted[seen], 1e-6)))
        before = np.mean(np.abs(given - wanted)[seen])
        best, shift = before, (0, 0)
        reach = [int(np.ceil(8 / spacing)) for spacing in self.pixel]
        for row in range(-reach[0], reach[0] + 1):
            for column in range(-reach[1], reach[1] + 1):
                back = np.roll(given, (-row, -column), axis=(0, 1))
                left = np.mean(np.abs(back - wanted)[seen])
                if left < best:
                    best, shift = left, (row, column)
        distance = float(np.hypot(shift[0] * self.pixel[0], shift[1] * self.pixel[1]))
        if distance >= _SHIFT_MM and best < _SHIFT_GAIN * before:
            return f"shifted in its plane by about {distance:.0f} mm"
        if gain < 1 - _DARKER:
            return f"{100 * (1 - gain):.0f} % of its signal lost"
        return "shows something else than the other stacks"


def _usual(differences: Matrix) -> tuple[float, float]:
    """Return the median of the differences of a stack, and their spread."""
    median = float(np.median(differences))
    deviation = float(np.median(np.abs(differences - median)))
    return median, 1.4826 * deviation + _SPREAD_SHARE * median + 1e-12


def _weights(oddness: Matrix, limit: float) -> Array:
    """Return weights that fall smoothly: 1 up to half of the limit, 0.5 at it."""
    above = np.maximum(oddness - limit / 2, 0) / (limit / 2)
    return np.asarray(1 / (1 + above**_WEIGHT_POWER), dtype=np.float32)
