"""Every step but the check and super-resolution may fail, and the image goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_sr.imaging import Acquisition, Volume
from bids_sr.interfaces import (
    brain_extraction,
    optional,
    preprocessing,
    reportlets,
    segmentation,
    super_resolution,
)
from bids_sr.interfaces.optional import OptionalStep
from bids_sr.records.learning_curve import CurvePoint, LearningCurve
from bids_sr.records.method_record import MethodRecord

ACQUISITION = Acquisition(spacing=6.0, thickness=5.0, profile="gaussian", slice_axis=2)
FIGURE = {"out_file": None}
CURVE = LearningCurve(points=(CurvePoint(step=1, seconds=1.0, loss=1.0),))
STEPS: list[tuple[type[OptionalStep], dict[str, Any], dict[str, Any]]] = [
    (preprocessing.Unchanged, {"in_file": "FILE"}, {"out_file": "FILE"}),
    (preprocessing.Denoise, {"in_file": "FILE"}, {"out_file": "FILE"}),
    (preprocessing.CorrectBias, {"in_file": "FILE"}, {"out_file": "FILE"}),
    (
        preprocessing.CorrectSliceGain,
        {"in_file": "FILE", "acquisition": ACQUISITION},
        {"out_file": "FILE"},
    ),
    (
        brain_extraction.ExtractBrain,
        {"in_file": "FILE", "acquired_file": "FILE"},
        {"out_mask": None, "skull_stripped": None},
    ),
    (
        brain_extraction.MaskToGrid,
        {"in_mask": "FILE", "reference_file": "FILE"},
        {"out_mask": None},
    ),
    (
        super_resolution.EstimateProfile,
        {"in_file": "FILE", "acquisition": ACQUISITION},
        {"acquisition": ACQUISITION},
    ),
    (reportlets.MaskFigure, {"in_file": "FILE", "in_mask": "FILE"}, FIGURE),
    (
        reportlets.BeforeAfterFigure,
        {
            "acquired_file": "FILE",
            "before_file": "FILE",
            "after_file": "FILE",
            "record": MethodRecord(),
        },
        FIGURE,
    ),
    (
        reportlets.GuideFigure,
        {
            "unguided_file": "FILE",
            "sr_file": "FILE",
            "aligned_guide": None,
            "record": MethodRecord(),
        },
        FIGURE,
    ),
    (
        reportlets.AlignedGuideFigure,
        {
            "unguided_file": "FILE",
            "sr_file": "FILE",
            "aligned_guide": "FILE",
            "record": MethodRecord(),
        },
        FIGURE,
    ),
    (reportlets.SliceGainFigure, {"gain_record": {"Applied": True}}, FIGURE),
    (reportlets.SlicesFigure, {"record": MethodRecord()}, FIGURE),
    (
        reportlets.SliceProfileFigure,
        {"acquisition": ACQUISITION, "record": MethodRecord()},
        FIGURE,
    ),
    (reportlets.LearningCurveFigure, {"curve": CURVE}, FIGURE),
    (reportlets.UncertaintyFigure, {"in_file": "FILE", "in_uncertainty": "FILE"}, FIGURE),
    (
        reportlets.SegmentationFigure,
        {"in_file": "FILE", "in_labels": "FILE", "colours": []},
        FIGURE,
    ),
    (
        segmentation.SegmentImage,
        {"in_file": "FILE", "in_mask": "FILE", "tool": "atropos"},
        {"out_labels": None, "out_files": {}, "colours": []},
    ),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    data = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    return Volume(data, np.diag([1.0, 1.0, 6.0, 1.0])).save(tmp_path / "image.nii.gz")


def _filled(values: dict[str, Any], file: Path) -> dict[str, Any]:
    return {key: str(file) if value == "FILE" else value for key, value in values.items()}


@pytest.mark.parametrize(
    "error", [MemoryError("Unable to allocate 148. GiB"), TimeoutError("late"), KeyError("x")]
)
@pytest.mark.parametrize(("step", "inputs", "expected"), STEPS)
def test_an_image_goes_on_without_the_step(
    step: type[OptionalStep],
    inputs: dict[str, Any],
    expected: dict[str, Any],
    error: Exception,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(self: Any, runtime: Any) -> None:
        raise error

    monkeypatch.setattr(step, "_run_step", fail)
    outputs = step(**_filled(inputs, file)).run(cwd=str(tmp_path)).outputs
    results = {name: getattr(outputs, name) for name in expected}
    assert results == _filled(expected, file)
    assert outputs.record["Status"] == "failed"
    assert type(error).__name__ in outputs.record["Warning"]
    assert outputs.record["Warning"].startswith(step.without)
    assert "Seconds" in outputs.record


@pytest.mark.parametrize(("step", "inputs", "expected"), STEPS)
def test_a_step_that_is_given_up_is_not_tried(
    step: type[OptionalStep], inputs: dict[str, Any], expected: dict[str, Any], file: Path
) -> None:
    node = step(**_filled(inputs, file), give_up="it was killed twice")
    outputs = node.run(cwd=str(file.parent)).outputs
    assert {name: getattr(outputs, name) for name in expected} == _filled(expected, file)
    assert "it was killed twice" in outputs.record["Warning"]


def test_every_step_but_the_essential_ones_is_optional() -> None:
    rooms = (brain_extraction, preprocessing, reportlets, segmentation, super_resolution)
    steps = {
        value
        for room in rooms
        for value in vars(room).values()
        if isinstance(value, type)
        and issubclass(value, optional.SimpleInterface)
        and value.input_spec is not optional.BaseInterfaceInputSpec
        and value.input_spec is not optional.SimpleInterface.input_spec
    }
    essential = {step.__name__ for step in steps if not issubclass(step, OptionalStep)}
    assert essential == {"CheckInput", "SuperResolve", "LearnFromImages"}
    tried = {step for step, _, _ in STEPS}
    assert {step for step in steps if issubclass(step, OptionalStep)} == tried
