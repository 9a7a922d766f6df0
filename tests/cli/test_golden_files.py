"""Today's files, tables, reports, options and exit codes, frozen: see ``golden_files``.

Real commands on small datasets, compared with ``tests/golden/*.txt``.  No name of a module of the
package stands here but the entry points that the user's commands have.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import numpy.typing as npt
import pytest
from golden_files import Golden
from golden_texts import REPOSITORY, folder_lines, page_lines, tame, value_lines

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Main = Callable[[list[str]], int]
TINY = ("--denoise-method=none", "--anat-biascorrect=none", "--skull-strip-method=none")
MACHINE = ("--nprocs=1", "--omp-nthreads=1", "--mem=8G", "--device=cpu", "--skip-bids-validation")
ONE_FILE = ("--omp-nthreads=1", "--device=cpu", "--output-resolution=3")


@pytest.fixture(scope="module")
def mains() -> dict[str, Main]:
    """Return what each command of the package calls, by its name."""
    table = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    functions = {}
    for name, place in table.items():
        module, _, function = place.partition(":")
        functions[name] = getattr(importlib.import_module(module), function)
    return functions


@pytest.fixture
def tools(
    mains: dict[str, Main], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., int]:
    """Return a function that calls ``bids_sr-tools`` in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: code_of(mains["bids_sr-tools"], words)


def code_of(main: Main, words: tuple[object, ...]) -> int:
    """Return the exit code of a command."""
    try:
        return int(main([*map(str, words)]))
    except SystemExit as error:
        return int(error.code or 0)


def texture(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return smooth waves and a little noise within an ellipsoid: something to learn from."""
    grids = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    inside = sum(grid**2 for grid in grids) < 0.8
    waves = np.sin(11 * grids[0]) * np.sin(8 * grids[1] + 5 * grids[2])
    noise = np.random.default_rng(0).normal(0, 10, shape)
    return np.asarray(np.abs(inside * (600 + 250 * waves) + noise), dtype=np.float32)


def write(path: Path, data: npt.NDArray[Any], spacing: float = 6.0, **sidecar: Any) -> Path:
    """Write an image of 2 mm voxels with slices ``spacing`` apart, and its sidecar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nb.Nifti1Image(data, np.diag([2, 2, spacing, 1])).to_filename(path)
    if sidecar:
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
    return path


def write_dataset(root: Path, name: str) -> Path:
    root.mkdir()
    (root / "README").write_text("A dataset of the tests.\n")
    description = {"Name": name, "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    return root


@dataclass(frozen=True)
class Finished:
    """A run of ``bids_sr`` that has ended."""

    folder: Path
    code: int
    lines: tuple[str, ...]
    """Of its output folder, as soon as it had ended."""

    @property
    def folders(self) -> dict[Path, str]:
        return {self.folder: "<tmp>"}


def run_participants(folder: Path, *words: str) -> Finished:
    positions = ["bids", "out", "participant", "-w", "work"]
    ended = subprocess.run(
        [sys.executable, "-m", "bids_sr", *positions, *MACHINE, *words],
        capture_output=True,
        check=False,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=900,
    )
    lines = folder_lines(folder / "out", {folder: "<tmp>"})
    code = f"== exit code\n{ended.returncode}".splitlines()
    return Finished(folder, ended.returncode, (*code, *lines))


# --- the BIDS-App -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(
    thick_slices: npt.NDArray[np.float32],
    tmp_path_factory: pytest.TempPathFactory,
) -> Finished:
    """Two sessions, one of them with a bad image, and an image that is fine already."""
    folder = tmp_path_factory.mktemp("golden")
    first = write_dataset(folder / "bids", "golden") / "sub-01"
    write(first / "ses-a/anat/sub-01_ses-a_T1w.nii.gz", thick_slices)
    broken = thick_slices.copy()
    broken[3, 3, 3] = np.nan
    write(first / "ses-b/anat/sub-01_ses-b_T1w.nii.gz", broken, SliceThickness=5)
    fine = folder / "bids/sub-02/anat/sub-02_T2w.nii.gz"
    write(fine, thick_slices, 2.5, SliceThickness=2.5)
    return run_participants(folder, "--sr-method=bspline", *TINY)


def test_participant_level(finished: Finished, golden: Golden) -> None:
    golden("participant_bspline", finished.lines)


def test_group_level(finished: Finished, command: Command, golden: Golden) -> None:
    ended = command("bids", "out", "group", cwd=finished.folder)
    lines = folder_lines(finished.folder / "out", finished.folders, pattern="group_*")
    golden("group", [f"exit code {ended.returncode}", *lines])


def test_reports_only(finished: Finished, command: Command) -> None:
    pages = {path: path.read_text() for path in (finished.folder / "out").glob("sub-*.html")}
    for page in pages:
        page.unlink()
    ended = command("bids", "out", "participant", "--reports-only", cwd=finished.folder)
    assert ended.returncode == 0, ended.stderr
    for page, text in pages.items():
        assert [*page_lines(page.read_text())] == [*page_lines(text)]


def test_dry_run(finished: Finished, command: Command, golden: Golden) -> None:
    words = ("--dry-run", "-w", "work", *MACHINE)
    ended = command("bids", "none", "participant", *words, cwd=finished.folder)
    lines = [tame(line, finished.folders) for line in ended.stdout.splitlines()]
    golden("dry_run", [f"exit code {ended.returncode}", *lines])
    assert not (finished.folder / "none").exists()


def test_self_sloppy_with_an_estimated_profile(golden: Golden, tmp_path: Path) -> None:
    anat = write_dataset(tmp_path / "bids", "golden") / "sub-01" / "anat"
    data = texture((30, 32, 12))
    write(anat / "sub-01_T1w.nii.gz", data, 4.0, SliceThickness=4)
    write(anat / "sub-01_FLAIR.nii.gz", data.max() - data, 4.0)
    words = ("--sr-method=self", "--sloppy", "--slice-profile=auto", "--level=full", *TINY)
    more = ("--save-model", "--raw-like-dir=view", "--surface-contrasts=FLAIR")
    run = run_participants(tmp_path, *words, *more)
    golden("self_sloppy_auto", run.lines)
    golden("raw_like_view", folder_lines(tmp_path / "view", run.folders))


@pytest.mark.slow
@pytest.mark.engine
def test_all_steps_and_segmentations(golden: Golden, tmp_path: Path) -> None:
    """Head at 3 mm: denoising, bias field, template's mask, wmh and atropos."""
    from nilearn.datasets import load_mni152_template

    anat = write_dataset(tmp_path / "bids", "golden") / "sub-01" / "anat"
    anat.mkdir(parents=True)
    head = load_mni152_template(resolution=3)
    data = 1000 * head.get_fdata(dtype=np.float32)
    thick = (data[:, :, :-1:2] + data[:, :, 1::2]) / 2
    flair = np.where(thick > 20, 1000 - thick, thick)
    affine = head.affine @ np.diag([1, 1, 2, 1])
    nb.Nifti1Image(flair, affine).to_filename(anat / "sub-01_FLAIR.nii.gz")
    (anat / "sub-01_FLAIR.json").write_text('{"SliceThickness": 6}')
    words = ("--sr-method=bspline", "--sloppy", "--level=full", "--skull-strip-method=template")
    run = run_participants(tmp_path, *words, "--segmentation", "wmh", "atropos")
    golden("all_steps_and_segmentations", run.lines)


# --- one file -----------------------------------------------------------------------------

SELF = (
    *("--sr-method=self", "--sr-steps=3", "--slice-profile=slr"),
    *("--uncertainty=map.nii.gz", "--save-model"),
)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bspline", ("--sr-method=bspline",)),
        ("self", SELF),
        ("finetuned_as_is", ("--sr-adapt=none",)),
        ("finetuned", ("--sr-steps=3", "--slice-profile=gaussian")),
        ("latent", ("--sr-method=latent", "--sr-steps=2", "--save-model")),
        ("auto_profile", ("--sr-method=linear", "--slice-profile=auto")),
    ],
)
def test_super_resolve(
    tools: Callable[..., int], golden: Golden, tmp_path: Path, name: str, words: tuple[str, ...]
) -> None:
    image = write(tmp_path / "in" / "image.nii.gz", texture((30, 32, 12)), SliceThickness=5)
    (tmp_path / "out").mkdir()
    words = tuple(word.replace("=map", "=out/map") for word in words)
    code = tools("super-resolve", image, "out/sr.nii.gz", *words, *ONE_FILE)
    lines = folder_lines(tmp_path / "out", {tmp_path: "<tmp>"})
    golden(f"super_resolve_{name}", [f"exit code {code}", *lines])


def test_super_resolve_labels_and_a_series(
    tools: Callable[..., int], golden: Golden, tmp_path: Path
) -> None:
    data = texture((20, 22, 6))
    labels = write(tmp_path / "in" / "labels.nii.gz", np.where(data > 500, 7, 0).astype(np.int16))
    series = write(tmp_path / "in" / "series.nii.gz", np.stack([data, 2 * data], axis=-1))
    (tmp_path / "out").mkdir()
    codes = [
        tools("super-resolve", labels, "out/labels.nii.gz", "--labels", *ONE_FILE),
        tools("super-resolve", series, "out/series.nii.gz", "--sr-method=linear", *ONE_FILE),
    ]
    lines = folder_lines(tmp_path / "out", {tmp_path: "<tmp>"})
    golden("super_resolve_labels_and_series", [f"exit codes {codes}", *lines])


def test_slice_profile_and_simulate(
    tools: Callable[..., int], golden: Golden, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fine = write(tmp_path / "in" / "fine.nii.gz", texture((40, 42, 64)), 2.0)
    (tmp_path / "out").mkdir()
    words = ("--slice-thickness=5", "--slice-spacing=4", "--noise=0.01")
    codes = [tools("simulate", fine, "out/thick.nii.gz", *words)]
    capsys.readouterr()
    codes += [tools("slice-profile", "out/thick.nii.gz", "--out=out/profile.tsv")]
    printed, _ = json.JSONDecoder().raw_decode(capsys.readouterr().out)
    estimate = value_lines(printed)
    lines = folder_lines(tmp_path / "out", {tmp_path: "<tmp>"})
    golden("slice_profile_and_simulate", [f"exit codes {codes}", *estimate, *lines])


def test_train(tools: Callable[..., int], golden: Golden, tmp_path: Path) -> None:
    data = np.random.default_rng(0).random((24, 26, 28)).astype(np.float32)
    write(tmp_path / "fine" / "sub-a_T1w.nii.gz", data, 2.0)
    (tmp_path / "out").mkdir()
    settings = ("channels=4", "blocks=1", "batch_size=2", "patch_width=8", "patch_slices=4")
    words = [f"--set={setting}" for setting in (*settings, "steps=3", "report_every=1")]
    words += ["--licence=CC0", "--omp-nthreads=1", "--device=cpu", "--out=out/made.safetensors"]
    code = tools("train", "supervised", "fine", *words)
    lines = folder_lines(tmp_path / "out", {tmp_path: "<tmp>"})
    golden("train", [f"exit code {code}", *lines])


def test_evaluate(tools: Callable[..., int], golden: Golden, tmp_path: Path) -> None:
    write(tmp_path / "fine" / "sub-a_T1w.nii.gz", texture((32, 34, 32)), 2.0)
    words = ("--methods", "bspline", "linear", "--protocols=7/8", "--mask=nonzero")
    more = ("--no-perceptual", "--nprocs=1", "--out=out")
    code = tools("evaluate", "fine", *words, *more)
    lines = folder_lines(tmp_path / "out", {tmp_path: "<tmp>"})
    golden("evaluate", [f"exit code {code}", *lines])


def test_slurm(tools: Callable[..., int], golden: Golden, tmp_path: Path) -> None:
    anat = write_dataset(tmp_path / "bids", "golden") / "sub-01" / "anat"
    write(anat / "sub-01_T1w.nii.gz", texture((20, 22, 6)), SliceThickness=5)
    words = ("--command=bids_sr", "--script-dir=scripts", "--partition=long")
    code = tools("slurm", "bids", "out", *words, "--", "--sr-method=bspline")
    lines = folder_lines(tmp_path / "scripts", {tmp_path: "<tmp>"})
    golden("slurm", [f"exit code {code}", *lines])


# --- options and exit codes ---------------------------------------------------------------


def option_lines(parser: argparse.ArgumentParser, prefix: str) -> Iterator[str]:
    """List the arguments of a parser and of its subcommands, without their help texts."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield f"== {prefix} {name}"
                yield from option_lines(command, f"{prefix} {name}")
            continue
        facts: dict[str, Any] = {
            "metavar": action.metavar,
            "nargs": action.nargs,
            "choices": action.choices and list(action.choices),
            "default": None if action.default == argparse.SUPPRESS else action.default,
            "required": action.required or None,
            "hidden": action.help == argparse.SUPPRESS or None,
        }
        if {"--omp-nthreads", "--nprocs"} & {*action.option_strings}:
            facts["default"] = facts["default"] and "<of the machine>"
        words = [f"{name}={value!r}" for name, value in facts.items() if value is not None]
        yield " ".join([*(action.option_strings or ["(position)"]), *words])


@pytest.mark.parametrize("name", ["bids_sr", "bids_sr-tools"])
def test_options(
    mains: dict[str, Main], golden: Golden, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    lines: list[str] = []

    def keep(parser: argparse.ArgumentParser, *_: object) -> None:
        lines.extend([f"== {name}", *option_lines(parser, name)])

    monkeypatch.setattr(argparse.ArgumentParser, "print_help", keep)
    everything = "--help-all" if name == "bids_sr" else "--help"
    assert code_of(mains[name], (everything,)) == 0
    golden(f"options_{name}", lines)


MISTAKES = {
    "bids_sr": (
        "bids out session",
        "none out participant",
        "bids bids participant",
        "bids out participant --no-such-option",
        "bids out participant --slice-profile=gausian",
        "bids out participant --derivatives masks=none",
        "bids out participant --config-file=none",
        "bids out participant --segmentation=no-such-tool",
        "bids out participant --segmentation=lst-ai",
        "bids out participant --sr-preset=fast --sr-method=bspline",
        "bids out participant --sr-method=self --sr-reuse-model=none",
        "bids out participant --sr-method=latent --sr-model=none",
        "bids out participant --participant-label=99 --skip-bids-validation",
        "bids file/out participant --skip-bids-validation",
        "bids out participant --device=cuda:99 --skip-bids-validation",
        "bids none group",
        "bids none participant --reports-only",
    ),
    "bids_sr-tools": (
        "",
        "no-such-command",
        "super-resolve none.nii.gz sr.nii.gz",
        "super-resolve image.nii.gz image.nii.gz",
        "super-resolve image.nii.gz sr.mgz",
        "super-resolve image.nii.gz none/sr.nii.gz",
        "super-resolve file sr.nii.gz",
        "super-resolve image.nii.gz sr.nii.gz --labels",
        "super-resolve image.nii.gz sr.nii.gz --sr-method=linear --uncertainty=u.nii.gz",
        "super-resolve image.nii.gz sr.nii.gz --sr-steps=0",
        "super-resolve image.nii.gz sr.nii.gz --sr-model=none",
        "super-resolve image.nii.gz sr.nii.gz --slice-thickness=-1",
        "simulate image.nii.gz thick.nii.gz",
        "slice-profile none.nii.gz",
        "fetch no-such-weights",
        "fetch hd-bet --offline --weights-dir=.",
        "train no-such-recipe bids --out=w.safetensors",
        "train supervised none --out=w.safetensors",
        "train supervised bids --out=w.pt",
        "evaluate none --out=scores",
        "evaluate bids --out=scores --mask=none --methods cubist",
        "score none",
        "slurm none out --command=bids_sr",
    ),
}


@pytest.mark.parametrize("name", [*MISTAKES])
def test_exit_codes_of_mistakes(
    mains: dict[str, Main],
    golden: Golden,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    thick_slices: npt.NDArray[np.float32],
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    bids = write_dataset(tmp_path / "bids", "golden")
    write(bids / "sub-01/anat/sub-01_T1w.nii.gz", thick_slices, SliceThickness=5)
    write(tmp_path / "image.nii.gz", thick_slices)
    (tmp_path / "file").write_text("no image")
    before = {*tmp_path.rglob("*")}
    lines = [
        f"{name} {words}: exit code {code_of(mains[name], tuple(words.split()))}"
        for words in MISTAKES[name]
    ]
    left = sorted(
        path.relative_to(tmp_path).as_posix() for path in {*tmp_path.rglob("*")} - before
    )
    golden(f"exit_codes_{name}", [*lines, *(f"left behind: {path}" for path in left)])
