"""UniRes' rows: a package with its functions stands in for it, all else is real."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bids_sr.evaluation import Protocol, table
from bids_sr.evaluation.job import Job
from bids_sr.imaging import Volume
from bids_sr.plain_values import plain

RUN = """
import json, pathlib
import nibabel as nb
def init(data, chosen):
    return data, None, chosen
def fit(data, _, chosen):
    asked = {"stacks": len(data[0]), **vars(chosen)}
    pathlib.Path("ASKED").write_text(json.dumps(asked))
    from bids_sr.imaging import Volume, lay_out_grid, resample
    lr = Volume.load(data[0][0])
    grid = lay_out_grid(lr, slice_axis=2, output_resolution="native")
    resample(lr, grid, kernel="linear").save(pathlib.Path(chosen.dir_out) / "ur_0.nii.gz")
"""
STRUCT = """
class settings:
    def __init__(self):
        self.device, self.dir_out, self.do_coreg, self.do_print = "cuda", None, True, 1
        self.gap, self.max_iter, self.profile_tp, self.unified_rigid = 0.0, 512, 0, True
        self.vx = 1.0
"""


@pytest.fixture
def comparison(tmp_path: Path, mni152_2mm: Volume) -> Path:
    small = mni152_2mm.part((slice(36, 60), slice(40, 64), slice(30, 54)))
    image = small.save(tmp_path / "head.nii.gz")
    job = Job(
        image="head",
        path=image,
        protocol=Protocol(name="6/8axial+6/8sagittal"),
        label="bspline",
        method="bspline",
    )
    row = {"status": "ok", "settings": plain(job), "image": "head", "method": "bspline"}
    row |= {"protocol": job.protocol.name, "slices": "own", "noise": 0.0, "mask": "whole image"}
    row |= {"message": "", "scores": {"psnr": 20.0, "ssim": 0.5}, "seconds": 1.0}
    row |= {"cpu_seconds": 1.0, "peak_gb": 1.0, "peak_gpu_gb": None, "record": {}, "key": ""}
    table.write_row(tmp_path / "OUT" / "rows" / f"{job.stem}.json", row)
    return tmp_path / "OUT"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "packages" / "unires"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "run.py").write_text(RUN.replace("ASKED", str(tmp_path / "asked.json")))
    (folder / "struct.py").write_text(STRUCT)
    monkeypatch.setenv("PYTHONPATH", str(folder.parent))
    return folder


def row_of(comparison: Path) -> dict[str, object]:
    rows = table.read_rows(comparison / "rows")
    return next(row for row in rows if row["method"].startswith("UniRes"))


def test_a_test_with_several_stacks_is_scored(
    comparison: Path, package: Path, tmp_path: Path, load: Callable[[str], ModuleType]
) -> None:
    unires = load("unires")
    assert unires.main([str(comparison), "--python", sys.executable, "--iterations", "30"]) == 0
    row = row_of(comparison)
    assert row["status"] == "ok", row["message"]
    assert row["method"] == "UniRes (30 iterations)"
    assert np.isfinite(row["scores"]["psnr"])  # type: ignore[index]
    asked = json.loads((tmp_path / "asked.json").read_text())
    assert asked["stacks"] == 2
    assert asked["gap"] == pytest.approx(0.25)
    assert (asked["profile_tp"], asked["do_coreg"], asked["max_iter"]) == (2, False, 30)


def test_a_release_without_a_setting_is_a_failed_row(
    comparison: Path, package: Path, load: Callable[[str], ModuleType]
) -> None:
    (package / "struct.py").write_text("class settings:\n    pass\n")
    assert load("unires").main([str(comparison), "--python", sys.executable]) == 0
    row = row_of(comparison)
    assert row["status"] == "failed"
    assert "no setting" in str(row["message"])
