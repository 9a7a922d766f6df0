from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bids_sr import __version__
from bids_sr.cli import parser
from bids_sr.cli.command_parser import SHELLS
from bids_sr.cli.options import WORK_DIR_VARIABLE
from bids_sr.cli.parser import build_parser, parse_args
from bids_sr.config import RunConfig
from bids_sr.exceptions import ConfigError
from bids_sr.run.exit_codes import ExitCode, ExitError
from bids_sr.run.plan import guide_rule


@pytest.fixture(autouse=True)
def _known_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(parser, "available_cpus", lambda: 4)
    monkeypatch.setattr(parser, "available_memory_gb", lambda: 16.0)
    monkeypatch.delenv(WORK_DIR_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)


def parse(*words: str) -> RunConfig:
    return parse_args(["raw", "out", "participant", *words])


def test_defaults_follow_what_the_process_may_use(tmp_path: Path) -> None:
    config = parse()
    assert (config.nprocs, config.omp_nthreads, config.mem_gb) == (4, 4, 16.0)
    assert config.work_dir == tmp_path / "work"


def test_work_dir_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORK_DIR_VARIABLE, "/scratch/w")
    assert parse().work_dir == Path("/scratch/w")
    assert parse("-w", "/elsewhere").work_dir == Path("/elsewhere")


@pytest.mark.parametrize(
    ("words", "gigabytes"),
    [
        (["--mem", "8000"], 8.0),
        (["--mem", "8G"], 8.0),
        (["--mem", "8GB"], 8.0),
        (["--mem", "8000MB"], 8.0),
        (["--mem", "0.5tb"], 500.0),
        (["--mem-mb", "2500"], 2.5),
        (["--mem_mb", "2500"], 2.5),
        (["--mem-gb", "3.5"], 3.5),
    ],
)
def test_memory_in_every_spelling(words: list[str], gigabytes: float) -> None:
    assert parse(*words).mem_gb == pytest.approx(gigabytes)


def test_labels_with_and_without_prefix() -> None:
    config = parse("--participant_label", "sub-01", "02", "--session-id", "ses-a", "b")
    assert config.participant_label == ("01", "02")
    assert config.session_label == ("a", "b")


def test_derivatives_have_names() -> None:
    config = parse("-d", "masks=/data/m", "old=/data/o")
    assert config.derivatives == {"masks": Path("/data/m"), "old": Path("/data/o")}


def test_two_derivatives_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="--derivatives: masks is given more than once"):
        parse("-d", "masks=/data/m", "old=/data/o", "masks=/data/n")


@pytest.mark.parametrize(("text", "value"), [("0.8", 0.8), ("1mm", 1.0), ("native", "native")])
def test_output_resolution(text: str, value: Any) -> None:
    assert parse("--output-resolution", text).output_resolution == value


def test_threads_are_cut_to_fewer_cpus_only_if_they_were_not_asked_for() -> None:
    assert parse("--nprocs", "2").omp_nthreads == 2
    assert parse("--nprocs", "64").omp_nthreads == 8
    with pytest.raises(ConfigError, match="--omp-nthreads 3 is more than --nprocs 2"):
        parse("--nprocs", "2", "--omp-nthreads", "3")


def test_command_line_wins_over_config_file(tmp_path: Path) -> None:
    path = tmp_path / "options.toml"
    path.write_text('sr-method = "linear"\nrandom_seed = 5\nnprocs = 1\nbids_dir = "/x"\n')
    config = parse("--config-file", str(path), "--random-seed", "6")
    assert (config.sr_method, config.random_seed) == ("linear", 6)
    assert (config.nprocs, config.omp_nthreads) == (1, 1)
    assert config.bids_dir == tmp_path / "raw"


def test_a_written_configuration_repeats_the_run(tmp_path: Path) -> None:
    first = parse("--sr-steps", "9", "--level", "full", "-m", "T2w", "FLAIR", "--sloppy")
    path = first.to_toml(tmp_path / "run.toml")
    assert parse("--config-file", str(path)) == first


def test_a_written_configuration_alone_repeats_the_run(tmp_path: Path) -> None:
    first = parse("--sr-steps", "9", "-m", "T2w")
    path = first.to_toml(tmp_path / "run.toml")
    assert parse_args(["--config-file", str(path)]) == first
    assert parse_args(["--sr-steps", "8", f"--config_file={path}"]).sr_steps == 8
    elsewhere = parse_args(["a", "--config-file", str(path), "b", "group"])
    assert (elsewhere.bids_dir, elsewhere.output_dir) == (tmp_path / "a", tmp_path / "b")
    assert elsewhere.analysis_level == "group"


def test_a_configuration_without_folders_asks_for_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "some.toml"
    path.write_text("sr-steps = 9\n")
    with pytest.raises(SystemExit):
        parse_args(["--config-file", str(path)])
    assert "required: bids_dir, output_dir" in capsys.readouterr().err


def test_suffixes_in_any_case() -> None:
    assert parse("-m", "t1W", "flair", "mese", "Other").modalities == (
        "T1w",
        "FLAIR",
        "MESE",
        "Other",
    )


def test_the_everyday_help_fits_two_screens(capsys: pytest.CaptureFixture[str]) -> None:
    shown = {}
    for option in ("--help", "--help-all"):
        with pytest.raises(SystemExit) as error:
            parse_args([option])
        assert error.value.code == 0
        shown[option] = capsys.readouterr().out
    everyday, everything = shown["--help"], shown["--help-all"]
    assert len(everyday.splitlines()) <= 110
    assert "--slice-thickness" in everyday
    assert "--hdbet-tta" not in everyday
    assert "--hdbet-tta" in everything
    assert "--dry-run" in everyday.split("positional")[0]


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_the_options(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        parse_args(["--print-completion", shell])
    assert error.value.code == 0
    assert "--participant-label" in capsys.readouterr().out


def test_filters_are_read(tmp_path: Path) -> None:
    path = tmp_path / "filters.json"
    path.write_text(json.dumps({"t1w": {"session": "01", "acquisition": None}}))
    filters = parse("--bids-filter-file", str(path)).bids_filters
    assert filters == {"t1w": {"session": "01", "acquisition": None}}


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), ("{", "Expecting"), ("[1]", "it holds a list")],
)
def test_bad_filters_are_explained(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "filters.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        parse("--bids-filter-file", str(path))


@pytest.mark.parametrize(
    "words",
    [
        ["--no-such-option"],
        ["--part", "01"],  # no abbreviations: a later option would change their meaning
        ["--mem", "lots"],
        ["--sr-method", "magic"],
        ["--output-resolution", "fine"],
        ["--derivatives", "no-equals-sign"],
        ["--nprocs", "two"],
    ],
)
def test_wrong_spelling_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        parse(*words)
    assert error.value.code == ExitCode.USAGE
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--participant-lable", "01"], "unknown option --participant-lable (did you mean "
         "--participant-label?)"),
        (["--sr-method", "finetune"], "unknown value 'finetune' (did you mean finetuned?)"),
        (["--participant-label", "01,02"], "'01,02': separate with spaces: 01 02"),
        (["-m", "T1w,FLAIR"], "'T1w,FLAIR': separate with spaces: T1w FLAIR"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_in_two_lines(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(*words)
    mistake, where = capsys.readouterr().err.splitlines()
    assert message in mistake
    assert where == "See bids_sr --help"


def test_an_unknown_option_is_named_before_what_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parse_args(["raw", "--dry-rum"])
    assert "unknown option --dry-rum (did you mean --dry-run?)" in capsys.readouterr().err


def test_an_unknown_analysis_level_has_its_own_code() -> None:
    with pytest.raises(ExitError) as error:
        parse_args(["raw", "out", "session"])
    assert error.value.code == ExitCode.ANALYSIS_LEVEL


def test_notrack_is_accepted_and_means_nothing() -> None:
    assert parse("--notrack") == parse()


def test_every_option_reaches_the_configuration() -> None:
    """No option without a field, and no field that cannot be set."""
    options = {action.dest for action in build_parser()._actions}
    fields = set(RunConfig.__dataclass_fields__)
    spent = {"help", "help_all", "print_completion", "version"}
    assert options - fields == {*spent, "notrack", "config_file", "bids_filter_file"}
    assert fields - options == {"bids_filters"}


def test_defaults_named_in_the_help_are_the_real_ones() -> None:
    text = " ".join(build_parser().format_help().split())
    assert f"(default: {RunConfig.__dataclass_fields__['random_seed'].default})" in text
    assert "(default: 1.5)" in text
    assert "SUPPRESS" not in text


@pytest.mark.parametrize("module", ["bids_sr", "bids_sr.cli.tools"])
def test_help_and_version_are_light_and_need_no_home(module: str, tmp_path: Path) -> None:
    environment = {"HOME": "/nonexistent", "PATH": ""}
    for option in ("--help", "--version"):
        shown = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", module, option],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
            cwd=tmp_path,
        )
        imported = {line.rpartition("|")[2].strip() for line in shown.stderr.splitlines()}
        heavy = {"torch", "nipype", "templateflow", "numpy", "nibabel", "bids", "rich", "yaml"}
        assert not heavy & imported
        if option == "--version":
            assert shown.stdout == f"bids_sr {__version__}\n"
    assert list(tmp_path.iterdir()) == []


def test_every_option_is_in_the_reference() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "reference" / "command-line.md"
    text = page.read_text(encoding="utf-8")
    spelled = {
        option
        for action in build_parser()._actions
        if action.help != argparse.SUPPRESS
        for option in action.option_strings
    }
    missing = [option for option in spelled - {"-h", "--help"} if f"`{option}`" not in text]
    assert missing == []


def test_what_other_tools_get(tmp_path: Path) -> None:
    assert parse().anat_reference == ("finest",)
    words = ("--anat-reference", "acq=mprage", "run=1", "--anat-reference-per", "subject")
    config = parse(*words, "--raw_like_dir", "view")
    assert config.anat_reference == ("acq=mprage", "run=1")
    assert config.anat_reference_per == "subject"
    assert config.raw_like_dir == tmp_path / "view"
    assert parse("--anat-reference", "first-lex").anat_reference == ("first-lex",)


def test_a_current_folder_that_is_gone_asks_for_whole_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    words = [str(tmp_path / "raw"), str(tmp_path / "out"), "participant"]
    with pytest.raises(ConfigError, match="the current folder has been removed"):
        parse_args(words)
    assert parse_args([*words, "-w", str(tmp_path / "work")]).output_dir == tmp_path / "out"


@pytest.mark.parametrize("name", [b"M\xfcller", b"two\nlines"])
def test_a_path_that_libraries_cannot_open_is_refused(tmp_path: Path, name: bytes) -> None:
    folder, raw, out = tmp_path / os.fsdecode(name), tmp_path / "raw", tmp_path / "out"
    for bids, output, work in ((folder, out, out), (raw, folder, out), (raw, out, folder)):
        with pytest.raises(ConfigError, match="the path contains bytes that are not valid UTF-8"):
            parse_args([str(bids), str(output), "participant", "-w", str(work)])
    assert parse_args([f"{tmp_path}/Müller", str(out), "participant"]).output_dir == out


def test_a_guide_is_chosen_by_words() -> None:
    assert parse().guide == ("auto",)
    assert parse("--guide", "auto").guide == ("auto",)
    assert parse("--guide", "T1w", "acq=mprage").guide == ("T1w", "acq=mprage")


def test_a_guide_for_a_method_that_cannot_learn_from_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="--guide T1w: the method 'bspline' cannot learn"):
        guide_rule(parse("--guide", "T1w", "--sr-method", "bspline"))
    assert guide_rule(parse("--guide", "auto", "--sr-method", "bspline")).wanted == {}
    assert guide_rule(parse()).allowed
    assert not guide_rule(parse("--guide", "none")).allowed
    assert guide_rule(parse("--guide", "T1w")).wanted == {"suffix": ("T1w",)}
