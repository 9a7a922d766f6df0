from __future__ import annotations

import csv
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from bids_sr.cli import tools
from bids_sr.cli.evaluate_options import MethodSpec, parse_spec, read_specs, read_tables
from bids_sr.exceptions import ConfigError
from bids_sr.imaging import Volume
from bids_sr.run.exit_codes import ExitCode


@pytest.mark.parametrize(
    ("text", "label", "method", "parameters"),
    [
        ("bspline", "bspline", "bspline", {}),
        ("self:steps=50,detail=1.2", "self:steps=50,detail=1.2", "self", None),
        ("short=self:steps=50", "short", "self", {"steps": 50}),
        ("self:data-consistency=false", "self:data-consistency=false", "self", None),
        ("pretrained:model=/a/b/c.pth", "pretrained:model=c.pth", "pretrained", None),
        ("self:device=cuda:0", "self:device=cuda:0", "self", {"device": "cuda:0"}),
    ],
)
def test_a_method_is_read_from_its_text(
    text: str, label: str, method: str, parameters: dict[str, Any] | None
) -> None:
    spec = parse_spec(text)
    assert (spec.label, spec.method) == (label, method)
    if parameters is not None:
        assert spec.parameters == parameters


def test_values_have_types() -> None:
    parameters = parse_spec("self:steps=50,detail=1.2,mirrored=false,model=edsr").parameters
    assert parameters == {"steps": 50, "detail": 1.2, "mirrored": False, "model": "edsr"}


@pytest.mark.parametrize("text", ["", "self:steps", "self:=3", "a=b=self", ":steps=3"])
def test_what_is_no_method_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        parse_spec(text)


def _options(*words: str) -> Any:
    return tools.build_parser().parse_args(["evaluate", "data", "--out", "out", *words])


def test_methods_of_a_file_and_their_names(tmp_path: Path) -> None:
    path = tmp_path / "methods.toml"
    path.write_text('[short]\nmethod = "self"\nsteps = 5\n[bspline]\n[linear]\n')
    short = MethodSpec(label="short", method="self", parameters={"steps": 5})
    assert read_tables(path)["short"] == short
    every = read_specs(_options("--methods-file", str(path)))
    assert [spec.label for spec in every] == ["short", "bspline", "linear"]
    some = read_specs(_options("--methods-file", str(path), "--methods", "short", "lanczos"))
    assert [spec.method for spec in some] == ["self", "lanczos"]
    assert [spec.label for spec in read_specs(_options())] == ["bspline", "finetuned"]
    with pytest.raises(ConfigError, match="linear more than once"):
        read_specs(_options("--methods", "linear", "linear"))
    path.write_text("steps = 3")
    with pytest.raises(ConfigError, match="outside of a table"):
        read_tables(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_tables(tmp_path / "none.toml")


@pytest.fixture
def folder(mni152_2mm: Volume, tmp_path: Path) -> Path:
    brain = 1000 * mni152_2mm.data[20:70, 22:86, 20:68]
    data = tmp_path / "data"
    Volume(brain, mni152_2mm.affine).save(data / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    thick = Volume(brain[..., ::5].copy(), mni152_2mm.affine @ np.diag([1, 1, 5.0, 1]))
    thick.save(data / "sub-02" / "anat" / "sub-02_T1w.nii.gz")
    return data


def _rows(out: Path) -> list[dict[str, str]]:
    with (out / "scores.tsv").open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_a_comparison_resumes_and_a_bad_image_stops_no_other(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["evaluate", str(folder), "--out", str(out), "--protocols", "7/8", "--nprocs", "2"]
    words += ["--no-perceptual", "--keep-images", "--mask", "nonzero"]
    tiny = "tiny=self:steps={},channels=8,blocks=1,orientations=1,device=cpu"

    assert tools.main([*words, "--methods", "bspline", tiny.format(3)]) == ExitCode.SOME_FAILED

    rows = {(row["image"], row["method"]): row for row in _rows(out)}
    assert len(rows) == 4
    assert float(rows["sub-01_T1w", "bspline"]["psnr"]) > 15
    assert rows["sub-01_T1w", "tiny"]["status"] == "ok"
    assert rows["sub-01_T1w", "tiny"]["mask"] == "non-zero voxels, holes filled"
    assert rows["sub-02_T1w", "tiny"]["status"] == "failed"
    assert "voxels of 10 mm across axial slices" in rows["sub-02_T1w", "tiny"]["message"]
    assert "| 7/8 axial | tiny | 1 |" in (out / "scores.md").read_text()
    page = (out / "index.html").read_text()
    assert page.count('class="tile') == 12  # two planes of truth, slices, 2 methods, 2 errors
    reconstruction = Volume.load(out / "images" / "sub-01_T1w_7-8-axial_bspline.nii.gz")
    assert reconstruction.shape == (50, 64, 48)

    # the same again: nothing is done twice; another setting: that method only
    files = {path: path.stat().st_mtime_ns for path in (out / "rows").glob("sub-01*.json")}
    again = [*words, "--include", "sub-01*", "--methods", "bspline"]
    capsys.readouterr()
    assert tools.main([*again, tiny.format(4)]) == ExitCode.OK
    shown = capsys.readouterr().out
    assert "1 reconstruction to do, 1 done before" in shown
    changed = [path.name for path, time in files.items() if path.stat().st_mtime_ns != time]
    assert changed == ["sub-01_T1w_7-8-axial_tiny.json"]
    assert len(_rows(out)) == 4


def test_slices_are_left_out_of_stacks(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["evaluate", str(folder / "sub-02"), "--out", str(out), "--nprocs", "1"]
    words += ["--no-perceptual", "--methods", "linear", "--mask", "none"]
    assert tools.main([*words, "--protocols", "leave-slices-out"]) == ExitCode.OK
    (row,) = _rows(out)
    assert (row["protocol"], row["slices"], row["mask"]) == (
        "leave-slices-out",
        "own",
        "whole image",
    )
    assert 10 < float(row["psnr"]) < 40


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--methods", "cubist"], ExitCode.USAGE, "expected one of"),
        (["--protocols", "thick"], ExitCode.USAGE, "expected thickness/spacing"),
        (["--methods", "self:stepps=3"], ExitCode.USAGE, "stepps"),
        (["--mask", "nowhere"], ExitCode.USAGE, "--mask nowhere"),
        (["--include", "x*"], ExitCode.BAD_DATA, "no NIfTI image"),
        (["--nprocs", "0"], ExitCode.USAGE, "1 or more"),
        (["--results", "A=nowhere"], ExitCode.USAGE, "existing folder"),
    ],
)
def test_wrong_use_is_one_line(
    folder: Path,
    tmp_path: Path,
    words: list[str],
    code: ExitCode,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    head = ["evaluate", str(folder), "--out", str(tmp_path / "out"), "--mask", "none"]
    assert tools.main([*head, *words]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_seed_is_not_negative(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(folder), "--out", "out", "--random-seed", "-1"]
    with pytest.raises(SystemExit) as error:
        tools.main(words)
    assert error.value.code == ExitCode.USAGE
    assert "-1: expected at least 0" in capsys.readouterr().err


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    words = ["evaluate", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert tools.main(words) == ExitCode.NO_INPUT


@pytest.mark.slow
def test_an_ended_run_leaves_no_process(folder: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(folder / "sub-01"), "--out", str(tmp_path / "out"), "--mask", "none"]
    words += ["--no-perceptual", "--methods", "self:steps=1000000", "--nprocs", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "bids_sr.cli.tools", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            if "training" in line:
                break
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
    assert process.returncode == ExitCode.TERMINATED
    assert children
    psutil.wait_procs(children, timeout=10)
    assert not any(child.is_running() for child in children)


def test_an_unknown_baseline_costs_no_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = Volume(np.random.default_rng(0).random((16, 16, 24), np.float32), np.eye(4))
    path, out = image.save(tmp_path / "head.nii.gz"), tmp_path / "out"
    words = ["evaluate", str(path), "--out", str(out), "--methods", "linear", "--mask", "none"]
    assert tools.main([*words, "--baseline", "cubic"]) == ExitCode.USAGE
    assert "Found --baseline cubic; expected one of linear" in capsys.readouterr().err
    assert not list((out / "rows").iterdir())
