"""The acquisition of an image, read from its header, its sidecar and the command line.

The one place that knows the unit rules: `SliceThickness` and
`SpacingBetweenSlices` are millimetres for MRI, the header's zoom along the slice
axis is the spacing (never the thickness), and what neither says is assumed and
recorded in a sentence.  Reads no image data and finds no files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bids_sr.exceptions import AcquisitionError
from bids_sr.imaging import Acquisition, InputReport

Origin = Literal["sidecar", "header", "command line", "assumed", "estimated"]
AUTO = "auto"
"""The profile of an image whose own is estimated from it."""

# A spacing may differ by this much from the zoom before it counts as another one.
SPACING_TOLERANCE = 0.01
# Lengths relative to the slice spacing, from thin slices of a sparse stack to strong
# overlap; the units that converters confuse lie a factor of a thousand apart.
PLAUSIBLE_RATIO = (0.04, 10.0)
UNITS = {"millimetres": 1.0, "micrometres": 1e-3, "metres": 1e3}
BRAIN_WORDS = ("BRAIN", "HEAD", "SKULL", "CRANI", "ENCEPH")
UNKNOWN_WORDS = ("", "N/A", "NA", "NONE", "UNKNOWN", "UNDEFINED", "OTHER")


@dataclass(frozen=True, kw_only=True)
class AcquisitionOverrides:
    """What the command line says about the slices; it wins over sidecar and header."""

    thickness: float | None = None
    """Slice thickness, mm."""
    spacing: float | None = None
    """Slice spacing, mm."""
    profile: str = "gaussian"
    """Slice profile: ``gaussian``, ``rect``, ``slr``, the path of a TSV file, or ``auto``:
    estimated from the image once it is read, a Gaussian until then."""


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
    """Contradictions that a user should look at, one sentence each."""

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
    """Tell how the slices of an image were acquired.

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
        If a value is not a number, not positive, or impossible in any unit.

    Notes
    -----
    Where sidecar and header disagree about the spacing by more than 1 % the header
    is right about the array: a sidecar is copied more carelessly than a header.  The
    reverse case, a converter that wrote the thickness into the zoom, cannot be told
    apart from it by any computation, so it is a warning that names the option.
    """
    overrides = overrides or AcquisitionOverrides()
    notes = _Notes(report)
    axis = _slice_axis(report, notes)
    header_spacing = float(report.grid.spacings[axis])
    spacing = _spacing(sidecar, overrides, header_spacing, notes)
    thickness = _thickness(sidecar, overrides, spacing, notes)
    profile = "gaussian" if overrides.profile == AUTO else overrides.profile
    if str(sidecar.get("MRAcquisitionType", "")).upper() == "3D":
        notes.assumptions.append(
            "MRAcquisitionType is 3D: the slices are partitions of an encoded slab; "
            f"the {Path(profile).name} profile stands for their point spread function"
        )
    notes.sources["profile"] = "command line" if profile != "gaussian" else "assumed"
    if overrides.profile == AUTO:
        notes.sources["profile"] = "estimated"
    return AcquisitionFacts(
        acquisition=Acquisition(
            spacing=spacing, thickness=thickness, profile=profile, slice_axis=axis
        ),
        header_spacing=header_spacing,
        sources=notes.sources,
        assumptions=tuple(notes.assumptions),
        warnings=tuple(notes.warnings),
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
        value = str(sidecar.get(field) or "").strip().upper()
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


def _slice_axis(report: InputReport, notes: _Notes) -> int:
    spacings, axis = report.grid.spacings, report.grid.slice_axis
    notes.sources["slice_axis"] = "header"
    rivals = np.flatnonzero(spacings >= spacings[axis] * (1 - SPACING_TOLERANCE))
    if len(rivals) > 1:
        notes.sources["slice_axis"] = "assumed"
        notes.assumptions.append(
            f"axes {', '.join(map(str, rivals))} have the same largest voxel size "
            f"({spacings[axis]:.4g} mm): axis {axis} is taken for the slice axis"
        )
    return axis


def _spacing(
    sidecar: Mapping[str, Any],
    overrides: AcquisitionOverrides,
    header_spacing: float,
    notes: _Notes,
) -> float:
    if overrides.spacing is not None:
        notes.sources["spacing"] = "command line"
        if abs(overrides.spacing - header_spacing) > SPACING_TOLERANCE * header_spacing:
            notes.assumptions.append(
                f"the slice spacing is {overrides.spacing:g} mm by the command line; the "
                f"header's {header_spacing:.4g} mm is replaced"
            )
        return _positive(overrides.spacing, "--slice-spacing", notes.path)
    notes.sources["spacing"] = "header"
    stated = _length(sidecar, "SpacingBetweenSlices", header_spacing, notes)
    if stated is None:
        return header_spacing
    if abs(stated - header_spacing) <= SPACING_TOLERANCE * header_spacing:
        notes.sources["spacing"] = "sidecar"
        return header_spacing
    thickness = sidecar.get("SliceThickness")
    cause = "expected them to agree within 1 %"
    if isinstance(thickness, int | float) and math.isclose(
        thickness, header_spacing, rel_tol=SPACING_TOLERANCE
    ):
        cause = "the header seems to hold the slice thickness"
    notes.warnings.append(
        f"SpacingBetweenSlices is {stated:g} mm in the sidecar, the header's voxel size across "
        f"the slices is {header_spacing:.4g} mm ({cause}): the header is used; if the sidecar "
        f"is right, give --slice-spacing {stated:g}"
    )
    return header_spacing


def _thickness(
    sidecar: Mapping[str, Any],
    overrides: AcquisitionOverrides,
    spacing: float,
    notes: _Notes,
) -> float:
    if overrides.thickness is not None:
        notes.sources["thickness"] = "command line"
        thickness = _positive(overrides.thickness, "--slice-thickness", notes.path)
    else:
        notes.sources["thickness"] = "sidecar"
        stated = _length(sidecar, "SliceThickness", spacing, notes)
        if stated is None and overrides.profile == AUTO:
            notes.sources["thickness"] = "estimated"
            notes.assumptions.append(
                "SliceThickness is not given: the width of the slice profile is estimated from "
                "the image"
            )
            return spacing
        if stated is None:
            notes.sources["thickness"] = "assumed"
            notes.assumptions.append(
                f"SliceThickness is not given: taken as the slice spacing, {spacing:.4g} mm "
                "(no gap)"
            )
            return spacing
        thickness = stated
    if thickness > spacing * (1 + SPACING_TOLERANCE):
        notes.assumptions.append(
            f"slices of {thickness:.4g} mm every {spacing:.4g} mm overlap by "
            f"{thickness - spacing:.4g} mm"
        )
    return thickness


def _length(
    sidecar: Mapping[str, Any], field: str, expected: float, notes: _Notes
) -> float | None:
    """Read a length in mm, whatever unit it was written in; None where it is absent."""
    value = sidecar.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise AcquisitionError(
            f"{notes.path}: {field} is {value!r} in the sidecar; expected a number in mm. "
            f"Correct the sidecar or give {_option(field)}."
        )
    if value < 0 and field == "SpacingBetweenSlices":
        notes.assumptions.append(
            f"{field} is {value:g}: the sign is taken for the slice direction and dropped"
        )
        value = -value
    if value <= 0:
        raise AcquisitionError(
            f"{notes.path}: {field} is {value:g} in the sidecar; expected a positive number "
            f"of mm. Correct the sidecar or give {_option(field)}."
        )
    low, high = PLAUSIBLE_RATIO
    for unit, factor in UNITS.items():
        if low <= value * factor / expected <= high:
            if factor != 1.0:
                notes.assumptions.append(
                    f"{field} is {value:g}: taken for {unit}, that is {value * factor:g} mm"
                )
            return float(value * factor)
    raise AcquisitionError(
        f"{notes.path}: {field} is {value:g} in the sidecar, the slice spacing is "
        f"{expected:.4g} mm; expected mm and about that size. Correct the sidecar or give "
        f"{_option(field)}."
    )


def _positive(value: float, option: str, path: Path) -> float:
    if not math.isfinite(value) or value <= 0:
        raise AcquisitionError(f"{path}: {option} is {value:g}; expected a positive number of mm.")
    return float(value)


def _option(field: str) -> str:
    return "--slice-spacing" if field == "SpacingBetweenSlices" else "--slice-thickness"
