"""What a method returns: the volume, how it was made, how it learnt, what may be kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from bids_sr.imaging import Acquisition, Volume
from bids_sr.records.learning_curve import NO_CURVE, LearningCurve
from bids_sr.records.method_record import MethodRecord
from bids_sr.sr.contract.weights import Weights


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """Hold what a method made and how."""

    volume: Volume
    """The reconstruction, float32, on the grid that was asked for."""
    record: MethodRecord = field(default_factory=MethodRecord)
    curve: LearningCurve = NO_CURVE
    """Without points for methods that do not learn."""
    uncertainty: Volume | None = None
    """Standard deviation to expect of every voxel, in units of intensity, on the same grid;
    None for methods that cannot tell."""
    learned: Weights | None = None
    """What was learnt from this image, for reuse; None for methods that do not learn."""
    acquisition: Acquisition | None = None
    """By which it was made: what is assumed of slices may change when it is tested."""

    @property
    def image(self) -> Volume:
        """What is saved: the reconstruction."""
        return self.volume
