"""Frozen tests of a benchmark: what is told, which images, and other programs' volumes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from bids_sr.cli import tools
from bids_sr.evaluation.protocol import Protocol, make_case
from bids_sr.evaluation.protocol_file import ProtocolFile, values_digest
from bids_sr.evaluation.scoring import on_grid
from bids_sr.exceptions import ConfigError, InputDataError
from bids_sr.imaging import Volume
from bids_sr.run.exit_codes import ExitCode

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "through-plane-v1.toml"
FILE = """\
name = "small"
seed = 3

[images]
head_T1w = "{digest}"
away_T1w = "0"

[[protocols]]
name = "4/4/slr"
noise = 0.01

[[protocols]]
name = "4/4/slr"
noise = 0.01
told = "nothing"

[[protocols]]
name = "4/4sagittal+guide=T2w"
"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    data = np.random.default_rng(5).uniform(1, 2, (20, 22, 24)).astype(np.float32)
    return Volume(data, np.eye(4)).save(tmp_path / "images" / "head_T1w.nii.gz")


@pytest.fixture
def frozen(tmp_path: Path, image: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(FILE.format(digest=values_digest(image)), encoding="utf-8")
    return path


def evaluate(image: Path, frozen: Path, out: Path, *words: str) -> int:
    options = ["--protocol-file", str(frozen), "--out", str(out), "--mask", "none"]
    command = ["evaluate", str(image.parent), *options, "--no-perceptual", "--nprocs", "1", *words]
    return tools.main(command)


@pytest.mark.parametrize(
    ("told", "assumed"),
    [("all", ()), ("thickness", ("profile",)), ("nothing", ("profile", "thickness"))],
)
def test_what_is_not_told_is_assumed(told: str, assumed: tuple[str, ...], image: Path) -> None:
    protocol = Protocol(name="5/6/rect+5/6sagittal/rect", told=told)  # type: ignore[arg-type]
    case = make_case(Volume.load(image), protocol)
    for acquisition in (case.acquisition, *(stack.acquisition for stack in case.stacks)):
        assert acquisition.assumed == assumed
        assert acquisition.spacing == 6.0
        assert (acquisition.thickness == 5.0) == ("thickness" not in assumed)
    everything = make_case(Volume.load(image), Protocol(name="5/6/rect+5/6sagittal/rect"))
    assert np.array_equal(case.lr.data, everything.lr.data)


def test_labels_say_what_is_not_told() -> None:
    assert (
        Protocol(name="5/6", noise=0.01, told="nothing").label
        == "5/6 axial, noise 1 %, nothing told"
    )
    assert Protocol(name="5/6", told="thickness").label == "5/6 axial, profile not told"
    with pytest.raises(ConfigError, match="told = 'much'"):
        Protocol(name="5/6", told="much")  # type: ignore[arg-type]


def test_another_program_is_scored_like_ours(
    image: Path, frozen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Written tests, given back interpolated, have the scores of interpolation."""
    tests, results, out = tmp_path / "tests", tmp_path / "results", tmp_path / "out"
    assert evaluate(image, frozen, out, "--write-tests", str(tests)) == ExitCode.OK
    left_out = "left out, as there is no T2w beside it: head_T1w, 4/4sagittal+guide=T2w"
    assert left_out in capsys.readouterr().out
    names = sorted(path.name for path in tests.glob("*.nii.gz"))
    assert len(names) == 2  # the image has no guide beside it
    told, nothing = (json.loads(path.read_text()) for path in sorted(tests.glob("*.json"))[::-1])
    assert (told["SliceThickness"], told["SliceProfile"]) == (4.0, "slr")
    assert set(nothing) == {"SpacingBetweenSlices", "OutputSpacings"}

    assert evaluate(image, frozen, out, "--methods", "bspline", "--keep-images") == ExitCode.OK
    results.mkdir()
    for name in names[:1]:
        made = out / "images" / name.replace(".nii.gz", "_bspline.nii.gz")
        volume = nb.load(made)
        nb.save(
            nb.Nifti1Image(volume.get_fdata()[::-1], volume.affine @ turn_of(volume)),
            results / name,
        )
    status = evaluate(image, frozen, out, "--results", f"Other={results}")

    assert status == ExitCode.SOME_FAILED  # one volume is missing
    with (out / "scores.tsv").open() as stream:
        rows = {
            (row["told"], row["method"]): row for row in csv.DictReader(stream, delimiter="\t")
        }
    given, missing = ("nothing", "all") if "nothing" in names[0] else ("all", "nothing")
    assert rows[given, "Other"]["psnr"] == rows[given, "bspline"]["psnr"]
    assert rows[given, "Other"]["seconds"] == "n/a"
    assert rows[missing, "Other"]["status"] == "failed"
    assert f"Found no {names[1]}" in rows[missing, "Other"]["message"]


def turn_of(volume: nb.Nifti1Image) -> np.ndarray:
    """Return the matrix that keeps every voxel where it is when the first axis is turned."""
    turn = np.diag([-1.0, 1.0, 1.0, 1.0])
    turn[0, 3] = volume.shape[0] - 1
    return turn


def test_an_image_with_other_voxels_is_refused(
    image: Path, frozen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = Volume.load(image)
    volume.data[3, 3, 3] += 1e-3
    volume.save(image)
    assert evaluate(image, frozen, tmp_path / "out") != ExitCode.OK
    assert "expected those of small" in capsys.readouterr().err


def test_the_digest_is_that_of_the_voxels(image: Path, tmp_path: Path) -> None:
    volume = nb.load(image)
    turned = nb.Nifti1Image(volume.get_fdata()[::-1], volume.affine @ turn_of(volume))
    nb.save(turned, tmp_path / "turned.nii")
    assert values_digest(tmp_path / "turned.nii") == values_digest(image)
    coarser = nb.Nifti1Image(volume.get_fdata(), np.diag([1.0, 1.0, 1.001, 1.0]))
    nb.save(coarser, tmp_path / "coarser.nii")
    assert values_digest(tmp_path / "coarser.nii") != values_digest(image)


@pytest.mark.parametrize(
    "text",
    [
        "name = 3\nseed = 1\nprotocols = []",
        'name = "a"\nprotocols = []',
        'name = "a"\nseed = 1\nprotocols = [{names = "5/6"}]',
        'name = "a"\nseed = 1\nprotocols = [{name = "5/6", noise = "much"}]',
        'name = "a"\nseed = 1\nprotocols = [{name = "5/6"}]\nmore = 1',
        'name = "a"\nseed = 1\nprotocols = []',
        'name = "a"\nseed = -1\nprotocols = [{name = "5/6"}]',
        'name = "a"\nseed = 1\nprotocols = [{name = "5/6", slices = "up"}]',
        'name = "a"\nseed = 1\nprotocols = [{name = "../6"}]',
        "name = ",
        "",
    ],
)
def test_what_is_no_protocol_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"bad.toml: .*expected") as error:
        ProtocolFile.read(path)
    assert "__init__" not in str(error.value)


def test_a_test_that_is_stated_twice_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "twice.toml"
    path.write_text('name = "a"\nseed = 0\nprotocols = [{name = "5/6"}, {name = "5/6"}]')
    assert len(ProtocolFile.read(path).protocols) == 1


def test_a_volume_that_lies_elsewhere_is_no_result(image: Path) -> None:
    case = make_case(Volume.load(image), Protocol(name="4/4/slr"))
    for shift, covers in ((0.0, True), (5.0, True), (500.0, False)):
        affine = np.diag([2.0, 2.0, 2.0, 1.0])
        affine[0, 3] = shift
        estimate = Volume(np.ones((10, 11, 12), np.float32), affine)
        if covers:
            assert on_grid(case, estimate).shape == case.grid.shape
            continue
        with pytest.raises(InputDataError, match="covers 0 % of its test"):
            on_grid(case, estimate)


def test_version_1_is_frozen() -> None:
    benchmark = ProtocolFile.read(BENCHMARK)
    assert benchmark.name == BENCHMARK.stem
    assert benchmark.seed == 20177
    assert len(set(benchmark.protocols)) == len(benchmark.protocols) == 19
    assert {protocol.told for protocol in benchmark.protocols} == {"all", "thickness", "nothing"}
    assert len(benchmark.images) == 3
