"""Faults of slices: a slice that moved, lost signal, is there twice, missing or out of order.

Each slice is compared with what its neighbours predict, and with what is usual in its stack.
A slice that moved or lost signal is weighed down; the rest can only be reported.  Small
differences in brightness between slices are no faults.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.imaging import Acquisition, Volume
from bids_sr.records.slice_faults import (
    LOCAL_LOSS,
    MISSING,
    MOTION,
    REPEATED,
    REVERSED,
    SIGNAL_EXCESS,
    SIGNAL_LOSS,
    SliceFault,
    SliceRecord,
)
from bids_sr.sr.slices.neighbour_fit import CoarseSlices, NeighbourFit
from bids_sr.sr.slices.slice_order import missing_score, ordered, repeated

LEAST_SLICES = 6
"""Fewer slices that show enough are not judged."""
_MOTION_MM = 1.3
_MOTION_EXPLAINS = 0.055  # share by which the residual is larger without the motion
_MOTION_SPREADS = 1.5  # times the usual motion of the slices around
_DARK = 0.13  # share of the signal; less is banding
_DARKER = 0.95  # signal relative to each of the neighbours; a gradient lies between them
_BRIGHT = 0.15
_LEAST_GAIN = 0.05
_GAIN_SPREADS = 3.0
_LOCAL_RATIO = 0.4  # of the darker neighbour, below which signal is lost in a place
_LOCAL_AREA = 0.12  # of the slice
_LOCAL_BLUR = 2.0  # coarse pixels
_LOCAL_SIGNAL = 3.0  # times the limit of the foreground
_LOCAL_PIXELS = 50
_MOTION_WITNESS = 0.02  # the same for slices further away
_MOTION_WITNESS_MM = 0.9
_MOTION_WITNESS_SHARE = 0.4  # of the motion
_PUSHED = 0.1  # share of its motion by which neighbours seem to move back; one half in theory
_AROUND = 5
_USUAL = 0.3  # quantile of motion and gains: a slice at fault spoils several
_QUANTILE_TO_SIGMA = 2.6  # of normal values without their sign
_LATER = (SIGNAL_EXCESS, LOCAL_LOSS)  # beside a slice at fault a sound one may look so
_WEIGHED_MOTION_MM = (3.0, 4.2)  # up to which a slice counts in full, and from which not at all
_WEIGHED_EXPLAINS = (1.25, 1.45)  # the same, residual without the motion over that with it
_WEIGHED_LOSS = (0.15, 0.3)  # the same, share of the signal
_SURELY_LOST = 50.0  # percent of the signal; so much is no anatomy in a short stack either
_LEAST_WEIGHED = 15  # in shorter stacks neighbours are too different to stand in for a slice


@dataclass(frozen=True, kw_only=True, repr=False)
class SliceCheck:
    """Hold the faults of an image's slices, and how much each slice counts.

    Attributes
    ----------
    record : SliceRecord
    """

    record: SliceRecord = field(default_factory=SliceRecord)

    def __repr__(self) -> str:
        faults, slices = len(self.record.faults), len(self.record.differences)
        return f"SliceCheck({faults} faults of {slices} slices)"

    @property
    def weights(self) -> npt.NDArray[np.float32] | None:
        """(n,) what each slice counts, from 0 to 1; None where all count in full."""
        weights = self.record.weights
        return None if weights is None else np.asarray(weights, np.float32)

    def mended(self, lr: Volume, slice_axis: int) -> Volume:
        """Replace what does not count of a slice by what its neighbours predict.

        Returns `lr` itself where all slices count in full.
        """
        weights = self.weights
        if weights is None:
            return lr
        slices = np.moveaxis(lr.data, slice_axis, 0)
        sound = np.flatnonzero(weights > _SOUND)
        if not sound.size:
            return lr
        mended = slices.astype(np.float32)
        for number in np.flatnonzero(weights < 1):
            weight = weights[number]
            mended[number] = weight * slices[number] + (1 - weight) * _between(
                slices, sound, int(number)
            )
        return lr.with_data(np.ascontiguousarray(np.moveaxis(mended, 0, slice_axis)))


_SOUND = 0.99


def _between(
    slices: npt.NDArray[np.floating], sound: npt.NDArray[np.int_], number: int
) -> npt.NDArray[np.floating]:
    """Interpolate a slice linearly between the nearest sound ones; at an end take the next."""
    before, after = sound[sound < number], sound[sound > number]
    if not before.size or not after.size:
        return np.asarray(slices[after[0] if after.size else before[-1]])
    first, second = before[-1], after[0]
    share = (second - number) / (second - first)
    return np.asarray(share * slices[first] + (1 - share) * slices[second])


def check_slices(lr: Volume, acquisition: Acquisition) -> SliceCheck:
    """Find the slices of an image that are at fault.

    Parameters
    ----------
    lr : Volume
        The acquired slices.
    acquisition : Acquisition
        How they were taken.

    Returns
    -------
    SliceCheck
        Faults by number of slice.

    Notes
    -----
    First the order; then, in rounds, the slice that differs most from its prediction: once it
    is out of the way it no longer spoils that of its neighbours.  It is accused only if the
    slices beyond its neighbours say the same.  Repeated and missing slices come last.  Slices
    that show little (the ends of a stack) are not judged, nor is a
    stack of fewer than 6.

    What may be anatomy is told and counts in full: motion below 3 mm, or that explains little; a
    loss below 15 %, or 50 % in a stack of fewer than 15 judged slices, and all else there.

    Not seen: motion of the whole stack, slow drift, a stack that is reversed as a whole.
    """
    axis = acquisition.for_volume(lr).slice_axis
    assert axis is not None
    count = lr.shape[axis]
    slices = CoarseSlices.of(lr, axis)
    judged = [int(number) for number in np.flatnonzero(slices.judged)]
    if len(judged) < LEAST_SLICES or min(slices.data.shape[1:]) < 8:
        return SliceCheck(record=SliceRecord(differences=(None,) * count))
    distances = slices.distances()
    order, blocks = ordered(distances, judged)
    faults = [
        SliceFault(slice_number=number, what=REVERSED, size=float(last - first + 1))
        for first, last in blocks
        for number in range(first, last + 1)
    ]
    stack = _Stack(replace(slices, data=slices.data[order]))
    steps = np.array([distances[pair] for pair in pairwise(order)])
    inside = [*stack.weighed(), *stack.misplaced(steps)]
    for fault in inside:
        size = float(order[int(fault.size)]) if fault.what == REPEATED else fault.size
        faults.append(replace(fault, slice_number=order[fault.slice_number], size=size))
    differences: list[float | None] = [None] * count
    for place, value in enumerate(stack.differences()):
        differences[order[place]] = value
    if len(judged) < _LEAST_WEIGHED:
        faults = [
            fault
            if fault.what == SIGNAL_LOSS and fault.size >= _SURELY_LOST
            else replace(fault, weight=1.0)
            for fault in faults
        ]
    ranked = sorted(faults, key=lambda fault: (fault.slice_number, fault.what))
    return SliceCheck(record=SliceRecord(faults=tuple(ranked), differences=tuple(differences)))


class _Stack:
    """Judge the slices of a stack in the order of their content, worst first."""

    def __init__(self, slices: CoarseSlices) -> None:
        self.slices = slices
        self.left_out = set[int]()
        self._known: dict[tuple[int, int, int], NeighbourFit | None] = {}
        self.first = self._fits()

    def weighed(self) -> list[SliceFault]:
        """Return the slices that moved or lost signal, by place in the stack."""
        faults: dict[int, SliceFault] = {}
        fits = dict(self.first)
        for _ in range(len(self.slices.data) // 2):
            accused = {
                place: fault for place in fits if (fault := self._fault(place, fits)) is not None
            }
            if not accused:
                break
            worst = max(
                accused,
                key=lambda place: (accused[place].what not in _LATER, fits[place].difference),
            )
            faults[worst] = accused[worst]
            self.left_out.add(worst)
            fits = self._fits()
        return [self._measured(fault) for fault in faults.values()]

    def _measured(self, fault: SliceFault) -> SliceFault:
        """Return a fault with its size by the nearest slices that are sound."""
        fit = self._fit_of(fault.slice_number)
        if fit is None or fault.what not in (SIGNAL_LOSS, MOTION):
            return fault
        if fault.what == MOTION:
            weight = max(
                _weight(fit.motion_mm, *_WEIGHED_MOTION_MM),
                _weight(fit.explained, *_WEIGHED_EXPLAINS),
            )
            return replace(fault, size=fit.motion_mm, weight=weight)
        lost = min(max(1 - fit.gain, _DARK / 2), 1.0)
        return replace(fault, size=100 * lost, weight=_weight(lost, *_WEIGHED_LOSS))

    def misplaced(self, steps: npt.NDArray[np.float64]) -> list[SliceFault]:
        """Return slices that are there twice, and those after which one is missing."""
        steps = steps.copy()
        spoilt = {place + step for place in self.left_out for step in (-1, 0)}
        steps[[place for place in spoilt if 0 <= place < len(steps)]] = np.nan
        faults, beside = [], set[int]()
        for twice, once in repeated(steps):
            faults.append(SliceFault(slice_number=twice, what=REPEATED, size=float(once)))
            beside |= {place + step for place in (twice, once) for step in (-1, 0)}
        enough = self.slices.shown
        for place in range(1, len(steps) - 1):
            if not enough[place - 1 : place + 3].all():
                continue
            first, second = (self._fit_of(number) for number in (place, place + 1))
            if place in beside or first is None or second is None:
                continue
            jump, usual = self._jump(steps, place), self.slices.jump(place)
            if missing_score(jump, usual, first, second) > 1:
                size = float(np.exp(jump if usual is None else min(jump, usual)))
                faults.append(SliceFault(slice_number=place, what=MISSING, size=size))
        return faults

    @staticmethod
    def _jump(steps: npt.NDArray[np.float64], place: int) -> float:
        """Return the logarithm of a step over those beside it; 0 where one is not known."""
        around = steps[place - 1 : place + 2]
        if not np.all(around > 0):  # false for NaN
            return 0.0
        return float(np.log(around[1]) - np.mean(np.log(around[[0, 2]])))

    def differences(self) -> list[float | None]:
        """Return the difference of each slice to its prediction, over the median of all."""
        known = [fit.difference for fit in self.first.values()]
        usual = max(float(np.median(known)), 1e-12) if known else 1.0
        return [
            self.first[place].difference / usual if place in self.first else None
            for place in range(len(self.slices.data))
        ]

    def _fits(self) -> dict[int, NeighbourFit]:
        """Explain each sound slice by the nearest sound ones on both sides."""
        fits = {}
        for place in range(len(self.slices.data)):
            if place not in self.left_out and (fit := self._fit_of(place)) is not None:
                fits[place] = fit
        return fits

    def _fit_of(self, place: int, skipped: tuple[int, int] = (0, 0)) -> NeighbourFit | None:
        """Explain a slice by sound ones, a number of which is skipped before and after it."""
        sound = [other for other in range(len(self.slices.data)) if other not in self.left_out]
        before = [other for other in sound if other < place][::-1]
        after = [other for other in sound if other > place]
        if len(before) <= skipped[0] or len(after) <= skipped[1]:
            return None
        key = (place, before[skipped[0]], after[skipped[1]])
        if key not in self._known:
            self._known[key] = self.slices.fit(*key)
        return self._known[key]

    def _witnesses(self, place: int) -> list[NeighbourFit]:
        """Explain a slice by all pairs of the two nearest sound ones on each side."""
        fits = [self._fit_of(place, skipped) for skipped in ((0, 0), (0, 1), (1, 0), (1, 1))]
        return [fit for fit in fits if fit is not None]

    def _fault(self, place: int, fits: dict[int, NeighbourFit]) -> SliceFault | None:
        """Say what is wrong with a slice, if anything."""
        fit = fits[place]
        gains = [abs(np.log(max(other.gain, _LEAST_GAIN))) for other in fits.values()]
        spread = _GAIN_SPREADS * _QUANTILE_TO_SIGMA * float(np.quantile(gains, _USUAL))
        around = [
            fits[other].motion_mm
            for other in range(place - _AROUND, place + _AROUND + 1)
            if other != place and other in fits
        ]
        usual = float(np.quantile(around, _USUAL)) if around else np.inf
        fault = (
            self._lost(place, fit, spread)
            or self._moved(
                place,
                fit,
                max(_MOTION_MM, _MOTION_SPREADS * usual),
                fit.residual / float(np.median([other.residual for other in fits.values()])),
            )
            or self._bright(place, fit, spread)
        )
        if fault is None and (area := self._dark_area(place)) > _LOCAL_AREA:
            return SliceFault(slice_number=place, what=LOCAL_LOSS, size=100 * area, weight=0.3)
        return fault

    def _lost(self, place: int, fit: NeighbourFit, spread: float) -> SliceFault | None:
        """Accuse a slice that all others around say to be darker than both of its neighbours."""
        if fit.gain > 1 - _DARK / 2:
            return None
        witnesses = self._witnesses(place)
        clear = any(
            witness.gain < 1 - _DARK * _wide(witness)
            and witness.levels[1] < _DARKER
            and -np.log(max(witness.gain, _LEAST_GAIN)) > spread * _wide(witness)
            for witness in witnesses
        )
        if not clear or max(witness.gain for witness in witnesses) > _DARKER:
            return None
        return SliceFault(slice_number=place, what=SIGNAL_LOSS, size=100 * (1 - fit.gain))

    def _moved(
        self, place: int, fit: NeighbourFit, least: float, unlike: float
    ) -> SliceFault | None:
        """Accuse a slice that moved, whichever of the slices around it is compared with.

        `unlike` is what differs all the same, over the median of the stack: where anatomy
        changes fast, as in the outer slices, motion must explain more.
        """
        wide = _wide(fit)
        clear = 1 + _MOTION_EXPLAINS * wide * max(1.0, unlike)
        if fit.motion_mm < least * wide or fit.explained < clear:
            return None
        motions = [
            witness.motion_mm if witness.explained > 1 + _MOTION_WITNESS else 0.0
            for witness in self._witnesses(place)
        ]
        if min(motions) < max(_MOTION_WITNESS_MM, _MOTION_WITNESS_SHARE * fit.motion_mm):
            return None
        if self._pushed(place, fit) < _PUSHED:
            return None
        return SliceFault(slice_number=place, what=MOTION, size=fit.motion_mm)

    def _pushed(self, place: int, fit: NeighbourFit) -> float:
        """Return by what share of its motion a slice makes its neighbours seem to move back."""
        motion = np.array(fit.motion)
        beside = [self.first[other] for other in (place - 1, place + 1) if other in self.first]
        shares = [
            -float(motion @ np.array(other.motion)) / float(motion @ motion) for other in beside
        ]
        return float(np.mean(shares)) if shares else 1.0

    def _bright(self, place: int, fit: NeighbourFit, spread: float) -> SliceFault | None:
        """Accuse a slice that all others around say to be brighter than both neighbours."""
        wide = _wide(fit)
        bright = fit.gain > 1 + _BRIGHT * wide and fit.levels[0] > 1 / _DARKER
        if not bright or np.log(fit.gain) < spread * wide:
            return None
        if min(witness.gain for witness in self._witnesses(place)) < 1 / _DARKER:
            return None
        size = 100 * (fit.gain - 1)
        return SliceFault(slice_number=place, what=SIGNAL_EXCESS, size=size, weight=0.5)

    def _dark_area(self, place: int) -> float:
        """Return the share of a slice that is much darker than both of its neighbours."""
        sound = [other for other in range(len(self.slices.data)) if other not in self.left_out]
        before = max(other for other in sound if other < place)
        after = min(other for other in sound if other > place)
        given, near, other = (
            ndimage.gaussian_filter(self.slices.data[number], _LOCAL_BLUR)
            for number in (place, before, after)
        )
        darker = np.minimum(near, other)
        bright = darker > _LOCAL_SIGNAL * self.slices.limit
        if np.count_nonzero(bright) < _LOCAL_PIXELS:
            return 0.0
        dark = bright & (given < _LOCAL_RATIO * darker)
        return float(np.count_nonzero(dark) / np.count_nonzero(bright))


def _weight(size: float, harmless: float, full: float) -> float:
    """Return what a slice counts: a small fault may be anatomy, and is told but not acted on."""
    return float(np.clip((full - size) / (full - harmless), 0, 1))


def _wide(fit: NeighbourFit) -> float:
    """Return how much further apart than usual the neighbours are: what is odd grows with it."""
    return 0.5 + fit.reach / 4
