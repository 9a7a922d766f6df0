"""The acquisition of an image, read from its header, its sidecar and the command line.

The one place that knows the unit rules: `SliceThickness` and
`SpacingBetweenSlices` are millimetres for MRI, the header's zoom along the slice
axis is the spacing (never the thickness), and what neither says is assumed and
recorded in a sentence.  Reads no image data and finds no files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bids_sr.exceptions import AcquisitionError
from bids_sr.imaging import Acquisition, InputReport
from bids_sr.imaging.acquisition import ASSUMED_PROFILE, ASSUMED_SHARE, PROFILES
from bids_sr.records.json_values import in_one_line

Origin = Literal["sidecar", "header", "command line", "assumed", "estimated"]
AUTO = "auto"
ASSUMED = "assumed"
"""Where all that is not stated of the slice profile comes from: the image, or nowhere."""

# A spacing may differ by this much from the zoom before it counts as another one.
SPACING_TOLERANCE = 0.01
# Lengths relative to the slice spacing, from thin slices of a sparse stack to strong
# overlap; the units that converters confuse lie a factor of a thousand apart.
PLAUSIBLE_RATIO = (0.04, 10.0)
# Slices this many times thicker than their spacing overlap beyond what can be undone.
MAX_OVERLAP_RATIO = 5.0
_SLICE = ("thickness", "profile")
ASSUMED_THICKNESS = "SliceThickness is not given: "
ASSUMED_KIND = "the slice profile is not stated: "
"""Begin the sentences about what is assumed or estimated of the slices; they have no semicolon."""
UNITS = {"millimetres": 1.0, "micrometres": 1e-3, "metres": 1e3}
BRAIN_WORDS = ("BRAIN", "HEAD", "SKULL", "CRANI", "ENCEPH")
UNKNOWN_WORDS = ("", "N/A", "NA", "NONE", "UNKNOWN", "UNDEFINED", "OTHER")


@dataclass(frozen=True, kw_only=True)
class AcquisitionOverrides:
    """Values of the slices on the command line; they take precedence over sidecar and header."""

    slice_thickness: float | None = None
    """mm."""
    slice_spacing: float | None = None
    """mm."""
    slice_profile: str | None = None
    """``gaussian``, ``rect``, ``slr``, the path of a TSV file; what is not stated is estimated
    from the image if that is seen, except for ``assumed`` and None."""
    sees_image: bool = True

    @property
    def estimates(self) -> bool:
        """Whether what is not stated of the slice profile is estimated from the image."""
        return self.sees_image and self.slice_profile not in (ASSUMED, None)

    @property
    def stated_profile(self) -> str | None:
        """The profile stated on the command line, if any."""
        return None if self.slice_profile in (AUTO, ASSUMED) else self.slice_profile

    def without_estimate(self) -> AcquisitionOverrides:
        """Return the same values where no image is looked at: the rest is assumed."""
        return replace(self, sees_image=False)


@dataclass(frozen=True, kw_only=True)
class AcquisitionFacts:
    """An acquisition, and where each of its values comes from."""

    acquisition: Acquisition
    """Spacing, thickness, profile and slice axis."""
    header_spacing: float
    """Zoom along the slice axis as the header has it, mm."""
    sources: dict[str, Origin]
    """Origin of ``spacing``, ``thickness``, ``profile`` and ``slice_axis``."""
    assumptions: tuple[str, ...] = ()
    """What was assumed or interpreted, one sentence each."""
    warnings: tuple[str, ...] = ()
    """Contradictions that a user should check, one sentence each."""
    sequence: str = ""
    """``3D``, ``SE`` (spin echo) or ``GR`` (gradient echo), as the sidecar says; else empty."""

    @property
    def respaced(self) -> bool:
        """Whether the command line replaces the header's spacing by another one."""
        spacing = self.acquisition.spacing
        return abs(spacing - self.header_spacing) > SPACING_TOLERANCE * self.header_spacing


def read_acquisition(
    report: InputReport,
    sidecar: Mapping[str, Any],
    overrides: AcquisitionOverrides | None = None,
) -> AcquisitionFacts:
    """Read how the slices of an image were acquired.

    Parameters
    ----------
    report : InputReport
        Facts of the image's header.
    sidecar : mapping
        Its metadata, inheritance already applied.
    overrides : AcquisitionOverrides, optional
        What the command line says.

    Returns
    -------
    AcquisitionFacts
        The acquisition, the origin of its values, assumptions and warnings.

    Raises
    ------
    AcquisitionError
        If the thickness, or a number on the command line, is impossible in any unit.

    Notes
    -----
    Where sidecar and header disagree about the spacing by more than 1 % the header
    is right about the array: a sidecar is copied more carelessly than a header, and
    vendors write the gap into the field.  The sidecar's spacing is only compared, so
    no value of it is an error.  The reverse case, a converter that wrote the thickness
    into the zoom, cannot be distinguished from it by any computation, so it is a warning
    that names the option.
    """
    overrides = overrides or AcquisitionOverrides()
    notes = _Notes(report)
    axis = _slice_axis(report, notes)
    header_spacing = float(report.grid.spacings[axis])
    spacing = _spacing(overrides, header_spacing, notes)
    thickness = _thickness(sidecar, overrides, spacing, notes)
    if overrides.slice_spacing is None:
        known = notes.sources["thickness"] in ("sidecar", "command line")
        _compare_spacing(sidecar, header_spacing, thickness if known else None, notes)
    profile = _profile(overrides, notes)
    if _sequence(sidecar) == "3D":
        notes.assumptions.append(
            "MRAcquisitionType is 3D: the slices are partitions of an encoded slab; "
            f"the {Path(profile).name} profile stands for their point spread function"
        )
    unknown = [name for name in _SLICE if notes.sources[name] in ("assumed", "estimated")]
    return AcquisitionFacts(
        acquisition=Acquisition(
            spacing=spacing,
            thickness=thickness,
            profile=profile,
            slice_axis=axis,
            assumed=tuple(unknown),
        ),
        header_spacing=header_spacing,
        sources=notes.sources,
        assumptions=tuple(notes.assumptions),
        warnings=tuple(notes.warnings),
        sequence=_sequence(sidecar),
    )


def is_brain(sidecar: Mapping[str, Any]) -> bool:
    """Tell whether an image may show a brain, by the body part in its sidecar.

    Parameters
    ----------
    sidecar : mapping
        Metadata; `BodyPart` (BIDS) and `BodyPartExamined` (DICOM) are read.

    Returns
    -------
    bool
        False only where a body part is named and it is neither brain nor head.
    """
    for field in ("BodyPart", "BodyPartExamined"):
        value = in_one_line(sidecar.get(field)).upper()
        if value not in UNKNOWN_WORDS:
            return any(word in value for word in BRAIN_WORDS)
    return True


class _Notes:
    """Collects origins, assumptions and warnings while an acquisition is read."""

    def __init__(self, report: InputReport) -> None:
        self.path = report.path
        self.sources: dict[str, Origin] = {}
        self.assumptions: list[str] = []
        self.warnings: list[str] = list(report.warnings)


def _sequence(sidecar: Mapping[str, Any]) -> str:
    """Name the sequence by `MRAcquisitionType` and `ScanningSequence`, as far as it matters."""
    if str(sidecar.get("MRAcquisitionType", "")).upper() == "3D":
        return "3D"
    stated = str(sidecar.get("ScanningSequence", "")).upper()  # a text or a list
    return next((kind for kind in ("GR", "SE") if kind in stated), "")


def _slice_axis(report: InputReport, notes: _Notes) -> int:
    spacings, axis = report.grid.spacings, report.grid.slice_axis
    notes.sources["slice_axis"] = "header"
    rivals = np.flatnonzero(spacings >= spacings[axis] * (1 - SPACING_TOLERANCE))
    if len(rivals) > 1:
        notes.sources["slice_axis"] = "assumed"
        notes.assumptions.append(
            f"axes {', '.join(map(str, rivals))} have the same largest voxel size "
            f"({spacings[axis]:.4g} mm): axis {axis} is used as the slice axis"
        )
    return axis


def _spacing(overrides: AcquisitionOverrides, header_spacing: float, notes: _Notes) -> float:
    notes.sources["spacing"] = "header"
    if overrides.slice_spacing is None:
        return header_spacing
    notes.sources["spacing"] = "command line"
    if abs(overrides.slice_spacing - header_spacing) > SPACING_TOLERANCE * header_spacing:
        notes.assumptions.append(
            f"the slice spacing is {overrides.slice_spacing:g} mm by the command line; the "
            f"header's {header_spacing:.4g} mm is replaced"
        )
    return _positive(overrides.slice_spacing, "--slice-spacing", notes.path)


def _compare_spacing(
    sidecar: Mapping[str, Any], spacing: float, thickness: float | None, notes: _Notes
) -> None:
    """Compare the sidecar's spacing with the header's, which is used; note what differs."""
    field, value = "SpacingBetweenSlices", sidecar.get("SpacingBetweenSlices")
    if _is_unknown(value):
        return
    used = f"the header's voxel size across the slices, {spacing:.4g} mm, is used"
    stated = stated_number(value)
    if stated is None:
        notes.warnings.append(
            f"{field} is {_shown(value)} in the sidecar, and a number of mm is expected: {used}"
        )
        return
    for unit, factor in UNITS.items():
        if abs(abs(stated) * factor - spacing) <= SPACING_TOLERANCE * spacing:
            notes.sources["spacing"] = "sidecar"
            if factor != 1.0:
                notes.assumptions.append(
                    f"{field} is {stated:g}: interpreted as {unit}, that is "
                    f"{abs(stated) * factor:g} mm"
                )
            if stated < 0:
                notes.assumptions.append(
                    f"{field} is {stated:g}: the sign is interpreted as the slice direction"
                )
            return
    cause = _cause_of_other_spacing(stated, spacing, thickness)
    notes.warnings.append(f"{field} is {stated:g} mm in the sidecar ({cause}): {used}")


def _cause_of_other_spacing(stated: float, spacing: float, thickness: float | None) -> str:
    """Name the likely reason why the sidecar states another spacing than the header."""
    if thickness is not None:
        gap = spacing - thickness
        difference = f"{spacing:.4g} - {thickness:.4g} = {gap:.3g}"
        if abs(stated - gap) <= SPACING_TOLERANCE * spacing:
            return f"{difference}: this is the gap between the slices, not their spacing"
        for share, unit in ((gap / thickness, ""), (100 * gap / thickness, " %")):
            if share and abs(stated - share) <= SPACING_TOLERANCE * abs(share):
                return f"{difference}, and that is {share:.3g}{unit} of the thickness: the gap"
    if 2 * stated <= spacing:
        return "some vendors write the gap between the slices here"
    if stated >= 2 * spacing:
        return "expected the two to agree within 1 %"
    advice = f"if the sidecar is right, give --slice-spacing {stated:g}"
    if thickness is not None and math.isclose(thickness, spacing, rel_tol=SPACING_TOLERANCE):
        return f"the header seems to hold the slice thickness; {advice}"
    return f"expected the two to agree within 1 %; {advice}"


def _thickness(
    sidecar: Mapping[str, Any],
    overrides: AcquisitionOverrides,
    spacing: float,
    notes: _Notes,
) -> float | None:
    """Return the thickness; None if the table of a slice profile defines it."""
    if overrides.slice_thickness is not None:
        notes.sources["thickness"] = "command line"
        thickness = _positive(overrides.slice_thickness, "--slice-thickness", notes.path)
    else:
        notes.sources["thickness"] = "sidecar"
        stated = _stated_thickness(sidecar, spacing, notes)
        if stated is None:
            return _unstated_thickness(overrides, spacing, notes)
        thickness = stated
    if thickness > MAX_OVERLAP_RATIO * spacing:
        raise AcquisitionError(
            f"{notes.path}: slices of {thickness:.4g} mm every {spacing:.4g} mm are "
            f"{thickness / spacing:.3g} times as thick as their spacing; expected at most "
            f"{MAX_OVERLAP_RATIO:g} times. Correct the sidecar, or give --slice-thickness or "
            "--slice-spacing."
        )
    if thickness > spacing * (1 + SPACING_TOLERANCE):
        notes.assumptions.append(
            f"slices of {thickness:.4g} mm every {spacing:.4g} mm overlap by "
            f"{thickness - spacing:.4g} mm"
        )
    return thickness


def _unstated_thickness(
    overrides: AcquisitionOverrides, spacing: float, notes: _Notes
) -> float | None:
    if overrides.stated_profile not in (None, *PROFILES):
        notes.sources["thickness"] = "command line"
        return None
    assumed = ASSUMED_SHARE * spacing
    words = f"{ASSUMED_SHARE:g} of the slice spacing, {assumed:.4g} mm"
    if overrides.estimates:
        notes.sources["thickness"] = "estimated"
        notes.assumptions.append(
            f"{ASSUMED_THICKNESS}estimated from the image, or, if that fails, {words}"
        )
    else:
        notes.sources["thickness"] = "assumed"
        notes.assumptions.append(f"{ASSUMED_THICKNESS}taken as {words}")
    return assumed


def _profile(overrides: AcquisitionOverrides, notes: _Notes) -> str:
    if overrides.stated_profile is not None:
        notes.sources["profile"] = "command line"
        return overrides.stated_profile
    usual = f"{ASSUMED_PROFILE}, the profile of a selective pulse"
    if overrides.estimates:
        notes.sources["profile"] = "estimated"
        notes.assumptions.append(
            f"{ASSUMED_KIND}estimated from the image, or, if that fails, {usual}"
        )
    else:
        notes.sources["profile"] = "assumed"
        notes.assumptions.append(f"{ASSUMED_KIND}assumed {usual}")
    return ASSUMED_PROFILE


def _stated_thickness(sidecar: Mapping[str, Any], spacing: float, notes: _Notes) -> float | None:
    """Read the thickness in mm, whatever unit it was written in; None where it is not known."""
    value = sidecar.get("SliceThickness")
    if _is_unknown(value):
        return None
    stated = stated_number(value)
    problem = "expected a number in mm"
    if stated == 0:
        notes.warnings.append("SliceThickness is 0 in the sidecar: treated as not stated")
        return None
    if stated is not None and stated < 0:
        problem = "expected a positive number of mm"
    elif stated is not None:
        low, high = PLAUSIBLE_RATIO
        for unit, factor in UNITS.items():
            if low <= stated * factor / spacing <= high:
                if factor != 1.0:
                    notes.assumptions.append(
                        f"SliceThickness is {stated:g}: interpreted as {unit}, that is "
                        f"{stated * factor:g} mm"
                    )
                return stated * factor
        problem = f"the slice spacing is {spacing:.4g} mm; expected mm and about that size"
    raise AcquisitionError(
        f"{notes.path}: SliceThickness is {_shown(value)} in the sidecar, {problem}. Correct the "
        "sidecar or give --slice-thickness."
    )


def _is_unknown(value: Any) -> bool:
    """Tell whether a field is absent, null or one of the words for it."""
    return value is None or (isinstance(value, str) and value.strip().upper() in UNKNOWN_WORDS)


def stated_number(value: Any) -> float | None:
    """Return a finite number, also one that was written as text; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _shown(value: Any) -> str:
    """Return a value of a sidecar as a message shows it: one short line."""
    text = "a number of many digits" if isinstance(value, int) and abs(value) > 1e18 else ""
    text = text or f"{value!r}"
    return text if len(text) <= 60 else text[:57] + "..."


def _positive(value: float, option: str, path: Path) -> float:
    if not math.isfinite(value) or value <= 0:
        raise AcquisitionError(f"{path}: {option} is {value:g}; expected a positive number of mm.")
    return float(value)
