from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bids_sr.exceptions import WeightsError
from bids_sr.imaging import Acquisition, Volume, degrade, resample
from bids_sr.records.uncertainty import COVERAGE_FACTOR, UncertaintyRecord
from bids_sr.sr.contract.weights import Weights, locate
from bids_sr.sr.inference.error_features import NAMES, ErrorFeatures
from bids_sr.sr.inference.interval import (
    IntervalModel,
    calibrated_deviation,
    calibration_record,
)

ACQUISITION = Acquisition(spacing=6.0, thickness=5.0, profile="gaussian", slice_axis=2)


@pytest.fixture
def values() -> dict[str, Any]:
    """Return a model that only looks at the first feature."""
    features = {name: {"Coefficient": 0.0, "Lowest": -2.0, "Highest": 2.0} for name in NAMES}
    features[NAMES[0]]["Coefficient"] = 0.5
    return {
        "Features": features,
        "Offset": 0.25,
        "LogFactor": 0.1,
        "Weights": "abc",
        "CalibratedOn": ["sub-b_T1w"],
    }


def test_half_width_is_what_the_coefficients_say(values: dict[str, Any]) -> None:
    model = IntervalModel.from_dict(values, "small")
    features = np.random.default_rng(0).normal(0, 2, (3, 4, 5, len(NAMES))).astype(np.float32)
    scale = np.random.default_rng(1).normal(0, 1, (3, 4, 5)).astype(np.float32)
    widths = model.half_width(ErrorFeatures(slice(0, 4), scale, features))
    expected = np.exp(scale + 0.5 * features[..., 0].clip(-2, 2) + 0.25 + 0.1)
    np.testing.assert_allclose(widths, expected, rtol=1e-5)


def test_a_model_for_other_features_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(WeightsError, match="Fit it again"):
        IntervalModel.from_dict({**values, "Features": {"noise": {}}}, "small")


def test_the_packaged_model_is_that_of_the_packaged_weights() -> None:
    model = IntervalModel.packaged()
    assert model.weights == Weights.load(locate("brain-5", None, offline=True)).digest


def test_the_map_grows_with_the_intensities_and_lies_on_the_grid(mni152_2mm: Volume) -> None:
    head = Volume(100 * mni152_2mm.data[20:60, 25:75, 20:62], mni152_2mm.affine)
    lr = degrade(head, ACQUISITION)
    sr = resample(lr, head.grid)
    stated = sr.with_data(0.05 * np.abs(sr.data))
    model = IntervalModel.packaged()
    small = calibrated_deviation(model, sr, lr, ACQUISITION, stated)
    large = calibrated_deviation(
        model, *(volume.with_data(3 * volume.data) for volume in (sr, lr)), ACQUISITION,
        stated.with_data(3 * stated.data),
    )  # fmt: skip
    assert small.same_grid(head)
    np.testing.assert_allclose(large.data, 3 * small.data, rtol=0.02)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, ""),
        ({"weights": ("other",)}, "other weights"),
        ({"voxel": 0.5}, "voxels of"),
        ({"spacing": 9.0}, "slices 2.5 to 7 mm apart"),
        ({"spacing": 2.0}, "slices 2.5 to 7 mm apart"),
    ],
)
def test_a_calibration_holds_for_what_it_was_made_with(
    values: dict[str, Any], changed: dict[str, Any], reason: str
) -> None:
    voxel = changed.get("voxel", 1.0)
    sr = Volume(np.zeros((4, 4, 4), np.float32), np.diag([voxel] * 3 + [1.0]))
    acquisition = replace(ACQUISITION, spacing=changed.get("spacing", 6.0), thickness=2.0)
    model = IntervalModel.from_dict(values, "small")
    weights = changed.get("weights", ("adapted", "abc"))
    record = calibration_record(model, sr, acquisition, weights)
    assert record.calibrated == (not reason)
    assert reason in record.reason
    assert UncertaintyRecord.from_dict(record.to_dict()) == record
    facts = record.to_dict()
    assert facts.get("CoverageFactor") == (None if reason else COVERAGE_FACTOR)
