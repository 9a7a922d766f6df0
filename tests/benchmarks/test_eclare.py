"""ECLARE's rows: a program with its command line stands in for it, all else is real."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bids_sr.evaluation import Protocol, table
from bids_sr.evaluation.job import Job, run
from bids_sr.imaging import Volume

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"

STAND_IN = """
import argparse, json, pathlib, sys, time
print("10%", end="\\r", flush=True)
from bids_sr.imaging import Volume, lay_out_grid, resample
def main():
    parser = argparse.ArgumentParser()
    for name in ("--in-fpath", "--out-dir", "--n-patches", "--batch-size", "--gpu-id",
                 "--relative-slice-thickness"):
        parser.add_argument(name)
    options = vars(parser.parse_args())
    pathlib.Path({asked!r}).write_text(json.dumps(options))
    if options["n_patches"] == "13":
        sys.exit("no memory for 13 patches")
    if options["n_patches"] == "14":
        time.sleep(600)
    lr = Volume.load(options["in_fpath"])
    grid = lay_out_grid(lr, slice_axis=2, output_resolution="native")
    made = resample(lr, grid, kernel="linear")
    name = pathlib.Path(options["in_fpath"]).name.replace(".nii", "_eclare.nii")
    made.save(pathlib.Path(options["out_dir"]) / name)
"""


@pytest.fixture(scope="module")
def eclare(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("eclare")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "run-eclare"
    arguments_file = str(tmp_path / "asked.json")
    path.write_text(f"#!{sys.executable}\n{STAND_IN.format(asked=arguments_file)}\nmain()\n")
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
    words = [
        "compare",
        str(out),
        "--run-eclare",
        str(program),
        "--n-patches",
        "256",
        "--known-thickness",
    ]
    assert eclare.main(words) == 0
    arguments = json.loads((tmp_path / "asked.json").read_text())
    assert (arguments["n_patches"], arguments["batch_size"]) == ("256", "128")
    assert float(arguments["relative_slice_thickness"]) == 3.0  # 6 mm of 2 mm voxels
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
    words = ["compare", str(out), "--run-eclare", str(program), "--n-patches", "13"]
    assert eclare.main(words) == 0
    (row,) = [stored for stored in table.read_rows(out / "rows") if stored["method"] != "linear"]
    assert row["status"] == "failed"
    assert "no memory for 13 patches" in row["message"]


def test_defaults_have_no_changes_in_their_name(eclare: ModuleType, tmp_path: Path) -> None:
    options = eclare.build_parser().parse_args(["compare", str(tmp_path)])
    assert eclare.settings_of(options, gpu=True).label == "ECLARE"
    assert eclare.main(["compare", str(tmp_path)]) == 1


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """Return a folder with a wheel of that name, whose program is the stand-in."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "eclare-1.0.1-py3-none-any.whl", "w") as archive:
        arguments_file = str(tmp_path / "asked.json")
        archive.writestr("eclare/__init__.py", "")
        archive.writestr("eclare/main.py", STAND_IN.format(asked=arguments_file))
    return folder


def test_it_travels_and_what_comes_back_is_scored(
    eclare: ModuleType, wheels: Path, comparison: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    """Packed, run by the script of the kit alone, and scored: the rows of linear."""
    out, linear = comparison
    kit, back = tmp_path / "kit", tmp_path / "back"
    assert eclare.main(["pack", str(out), str(kit), "--wheels", str(wheels)]) == 0
    command = [sys.executable, str(kit / "run.py"), str(kit), str(back), "--minutes", "5"]
    subprocess.run(command, check=True, timeout=300)
    arguments = json.loads((tmp_path / "asked.json").read_text())
    assert (arguments["n_patches"], arguments["batch_size"]) == ("1000000", "128")  # its defaults
    assert arguments["relative_slice_thickness"] is None
    assert len(list(back.iterdir())) == 3
    assert eclare.main(["score", str(out), str(back)]) == 0
    row = {row["method"]: row for row in table.read_rows(out / "rows")}["ECLARE"]
    assert row["status"] == "ok"
    assert row["scores"]["psnr"] == pytest.approx(linear["psnr"], abs=0.01)  # 13 bits
    assert row["seconds"] > 0
    assert "1000000 of its default 1000000 patches" in (out / "scores.md").read_text()


def test_a_case_is_ended_in_time_and_says_how_far_it_came(
    eclare: ModuleType,
    wheels: Path,
    comparison: tuple[Path, dict[str, float]],
    tmp_path: Path,
    load: Callable[[str], ModuleType],
) -> None:
    out, _ = comparison
    kit, back = tmp_path / "kit", tmp_path / "back"
    words = ["pack", str(out), str(kit), "--wheels", str(wheels), "--n-patches", "14"]
    assert eclare.main(words) == 0
    run = load("gpu/eclare_run")
    command = [sys.executable, str(kit / "run.py"), str(kit), str(back)]
    process = subprocess.Popen([*command, "--minutes", str(30 / 60 + run.LAST_SECONDS / 60)])
    assert process.wait(timeout=120) == 1
    (case,) = json.loads((back / "report.json").read_text())["cases"]
    assert (case["status"], case["progress"]) == ("too long", "10%")
    assert eclare.main(["score", str(out), str(back)]) == 0
    (row,) = [row for row in table.read_rows(out / "rows") if row["method"] != "linear"]
    assert row["status"] == "failed"
    assert "too long" in row["message"]


def test_a_folder_that_is_no_kit_stays(
    eclare: ModuleType, comparison: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("kept")
    assert eclare.main(["pack", str(comparison[0]), str(tmp_path / "mine")]) == 1
    assert (tmp_path / "mine" / "file").exists()


def test_the_script_that_travels_needs_nothing_of_ours() -> None:
    text = (FOLDER / "gpu" / "eclare_run.py").read_text(encoding="utf-8")
    tree = ast.walk(ast.parse(text))
    names = {node.module for node in tree if isinstance(node, ast.ImportFrom)}
    names |= {
        alias.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert {str(name).split(".")[0] for name in names} <= {
        *sys.stdlib_module_names,
        *("kit", "nibabel", "numpy"),
    }
