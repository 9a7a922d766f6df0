"""Acquisition: how the slices of a volume were acquired.

Spacing, thickness and profile are facts of the scan; the target grid is not one of
them.  The caller reads them from sidecar, header or command line.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from bids_sr.exceptions import AcquisitionError
from bids_sr.imaging.grid import SAME_SPACING
from bids_sr.imaging.slice_profile import SliceProfile
from bids_sr.imaging.volume import Volume

PROFILES = {
    "gaussian": SliceProfile.gaussian,
    "rect": SliceProfile.rect,
    "slr": SliceProfile.slr,
}
"""Named slice profiles, each computed from its FWHM in mm."""
ASSUMED_PROFILE = "slr"
"""Profile where none is stated: 2D slices are excited selectively, which is closer to a box
than to a Gaussian."""
ASSUMED_SHARE = 0.85
"""Thickness where none is stated, as a share of the slice spacing."""
_LARGEST_MM = 100.0  # thicker than any slice: the number is in micrometres or invalid
_SMALLEST_MM = 1e-3  # thinner than any slice: the number is in metres or invalid
_MAY_BE_ASSUMED = ("thickness", "profile")


class _OfTheVolume(float):
    """Stands for a spacing that is not given: a NaN that no computation makes."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Acquisition:
    """State spacing, thickness and profile of the slices and the axis they are stacked on.

    Attributes
    ----------
    spacing : float, mm, optional
        Distance between the centres of neighbouring slices; by default that of the volume,
        filled in by :meth:`for_volume`, as every call that takes a volume does.
    thickness : float, mm, optional
        Nominal FWHM of a slice; by default that of a stated profile, else 0.85 spacings.
    profile : str or SliceProfile, optional
        ``gaussian``, ``rect``, ``slr``, the path of a table, or the profile itself; if not
        given ``slr``.
    slice_axis : int, optional
        Array axis across the slices; None for the axis of the largest spacing.
    assumed : tuple of str
        Which of ``thickness`` and ``profile`` are assumed; those not stated are added.

    Raises
    ------
    AcquisitionError
        If a number is impossible or the profile is unknown.
    TypeError
        If a length is not a number, the slice axis not a whole one, or the profile neither text
        nor a profile.

    Examples
    --------
    >>> Acquisition(thickness=5).for_volume(flair)
    Acquisition(spacing=6.0, thickness=5.0, profile='slr', slice_axis=2, assumed: profile)
    """

    spacing: float = _OfTheVolume("nan")
    thickness: float | None = None
    profile: str | SliceProfile | None = None
    slice_axis: int | None = None
    assumed: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        """Check the numbers, resolve the profile's file and fill in the thickness."""
        if self.has_spacing:
            self._set("spacing", _length("slice spacing", self.spacing))
        if not isinstance(self.assumed, tuple) or not {*self.assumed} <= {*_MAY_BE_ASSUMED}:
            raise AcquisitionError(
                f"Found assumed = {self.assumed!r}; expected a tuple of "
                f"{' and '.join(_MAY_BE_ASSUMED)}, or nothing."
            )
        if self.profile is None:
            self._assume("profile", ASSUMED_PROFILE)
        profile = self.profile
        if not isinstance(profile, str | Path | SliceProfile):
            raise TypeError(
                f"Found a slice profile of type {type(profile).__name__}; expected one of "
                f"{', '.join(PROFILES)}, the path of a table, or a SliceProfile."
            )
        if not isinstance(profile, SliceProfile) and profile not in PROFILES:
            if not _is_file(Path(profile)):
                raise AcquisitionError(
                    f"Found slice profile {str(profile)!r}; expected one of {', '.join(PROFILES)} "
                    "or the path of a table with the columns position_mm and weight."
                )
            profile = SliceProfile.from_file(profile)
            self._set("profile", profile)
        if self.thickness is None:
            if isinstance(profile, SliceProfile):
                self._set("thickness", float(profile.fwhm))
            elif self.has_spacing:
                self._assume("thickness", ASSUMED_SHARE * self.spacing)
        if self.thickness is not None:
            self._set("thickness", _length("slice thickness", self.thickness))
        if self.slice_axis is None:
            return
        self._set("slice_axis", _whole(self.slice_axis))
        if self.slice_axis not in (0, 1, 2):
            raise AcquisitionError(
                f"Found slice axis {self.slice_axis}; expected 0, 1 or 2 (an array axis)."
            )

    def __repr__(self) -> str:
        """Say all: Nipype knows a node again by it, so other acquisitions read differently."""
        facts = [f"spacing={float(self.spacing)}"] if self.has_spacing else []
        facts += [f"thickness={float(self.thickness)}"] if self.thickness is not None else []
        facts += [f"profile={self.profile!r}"]
        facts += [f"slice_axis={self.slice_axis}"] if self.slice_axis is not None else []
        facts += [f"assumed: {' and '.join(self.assumed)}"] if self.assumed else []
        return f"Acquisition({', '.join(facts)})"

    @property
    def has_spacing(self) -> bool:
        """Whether the spacing is known; otherwise it is to be taken from a volume."""
        return not isinstance(self.spacing, _OfTheVolume)

    @property
    def known_spacing(self) -> float:
        """The spacing, mm; an AcquisitionError where it is still to be taken from a volume."""
        if not self.has_spacing:
            raise AcquisitionError(
                "Found an acquisition without a slice spacing; expected one. Give spacing=, or "
                "take it from the image: acquisition.for_volume(volume)."
            )
        return self.spacing

    def _assume(self, name: str, value: float | str) -> None:
        self._set(name, value)
        self._set("assumed", tuple(dict.fromkeys([*self.assumed, name])))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @classmethod
    def from_volume(
        cls,
        volume: Volume,
        *,
        thickness: float | None = None,
        profile: str | SliceProfile | None = None,
        slice_axis: int | None = None,
    ) -> Acquisition:
        """Take the spacing from the volume; see the fields for the rest."""
        axis = volume.slice_axis if slice_axis is None else slice_axis
        spacing = float(volume.spacings[axis])
        return cls(spacing=spacing, thickness=thickness, profile=profile, slice_axis=axis)

    @property
    def nominal_thickness(self) -> float:
        """The thickness as a number, mm; as :attr:`known_spacing` if it follows from that."""
        return ASSUMED_SHARE * self.known_spacing if self.thickness is None else self.thickness

    @property
    def gap(self) -> float:
        """Spacing minus thickness, mm; negative where slices overlap."""
        return self.known_spacing - self.nominal_thickness

    @property
    def slice_profile(self) -> SliceProfile:
        """The profile across a slice; a stated one takes precedence over the thickness."""
        if isinstance(self.profile, SliceProfile):
            return self.profile
        assert self.profile is not None
        return PROFILES[self.profile](self.nominal_thickness)

    def scale(self, target_spacing: float) -> float:
        """Return spacing / `target_spacing` (mm), unrounded.

        Raises
        ------
        AcquisitionError
            If `target_spacing` is not a positive length.
        """
        return self.known_spacing / _length("target spacing", target_spacing)

    def for_volume(self, volume: Volume) -> Acquisition:
        """Return this acquisition with what `volume` says filled in: slice axis and spacing.

        Raises
        ------
        AcquisitionError
            If the volume's spacing along that axis differs by more than 1 %.
        """
        axis = volume.slice_axis if self.slice_axis is None else self.slice_axis
        voxel_spacing = float(volume.spacings[axis])
        if not self.has_spacing:
            return replace(self, slice_axis=axis, spacing=voxel_spacing)
        if abs(voxel_spacing - self.spacing) > SAME_SPACING * self.spacing:
            raise AcquisitionError(
                f"Found voxels of {voxel_spacing:.4g} mm along slice axis {axis} and a slice "
                f"spacing of {self.spacing:.4g} mm; expected the same. Check the slice axis, and "
                "correct the header or the stated spacing."
            )
        return replace(self, slice_axis=axis)

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as plain values for a sidecar; lengths in mm."""
        profile = self.slice_profile
        return {
            "SpacingBetweenSlices": self.known_spacing,
            "SliceThickness": self.nominal_thickness,
            "SliceGap": self.gap,
            "SliceAxis": self.slice_axis,
            "SliceProfile": profile.name,
            "SliceProfileFWHM": profile.fwhm,
        }


def _length(what: str, value: Any) -> float:
    """Return a length in mm as a number of Python."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(
            f"Found a {what} {value!r} of type {type(value).__name__}; expected a number of mm."
        )
    number: Any = value  # Real says nothing of order
    if not _SMALLEST_MM <= number <= _LARGEST_MM:
        raise AcquisitionError(
            f"Found a {what} of {value} mm; expected a length of {_SMALLEST_MM:g} to "
            f"{_LARGEST_MM:g} mm. Check the unit."
        )
    return float(number)


def _whole(axis: object) -> int:
    """Return an array axis as a number of Python."""
    if isinstance(axis, int | np.integer) and not isinstance(axis, bool):
        return int(axis)
    raise TypeError(
        f"Found the slice axis {axis!r} of type {type(axis).__name__}; expected 0, 1 or 2."
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a text that is too long for a name
        return False
