from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from bids_sr.cli import tools, train
from bids_sr.exceptions import ConfigError
from bids_sr.imaging import Volume
from bids_sr.run.exit_codes import ExitCode
from bids_sr.sr.contract.weights import Weights

Command = Callable[..., "subprocess.CompletedProcess[str]"]
TINY = ["channels=4", "blocks=1", "batch_size=2", "patch_width=8", "patch_slices=4"]


@pytest.fixture
def fine(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    data = random.random((24, 26, 28)).astype(np.float32)
    Volume(data, np.eye(4)).save(tmp_path / "fine" / "sub-a_T1w.nii.gz")
    return tmp_path / "fine"


def test_help_brings_no_torch() -> None:
    code = "import sys; from bids_sr.cli import tools; tools.build_parser(); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_writes_weights_a_card_and_a_picture(
    fine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "recipe.toml"
    config.write_text("steps = 3\nreport_every = 2\nspacings = [2, 4]\n")
    out = tmp_path / "made.safetensors"
    words = ["train", "supervised", str(fine), "--out", str(out), "--config", str(config)]
    words += ["--licence", "CC0", "--omp-nthreads", "1", "--device", "cpu", "--random-seed", "5"]
    words += [word for setting in [*TINY, "steps=4"] for word in ("--set", setting)]
    assert tools.main(words) == ExitCode.OK
    card = Weights.load(out).card.to_dict()
    assert card["Licence"] == "CC0"
    assert card["Command"].startswith("bids_sr-tools train supervised")
    assert card["Recipe"]["Parameters"]["spacings"] == [2.0, 4.0]
    assert (card["Recipe"]["Parameters"]["steps"], card["Seed"]) == (4, 5)
    text = (tmp_path / "made.md").read_text()
    assert "sub-a_T1w.nii.gz" in text
    assert "![loss" in text
    assert (tmp_path / "made.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "made.checkpoint").exists()

    assert tools.main(words) == ExitCode.USAGE
    assert "exists: remove it" in capsys.readouterr().err
    assert tools.main([*words, "--resume"]) == ExitCode.OK
    assert "nothing left to do" in capsys.readouterr().out
    next_out = tmp_path / "next.safetensors"
    words[words.index(str(out))] = str(next_out)
    (tmp_path / "next.checkpoint").write_bytes(b"")
    assert tools.main(words) == ExitCode.USAGE
    assert "--resume" in capsys.readouterr().err
    (tmp_path / "next.checkpoint").unlink()
    assert tools.main([*words, "--start", str(out)]) == ExitCode.OK
    assert "weights of the recipe supervised" in next_out.with_suffix(".md").read_text()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--out", "a.pt"], ExitCode.USAGE, "ends in .safetensors"),
        (["--out", "none/a.safetensors"], ExitCode.CANNOT_WRITE, "does not exist"),
        (
            ["--out", "a.safetensors", "--set", "steps=many"],
            ExitCode.USAGE,
            "expected a whole number",
        ),
        (["--out", "a.safetensors", "--set", "speed=1"], ExitCode.USAGE, "parameter speed"),
        (["--out", "a.safetensors", "--set", "steps"], ExitCode.USAGE, "NAME=VALUE"),
        (["--out", "a.safetensors", "--config", "none"], ExitCode.USAGE, "no such file"),
        (["--out", "a.safetensors", "--start", "none"], ExitCode.MISSING_TOOL, "no file none"),
        (["--out", "a.safetensors", "--exclude", "*"], ExitCode.NO_INPUT, "all excluded"),
    ],
)
def test_errors_are_one_clear_line(
    fine: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: ExitCode,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert tools.main(["train", "supervised", str(fine), *words]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("bids_sr-tools train: ")
    assert message in line


@dataclass(frozen=True)
class Settings:
    steps: int = 1
    rate: float = 1.0
    budget: float | None = None
    names: tuple[str, ...] = ()
    pair: tuple[float, float] = (0.0, 1.0)
    kind: Literal["a", "b"] = "a"
    fast: bool = False
    threads: int | None = None


def parsed(*texts: str) -> dict[str, Any]:
    options = argparse.Namespace(
        config=None, set=[*texts], omp_nthreads=2, device=None, random_seed=None
    )
    return train.settings(options, Settings)


def test_settings_become_the_types_of_the_fields() -> None:
    values = parsed(
        "steps=5",
        "rate=2",
        "budget=none",
        "names=['x', 'y']",
        "pair=[1, 2.5]",
        "kind=b",
        "fast=true",
    )
    expected = Settings(5, 2.0, None, ("x", "y"), (1.0, 2.5), "b", True, 2)
    assert Settings(**values) == expected
    assert type(values["rate"]) is float


@pytest.mark.parametrize(
    "text", ["steps=1.5", "steps=true", "rate=fast", "names=x", "pair=[1, 'a']", "kind=c"]
)
def test_settings_of_another_type_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=text.partition("=")[0]):
        parsed(text)
