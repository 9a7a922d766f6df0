from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from bids_sr.config import RunConfig, option, read_toml
from bids_sr.exceptions import ConfigError


def make(tmp_path: Path, **options: Any) -> RunConfig:
    folders = {"bids_dir": tmp_path / "raw", "output_dir": tmp_path / "out"}
    return RunConfig(**({**folders, "work_dir": tmp_path / "work"} | options))


ALL_OPTIONS: dict[str, Any] = {
    "participant_label": ("01", "02"),
    "session_label": ("a",),
    "bids_filters": {"t1w": {"session": "01", "run": [1, 2]}},
    "modalities": ("T2w",),
    "derivatives": {"other": Path("/data/other")},
    "nprocs": 4,
    "omp_nthreads": 3,
    "mem_gb": 12.5,
    "use_plugin": Path("/etc/plugin.yml"),
    "level": "full",
    "sloppy": True,
    "sr_method": "latent",
    "sr_preset": "paper",
    "sr_model": "/data/model.safetensors",
    "sr_adapt": "both",
    "save_model": True,
    "data_consistency": False,
    "sr_steps": 10,
    "sr_time_budget": 30.0,
    "output_resolution": "native",
    "output_grid": "slice",
    "slice_thickness": 5.0,
    "slice_spacing": 6.0,
    "slice_profile": "rect",
    "anat_biascorrect": "auto",
    "skull_strip_method": "none",
    "skull_strip_anat": "skip",
    "hdbet_tta": True,
    "allow_unverified_weights": True,
    "device": "cuda:1",
    "offline": True,
}


def test_toml_there_and_back_keeps_every_option(tmp_path: Path) -> None:
    config = make(tmp_path, **ALL_OPTIONS)
    assert RunConfig(**read_toml(config.to_toml(tmp_path / "logs" / "run.toml"))) == config


def test_toml_leaves_out_what_is_not_set(tmp_path: Path) -> None:
    config = make(tmp_path)
    path = config.to_toml(tmp_path / "run.toml")
    assert "slice_thickness" not in path.read_text()
    assert RunConfig(**read_toml(path)) == config
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]


def test_both_spellings_of_a_key_are_read(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('sr-method = "linear"\nmin_anisotropy = 2\n')
    assert read_toml(path) == {"sr_method": "linear", "min_anisotropy": 2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sr_metod = 'self'", ["sr_metod", "(did you mean sr_method?)"]),
        ("xyzzy = 1", ["xyzzy", "--help"]),
        ("nprocs = ", ["the configuration cannot be read", "expected TOML"]),
    ],
)
def test_a_bad_file_is_explained(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        read_toml(path)
    for word in words:
        assert word in str(error.value)


def test_an_absent_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.toml: .* \(no such file\)"):
        read_toml(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nprocs": 0}, "--nprocs is 0: expected at least 1"),
        ({"nprocs": "four"}, "--nprocs is 'four': expected a whole number"),
        ({"nprocs": True}, "expected a whole number"),
        ({"nprocs": 2, "omp_nthreads": 4}, "--omp-nthreads 4 is more than --nprocs 2"),
        ({"mem_gb": 0.008}, "--mem gives the run 8 MB"),
        ({"mem_gb": float("nan")}, "expected a finite number"),
        ({"sr_method": "magic"}, "--sr-method is 'magic': expected 'self' or"),
        ({"sr_steps": 0}, "--sr-steps is 0"),
        ({"sr_steps": "many"}, "--sr-steps is 'many': expected a whole number"),
        ({"sr_time_budget": 0}, "--sr-time-budget is 0"),
        ({"output_resolution": -1}, "--output-resolution is -1"),
        ({"output_resolution": "fine"}, "expected a finite number or 'native'"),
        ({"slice_thickness": 0}, "--slice-thickness is 0"),
        ({"min_anisotropy": 0.5}, "--min-anisotropy is 0.5: expected at least 1"),
        ({"random_seed": -1}, "--random-seed is -1"),
        ({"device": "gpu"}, "--device 'gpu': expected auto"),
        ({"modalities": ()}, "--modalities is empty"),
        ({"modalities": ("T1w.nii",)}, "expected a BIDS suffix"),
        ({"modalities": "T1w"}, "expected a list of texts"),
        ({"participant_label": ("0/1",)}, "--participant-label '0/1'"),
        ({"session_label": ("a b",)}, "--session-label 'a b'"),
        ({"bids_filters": {"t1w": "01"}}, "filter of 't1w' is '01'"),
        ({"derivatives": {"a": ""}}, "--derivatives is '': expected a path"),
        ({"derivatives": ["a"]}, "expected a table"),
        ({"derivatives": {"raw": "/x"}}, "--derivatives 'raw': expected a name of letters"),
        ({"derivatives": {"a b": "/x"}}, "--derivatives 'a b': expected a name of letters"),
        ({"sloppy": "yes"}, "--sloppy is 'yes': expected true or false"),
    ],
)
def test_an_impossible_value_is_explained(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        make(tmp_path, **options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("output", "work", "message"),
    [
        ("raw", "work", "the output folder is the input dataset"),
        ("raw/out", "work", "is inside the input dataset"),
        ("raw/derivatives", "work", "is inside the input dataset"),
        ("out", "raw/work", "the work folder"),
        ("out", "raw", "the work folder"),
    ],
)
def test_the_input_is_never_written_to(
    tmp_path: Path, output: str, work: str, message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        make(tmp_path, output_dir=tmp_path / output, work_dir=tmp_path / work)
    assert message in str(error.value)


@pytest.mark.parametrize("output", ["raw/derivatives/bids_sr", "out", "rawout"])
def test_usual_output_folders_are_allowed(tmp_path: Path, output: str) -> None:
    assert make(tmp_path, output_dir=tmp_path / output).output_dir == tmp_path / output


def test_the_input_may_lie_inside_the_output(tmp_path: Path) -> None:
    """The layout of a derivative dataset with its sources as ``sourcedata/raw``."""
    config = make(tmp_path, bids_dir=tmp_path / "sourcedata" / "raw", output_dir=tmp_path)
    assert config.output_dir == tmp_path


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = RunConfig(bids_dir="raw", output_dir="out", slice_profile="slr.tsv")  # type: ignore[arg-type]
    assert config.bids_dir == tmp_path / "raw"
    assert config.work_dir == tmp_path / "work"
    assert config.slice_profile == str(tmp_path / "slr.tsv")


def test_it_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make(tmp_path).nprocs = 3  # type: ignore[misc]


def test_options_are_named_as_on_the_command_line() -> None:
    assert option("sr_time_budget") == "--sr-time-budget"
    assert option("mem_gb") == "--mem"


@pytest.mark.parametrize("view", ["raw", "raw/derivatives/view", "out", "out/view", "work/v", "."])
def test_the_raw_like_folder_lies_apart(tmp_path: Path, view: str) -> None:
    with pytest.raises(ConfigError, match=r"--raw-like-dir .* or lie in one another"):
        make(tmp_path, raw_like_dir=tmp_path / view)
    assert make(tmp_path, raw_like_dir="view").raw_like_dir == Path("view").absolute()


def test_the_path_of_a_segmentation_is_absolute(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    config = RunConfig(
        bids_dir=tmp_path / "in",
        output_dir=tmp_path / "out",
        segmentation=["wmh", "nnunet=models/a"],
    )
    assert config.segmentation == ("wmh", f"nnunet={tmp_path / 'models' / 'a'}")


def test_half_a_letter_in_a_path_leaves_a_file_that_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"M\xfcller")
    config = RunConfig(bids_dir=folder, output_dir=tmp_path / "out")
    assert RunConfig(**read_toml(config.to_toml(tmp_path / "run.toml"))).bids_dir.name == "M?ller"
