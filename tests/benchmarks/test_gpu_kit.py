"""The kit for a GPU of minutes: packed and run here, on the CPU."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from bids_sr.imaging import Volume
from bids_sr.sr.contract.card import WeightsCard
from bids_sr.sr.networks.backbone import Backbone

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "benchmarks" / "gpu"
THERE = {"torch", "numpy", "scipy", "safetensors"}  # on the machine
# Writes a file again and again and never ends, to be killed.
ENDLESS = (
    "import pathlib, sys, time\n"
    "for step in range(10**6):\n"
    "    pathlib.Path(sys.argv[1], 'checkpoint.json').write_text(str(step))\n"
    "    print('step', step, flush=True)\n"
    "    time.sleep(0.2)\n"
)


@pytest.fixture(scope="module")
def pack(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("gpu/pack")


@pytest.fixture(scope="module")
def script(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("gpu/run")


@pytest.fixture
def kit(pack: ModuleType, tmp_path: Path) -> Path:
    """Return a kit with a training that never ends by itself."""
    training = tmp_path / "endless.py"
    training.write_text(ENDLESS)
    words = [str(tmp_path / "kit"), "--without-wheels", "--training-set", str(training)]
    assert pack.main([*words, "--train", "{python} {set} {out}"]) == 0
    return tmp_path / "kit"


def begin(script: ModuleType, kit: Path, out: Path, seconds: float) -> Any:
    return script.Run(kit, out, seconds, rehearse=True)


def test_only_what_travels_is_imported(pack: ModuleType) -> None:
    """What the tests and the library import is on the machine or comes as a wheel."""
    available = (
        THERE
        | {name.lower() for name in (*pack.WHEELS, *pack.SCHEDULER_WHEELS)}
        | {"bids_sr", "kit"}
    )
    rooms = [REPOSITORY / "bids_sr" / room for room in ("sr", "imaging")]
    files = [path for room in (*rooms, REPOSITORY / "tests/sr/gpu") for path in room.rglob("*.py")]
    files += [REPOSITORY / "bids_sr" / name for name in ("published.py", "download.py")]
    files += [FOLDER / name for name in pack.SCRIPTS if name.endswith(".py")]
    files += [REPOSITORY / "tests" / name for name in ("conftest.py", *pack.TESTS[2:])]
    # of recipes and fixtures that the kit does not use
    optional = {"av", "golden_files", "nilearn"}
    for path in files:
        libraries = {name.split(".")[0] for name in imported(path)} - set(sys.stdlib_module_names)
        assert libraries <= available | optional, path


def imported(path: Path) -> set[str]:
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    names: set[str] = set()
    for node in tree:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
    return names


def test_the_script_needs_the_standard_library_alone() -> None:
    names = imported(FOLDER / "run.py") | imported(FOLDER / "kit.py")
    assert {name.split(".")[0] for name in names} <= {*sys.stdlib_module_names, "kit"}


def test_the_kit_holds_what_it_runs(kit: Path) -> None:
    for name in (
        "run.py",
        "kit.py",
        "timings.py",
        "source/bids_sr/sr/__init__.py",
        "tests/sr/gpu",
    ):
        assert (kit / name).exists()
    settings = json.loads((kit / "kit.json").read_text())
    assert settings["train"] == ["{python}", "{set}", "{out}"]
    assert (kit / settings["set"]).read_text() == ENDLESS
    assert (kit / "source/bids_sr/data/weights/brain-5.safetensors").is_file()


def test_a_folder_that_is_no_kit_is_kept(
    pack: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    assert pack.main([str(tmp_path), "--without-wheels"]) == 1
    assert "which is no kit" in capsys.readouterr().out
    assert (tmp_path / "mine.txt").is_file()


def test_too_much_is_an_error(
    pack: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(tmp_path / "kit"), "--without-wheels", "--most-megabytes", "0.1"]
    assert pack.main(words) == 1
    assert "Too much" in capsys.readouterr().out


def test_wheels_are_unpacked(script: ModuleType, kit: Path, tmp_path: Path) -> None:
    (kit / "wheels").mkdir()
    with zipfile.ZipFile(kit / "wheels" / "some-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some/__init__.py", "VALUE = 1")
    run = begin(script, kit, tmp_path / "out", 60)
    assert run.unpack()["wheels"] == ["some-1.0-py3-none-any.whl"]
    assert (run.work / "site" / "some" / "__init__.py").is_file()


OTHER_TESTS = """
import json, os, warnings, pytest
pytestmark = pytest.mark.gpu

def test_good():
    with open(os.environ["BIDS_SR_TEST_MEASUREMENTS"], "a") as stream:
        stream.write(json.dumps({"test": "good", "difference": 0.1}) + "\\n")
    warnings.warn("of a newer library", DeprecationWarning)
    assert os.environ["BIDS_SR_TEST_DEVICE"] == "cpu"

@pytest.mark.parametrize("name", ["with a space"])
def test_bad(name):
    assert False

def test_skipped():
    pytest.skip("not here")
"""


def test_outcomes_are_counted_and_measurements_kept(
    script: ModuleType, kit: Path, tmp_path: Path
) -> None:
    shutil.rmtree(kit / "tests")
    (kit / "tests" / "sr").mkdir(parents=True)
    (kit / "tests" / "sr" / "test_other.py").write_text(OTHER_TESTS)
    run = begin(script, kit, tmp_path / "out", 300)
    run.do("tests", run.tests)
    facts = run.report["steps"]["tests"]
    counts = {name: facts[name] for name in ("passed", "failed", "error", "skipped")}
    assert counts == {"passed": 1, "failed": 1, "error": 0, "skipped": 1}
    assert facts["status"] == "failed"
    assert facts["not_reached"] == 0
    assert run.report["measurements"] == [{"test": "good", "difference": 0.1}]
    assert "with a space" in (tmp_path / "out" / "tests.log").read_text()


def test_a_training_is_ended_in_time_and_leaves_what_it_had(
    script: ModuleType, kit: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = begin(script, kit, out, script.LAST_SECONDS + 2 * script.GRACE_SECONDS + 2)
    run.do("train", run.train)
    assert run.report["steps"]["train"]["status"] == "out of time"
    assert int((out / "checkpoint.json").read_text()) > 3
    assert "step 3" in (out / "train.log").read_text()


def test_a_step_that_fails_costs_the_others_nothing(
    script: ModuleType, kit: Path, tmp_path: Path
) -> None:
    run = begin(script, kit, tmp_path / "out", 60)

    def broken() -> dict[str, Any]:
        raise OSError("no space left")

    run.do("tests", broken)
    run.do("timings", lambda: {"status": "done"})
    steps = json.loads((tmp_path / "out" / "report.json").read_text())["steps"]
    assert steps["tests"]["status"] == "failed"
    assert steps["tests"]["error"] == "OSError: no space left"
    assert steps["timings"]["status"] == "done"


def test_a_command_that_fails_is_told(script: ModuleType, kit: Path, tmp_path: Path) -> None:
    run = begin(script, kit, tmp_path / "out", 60)
    facts = run.command("train", [sys.executable, "-c", "raise SystemExit('no data')"], 30)
    assert facts == {"status": "failed", "exit_code": 1}
    assert "no data" in (tmp_path / "out" / "train.log").read_text()


def test_the_newest_files_of_the_training_come_back_and_no_large_one(
    script: ModuleType, kit: Path, tmp_path: Path
) -> None:
    run = begin(script, kit, tmp_path / "out", 60)
    run.training.mkdir()
    names = [f"step-{number}.bin" for number in range(6)]
    for age, name in enumerate(names[:3]):
        written(run.training / name, 10, age)
    run.keep_training()
    for age, name in enumerate(names[3:], 3):
        written(run.training / name, 10, age)
    written(run.training / "large.bin", script.MOST_BYTES + 1, 9)
    run.keep_training()
    run.save()
    assert {path.name for path in run.out.iterdir()} == {*names[2:], "report.json"}
    assert set(run.report["left_behind"]) == {"large.bin", *names[:2]}


def written(path: Path, size: int, age: int) -> None:
    path.write_bytes(bytes(size))
    os.utime(path, (1e9 + age, 1e9 + age))


@pytest.fixture
def tiny_training(
    tmp_path: Path, tiny_settings: str, load: Callable[[str], ModuleType]
) -> list[str]:
    """Return the words that pack a training of seconds: two images, a small network."""
    noise = np.random.default_rng(0).standard_normal((2, 48, 48, 48)).astype(np.float32)
    for name, values in zip("ab", ndimage.gaussian_filter(noise, (0, 2, 2, 2)), strict=True):
        image = Volume(100 + 300 * values.clip(-0.3, None), np.eye(4))
        image.save(tmp_path / f"sub-{name}_T1w.nii.gz")
    packed = tmp_path / "set.tar.bz2"
    images = [str(tmp_path / f"sub-{name}_T1w.nii.gz") for name in "ab"]
    assert load("gpu/training_set").main([str(packed), *images, "--left-out", "sub-b"]) == 0
    start = tmp_path / "start.safetensors"
    Backbone(factor=8, channels=8, blocks=1, planes=3).weights(WeightsCard()).save(start)
    config = tmp_path / "tiny.toml"
    config.write_text(tiny_settings)
    command = "{python} {kit}/train.py {set} {start} {out} --seconds {seconds} --config "
    inputs = ["--training-set", str(packed), "--start", str(start)]
    return [*inputs, "--train", f"{command}{config}"]


@pytest.mark.slow
def test_rehearsal(pack: ModuleType, tiny_training: list[str], tmp_path: Path) -> None:
    """All steps on the CPU in two minutes; what takes longer is ended, and nothing fails."""
    assert pack.main([str(tmp_path / "kit"), "--without-wheels", *tiny_training]) == 0
    ended = subprocess.run(
        [sys.executable, "kit/run.py", "kit", "out", "--minutes", "2", "--rehearse"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    steps = report["steps"]
    assert list(steps) == ["unpack", "machine", "tests", "timings", "train"]
    assert steps["tests"]["passed"] > 0
    assert steps["tests"]["failed"] == steps["tests"]["error"] == 0
    assert "2 images after" in (tmp_path / "out" / "train.log").read_text()
    files = list((tmp_path / "out").iterdir())
    assert {path.name for path in files} >= {"report.json", "tests.log", "timings.log"}
    assert len(files) <= 8
    assert max(path.stat().st_size for path in files) <= 16e6
    assert "--- summary" in ended.stdout
