"""ECLARE's rows: a program with its command line stands in for it, all else is real."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bids_sr.evaluation import Protocol, table
from bids_sr.evaluation.job import Job, run
from bids_sr.imaging import Volume

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "eclare.py"

STAND_IN = """#!{python}
import argparse, json, pathlib, sys
from bids_sr.imaging import Volume, output_grid, resample
parser = argparse.ArgumentParser()
for name in ("--in-fpath", "--out-dir", "--n-patches", "--batch-size", "--gpu-id",
             "--relative-slice-thickness"):
    parser.add_argument(name)
options = vars(parser.parse_args())
pathlib.Path({asked!r}).write_text(json.dumps(options))
if options["n_patches"] == "13":
    sys.exit("no memory for 13 patches")
lr = Volume.load(options["in_fpath"])
made = resample(lr, output_grid(lr, slice_axis=lr.slice_axis, spacing="native"), kernel="linear")
made.save(pathlib.Path(options["out_dir"]) / "slices_eclare.nii.gz")
"""


@pytest.fixture(scope="module")
def eclare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("eclare_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # argparse and dataclasses look it up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "run-eclare"
    asked = str(tmp_path / "asked.json")
    path.write_text(STAND_IN.format(python=sys.executable, asked=asked))
    path.chmod(0o755)
    return path


@pytest.fixture
def comparison(mni152_2mm: Volume, tmp_path: Path) -> tuple[Path, dict[str, float]]:
    """Return a folder as evaluate leaves it, with one test, and the scores of linear."""
    brain = Volume(1000 * mni152_2mm.data[20:64, 28:72, 24:64], mni152_2mm.affine)
    brain.save(tmp_path / "brain.nii.gz")
    job = Job(
        image="brain",
        path=tmp_path / "brain.nii.gz",
        protocol=Protocol(name="6/8"),
        label="linear",
        method="linear",
    )
    outcome = run(job)
    facts = {"image": "brain", "protocol": "6/8", "slices": "axial", "noise": 0.0}
    row: dict[str, Any] = {**facts, "method": "linear", "status": "ok", "message": ""}
    row |= {"mask": "whole image", "key": job.key(), "settings": job.settings(), **outcome.row}
    out = tmp_path / "out"
    table.write_row(out / "rows" / f"{job.stem}.json", row)
    return out, outcome.row["scores"]


def test_its_rows_stand_in_the_same_tables(
    eclare: ModuleType,
    program: Path,
    comparison: tuple[Path, dict[str, float]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, linear = comparison
    words = [str(out), "--run-eclare", str(program), "--n-patches", "256", "--known-thickness"]
    assert eclare.main(words) == 0
    asked = json.loads((tmp_path / "asked.json").read_text())
    assert (asked["n_patches"], asked["batch_size"]) == ("256", "128")
    assert float(asked["relative_slice_thickness"]) == 3.0  # 6 mm of 2 mm voxels
    rows = {row["method"]: row for row in table.read_rows(out / "rows")}
    label = "ECLARE (256 patches, known thickness)"
    assert set(rows) == {"linear", label}
    # the stand-in is linear interpolation on the same grid: the same scores
    assert rows[label]["scores"] == pytest.approx(linear, rel=1e-4)
    assert rows[label]["record"]["OnReferenceGrid"]
    assert rows[label]["cpu_seconds"] > 0
    text = (out / "scores.md").read_text()
    assert f"| 6/8 axial | {label} | 1 |" in text
    assert "256 of its default 1000000 patches" in text
    assert label in (out / "index.html").read_text()
    capsys.readouterr()
    assert eclare.main(words) == 0
    assert "done before" in capsys.readouterr().out


def test_a_failure_is_a_row(
    eclare: ModuleType, program: Path, comparison: tuple[Path, dict[str, float]]
) -> None:
    out, _ = comparison
    assert eclare.main([str(out), "--run-eclare", str(program), "--n-patches", "13"]) == 0
    (row,) = [one for one in table.read_rows(out / "rows") if one["method"] != "linear"]
    assert row["status"] == "failed"
    assert "no memory for 13 patches" in row["message"]


def test_defaults_have_no_changes_in_their_name(eclare: ModuleType, tmp_path: Path) -> None:
    options = eclare.build_parser().parse_args([str(tmp_path)])
    assert eclare.label_of(options) == "ECLARE"
    assert eclare.main([str(tmp_path)]) == 1
