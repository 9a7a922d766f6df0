"""A slice profile is the sensitivity across a slice as a function of position.

Profiles are piecewise linear functions of unit area, so that the signal of a voxel
is an exact integral and not a sample.  They do not contain the positions of the
slices.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bids_sr.exceptions import AcquisitionError, InputDataError
from bids_sr.files import read_text, write_text_atomic
from bids_sr.imaging.pulse import excitation_response

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
"""Full width at half maximum of a Gaussian of unit standard deviation."""
_EXTENT_SIGMAS = 4.0
_SAMPLES = 513
_COLUMNS = ("position_mm", "weight")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SliceProfile:
    """Describe how strongly a slice collects signal at each distance from its centre.

    Attributes
    ----------
    positions : float64 array
        (n,) increasing distances from the slice centre, mm.
    weights : float64 array
        (n,) sensitivities, 1/mm; scaled to unit area, linear between positions, 0 outside.
    name : str
        ``gaussian``, ``rect``, ``slr`` or its origin.
    """

    positions: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    name: str = "custom"
    _area: npt.NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        """Check the samples and scale them to unit area.

        Raises
        ------
        AcquisitionError
            If positions do not increase, values are not finite, or the area is not positive.
        """
        positions = np.array(self.positions, dtype=np.float64)
        weights = np.array(self.weights, dtype=np.float64)
        if positions.ndim != 1 or positions.shape != weights.shape or positions.size < 3:
            raise AcquisitionError(
                f"Slice profile {self.name}: found {positions.shape} positions and "
                f"{weights.shape} weights; expected at least 3 of each, equally many."
            )
        if not (np.isfinite(positions).all() and np.isfinite(weights).all()):
            raise AcquisitionError(f"Slice profile {self.name}: expected finite numbers only.")
        if (np.diff(positions) <= 0).any():
            raise AcquisitionError(
                f"Slice profile {self.name}: positions (mm) must increase from row to row."
            )
        area = np.concatenate([[0.0], np.cumsum(_trapezoids(positions, weights))])
        if weights.max() <= 0 or area[-1] <= 0:
            raise AcquisitionError(
                f"Slice profile {self.name}: found an area of {area[-1]:g}; expected a positive "
                "sensitivity."
            )
        for name, values in (
            ("positions", positions),
            ("weights", weights / area[-1]),
            ("_area", area / area[-1]),
        ):
            values.setflags(write=False)
            object.__setattr__(self, name, values)

    def __repr__(self) -> str:
        """Name the profile, with a digest of its samples: equal for equal profiles only."""
        digest = hashlib.sha256(self.positions.tobytes() + self.weights.tobytes()).hexdigest()
        return f"SliceProfile(name={self.name!r}, fwhm={self.fwhm:.6g}, sha256={digest[:16]})"

    @classmethod
    def gaussian(cls, fwhm: float) -> SliceProfile:
        """Return a Gaussian of the given FWHM, mm, cut at 4 standard deviations."""
        _check_fwhm(fwhm)
        sigmas = np.linspace(-_EXTENT_SIGMAS, _EXTENT_SIGMAS, _SAMPLES)
        return cls(
            positions=sigmas * fwhm / FWHM_PER_SIGMA,
            weights=np.exp(-0.5 * sigmas**2),
            name="gaussian",
        )

    @classmethod
    def rect(cls, fwhm: float) -> SliceProfile:
        """Return a box of the given width, mm: uniform within the slice, zero outside."""
        _check_fwhm(fwhm)
        edge = 1e-6  # a step as a steep ramp, centred on the edge
        ends = np.array([-0.5 - edge, -0.5 + edge, 0.5 - edge, 0.5 + edge])
        return cls(positions=ends * fwhm, weights=np.array([0.0, 1.0, 1.0, 0.0]), name="rect")

    @classmethod
    def slr(cls, fwhm: float) -> SliceProfile:
        """Return the profile of a 90 degree Shinnar-Le Roux pulse, scaled to the FWHM, mm."""
        _check_fwhm(fwhm)
        positions, weights = excitation_response()
        shape = cls(positions=positions, weights=weights)
        return cls(positions=positions * (fwhm / shape.fwhm), weights=weights, name="slr")

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> SliceProfile:
        """Read a tab-separated table with columns ``position_mm`` and ``weight``.

        The profile is moved so that its centre of mass is at 0: an offset would shift the
        reconstructed image.

        Raises
        ------
        AcquisitionError
            If the file cannot be read or its profile is not usable.
        """
        try:
            rows = read_text(Path(path)).splitlines()
            header, *body = [row.split("\t") for row in rows if row.strip()]
            columns = [header.index(name) for name in _COLUMNS]
            table = np.array([[float(row[column]) for column in columns] for row in body])
            positions, weights = table.T
        except (InputDataError, ValueError, IndexError) as error:
            raise AcquisitionError(
                f"Slice profile {path}: cannot be read ({error}); expected a tab-separated "
                "table of numbers with the columns position_mm and weight."
            ) from error
        profile = cls(positions=positions, weights=weights, name=Path(path).name)
        return cls(positions=positions - profile.centre, weights=weights, name=profile.name)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the table that :meth:`from_file` reads."""
        rows = ["\t".join(_COLUMNS)]
        rows += [
            f"{position:.9g}\t{weight:.9g}"
            for position, weight in zip(self.positions, self.weights, strict=True)
        ]
        return write_text_atomic(Path(path), "\n".join(rows) + "\n")

    @property
    def fwhm(self) -> float:
        """Full width at half maximum, between the outermost crossings, mm."""
        half = self.weights.max() / 2
        # A profile that ends above half of its maximum drops to 0 there.
        positions = np.concatenate([self.positions[:1], self.positions, self.positions[-1:]])
        weights = np.concatenate([[0.0], self.weights, [0.0]])
        above = np.flatnonzero(weights >= half)
        first, last = above[0], above[-1]
        lower = np.interp(half, weights[first - 1 : first + 1], positions[first - 1 : first + 1])
        upper = np.interp(half, weights[last : last + 2][::-1], positions[last : last + 2][::-1])
        return float(upper - lower)

    @property
    def centre(self) -> float:
        """Centre of mass, mm."""
        left, right = self.positions[:-1], self.positions[1:]
        # The first moment of a trapezoid between two positions.
        moments = self.weights[:-1] * (2 * left + right) + self.weights[1:] * (left + 2 * right)
        return float(np.sum(moments * (right - left)) / 6)

    def cumulative(self, positions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the share of the profile below each position (mm), exactly: 0 to 1."""
        inside = np.clip(positions, self.positions[0], self.positions[-1])
        left = np.clip(
            np.searchsorted(self.positions, inside, side="right") - 1, 0, self.positions.size - 2
        )
        slope = np.diff(self.weights) / np.diff(self.positions)
        offset = inside - self.positions[left]
        share = self._area[left] + offset * (self.weights[left] + 0.5 * slope[left] * offset)
        return np.asarray(share, dtype=np.float64)

    def kernel(self, spacing_mm: float) -> npt.NDArray[np.float64]:
        """Integrate the profile over voxels of `spacing_mm`, the middle one at the centre.

        Returns
        -------
        (2 k + 1,) float64 array
            Sums to 1.  Its width is also right if it is not a whole number of voxels.
        """
        if not (np.isfinite(spacing_mm) and spacing_mm > 0):
            raise AcquisitionError(f"Found a voxel spacing of {spacing_mm} mm; expected > 0.")
        reach = max(-self.positions[0], self.positions[-1])
        # A voxel whose share is below a millionth of it would only lengthen the kernel.
        taps = max(0, int(np.ceil(reach / spacing_mm - 0.5 - 1e-5)))
        edges = np.asarray((np.arange(-taps, taps + 2) - 0.5) * spacing_mm, dtype=np.float64)
        shares = np.diff(self.cumulative(edges))
        return np.asarray(shares / shares.sum(), dtype=np.float64)

    def narrowed(self, in_plane: float) -> SliceProfile:
        """Return the remaining profile if the image already has a blur of FWHM `in_plane` (mm).

        Variances add under convolution, so the widths do in squares: the profile is
        compressed to the FWHM ``sqrt(fwhm**2 - in_plane**2)``, exactly so for Gaussians.

        Raises
        ------
        AcquisitionError
            If `in_plane` is negative or not below the FWHM.
        """
        fwhm = self.fwhm
        if not 0 <= in_plane < fwhm:
            raise AcquisitionError(
                f"Found an in-plane resolution of {in_plane} mm and a slice profile of "
                f"{fwhm:.3g} mm; expected the slice to be thicker."
            )
        factor = np.sqrt(1.0 - (in_plane / fwhm) ** 2)
        return SliceProfile(
            positions=self.positions * factor, weights=self.weights, name=self.name
        )


def _trapezoids(
    positions: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    return np.asarray(0.5 * (weights[1:] + weights[:-1]) * np.diff(positions), dtype=np.float64)


def _check_fwhm(fwhm: float) -> None:
    if not (np.isfinite(fwhm) and fwhm > 0):
        raise AcquisitionError(f"Found a slice profile of {fwhm} mm; expected a width > 0 mm.")
