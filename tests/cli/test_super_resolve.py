from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bids_sr.cli import tools
from bids_sr.imaging import Series, Volume
from bids_sr.run.exit_codes import ExitCode
from bids_sr.sr.contract.weights import Weights

QUICK = ["--sr-steps", "60", "--omp-nthreads", "1", "--device", "cpu", "--output-resolution", "3"]


@pytest.fixture
def image(dataset: Path, tmp_path: Path) -> Path:
    source = dataset / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    volume = Volume.load(source)
    path = tmp_path / "image.nii.gz"
    # Every other slice is a wave, so that there is something to learn.
    grids = np.meshgrid(*map(np.arange, volume.shape), indexing="ij")
    waves = 100 + 50 * np.sin(grids[0]) * np.sin(0.7 * grids[1] + grids[2])
    return volume.with_data(waves.astype(np.float32)).save(path)


def run(*words: object) -> int:
    return tools.main(["super-resolve", *map(str, words)])


def test_a_series_is_done_frame_by_frame(image: Path, tmp_path: Path) -> None:
    volume = Volume.load(image)
    frames = [volume.with_data(volume.data * factor) for factor in (1, 2, 3)]
    cine = Series.of(frames, 0.04).save(tmp_path / "cine.nii.gz")
    words = ["--sr-method", "linear", "--output-resolution", "3"]
    assert run(cine, tmp_path / "fine.nii.gz", *words) == ExitCode.OK
    series = Series.load(tmp_path / "fine.nii.gz")
    assert len(series) == 3
    assert series.frame_spacing == pytest.approx(0.04)
    assert run(image, tmp_path / "one.nii.gz", *words) == ExitCode.OK
    alone = Volume.load(tmp_path / "one.nii.gz").data
    np.testing.assert_allclose(series.data[..., 1], 2 * alone, rtol=1e-5)


def test_the_last_lines_are_the_verdict(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--sr-method", "linear", "--output-resolution", "3"]
    rows, columns, slices = np.meshgrid(*map(np.arange, Volume.load(image).shape), indexing="ij")
    smooth = 100 + 50 * np.sin(0.3 * rows) * np.sin(0.2 * columns + 0.3 * slices)
    Volume.load(image).with_data(smooth.astype(np.float32)).save(image)
    assert run(image, tmp_path / "good.nii.gz", *words, "--strict") == ExitCode.OK
    assert capsys.readouterr().out.splitlines()[-1].startswith("verdict: ok (")
    assert json.loads((tmp_path / "good.json").read_text())["SuperResolution"]["Verdict"] == "ok"
    volume = Volume.load(image)
    noise = np.random.default_rng(1).normal(0, 40, volume.shape).astype(np.float32)
    noisy = volume.with_data(np.abs(volume.data + noise)).save(tmp_path / "noisy.nii.gz")
    out = tmp_path / "fine.nii.gz"
    assert run(noisy, out, *words, "--overwrite") == ExitCode.OK
    verdict, *looks = capsys.readouterr().out.splitlines()[-2:]
    assert verdict.startswith("verdict: look (") or looks[0].startswith("  look: noise ")
    record = json.loads((tmp_path / "fine.json").read_text())["SuperResolution"]
    assert record["Verdict"] == "look"
    assert "noise" in [check["Name"] for check in record["Checks"] if check["Verdict"] == "look"]
    assert run(noisy, out, *words, "--overwrite", "--strict") == ExitCode.SOME_FAILED


def test_a_series_is_refused_by_a_method_that_learns_from_each(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = Volume.load(image)
    cine = Series.of([volume, volume]).save(tmp_path / "cine.nii.gz")
    assert run(cine, tmp_path / "fine.nii.gz", *QUICK) == ExitCode.USAGE
    assert "which takes single volumes" in capsys.readouterr().err


def test_the_grid_of_latent_holds_the_acquired_slices(image: Path, tmp_path: Path) -> None:
    out = tmp_path / "fine.nii.gz"
    words = ["--sr-method", "latent", "--sr-steps", "2", "--omp-nthreads", "1"]
    assert run(image, out, *words, "--output-resolution", "native", "--save-model") == ExitCode.OK
    thick, fine = Volume.load(image), Volume.load(out)
    step = (fine.shape[2] - 1) // (thick.shape[2] - 1)
    np.testing.assert_allclose(fine.data[:, :, ::step], thick.data, rtol=1e-4)
    assert (tmp_path / "fine_model.safetensors").is_file()
    # What was learnt is the model of the next image.
    words += ["--sr-model", str(tmp_path / "fine_model.safetensors")]
    assert run(image, tmp_path / "again.nii.gz", *words) == ExitCode.OK
    record = json.loads((tmp_path / "again.json").read_text())["SuperResolution"]
    learnt = Weights.load(tmp_path / "fine_model.safetensors")
    assert record["ModelSHA256"] == learnt.digest
    assert learnt.card.to_dict()["Command"].startswith("bids_sr-tools super-resolve ")


def test_what_was_learnt_serves_the_label_map(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*QUICK, "--sr-method", "self", "--slice-thickness", "6"]
    assert run(image, tmp_path / "sr.nii.gz", *words, "--save-model") == ExitCode.OK
    model = tmp_path / "sr_model.safetensors"
    if not model.is_file():
        pytest.fail(capsys.readouterr().err)
    volume = Volume.load(image)
    labels = volume.with_data(np.where(volume.data > 100, 7, 0).astype(np.int16))
    labels.save(tmp_path / "labels.nii.gz")
    reuse = ["--sr-reuse-model", model, "--labels", *words]
    assert run(tmp_path / "labels.nii.gz", tmp_path / "fine.nii.gz", *reuse) == ExitCode.OK
    fine = Volume.load(tmp_path / "fine.nii.gz", dtype=np.int32)
    assert np.unique(fine.data).tolist() == [0, 7]
    assert fine.same_grid(Volume.load(tmp_path / "sr.nii.gz"))
    record = json.loads((tmp_path / "fine.json").read_text())["SuperResolution"]
    assert record["Labels"] == [0, 7]
    reuse = ["--sr-method", "self", "--sr-reuse-model", model, "--slice-thickness", "4"]
    assert run(image, tmp_path / "other.nii.gz", *reuse) == ExitCode.MISSING_TOOL
    assert "slice thickness of 4 mm, expected 6 mm" in capsys.readouterr().err


def test_a_label_map_by_itself_is_interpolated(image: Path, tmp_path: Path) -> None:
    volume = Volume.load(image)
    labels = volume.with_data(np.where(volume.data > 100, 7, 0).astype(np.int16))
    labels.save(tmp_path / "labels.nii.gz")
    assert run(tmp_path / "labels.nii.gz", tmp_path / "fine.nii.gz", "--labels") == ExitCode.OK
    record = json.loads((tmp_path / "fine.json").read_text())["SuperResolution"]
    assert (record["Method"], record["Labels"]) == ("bspline", [0, 7])


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["--labels"],
            ExitCode.BAD_DATA,
            "expected the integers of a label map",
        ),
        (
            ["--sr-method", "self", "--sr-reuse-model", "none.safetensors"],
            ExitCode.MISSING_TOOL,
            "Found no file",
        ),
        (["--sr-reuse-model", "none.safetensors"], ExitCode.USAGE, "expected self"),
        (
            ["--sr-method", "latent", "--sr-model", "none.safetensors"],
            ExitCode.MISSING_TOOL,
            "none.safetensors",
        ),
        (["--sr-method", "self", "--sr-preset", "paper"], ExitCode.USAGE, "expected fast, smore"),
        (["--sr-method", "linear", "--save-model"], ExitCode.USAGE, "expected self"),
        (
            ["--sr-method", "linear", "--uncertainty", "u.nii.gz"],
            ExitCode.USAGE,
            "no uncertainty map with the method 'linear'",
        ),
        (
            ["--labels", "--uncertainty", "u.nii.gz"],
            ExitCode.USAGE,
            "no uncertainty map with labels",
        ),
    ],
)
def test_what_cannot_work_is_told_before_the_work(
    image: Path,
    tmp_path: Path,
    words: list[str],
    code: ExitCode,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(image, tmp_path / "out.nii.gz", *words) == code
    assert message in capsys.readouterr().err


def test_a_result_without_a_map_is_kept(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Voxels as long as the slices are apart leave nothing to learn: it is interpolated."""
    words = ["--output-resolution", "6", "--uncertainty", tmp_path / "u.nii.gz"]
    assert run(image, tmp_path / "out.nii.gz", *words) == ExitCode.OK
    assert "no map is written" in capsys.readouterr().err
    assert (tmp_path / "out.nii.gz").exists()
    assert not (tmp_path / "u.nii.gz").exists()


def test_a_guide_that_cannot_help_is_named(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = Volume.load(image)
    noise = np.random.default_rng(0).normal(100, 10, volume.shape).astype(np.float32)
    guide = volume.with_data(noise).save(tmp_path / "t1w.nii.gz")
    words = [*QUICK, "--sr-adapt", "none"]
    assert run(image, tmp_path / "plain.nii.gz", *words) == ExitCode.OK
    assert run(image, tmp_path / "guided.nii.gz", *words, "--guide", guide) == ExitCode.OK
    assert "the guide is not used: " in capsys.readouterr().err
    plain, made = (Volume.load(tmp_path / f"{name}.nii.gz") for name in ("plain", "guided"))
    np.testing.assert_array_equal(plain.data, made.data)
    record = json.loads((tmp_path / "guided.json").read_text())
    assert record["Sources"] == [str(image), str(guide)]
    assert record["SuperResolution"]["Guide"]["Used"] is False


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--sr-method", "bspline"], "no guide with the method 'bspline'"),
        (["--labels"], "no guide with labels"),
    ],
)
def test_a_guide_needs_a_method_that_can_learn(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], text: str
) -> None:
    assert run(image, tmp_path / "fine.nii.gz", *words, "--guide", image) == ExitCode.USAGE
    assert text in capsys.readouterr().err


def test_a_guide_is_a_single_volume(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = Volume.load(image)
    cine = Series.of([volume, volume]).save(tmp_path / "cine.nii.gz")
    assert run(image, tmp_path / "fine.nii.gz", *QUICK, "--guide", cine) == ExitCode.USAGE
    assert "has 2 frames" in capsys.readouterr().err


def test_a_sidecar_that_is_not_utf8_is_read(image: Path, tmp_path: Path) -> None:
    sidecar = image.with_name("image.json")
    text = '{"SliceThickness": 4.5, "InstitutionName": "M\u00fcnchen"}'
    sidecar.write_bytes(text.encode("latin-1"))
    out = tmp_path / "out.nii.gz"
    assert run(image, out, "--sr-method", "linear", "--slice-profile", "slr") == ExitCode.OK
    record = json.loads((tmp_path / "out.json").read_text())["SuperResolution"]
    assert record["SliceThickness"] == 4.5
