from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bids_sr.interfaces.outputs import SaveDerivative, SaveQuality, summarise


def test_a_result_is_copied_with_its_sidecar(thick_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "sub-01_desc-sr_T1w.nii.gz"
    done = SaveDerivative(
        in_file=thick_file,
        out_path=str(target),
        metadata={"Sources": ["bids:raw:x"], "SuperResolution": {"Scale": 6.0}},
        record={"Method": "self"},
        record_key="SuperResolution",
    ).run(cwd=tmp_path)
    assert done.outputs.out_file == str(target)
    assert target.read_bytes() == thick_file.read_bytes()
    sidecar = json.loads((tmp_path / "out" / "sub-01_desc-sr_T1w.json").read_text())
    assert sidecar["SuperResolution"] == {"Scale": 6.0, "Method": "self"}
    assert len(list(target.parent.iterdir())) == 2


def test_thinner_slices_than_planned_are_in_words_too(thick_file: Path, tmp_path: Path) -> None:
    planned = "SliceThickness is not given: taken as 0.85 of the slice spacing, 5.1 mm"
    SaveDerivative(
        in_file=thick_file,
        out_path=str(tmp_path / "out" / "sub-01_desc-sr_T1w.nii.gz"),
        metadata={"SuperResolution": {"SliceThickness": 5.1, "Assumptions": [planned, "other"]}},
        record={"SliceThickness": 3.0, "HeldOutSlices": {"Assumption": "thinner slices"}},
        record_key="SuperResolution",
    ).run(cwd=tmp_path)
    sidecar = json.loads((tmp_path / "out" / "sub-01_desc-sr_T1w.json").read_text())
    thickness, other = sidecar["SuperResolution"]["Assumptions"]
    assert "taken as 3 mm" in thickness
    assert other == "other"


def test_warnings_of_earlier_steps_join_the_sidecar(thick_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "sub-01_desc-sr_T1w.nii.gz"
    SaveDerivative(
        in_file=thick_file,
        out_path=str(target),
        metadata={"SuperResolution": {"Warnings": ["odd header"]}},
        record={"Method": "self"},
        record_key="SuperResolution",
        steps=[{"Method": "none"}, {"Warning": "the image was not denoised: late"}],
    ).run(cwd=tmp_path)
    sidecar = json.loads((tmp_path / "out" / "sub-01_desc-sr_T1w.json").read_text())
    assert sidecar["SuperResolution"]["Warnings"] == [
        "odd header",
        "the image was not denoised: late",
    ]


@pytest.mark.parametrize(("found", "told"), [(True, True), (False, False), (None, False)])
def test_what_was_found_of_the_skull_wins_over_the_plan(
    thick_file: Path, tmp_path: Path, found: bool | None, told: bool
) -> None:
    target = tmp_path / "out" / "sub-01_desc-sr_T1w.nii.gz"
    SaveDerivative(
        in_file=thick_file,
        out_path=str(target),
        metadata={"SkullStripped": False},
        skull_stripped=found,
    ).run(cwd=tmp_path)
    sidecar = json.loads((tmp_path / "out" / "sub-01_desc-sr_T1w.json").read_text())
    assert sidecar == {"SkullStripped": told}


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


@pytest.fixture
def records() -> dict[str, dict[str, Any]]:
    return {
        "check": {"InputRange": [0.0, 9.0]},
        "denoise": {"Method": "nlm", "Seconds": 2.0},
        "bias_correction": {"Method": "none", "Seconds": 0.0},
        "brain_mask": {"Method": "template", "Warning": "no brain mask: odd", "Seconds": 1.0},
        "super_resolution": {
            "OutputShape": [4, 4, 4],
            "OutputSpacings": [1.0, 1.0, 1.0],
            "DataConsistencyResidualPercent": 1.5,
            "OutputRange": [0.0, 8.5],
            "Seconds": 60.0,
        },
    }


def test_quality_gathers_the_records(records: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    point = {"step": 1, "seconds": 0.1, "loss": 0.2, "validation": None}
    quality = summarise({"Image": "a", "Suffix": "T1w"}, records, [point])
    assert quality["Warnings"] == ["no brain mask: odd"]
    assert quality["BrainMaskVolumeMl"] is None
    assert quality["LearningCurve"]["validation"] == [None]
    assert quality["TimingsSeconds"]["super_resolution"] == 60.0

    path = tmp_path / "sub-01_desc-sr_qc.json"
    SaveQuality(out_path=str(path), plan={"Image": "a"}, curve=[point], **records).run(
        cwd=tmp_path
    )
    assert json.loads(path.read_text())["Image"] == "a"
