from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bids_sr.imaging import Acquisition
from bids_sr.interfaces.outputs import (
    SaveDerivative,
    SaveProduct,
    SaveQuality,
    SaveUncertainty,
)
from bids_sr.records.learning_curve import GAIN_OVER_LINEAR, CurvePoint, LearningCurve
from bids_sr.records.method_record import HeldOutSlices, MethodRecord, Output, SlicesUsed
from bids_sr.records.quality import read_quality
from bids_sr.records.uncertainty import UncertaintyRecord


def test_a_result_is_copied_with_its_sidecar(thick_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "sub-01_desc-brain_mask.nii.gz"
    done = SaveDerivative(
        in_file=thick_file,
        out_path=str(target),
        metadata={"Sources": ["bids:raw:x"]},
        record={"Method": "template"},
        record_key="BrainExtraction",
    ).run(cwd=tmp_path)
    assert done.outputs.out_file == str(target)
    assert target.read_bytes() == thick_file.read_bytes()
    sidecar = json.loads((tmp_path / "out" / "sub-01_desc-brain_mask.json").read_text())
    assert sidecar == {"Sources": ["bids:raw:x"], "BrainExtraction": {"Method": "template"}}
    assert len(list(target.parent.iterdir())) == 2


PLANNED = "SliceThickness is not given: taken as 0.85 of the slice spacing, 5.1 mm"
PLAN = {
    "Description": "Super-resolved T1w image",
    "SuperResolution": {
        "Scale": 6.0,
        "SliceThickness": 5.1,
        "Assumptions": [PLANNED, "other"],
        "Warnings": ["odd header"],
    },
}


def saved(thick_file: Path, tmp_path: Path, method: MethodRecord) -> dict[str, Any]:
    """Return the sidecar of a product."""
    SaveProduct(
        in_file=thick_file,
        out_path=str(tmp_path / "out" / "sub-01_desc-sr_T1w.nii.gz"),
        metadata=PLAN,
        method=method,
        steps=[{"Method": "none"}, {"Warning": "the image was not denoised: late"}],
    ).run(cwd=tmp_path)
    sidecar: dict[str, Any] = json.loads(
        (tmp_path / "out" / "sub-01_desc-sr_T1w.json").read_text()
    )
    return sidecar


def test_thinner_slices_than_planned_are_in_words_too(thick_file: Path, tmp_path: Path) -> None:
    record = MethodRecord(
        method="finetuned",
        slices=SlicesUsed.of(Acquisition(spacing=6.0, thickness=3.0, slice_axis=2)),
        held_out=HeldOutSlices(assumption="thinner slices"),
    )
    section = saved(thick_file, tmp_path, record)["SuperResolution"]
    thickness, another = section["Assumptions"]
    assert section["SliceThickness"] == 3.0
    assert "taken as 3 mm" in thickness
    assert another == "other"


def test_warnings_of_earlier_steps_join_the_sidecar(thick_file: Path, tmp_path: Path) -> None:
    section = saved(thick_file, tmp_path, MethodRecord(method="self"))["SuperResolution"]
    assert section["Warnings"] == ["odd header", "the image was not denoised: late"]
    assert "Warning" not in section


def test_what_was_interpolated_is_called_so(thick_file: Path, tmp_path: Path) -> None:
    record = MethodRecord(method="self", fallback="bspline", fallback_reason="too few slices")
    sidecar = saved(thick_file, tmp_path, record)
    assert sidecar["Description"] == "Interpolated T1w image"
    assert "too few slices" in sidecar["SuperResolution"]["Warning"]


@pytest.mark.parametrize(("recognised", "expected"), [(True, True), (False, False), (None, False)])
def test_what_was_found_of_the_skull_wins_over_the_plan(
    thick_file: Path, tmp_path: Path, recognised: bool | None, expected: bool
) -> None:
    target = tmp_path / "out" / "sub-01_desc-sr_T1w.nii.gz"
    SaveDerivative(
        in_file=thick_file,
        out_path=str(target),
        metadata={"SkullStripped": False},
        skull_stripped=recognised,
    ).run(cwd=tmp_path)
    sidecar = json.loads((tmp_path / "out" / "sub-01_desc-sr_T1w.json").read_text())
    assert sidecar == {"SkullStripped": expected}


def test_the_same_result_is_not_written_twice(thick_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.nii.gz"
    save = SaveDerivative(in_file=thick_file, out_path=str(target))
    save.run(cwd=tmp_path)
    os.utime(target, (1, 1))
    save.run(cwd=tmp_path)
    assert target.stat().st_mtime == 1
    target.write_bytes(b"other")
    save.run(cwd=tmp_path)
    assert target.read_bytes() == thick_file.read_bytes()


def test_no_result_writes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "out" / "mask.nii.gz"
    done = SaveDerivative(in_file=None, out_path=str(target), metadata={"Type": "Brain"}).run(
        cwd=tmp_path
    )
    assert done.outputs.out_file is None
    assert not target.parent.exists()


def test_quality_is_read_as_it_was_written(tmp_path: Path) -> None:
    points = (
        CurvePoint(step=1, seconds=0.1, loss=0.2),
        CurvePoint(step=2, seconds=0.2, loss=0.1, validation=0.5),
    )
    curve = LearningCurve(points=points, validation=GAIN_OVER_LINEAR)
    method = MethodRecord(
        method="latent",
        seconds=60.0,
        slices=SlicesUsed.of(Acquisition(spacing=6.0, thickness=3.0, slice_axis=2)),
        output=Output(
            shape=(4, 4, 4),
            spacings=(1.0, 1.0, 1.0),
            intensities=(0.0, 8.5),
            residual_percent=1.5,
        ),
        device_fallback="no memory",
        not_measured=("uncertainty",),
        details={"Steps": 2},
    )
    path = tmp_path / "sub-01_desc-sr_qc.json"
    SaveQuality(
        out_path=str(path),
        image="sub-01/anat/sub-01_T1w.nii.gz",
        suffix="T1w",
        action="super-resolve",
        check={"InputRange": [0.0, 9.0]},
        denoise={"Method": "nlm", "Seconds": 2.0},
        bias_correction={"Method": "none", "Seconds": 0.0},
        slice_gain={"Method": "none", "Seconds": 0.0},
        brain_mask={"Method": "template", "Warning": "no brain mask: odd", "Seconds": 1.0},
        super_resolution=method,
        curve=curve,
        segmentations=[{"Tool": "wmh", "Status": "failed", "Seconds": 3.0, "Warning": "no"}],
        later=[{}, {"Warning": "no figure of the brain mask: odd"}],
    ).run(cwd=tmp_path)
    content = json.loads(path.read_text())
    assert content["LearningCurve"]["validation"] == [None, 0.5]
    assert content["BrainMaskVolumeMl"] is None
    quality = read_quality(path)
    assert quality is not None
    assert quality.to_dict() == content
    assert quality.curve == curve
    assert quality.method == method
    assert quality.seconds["segmentation_wmh"] == 3.0
    assert quality.warnings == (
        "no brain mask: odd",
        "computed on the CPU: no memory",
        "the uncertainty was not measured: that failed, see the log",
        "no",
        "no figure of the brain mask: odd",
    )


@pytest.mark.parametrize("calibrated", [True, False])
def test_the_sidecar_of_an_uncertainty_says_what_it_promises(
    tmp_path: Path, calibrated: bool
) -> None:
    source = tmp_path / "map.nii.gz"
    source.write_bytes(b"a map")
    meaning = UncertaintyRecord(calibrated=calibrated, reason="" if calibrated else "too coarse")
    SaveUncertainty(
        in_file=source,
        out_path=str(tmp_path / "out" / "sub-01_uncertainty.nii.gz"),
        metadata={"Description": "Expected standard deviation"},
        method=MethodRecord().with_details(Uncertainty=meaning.to_dict()),
    ).run(cwd=tmp_path)
    sidecar = json.loads((tmp_path / "out" / "sub-01_uncertainty.json").read_text())
    assert sidecar["Calibrated"] is calibrated
    assert ("CoverageTarget" in sidecar) == calibrated
    assert ("holds 90 % of the true values" in sidecar["Description"]) == calibrated
    assert sidecar.get("Reason", "") == meaning.reason
