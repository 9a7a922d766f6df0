"""Axes along which voxels are finer than the detail that they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bids_sr.records.json_values import mapping, number

_COARSER = 1.25  # times the voxel of the result, above which it is told


@dataclass(frozen=True, kw_only=True)
class InterpolatedAxis:
    """State the finest detail along an axis whose voxels the scanner interpolated."""

    axis: int
    """Array axis."""
    voxel_mm: float
    """As acquired."""
    detail_mm: float
    """Voxel that the acquired frequencies are worth."""
    through_plane: bool
    output_mm: float | None = None
    """Voxel of the result along the axis."""

    @property
    def warning(self) -> str:
        """Say what it means for the result; empty where it means nothing."""
        if self.through_plane:
            return (
                f"the slices are interpolated by the scanner: {self.voxel_mm:.3g} mm apart, with "
                f"no detail finer than {self.detail_mm:.2g} mm across them. If the stated slice "
                "thickness is missing or smaller than that, give the right one with "
                "--slice-thickness"
            )
        if self.output_mm is None or self.detail_mm <= _COARSER * self.output_mm:
            return ""
        return (
            f"the voxels within the slices are {self.voxel_mm:.3g} mm along axis {self.axis}, but "
            f"show no detail finer than {self.detail_mm:.2g} mm, as after interpolation by the "
            f"scanner. The result has voxels of {self.output_mm:.3g} mm, not more detail"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the QC file."""
        return {
            "Axis": self.axis,
            "VoxelMm": round(self.voxel_mm, 4),
            "DetailMm": round(self.detail_mm, 3),
            "ThroughPlane": self.through_plane,
            **({} if self.output_mm is None else {"OutputMm": round(self.output_mm, 4)}),
        }

    @classmethod
    def from_value(cls, value: Any) -> InterpolatedAxis | None:
        """Read what :meth:`to_dict` makes; None where a number is missing."""
        known: Mapping[str, Any] = mapping(value)
        axis, voxel, detail = (number(known.get(key)) for key in ("Axis", "VoxelMm", "DetailMm"))
        if axis is None or voxel is None or detail is None:
            return None
        return cls(
            axis=int(axis),
            voxel_mm=voxel,
            detail_mm=detail,
            through_plane=known.get("ThroughPlane") is True,
            output_mm=number(known.get("OutputMm")),
        )
