"""What a method returns: the volume, how it was made, how it learnt, what may be kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from bids_sr.imaging import Acquisition, Volume
from bids_sr.records.learning_curve import NO_CURVE, LearningCurve
from bids_sr.records.method_record import MethodRecord
from bids_sr.sr.contract.weights import Weights


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """Hold a reconstruction and the record of how it was made.

    Attributes
    ----------
    volume : Volume
        The reconstruction, float32, on the given grid.
    record : MethodRecord
    curve : LearningCurve
        Without points for methods that do not train.
    uncertainty : Volume, optional
        Expected standard deviation of every voxel, in units of intensity, on the same grid;
        None for methods that do not estimate it.  What it promises: ``record.uncertainty``.
    learned : Weights, optional
        Weights trained on this image, for reuse; None for methods that do not train.
    acquisition : Acquisition, optional
        The acquisition that was used: an assumption may change when it is tested.
    """

    volume: Volume
    record: MethodRecord = field(default_factory=MethodRecord, repr=False)
    curve: LearningCurve = field(default=NO_CURVE, repr=False)
    uncertainty: Volume | None = field(default=None, repr=False)
    learned: Weights | None = field(default=None, repr=False)
    acquisition: Acquisition | None = field(default=None, repr=False)

    @property
    def image(self) -> Volume:
        """What is saved: the reconstruction."""
        return self.volume
