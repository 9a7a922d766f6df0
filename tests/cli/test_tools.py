from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bids_sr.cli import demo, tools
from bids_sr.imaging import Volume, resample
from bids_sr.run.exit_codes import ExitCode

Command = Callable[..., "subprocess.CompletedProcess[str]"]
TOOLS = {"module": "bids_sr.cli.tools"}


@pytest.fixture
def image(dataset: Path) -> Path:
    return dataset / "sub-01" / "anat" / "sub-01_T1w.nii.gz"


def test_super_resolve_reads_the_sidecar_and_records_what_it_did(
    command: Command, image: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sr.nii.gz"
    words = ["super-resolve", image, out, "--sr-adapt", "image", "--sr-steps", 3]
    ended = command(*words, "--omp-nthreads", 1, "--random-seed", 5, "--device", "cpu", **TOOLS)
    assert ended.returncode == ExitCode.OK, ended.stderr
    assert "6 mm apart (header), 5 mm thick (sidecar), slr profile (estimated)" in ended.stdout
    result = Volume.load(out)
    assert result.shape == (20, 22, 18)
    np.testing.assert_allclose(result.fov, Volume.load(image).fov, atol=0.01)
    record = json.loads((tmp_path / "sr.json").read_text())
    details = record["SuperResolution"]
    assert (details["Method"], details["Seed"], details["Steps"]) == ("finetuned", 5, 3)
    assert details["SliceThickness"] == 5.0
    assert details["Origins"]["thickness"] == "sidecar"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sr.json", "sr.nii.gz"]


def test_super_resolve_says_what_it_assumes(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "alone.nii.gz"
    alone.write_bytes(image.read_bytes())
    words = ["super-resolve", str(alone), str(tmp_path / "sr.nii.gz"), "--sr-method", "linear"]
    words += ["--output-resolution", "3", "--output-grid", "slice"]
    assert tools.main(words) == ExitCode.OK
    shown = capsys.readouterr().out
    assert "assumed: SliceThickness is not given: estimated from the image" in shown
    assert "assumed: the slice profile is not stated: estimated from the image" in shown
    assert "warning: the slice profile is assumed, not estimated" in shown  # it is too small
    assert tools.main([*words, "--slice-profile", "assumed", "--overwrite"]) == ExitCode.OK
    shown = capsys.readouterr().out
    assert "assumed: SliceThickness is not given: taken as 0.85 of the slice spacing" in shown
    assert "assumed: the slice profile is not stated: assumed slr" in shown
    assert Volume.load(tmp_path / "sr.nii.gz").shape == (13, 15, 11)


def test_the_command_line_wins_over_header_and_sidecar(image: Path, tmp_path: Path) -> None:
    words = ["super-resolve", str(image), str(tmp_path / "sr.nii"), "--sr-method", "bspline"]
    words += ["--slice-spacing", "8", "--slice-thickness", "4"]
    assert tools.main(words) == ExitCode.OK
    result = Volume.load(tmp_path / "sr.nii")
    assert result.fov[2] == pytest.approx(6 * 8, abs=0.01)


@pytest.mark.parametrize(
    ("in_name", "out_name", "code", "message"),
    [
        ("none.nii.gz", "sr.nii.gz", ExitCode.NO_INPUT, "does not exist"),
        ("image.nii.gz", "sr.mgz", ExitCode.USAGE, "is not a NIfTI file name"),
        ("image.nii.gz", "image.nii.gz", ExitCode.USAGE, "is the input"),
        ("image.nii.gz", "again/image.nii.gz", ExitCode.USAGE, "is the input"),
        ("image.nii.gz", "link.nii.gz", ExitCode.USAGE, "is the input"),
        ("image.nii.gz", "image.nii", ExitCode.USAGE, "is the input's sidecar"),
        ("image.nii.gz", "listed.nii.gz", ExitCode.USAGE, "was not written by this program"),
        ("image.nii.gz", "lonely.nii.gz", ExitCode.USAGE, "lonely.json exists and was not"),
        ("image.nii.gz", "none/sr.nii.gz", ExitCode.CANNOT_WRITE, "does not exist: create it"),
        ("text.nii.gz", "sr.nii.gz", ExitCode.BAD_DATA, "cannot be read as NIfTI"),
        ("listed.nii.gz", "sr.nii.gz", ExitCode.BAD_DATA, "it holds a list"),
        ("broken.nii.gz", "sr.nii.gz", ExitCode.BAD_DATA, "expected a JSON object"),
    ],
)
def test_errors_are_one_clear_line(
    image: Path,
    tmp_path: Path,
    in_name: str,
    out_name: str,
    code: ExitCode,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("image", "listed", "broken"):
        (tmp_path / f"{name}.nii.gz").write_bytes(image.read_bytes())
    (tmp_path / "text.nii.gz").write_text("no image")
    (tmp_path / "again").symlink_to(".")
    (tmp_path / "link.nii.gz").symlink_to("image.nii.gz")
    (tmp_path / "lonely.json").write_text('{"SliceThickness": 5}')
    (tmp_path / "listed.json").write_text("[]")
    (tmp_path / "broken.json").write_text("{")
    words = ["super-resolve", str(tmp_path / in_name), str(tmp_path / out_name)]
    assert tools.main([*words, "--sr-method", "linear"]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bids_sr-tools super-resolve: ")
    assert message in line


def test_an_earlier_result_is_replaced_if_asked_for(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["super-resolve", str(image), str(tmp_path / "sr.nii.gz"), "--sr-method", "linear"]
    assert tools.main(words) == ExitCode.OK
    before = (tmp_path / "sr.nii.gz").read_bytes()
    capsys.readouterr()
    assert tools.main([*words, "--output-resolution", "2"]) == ExitCode.USAGE
    assert "add --overwrite to replace it" in capsys.readouterr().err
    assert (tmp_path / "sr.nii.gz").read_bytes() == before
    assert tools.main([*words, "--output-resolution", "2", "--overwrite"]) == ExitCode.OK
    assert Volume.load(tmp_path / "sr.nii.gz").spacings.max() == pytest.approx(2, abs=0.2)


def test_an_uncertainty_map_replaces_no_input(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = image.read_bytes()
    words = ["super-resolve", str(image), str(tmp_path / "sr.nii.gz")]
    assert tools.main([*words, "--uncertainty", str(image)]) == ExitCode.USAGE
    assert "is an input or the output" in capsys.readouterr().err
    assert image.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("map.png", "is not a NIfTI file name: expected the ending .nii.gz or .nii"),
        ("none/map.nii.gz", "is no folder: create it"),
        ("other.nii.gz", "exists: choose a new name, or add --overwrite to replace it"),
    ],
)
def test_an_uncertainty_map_without_a_place_costs_no_time(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    (tmp_path / "other.nii.gz").write_bytes(b"another image")
    words = ["super-resolve", str(image), str(tmp_path / "sr.nii.gz")]
    assert tools.main([*words, "--uncertainty", str(tmp_path / name)]) == ExitCode.USAGE
    assert message in capsys.readouterr().err
    assert not (tmp_path / "sr.nii.gz").exists()
    assert (tmp_path / "other.nii.gz").read_bytes() == b"another image"


@pytest.mark.parametrize("words", [["--sr-steps", "0"], ["--slice-thickness", "-1"], ["--x"]])
def test_wrong_use(words: list[str]) -> None:
    with pytest.raises(SystemExit) as error:
        tools.main(["super-resolve", "a.nii", "b.nii", *words])
    assert error.value.code == ExitCode.USAGE


def test_the_methods_offered_are_those_that_exist() -> None:
    from bids_sr.sr import METHODS

    assert set(tools.SR_METHODS) == set(METHODS) - {"none"}


def test_simulate_is_the_forward_model(image: Path, tmp_path: Path) -> None:
    fine = resample(Volume.load(image), Volume.load(image).grid)
    fine.save(tmp_path / "fine.nii.gz")
    out = tmp_path / "thick.nii.gz"
    words = ["simulate", str(tmp_path / "fine.nii.gz"), str(out), "--slice-thickness", "5"]
    assert tools.main([*words, "--slice-axis", "0", "--slice-spacing", "8"]) == ExitCode.OK
    thick = Volume.load(out)
    assert thick.shape == (5, 22, 6)
    sidecar = json.loads((tmp_path / "thick.json").read_text())
    assert (sidecar["SliceThickness"], sidecar["SpacingBetweenSlices"]) == (5.0, 8.0)


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    assert demo.write_demo(folder) == ExitCode.OK
    return folder


def test_score_needs_a_run(
    demonstration: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["score", str(demonstration), "--derivatives", str(tmp_path)]
    assert tools.main(words) == ExitCode.NO_INPUT
    assert "--level full" in capsys.readouterr().err
    assert tools.main(["score", str(tmp_path)]) == ExitCode.NO_INPUT
    assert "bids_sr-tools demo" in capsys.readouterr().err


def test_simulate_makes_no_slices_finer_than_the_voxels(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "thick.nii.gz"
    words = ["simulate", str(image), str(out), "--slice-thickness", "0.5"]
    assert tools.main(words) == ExitCode.BAD_DATA
    message = "found voxels of 6 mm along axis 2 and a slice spacing of 0.5 mm; expected slices"
    assert message in capsys.readouterr().err
    assert not out.exists()
