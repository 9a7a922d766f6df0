"""An interval is calibrated if it holds the promised share of the true values.

A linear model predicts, from the features of a voxel, the size that 90 % of errors stay below.
It learnt from simulated acquisitions; a factor that was set on heads left out of the fit, one
after the other (cross-conformal prediction), corrects what is left.  It cannot see what no slice
shows.

References
----------
Romano, Patterson and Candes 2019, Conformalized quantile regression, NeurIPS,
doi:10.48550/arXiv.1905.03222.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_sr.exceptions import WeightsError
from bids_sr.imaging import Acquisition, Volume
from bids_sr.records.uncertainty import COVERAGE_FACTOR, UncertaintyRecord
from bids_sr.sr.inference.error_features import NAMES, ErrorFeatures, error_features

Array = npt.NDArray[np.float32]
VOXELS = (0.7, 1.3)
"""Voxel sizes of the calibration, mm."""
SPACINGS = (2.5, 7.0)
"""Slice spacings of the calibration, mm."""
_LEAST_SCALE = 1.5


@dataclass(frozen=True, eq=False)
class IntervalModel:
    """Predict the half-width of the interval from features: a linear model of its logarithm."""

    coefficients: Array
    """(F,) of the features."""
    lowest: Array
    """(F,) values that the features had in the training; beyond them nothing is known."""
    highest: Array
    offset: float
    """Of the logarithm, with the factor that was set on heads left out of the fit."""
    weights: str
    """SHA-256 of the network's weights whose errors it learnt."""
    calibrated_on: tuple[str, ...]
    """Images; each head was left out of the fit in turn."""
    name: str

    @classmethod
    def packaged(cls, name: str = "brain-5_interval.json") -> IntervalModel:
        """Read a model that comes with the package (WeightsError)."""
        file = resources.files("bids_sr.data") / "weights" / name
        return cls.from_dict(json.loads(file.read_text(encoding="utf-8")), name)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], name: str) -> IntervalModel:
        """Read what ``benchmarks/interval.py`` writes (WeightsError)."""
        features = values["Features"]
        if set(features) != set(NAMES):
            raise WeightsError(
                f"Found {name} for the features {', '.join(features)}; expected "
                f"{', '.join(NAMES)}. Fit it again (benchmarks/interval.py)."
            )
        coefficients, lowest, highest = (
            np.array([features[feature][key] for feature in NAMES], np.float32)
            for key in ("Coefficient", "Lowest", "Highest")
        )
        return cls(
            coefficients=coefficients,
            lowest=lowest,
            highest=highest,
            offset=float(values["Offset"]) + float(values["LogFactor"]),
            weights=str(values["Weights"]),
            calibrated_on=tuple(values["CalibratedOn"]),
            name=name,
        )

    def half_width(self, part: ErrorFeatures) -> Array:
        """Return the (Z, H, W) half-widths of a part, in units of intensity."""
        logs = np.clip(part.values, self.lowest, self.highest) @ self.coefficients
        logs += part.log_scale + np.float32(self.offset)
        return np.asarray(np.exp(logs), dtype=np.float32)


def calibrated_deviation(
    model: IntervalModel, sr: Volume, lr: Volume, acquisition: Acquisition, deviation: Volume
) -> Volume:
    """Return the map whose value times :data:`.COVERAGE_FACTOR` is the interval's half-width.

    Parameters
    ----------
    model : IntervalModel
    sr : Volume
        The reconstruction.
    lr : Volume
        The acquired slices.
    acquisition : Acquisition
        How they were taken, with the slice axis.
    deviation : Volume
        Standard deviation from the disagreement of the views, on the grid of `sr`.

    Returns
    -------
    Volume
        In units of intensity.
    """
    assert acquisition.slice_axis is not None
    result = np.empty(sr.shape, np.float32)
    planes = np.moveaxis(result, acquisition.slice_axis, 0)
    for part in error_features(sr, lr, acquisition, deviation):
        planes[:, part.rows] = model.half_width(part) / np.float32(COVERAGE_FACTOR)
    return sr.with_data(result)


def calibration_record(
    model: IntervalModel, sr: Volume, acquisition: Acquisition, weights: tuple[str, ...]
) -> UncertaintyRecord:
    """Say whether the calibration holds for a reconstruction.

    Parameters
    ----------
    model : IntervalModel
    sr : Volume
        The reconstruction.
    acquisition : Acquisition
        How its slices were taken, with the slice axis.
    weights : tuple of str
        Digests of the network's weights and of those that its training began with.
    """
    assert acquisition.slice_axis is not None
    sizes, spacing = sr.spacings, acquisition.spacing
    scale = acquisition.scale(float(sizes[acquisition.slice_axis]))
    reason = ""
    if model.weights not in weights:
        reason = "it was calibrated with other weights"
    elif not (VOXELS[0] <= float(sizes.min()) and float(sizes.max()) <= VOXELS[1]):
        reason = f"it was calibrated with voxels of {VOXELS[0]:g} to {VOXELS[1]:g} mm"
    elif not (SPACINGS[0] <= spacing <= SPACINGS[1] and scale >= _LEAST_SCALE):
        reason = f"it was calibrated with slices {SPACINGS[0]:g} to {SPACINGS[1]:g} mm apart"
    if reason:
        return UncertaintyRecord(reason=reason)
    return UncertaintyRecord(calibrated=True, model=model.name, calibrated_on=model.calibrated_on)
