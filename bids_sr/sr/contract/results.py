"""What a method returns: the volume, how it was made, how it learnt, what may be kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bids_sr.imaging import Acquisition, Volume
from bids_sr.sr.contract.weights import Weights


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """Hold one point of a learning curve."""

    step: int
    """Training steps done."""
    seconds: float
    """Time since training began, s."""
    loss: float
    """Mean training loss since the point before."""
    validation: float | None = None
    """Gain over cubic interpolation on held-out patches, dB; None where not measured."""


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """Hold what a method made and how."""

    volume: Volume
    """The reconstruction, float32, on the grid that was asked for."""
    record: dict[str, Any] = field(default_factory=dict)
    """What was done, as plain values for a sidecar."""
    curve: tuple[CurvePoint, ...] = ()
    """Learning curve; empty for methods that do not learn."""
    uncertainty: Volume | None = None
    """Standard deviation to expect of every voxel, in units of intensity, on the same grid;
    None for methods that cannot tell."""
    learned: Weights | None = None
    """What was learnt from this image, for reuse; None for methods that do not learn."""
    acquisition: Acquisition | None = None
    """By which it was made: what is assumed of slices may change when it is tested."""
