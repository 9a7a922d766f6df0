"""A slice profile as a distribution over kind and width, and the least harmful choice from it.

Kinds of profile that let the same share of slow waves through do the same to an image and
to its reconstruction: a Gaussian of 4 mm, a box of 5 mm.  An image hardly tells them apart,
and need not.  Nothing here reads an image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from bids_sr.imaging.acquisition import ASSUMED_PROFILE, PROFILES

Array = npt.NDArray[np.float64]
CYCLES = 0.3
"""Waves by which profiles are compared, in cycles a slice spacing."""
LOSSES = (30.0, 80.0)
"""Loss of the reconstruction by ``brain-4``, dB, for a squared difference of 1 between the
assumed and the true share of these waves that the profile passes: where more is assumed than
true (thinner slices), and where less is.  ``benchmarks/profile_choice.py`` fits them."""
_USUAL = (0.9, 0.15, 0.1)
"""Mean and standard deviation of the usual width, of the spacing, and what any width adds."""
_PARTITIONS = (0.9, 0.3, 0.1)
"""The same for partitions of an encoded slab: their width is a matter of the encoding."""
_PREFERENCE = 1.5
"""How much likelier another kind must be to be used in the place of the assumed one."""
_STATED = (0.06, 0.1)
"""Relative standard deviation of a stated thickness, and the share of stated ones that are
wrong."""


@dataclass(frozen=True, kw_only=True)
class ProfileChoice:
    """A named slice profile, and what assuming it is expected to cost."""

    kind: str
    width: float
    """FWHM, mm."""
    loss: float
    """dB, on average over the distribution."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ProfileDistribution:
    """Hold how likely each kind and width of a slice profile is."""

    spacing: float
    """Of the slices, mm."""
    kinds: tuple[str, ...]
    widths: Array
    """(n,) FWHM, mm."""
    shares: Array
    """(kinds, n) probabilities; their sum is 1."""

    @classmethod
    def of(
        cls, spacing: float, kinds: tuple[str, ...], widths: Array, logarithms: Array
    ) -> ProfileDistribution:
        """Make a distribution from (kinds, n) logarithms, up to a constant."""
        shares = np.exp(logarithms - logarithms.max())
        return cls(spacing=spacing, kinds=kinds, widths=widths, shares=shares / shares.sum())

    @property
    def fwhm(self) -> float:
        """Mean width, mm."""
        return float(self.shares.sum(axis=0) @ self.widths)

    @property
    def deviation(self) -> float:
        """Standard deviation of the width, mm."""
        return float(np.sqrt(self.shares.sum(axis=0) @ (self.widths - self.fwhm) ** 2))

    @property
    def kind_shares(self) -> dict[str, float]:
        """Probability of each kind."""
        return dict(zip(self.kinds, map(float, self.shares.sum(axis=1)), strict=True))

    @property
    def likeliest(self) -> tuple[str, float]:
        """Kind and width (mm) of the highest probability."""
        kind, width = np.unravel_index(np.argmax(self.shares), self.shares.shape)
        return self.kinds[int(kind)], float(self.widths[int(width)])

    def interval(self, share: float = 0.8) -> tuple[float, float]:
        """Return the widths, mm, between which the middle `share` of the probability lies."""
        below = np.cumsum(self.shares.sum(axis=0))
        low, high = np.interp([(1 - share) / 2, (1 + share) / 2], below, self.widths)
        return float(low), float(high)

    def with_prior(self, sequence: str = "") -> ProfileDistribution:
        """Multiply by what is usual of slices.

        Parameters
        ----------
        sequence : str
            ``3D``, ``SE`` (spin echo), ``GR`` (gradient echo), or empty where it is not known.

        Notes
        -----
        Slices are mostly 0.75 to 1 of their spacing thick.  Which kinds are usual is a guess
        from how sequences are made, and weighs little: two selective pulses (SE) round the edges
        of a slice less than the short pulses of GR do; partitions (3D) have the sharp limit
        in frequency of their encoding, to which the box comes nearest.
        """
        weights = {"SE": {"slr": 1.5}, "GR": {"gaussian": 1.5}, "3D": {"rect": 2.0}}
        usual = weights.get(sequence, {})
        centre, deviation, least = _PARTITIONS if sequence == "3D" else _USUAL
        prior = np.exp(-0.5 * ((self.widths / self.spacing - centre) / deviation) ** 2) + least
        kinds = np.array([usual.get(kind, 1.0) for kind in self.kinds])
        return self._times(kinds[:, None] * prior)

    def with_stated_width(self, width: float) -> ProfileDistribution:
        """Multiply by what a stated thickness (mm) says, which may be wrong."""
        deviation, wrong = _STATED
        near = np.exp(-0.5 * ((self.widths / width - 1) / deviation) ** 2)
        near /= max(near.sum(), 1e-12)
        return self._times(((1 - wrong) * near + wrong / near.size)[None, :])

    def least_harmful(self, width: float | None = None) -> ProfileChoice:
        """Choose the profile whose expected loss is least.

        Parameters
        ----------
        width : float, optional
            Width that it must have, mm; None: that of the likeliest kind.

        Notes
        -----
        With h the share of waves of 0.3 cycles a spacing that a profile lets through, assuming
        h' costs ``30 (h' - h)^2`` dB where h' > h and ``80 (h' - h)^2`` dB where h' < h.
        """
        if width is not None:
            shares = [passed(kind, width / self.spacing) for kind in self.kinds]
            losses = [self._loss(share) for share in shares]
            best = int(np.argmin(losses))
            return ProfileChoice(kind=self.kinds[best], width=width, loss=losses[best])
        likely = self.kind_shares
        if ASSUMED_PROFILE in likely:  # of kinds that are alike, the usual one
            likely[ASSUMED_PROFILE] *= _PREFERENCE
        kind = max(likely, key=likely.__getitem__)
        least = self._least_harmful_share()
        return ProfileChoice(
            kind=kind, width=self.equivalent_widths()[kind], loss=self._loss(least)
        )

    def equivalent_widths(self) -> dict[str, float]:
        """Return the width of each kind, mm, that passes as much as is least harmful."""
        least = self._least_harmful_share()
        return {
            kind: float(np.interp(-least, -row, self.widths))
            for kind, row in zip(self.kinds, self._passed, strict=True)
        }

    @cached_property
    def _passed(self) -> Array:
        """The (kinds, n) shares of slow waves that the profiles let through."""
        ratios = [float(width) for width in self.widths / self.spacing]
        return np.array([[passed(kind, ratio) for ratio in ratios] for kind in self.kinds])

    def _loss(self, assumed: float) -> float:
        """Return the expected loss of assuming that a share of slow waves passes, dB."""
        difference = assumed - self._passed
        return float(np.sum(self.shares * np.where(difference > 0, *LOSSES) * difference**2))

    def _least_harmful_share(self) -> float:
        shares = np.linspace(self._passed.min(), self._passed.max(), 201)
        return float(min(shares, key=self._loss))

    def _times(self, factors: Array) -> ProfileDistribution:
        shares = self.shares * factors
        return replace(self, shares=shares / shares.sum())


@cache
def passed(kind: str, width: float) -> float:
    """Return the share of waves of 0.3 cycles a spacing that a profile lets through.

    Parameters
    ----------
    kind : str
    width : float
        FWHM, in slice spacings.
    """
    step = 1 / 64
    taps = PROFILES[kind](width).kernel(step)
    places = (np.arange(taps.size) - taps.size // 2) * step
    return float(np.cos(2 * np.pi * CYCLES * places) @ taps)
