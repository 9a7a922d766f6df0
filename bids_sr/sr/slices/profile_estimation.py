"""The slice profile, estimated from an image by comparing its spectra in-plane and across.

Anatomy has no preferred axis at the scale of a slice, so frequencies that are weaker across
the slices than in-plane were attenuated by the slice profile.  The estimate is of the blur
beyond that in-plane; a shift of the slices does not affect it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, optimize

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import SliceProfile, Volume
from bids_sr.imaging.acquisition import PROFILES
from bids_sr.sr.slices.profile_distribution import ProfileDistribution

Array = npt.NDArray[np.float64]
LEAST_SLICES = 8
LEAST_IN_PLANE = 24
LEAST_POWER = 1e-25
"""Of a frequency, as a share of the strongest; below is only rounding."""
LEAST_SCALE = 1.3
_FREQUENCIES = 40  # in-plane bins
_KNOTS = 7  # of the anatomy's spectrum
_SAME_BOTH_WAYS = 0.3  # weight of the prior that it is equal along and across
_MISFIT_TOLERANCE = 0.1
"""Relative misfit that makes a profile less likely by a factor of e; chosen on simulated heads,
for the least harm by what is assumed (``benchmarks/profile_choice.py``)."""
_LOWEST_CYCLES = 1.5  # a field of view: less is anatomy's place, not its texture
_WIDTHS = np.linspace(0.4, 1.3, 19)
"""Widths that are tried, of the slice spacing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ProfileEstimate:
    """Hold how likely an image makes each slice profile, and the spectra that were compared."""

    distribution: ProfileDistribution
    """Over kind and width, by the image alone: before it, all were equally likely."""
    frequencies: Array
    """(m,) spatial frequencies across the slices, 1/mm."""
    observed: Array
    """(m,) amplitude across the slices relative to the finest in-plane detail's; for a plot."""
    expected: Array
    """(m,) the same of the likeliest profile, folded at the slice spacing."""


def estimate_slice_profile(
    volume: Volume, slice_axis: int, *, kinds: Sequence[str] = tuple(PROFILES)
) -> ProfileEstimate:
    """Estimate the slice profile of an acquired volume.

    Parameters
    ----------
    volume : Volume
        The acquired slices.
    slice_axis : int
        Array axis across them.
    kinds : sequence of str
        Kinds of profile to try; a single kind where it is known.

    Returns
    -------
    ProfileEstimate

    Raises
    ------
    InputDataError
        If there are fewer than 8 slices or 24 voxels in-plane, slices are hardly further
        apart than voxels, or the image is constant.

    Notes
    -----
    For each in-plane axis x, the power P(f, g) of the planes that run along x and across
    the slices is compared with ``sum_m S(f, g + m/d) |H(g + m/d)|^2 + N``: d the slice
    spacing, H the response of the profile, N noise, and the sum over m the aliases that
    sampling every d makes.  S is the anatomy's spectrum, free along the radius
    ``(f, g)``, almost the same in all directions: how far it differs between along and
    across is fitted too, with a penalty.  All but H is linear, so each kind and width is one
    non-negative least-squares problem.  Its mean squared relative misfit Q, summed over the
    in-plane axes, gives the likelihood ``exp(-(Q / min Q - 1) / 0.1)``.
    """
    directions = _directions(volume, slice_axis)
    spacing = float(volume.spacings[slice_axis])
    widths = spacing * _WIDTHS
    misfits = np.array([[_misfit(kind, width, directions) for width in widths] for kind in kinds])
    distribution = ProfileDistribution.of(
        spacing, tuple(kinds), widths, -(misfits / misfits.min() - 1) / _MISFIT_TOLERANCE
    )
    kind, width = distribution.likeliest
    observed, expected = directions[0].attenuation(PROFILES[kind](width))
    return ProfileEstimate(
        distribution=distribution,
        frequencies=directions[0].across,
        observed=observed,
        expected=expected,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Direction:
    """Hold the spectrum of the planes along one in-plane axis, and the parts of its model."""

    power: Array
    """(F, G) power: in-plane by through-plane frequencies."""
    used: npt.NDArray[np.bool_]
    """(F, G) False where frequencies are too low."""
    across: Array
    """(G,) through-plane frequencies, 1/mm."""
    aliases: Array
    """(M, G) frequencies that fall on them by sampling, 1/mm."""
    parts: Array
    """(M, 2 J, F, G) anatomy's spectra, J along and J across, at each alias."""
    voxel: float
    """In-plane voxel, mm."""

    def attenuated(self, profile: SliceProfile) -> Array:
        """Return (cells, 2 J + 1) parts of the model below a profile, and noise."""
        powers = _response(profile, self.voxel, self.aliases) ** 2  # (M, G)
        sums = np.einsum("mjfg,mg->jfg", self.parts, powers)[:, self.used].T
        return np.column_stack([sums, np.ones(len(sums))])

    def attenuation(self, profile: SliceProfile) -> tuple[Array, Array]:
        """Return observed and expected amplitudes over `across`, 1 at the lowest."""
        model = self.attenuated(profile)
        shares, _ = _solve(model, self.power[self.used])
        whole = np.zeros(self.power.shape)
        whole[self.used] = model @ shares
        fine = slice(self.power.shape[0] // 3, None)  # in-plane detail is seen alike at all g
        spectra = [np.exp(np.log(p[fine]).mean(axis=0)) for p in (self.power, whole + 1e-300)]
        return np.sqrt(spectra[0] / spectra[1][0]), np.sqrt(spectra[1] / spectra[1][0])


def _directions(volume: Volume, slice_axis: int) -> list[_Direction]:
    in_plane = [axis for axis in range(3) if axis != slice_axis]
    shape, spacings = volume.shape, volume.spacings
    shortest = min(shape[axis] for axis in in_plane)
    scale = float(spacings[slice_axis] / spacings[in_plane].min())
    if shape[slice_axis] < LEAST_SLICES or shortest < LEAST_IN_PLANE or scale < LEAST_SCALE:
        raise InputDataError(
            f"Found {shape[slice_axis]} slices of {shortest} voxels in-plane, {scale:.3g} voxels "
            f"apart; expected at least {LEAST_SLICES}, {LEAST_IN_PLANE} and {LEAST_SCALE} to "
            "tell the slice profile. State the slice thickness instead."
        )
    data = volume.data.astype(np.float32)
    if not np.isfinite(data).all() or np.ptp(data) == 0:
        raise InputDataError(
            "Found an image that is constant or not finite; expected anatomy to read the slice "
            "profile from."
        )
    # A power of two changes no digit, and keeps squares from overflow and underflow.
    data = np.ldexp(data, -int(np.frexp(np.abs(data).max())[1]))
    directions = [_direction(data, spacings, slice_axis, axis) for axis in in_plane]
    for direction in directions:
        power = direction.power[direction.used]
        if not power.min() > LEAST_POWER * power.max():
            raise InputDataError(
                "Found an image without detail along one of its in-plane axes; expected anatomy "
                "to read the slice profile from. State the slice thickness instead."
            )
    return directions


def _direction(
    data: npt.NDArray[np.float32], spacings: Array, slice_axis: int, along: int
) -> _Direction:
    voxel, spacing = float(spacings[along]), float(spacings[slice_axis])
    planes = data.transpose(3 - slice_axis - along, along, slice_axis)
    size, slices = planes.shape[1:]
    power = _power(planes)[: size // 2 + 1, : slices // 2 + 1]
    in_plane = np.arange(size // 2 + 1) / (size * voxel)
    across = np.arange(slices // 2 + 1) / (slices * spacing)
    bins = np.minimum((in_plane * 2 * voxel * _FREQUENCIES).astype(int), _FREQUENCIES - 1)
    power = np.array([power[bins == index].mean(axis=0) for index in np.unique(bins)])
    in_plane = np.array([in_plane[bins == index].mean() for index in np.unique(bins)])
    lowest, highest = _LOWEST_CYCLES / (slices * spacing), 0.5 / voxel
    orders = np.arange(-np.ceil(spacing / voxel / 2), np.ceil(spacing / voxel / 2) + 1)
    aliases = across + orders[:, None] / spacing  # (M, G)
    f, g = in_plane[None, :, None], aliases[:, None, :]
    radius = np.maximum(np.hypot(f, g), 1e-6)  # (M, F, G)
    knots = np.geomspace(lowest, 1.45 * highest, _KNOTS)
    hats = np.array([np.interp(np.log(radius), np.log(knots), row) for row in np.eye(_KNOTS)])
    hats *= (radius / lowest) ** -3 * (np.abs(g) <= highest * (1 + 1e-9))
    cosine = (f / radius) ** 2
    parts = np.concatenate([hats * cosine, hats * (1 - cosine)]).transpose(1, 0, 2, 3)
    used = np.hypot(in_plane[:, None], across[None, :]) > lowest
    return _Direction(
        power=power, used=used, across=across, aliases=aliases, parts=parts, voxel=voxel
    )


def _power(planes: npt.NDArray[np.float32]) -> Array:
    """Return the mean power (H, W) of an (N, H, W) stack, tapered towards its borders."""
    rows, columns = (np.hanning(size + 2)[1:-1] for size in planes.shape[1:])
    tapered = (planes - planes.mean()) * (rows[:, None] * columns).astype(np.float32)
    energies = np.sum(tapered**2, axis=(1, 2))
    tapered = tapered[energies > 0.05 * energies.max()]
    total = np.zeros(planes.shape[1:])
    for plane in tapered:
        total += np.abs(fft.fft2(plane)) ** 2
    # Both signs of a frequency together: along the columns by the real input's symmetry.
    mirrored = np.roll(total[::-1], 1, axis=0)
    return np.asarray((total + mirrored) / (2 * len(tapered)))


def _response(profile: SliceProfile, voxel: float, frequencies: Array) -> Array:
    """Return the frequency response of the profile applied to voxels."""
    kernel = profile.kernel(voxel)
    places = (np.arange(kernel.size) - kernel.size // 2) * voxel
    return np.asarray(np.cos(2 * np.pi * frequencies[..., None] * places) @ kernel)


def _misfit(kind: str, width: float, directions: list[_Direction]) -> float:
    """Return the mean squared relative misfit of a profile, summed over the in-plane axes."""
    profile = PROFILES[kind](float(width))
    return sum(
        _solve(direction.attenuated(profile), direction.power[direction.used])[1]
        for direction in directions
    )


def _solve(model: Array, power: Array) -> tuple[Array, float]:
    """Fit the parts of the model, each at least 0, to the power in relative terms."""
    system = model / power[:, None]
    scale = system.mean(axis=0) + 1e-300
    along, across = scale[:_KNOTS], scale[_KNOTS : 2 * _KNOTS]
    mean = np.sqrt(along * across)
    isotropy = np.zeros((_KNOTS, model.shape[1]))
    isotropy[:, :_KNOTS] = np.diag(mean / along)
    isotropy[:, _KNOTS : 2 * _KNOTS] = -np.diag(mean / across)
    penalty = _SAME_BOTH_WAYS * np.sqrt(len(power))
    left = np.concatenate([system / scale, penalty * isotropy])
    right = np.concatenate([np.ones(len(power)), np.zeros(_KNOTS)])
    try:
        shares, distance = optimize.nnls(left, right)
    except (RuntimeError, ValueError) as error:  # no convergence, or values that are not finite
        raise InputDataError(
            f"Found an image whose spectrum cannot be fitted ({error}); expected anatomy to read "
            "the slice profile from. State the slice thickness instead."
        ) from error
    return shares / scale, float(distance**2 / len(power))
