"""Slice gain: the factor that brings a slice to the brightness of its neighbours.

Interleaved acquisition, cross-talk and flow make neighbouring slices differ (banding), and
super-resolution sharpens the stripes.  One factor a slice is estimated.  What changes slowly
along the slices (bias field, coil, anatomy) is not touched, and an image without banding
keeps every bit.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.imaging import Acquisition, Volume
from bids_sr.records.slice_faults import SIGNAL_EXCESS, SIGNAL_LOSS
from bids_sr.records.slice_gain_record import SliceGainRecord
from bids_sr.sr.slices.neighbour_ratio import NeighbourRatios, neighbour_ratios
from bids_sr.sr.slices.slice_faults import check_slices

Array = npt.NDArray[np.float64]

PATTERNS = ("odd-even", "every third", "irregular", "single slices")
_SIZES = (
    (0.0, 0.004, 0.01, 0.025, 0.06),
    (0.0, 0.008, 0.03),
    (0.0, 0.004, 0.01, 0.02, 0.05),
)
"""Standard deviations that the gains of each pattern may have."""
_NOISE = (0.7, 1.0, 1.5, 2.2)  # factors of the standard errors
_NOISE_SPREAD = 0.35  # standard deviation of their logarithm
_PATTERN_REACH = 8.0  # slices over which half of a pattern keeps its size
_CURVATURE = ((0.02, np.inf), (0.003, 6.0))
"""Size and reach, in slices, of what bends without banding: anatomy and fields."""
_WAVE_SIZES = (0.0, 0.005, 0.015, 0.05)
_WAVE_REACH = 1.5
"""The same of anatomy that repeats over a few slices, such as vertebrae."""
_LEAST_EVIDENCE = 3.0  # of banding against none, natural logarithm
_PER_PATTERN = 2.0  # evidence that each pattern costs
_SINGLE = 0.05  # standard deviation of the gain of a slice that stands out alone
_PER_SINGLE = 4.5  # evidence that it costs, besides the logarithm of the number of slices
_MOST_SINGLE = 0.15  # a larger log gain of one slice alone is lost signal, no banding
_FAULT = 1.0  # standard deviation of the log gain of such a slice
_LEAST_PERCENT = 0.3
_LEAST_RATIOS = 7


@dataclass(frozen=True, kw_only=True)
class SliceGain:
    """Hold the factor of each slice, and the evidence for it.

    Attributes
    ----------
    factors : tuple[float, ...]
        What each slice is multiplied by; all 1 where there is no banding.
    pattern : tuple[str, ...]
        Which of ``PATTERNS`` there are.
    evidence : float
        Log likelihood ratio of banding against none.
    before_percent, after_percent : float, optional
        Root mean square difference of the slices to their neighbours, without slow changes.
    reason : str
        Why nothing is changed, in words; empty where the factors are applied.
    """

    factors: tuple[float, ...] = field(repr=False)
    pattern: tuple[str, ...] = ()
    evidence: float = 0.0
    before_percent: float | None = None
    after_percent: float | None = None
    reason: str = ""

    @property
    def applied(self) -> bool:
        """Whether slices were changed."""
        return not self.reason

    @property
    def record(self) -> SliceGainRecord:
        """The same for a file."""
        return SliceGainRecord(
            applied=self.applied,
            reason=self.reason,
            pattern=self.pattern,
            before_percent=self.before_percent,
            after_percent=self.after_percent,
            evidence=self.evidence if self.before_percent is not None else None,
            gains=self.factors if self.applied else (),
        )


def correct_slice_gain(volume: Volume, acquisition: Acquisition) -> tuple[Volume, SliceGain]:
    """Equalise the brightness of neighbouring slices if anatomy does not explain the difference.

    Parameters
    ----------
    volume : Volume
        The acquired slices: magnitudes, zero without signal.
    acquisition : Acquisition
        How they were taken; only the slice axis matters.

    Returns
    -------
    corrected : Volume
        float32; `volume` itself where no banding is found.
    gain : SliceGain
    """
    axis = acquisition.for_volume(volume).slice_axis
    assert axis is not None
    gain = estimate_slice_gain(volume, axis)
    if not gain.applied:
        return volume, gain
    corrected = banded(volume, gain.factors, axis)
    left = banding_percent(neighbour_ratios(corrected, axis))
    return corrected, replace(gain, after_percent=left)


def banded(volume: Volume, gains: npt.ArrayLike, slice_axis: int) -> Volume:
    """Multiply each slice of a volume by its gain; float32."""
    shape = [1, 1, 1]
    shape[slice_axis] = -1
    factors = np.asarray(gains, np.float32).reshape(shape)
    return volume.with_data(volume.data.astype(np.float32, copy=False) * factors)


def estimate_slice_gain(volume: Volume, slice_axis: int) -> SliceGain:
    """Estimate the factor of each slice from its neighbours and its parity.

    Parameters
    ----------
    volume : Volume
        The acquired slices.
    slice_axis : int
        Array axis across the slices.

    Notes
    -----
    Log ratios r of slices to the mean of their neighbours are modelled as ``r = D a + b + e``:
    D takes from the log gains a the mean of both neighbours, b bends slowly (anatomy, fields)
    or repeats over a few slices (vertebrae), and e is anatomy and noise, of the size that
    :func:`neighbour_ratios` states times a common factor.  All are Gaussian.  a has a
    pattern of two (odd and even slices), a pattern of three (three interleaves), whose sizes
    may change along the stack, a value of each slice alone, and some slices that stand out.
    The sizes with the largest likelihood are taken; slices that stand out are added one by one
    while that pays.  Banding is accepted if its likelihood exceeds that of none (a = 0, the
    noise free) by a factor of ``exp(3)``, after a cost of each pattern.  The gains are the
    expectation of a: of what might be anatomy they take the likely share.  D knows no linear
    trend, so that a gradient stays as it is.

    A slice that stands out alone by more than about 15 % is at fault (:func:`.check_slices`).
    It gets the factor of its pattern only, because its own would hide the fault, and its
    brightness says nothing about the slices beside it.

    A gain that is not the same in the whole slice, or in every tissue, is not modelled.

    References
    ----------
    Rasmussen and Williams 2006, Gaussian processes for machine learning, MIT Press, chapters 2
    and 5, https://gaussianprocess.org/gpml/.
    """
    count = volume.shape[slice_axis]
    unchanged = SliceGain(factors=(1.0,) * count, reason="intensities below zero")
    if float(np.percentile(volume.data, 1)) < -0.01 * float(np.percentile(volume.data, 99)):
        return unchanged
    ratios = neighbour_ratios(volume, slice_axis)
    if ratios.measured.size < _LEAST_RATIOS:
        reason = f"{ratios.measured.size} slices can be compared with both neighbours"
        return replace(unchanged, reason=f"{reason}; {_LEAST_RATIOS} are needed")
    model, none, best = _explained(_Model.of(ratios, count))
    if np.abs(model.own(best)).max() > _MOST_SINGLE / 3:
        faults = set(_faults(volume, slice_axis)) - set(model.at_fault)
        if faults:
            model, none, best = _explained(
                replace(model, at_fault=(*model.at_fault, *sorted(faults)))
            )
    found = replace(
        unchanged,
        evidence=best.likelihood - none.likelihood,
        before_percent=banding_percent(ratios),
        reason="no banding",
    )
    if found.evidence < _LEAST_EVIDENCE:
        return found
    gains = model.gains(best)
    if 100 * float(np.abs(gains).max()) < _LEAST_PERCENT:
        return replace(found, reason=f"banding below {_LEAST_PERCENT:g} %")
    factors = tuple(float(value) for value in np.exp(-gains))
    return replace(found, factors=factors, pattern=best.patterns, reason="")


def _explained(model: _Model) -> tuple[_Model, _Choice, _Choice]:
    """Return the model with the slices at fault, and the best choices without and with banding.

    The slices at fault are those whose own gain is too large for banding.  Each is set apart,
    and what is left is explained anew.
    """
    while True:
        none = model.most_likely(banding=False)
        best = max(
            (model.with_singles(start) for start in (none, model.most_likely(banding=True))),
            key=lambda choice: choice.likelihood,
        )
        faults = model.too_large(best)
        if not faults or len(model.at_fault) >= model.difference.shape[1] // 3:
            return model, none, best
        model = replace(model, at_fault=(*model.at_fault, *faults))


def _faults(volume: Volume, slice_axis: int) -> list[int]:
    """Return the slices whose signal is lost or too bright, as the check of slices sees them."""
    spacing = float(np.linalg.norm(volume.affine[:3, slice_axis]))
    check = check_slices(volume, Acquisition(spacing=spacing, slice_axis=slice_axis))
    return [
        fault.slice_number
        for fault in check.record.faults
        if fault.what in (SIGNAL_LOSS, SIGNAL_EXCESS) and fault.size > 100 * _MOST_SINGLE
    ]


def banding_percent(ratios: NeighbourRatios) -> float | None:
    """Return how far slices differ from their neighbours, without what bends slowly, percent."""
    places = ratios.measured
    if places.size < _LEAST_RATIOS:
        return None
    values, errors = ratios.values[places], ratios.errors[places]
    slow = _slow(places)
    rest = values - slow @ np.linalg.solve(slow + np.diag(errors**2 + 0.01**2), values)
    weights = 1 / errors**2
    return float(100 * np.sqrt(weights @ rest**2 / weights.sum()))


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """Hold the sizes of patterns and noise that explain the ratios, and how well they do."""

    sizes: tuple[float, ...]
    """Standard deviations, as ``_SIZES``."""
    noise: float
    """Factor of the standard errors."""
    wave: float
    """Size of what repeats over a few slices."""
    likelihood: float
    """Its logarithm, less what patterns cost."""
    singles: tuple[int, ...] = ()
    """Slices that stand out alone."""

    @property
    def patterns(self) -> tuple[str, ...]:
        """Names of what there is."""
        sizes = (*self.sizes, len(self.singles))
        return tuple(name for name, size in zip(PATTERNS, sizes, strict=True) if size)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Model:
    """Hold the covariances of the log ratios, for gains and noise of size 1."""

    ratios: Array
    """(n,) measured log ratios."""
    noise: Array
    """(n, n) their variances, on the diagonal."""
    slow: Array
    """(n, n) covariance of what bends slowly."""
    wave: Array
    """(n, n) covariance of what repeats over a few slices."""
    difference: Array
    """(n, K) D."""
    patterns: tuple[Array, ...]
    """(K, K) covariance of the gains of each pattern."""
    at_fault: tuple[int, ...] = ()
    """Slices whose brightness is their own and no banding."""

    @classmethod
    def of(cls, ratios: NeighbourRatios, count: int) -> _Model:
        places = ratios.measured
        difference = np.eye(count) - (np.eye(count, k=1) + np.eye(count, k=-1)) / 2
        return cls(
            ratios=ratios.values[places],
            noise=np.diag(ratios.errors[places] ** 2),
            slow=_slow(places),
            wave=_smooth(places, _WAVE_REACH),
            difference=difference[places + 1],
            patterns=(_pattern(count, 2), _pattern(count, 3), np.eye(count)),
        )

    def most_likely(self, *, banding: bool) -> _Choice:
        """Return the best sizes of the patterns and the noise, with banding or without."""
        seen = [self.difference @ pattern @ self.difference.T for pattern in self.patterns]
        choices = itertools.product(*_SIZES) if banding else [(0.0,) * len(_SIZES)]
        best = None
        for sizes in choices:
            gains = sum(size**2 * pattern for size, pattern in zip(sizes, seen, strict=True))
            for noise, wave in itertools.product(_NOISE, _WAVE_SIZES):
                likelihood = _log_likelihood(self.ratios, gains + self._rest(noise, wave))
                likelihood -= 0.5 * (np.log(noise) / _NOISE_SPREAD) ** 2
                likelihood -= _PER_PATTERN * np.count_nonzero(sizes)
                if best is None or likelihood > best.likelihood:
                    best = _Choice(
                        sizes=sizes, noise=noise, wave=wave, likelihood=float(likelihood)
                    )
        assert best is not None
        return best

    def with_singles(self, choice: _Choice) -> _Choice:
        """Add slices that stand out, as long as each explains more than it costs.

        Only those whose neighbours are measured too: each of these must show the other side.
        """
        count = self.difference.shape[1]
        while len(choice.singles) < count // 4:
            covariance = self.difference @ self._prior(choice) @ self.difference.T
            solved = np.linalg.solve(
                covariance + self._rest(choice.noise, choice.wave), self.difference
            )
            certainty = _SINGLE**2 * np.sum(self.difference * solved, axis=0)  # (K,)
            fit = _SINGLE**2 * (self.ratios @ solved) ** 2
            gains = 0.5 * (fit / (1 + certainty) - np.log1p(certainty))
            gains -= _PER_SINGLE + np.log(count)
            gains[np.count_nonzero(self.difference, axis=0) < 3] = -np.inf
            best = int(gains.argmax())
            if gains[best] <= 0 or best in choice.singles:
                break
            choice = replace(
                choice,
                singles=(*choice.singles, best),
                likelihood=choice.likelihood + float(gains[best]),
            )
        return choice

    def gains(self, choice: _Choice) -> Array:
        """Return the (K,) expected log gains, of mean 0; of slices at fault that of a pattern."""
        gains = self._expected(choice, self._prior(choice))
        if self.at_fault:
            numbers = list(self.at_fault)
            repeated = replace(choice, sizes=(*choice.sizes[:-1], 0.0), singles=())
            gains[numbers] = self._expected(choice, self._prior(repeated))[numbers]
        return np.asarray(gains - gains.mean())

    def own(self, choice: _Choice) -> Array:
        """Return the (K,) expected log gains without those of repeating patterns, of median 0."""
        alone = replace(choice, sizes=(*(0.0 for _ in choice.sizes[:-1]), choice.sizes[-1]))
        own = self._expected(choice, self._prior(alone))
        return np.asarray(own - np.median(own))

    def too_large(self, choice: _Choice) -> list[int]:
        """Return slices whose own gain is too large for banding, of neighbours the larger."""
        own = np.abs(self.own(choice))
        own[list(self.at_fault)] = 0.0
        largest = own >= ndimage.maximum_filter1d(own, 3)
        return [int(number) for number in np.flatnonzero((own > _MOST_SINGLE) & largest)]

    def _expected(self, choice: _Choice, share: Array) -> Array:
        """Return the (K,) expectation of a share of the log gains with that covariance."""
        prior = self.difference @ self._prior(choice) @ self.difference.T
        covariance = prior + self._rest(choice.noise, choice.wave)
        return np.asarray(share @ self.difference.T @ np.linalg.solve(covariance, self.ratios))

    def _prior(self, choice: _Choice) -> Array:
        """Return the (K, K) covariance of the log gains."""
        prior = np.zeros_like(self.patterns[0])
        for size, pattern in zip(choice.sizes, self.patterns, strict=True):
            prior += size**2 * pattern
        prior[choice.singles, choice.singles] += _SINGLE**2
        return prior

    def _rest(self, noise: float, wave: float) -> Array:
        """Return the (n, n) covariance of what is no banding."""
        rest = self.slow + noise**2 * self.noise + wave**2 * self.wave
        if self.at_fault:
            alone = self.difference[:, list(self.at_fault)]
            rest = rest + _FAULT**2 * alone @ alone.T
        return np.asarray(rest)


def _slow(places: npt.NDArray[np.int_]) -> Array:
    """Return the covariance of what bends slowly along the slices."""
    return np.asarray(sum(size**2 * _smooth(places, reach) for size, reach in _CURVATURE))


def _smooth(places: npt.NDArray[np.int_], reach: float) -> Array:
    """Return the correlation of what changes over so many slices."""
    distances = (places[:, None] - places[None, :]).astype(np.float64)
    return np.asarray(np.exp(-0.5 * (distances / reach) ** 2))


def _pattern(count: int, period: int) -> Array:
    """Return the covariance of gains that repeat, with mean 0 over a period."""
    distances = np.subtract.outer(np.arange(count), np.arange(count))
    repeats = np.where(distances % period == 0, 1.0, -1 / (period - 1))
    fading = 0.5 + 0.5 * np.exp(-0.5 * (distances / _PATTERN_REACH) ** 2)
    return np.asarray(repeats * fading)


def _log_likelihood(values: Array, covariance: Array) -> float:
    lower = np.linalg.cholesky(covariance)
    white = np.linalg.solve(lower, values)
    return float(-0.5 * white @ white - np.log(np.diag(lower)).sum())
