"""Several stacks through ``bids_sr-tools super-resolve``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bids_sr.cli import tools
from bids_sr.imaging import Acquisition, Volume, degrade
from bids_sr.run.exit_codes import ExitCode

WORDS = ["--sr-method", "bspline", "--output-resolution", "2"]


@pytest.fixture(scope="module")
def head() -> Volume:
    """Return a textured ball, 2 mm voxels."""
    shape = (36, 36, 36)
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    texture = sum(np.sin(9 * axis + number) for number, axis in enumerate(axes))
    data = (400 + 80 * texture) * (sum(axis**2 for axis in axes) < 0.7)
    return Volume(data.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))


@pytest.fixture
def stacks(head: Volume, tmp_path: Path) -> list[Path]:
    paths = []
    for axis, name in enumerate(("sag", "cor", "ax")):
        acquisition = Acquisition(spacing=6.0, thickness=5.0, slice_axis=axis)
        path = degrade(head, acquisition, noise_fraction=0.01, seed=axis).save(
            tmp_path / f"{name}.nii.gz"
        )
        path.with_name(f"{name}.json").write_text(json.dumps({"SliceThickness": 5.0}))
        paths.append(path)
    return paths


def run(*words: object) -> int:
    return tools.main(["super-resolve", *map(str, words)])


def test_several_inputs_are_fused(
    stacks: list[Path], head: Volume, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fused.nii.gz"
    assert run(*stacks, out, *WORDS) == ExitCode.OK
    assert run(stacks[0], tmp_path / "alone.nii.gz", *WORDS) == ExitCode.OK
    inside = head.data > 0
    errors = [
        float(np.sqrt(np.mean((Volume.load(path).data - head.data)[inside] ** 2)))
        for path in (out, tmp_path / "alone.nii.gz")
    ]
    assert errors[0] < 0.8 * errors[1]
    record = json.loads((tmp_path / "fused.json").read_text())
    assert record["Sources"] == [str(path) for path in stacks]
    assert record["Fusion"]["Frame"] == str(stacks[0])
    assert [stack["Used"] for stack in record["Fusion"]["Stacks"]] == [True] * 3
    assert len(list(tmp_path.glob("fused_from-?_xfm.txt"))) == 3
    said = capsys.readouterr().out
    assert "super-resolving 3 stacks" in said
    assert record["Fusion"]["Verdict"] == "ok"
    assert "verdict: ok (5 checks)" in said


def test_a_stack_that_does_not_fit_asks_for_a_look(
    stacks: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Volume.load(stacks[2])
    other.with_data(
        np.random.default_rng(0).permutation(other.data.ravel()).reshape(other.shape)
    ).save(stacks[2])
    out = tmp_path / "fused.nii.gz"
    assert run(*stacks, out, *WORDS, "--strict") == ExitCode.SOME_FAILED
    assert "verdict: look" in (said := capsys.readouterr().out)
    assert "look: stacks left out 1" in said
    assert json.loads((tmp_path / "fused.json").read_text())["Fusion"]["Verdict"] == "look"


@pytest.mark.parametrize("option", ["--labels", "--save-model", "--output-grid=slice"])
def test_what_holds_for_one_image_is_refused(
    stacks: list[Path], tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*stacks, tmp_path / "fused.nii.gz", *WORDS, option) == ExitCode.USAGE
    assert f"{option.partition('=')[0]}: found 3 images" in capsys.readouterr().err


def test_no_input_is_written_over(stacks: list[Path]) -> None:
    assert run(*stacks, stacks[1], *WORDS) == ExitCode.USAGE


def test_a_forgotten_output_costs_no_acquired_image(
    stacks: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in stacks[0].parent.iterdir()}
    for count in (2, 3):
        assert run(*stacks[:count], *WORDS) == ExitCode.USAGE
        assert "was not written by this program" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in stacks[0].parent.iterdir()} == before


def test_a_stack_is_given_once(
    stacks: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(stacks[0], stacks[0], tmp_path / "fused.nii.gz", *WORDS) == ExitCode.USAGE
    assert "is given twice" in capsys.readouterr().err


def test_too_little_memory_is_said_before_any_work(
    stacks: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("bids_sr.cli.super_resolve_together.memory_limit_gb", lambda: 0.2)
    assert run(*stacks, tmp_path / "fused.nii.gz", *WORDS) != ExitCode.OK
    assert "is expected to need" in capsys.readouterr().err
    monkeypatch.setattr("bids_sr.cli.super_resolve_together.memory_shortage", lambda *_, **__: "")
    assert run(*stacks, tmp_path / "fused.nii.gz", *WORDS) != ExitCode.OK
    assert "fusing these stacks, 0.1 million voxels" in capsys.readouterr().err
    assert not (tmp_path / "fused.nii.gz").exists()
