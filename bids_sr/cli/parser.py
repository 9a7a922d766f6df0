"""The command line of ``bids_sr``: its options, their help, and the way to a RunConfig.

Options that fMRIPrep users know keep their spelling and meaning.  This module imports
nothing heavy, so that ``--help`` answers at once, and does not touch the disk except to
read the files named by ``--config-file`` and ``--bids-filter-file``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bids_sr import __version__
from bids_sr.cli import options
from bids_sr.cli.command_parser import CommandParser
from bids_sr.cli.step_options import (
    add_hand_over,
    add_preprocessing,
    add_segmentation,
    add_session,
    add_viewer,
)
from bids_sr.compute.resources import available_cpus, available_memory_gb, default_threads
from bids_sr.config import RunConfig, read_toml
from bids_sr.exceptions import ConfigError, did_you_mean, printable
from bids_sr.files import read_json
from bids_sr.run.exit_codes import ExitCode, ExitError

ANALYSIS_LEVELS = ("participant", "group")
POSITIONS = {"bids_dir", "output_dir", "analysis_level"}
EVERYDAY = {
    *("help", "help_all", "version", "dry_run"),
    *("participant_label", "session_label", "modalities"),
    *("slice_thickness", "slice_spacing", "output_resolution", "sr_method", "fuse_stacks"),
    *("skull_strip_method", "segmentation", "raw_like_dir"),
    *("nprocs", "mem_gb", "device", "work_dir", "config_file"),
}
"""Options that ``--help`` shows; ``--help-all`` shows all."""
DESCRIPTION = """\
Super-resolve thick-slice structural MRI of a BIDS dataset and write BIDS derivatives
with a report for each subject.

  bids_sr DATA OUT participant --dry-run    say what would happen to each image and why
  bids_sr DATA OUT participant              process all subjects
  bids_sr DATA OUT participant --participant-label 01 02 -m FLAIR --slice-thickness 5
  bids_sr DATA OUT group                    one table and page of all subjects

One NIfTI file without BIDS: bids_sr-tools super-resolve IN OUT
"""
EPILOG = """\
Long options may be written with - or _. Exit codes: 0 done; 1 some image failed; 2 usage;
16 dataset not valid; 17 unknown analysis level; 18 nothing selected; 65 bad data;
66 no input; 70 no workflow; 73 cannot write; 127 a tool is missing; 130 and 143 interrupted.
"""


def parse_args(argv: Sequence[str]) -> RunConfig:
    """Turn the command line into a run configuration.

    The command line takes precedence over ``--config-file``, which takes precedence over the
    defaults.  Wrong spelling ends in :class:`SystemExit` with code 2 (argparse).

    Raises
    ------
    ConfigError
        Values that cannot work together, or a file that cannot be used.
    """
    words = [_with_dashes(word) for word in argv]
    values = _values_of_file(words)
    typed = _typed(words, values)
    typed.pop("notrack", None)
    typed.pop("config_file", None)
    filter_file = typed.pop("bids_filter_file", None)
    values |= typed
    if filter_file:
        values["bids_filters"] = _read_filters(filter_file)
    if "derivatives" in typed:
        values["derivatives"] = dict(typed["derivatives"])
        names = [name for name, _ in typed["derivatives"]]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(
                f"--derivatives: {', '.join(repeated)} is given more than once; expected a name "
                "for each folder"
            )
    level = values["analysis_level"]
    if level not in ANALYSIS_LEVELS:
        raise ExitError(
            ExitCode.ANALYSIS_LEVEL,
            f"unknown analysis level {level!r}{did_you_mean(str(level), ANALYSIS_LEVELS)}: "
            "expected participant or group",
        )
    values.setdefault("work_dir", os.environ.get(options.WORK_DIR_VARIABLE) or "work")
    values.setdefault("nprocs", available_cpus())
    values.setdefault("mem_gb", available_memory_gb())
    if "omp_nthreads" not in typed and isinstance(values["nprocs"], int):
        # threads of a file written on a larger machine are cut, those asked for here are not
        threads = default_threads(values["nprocs"])
        values["omp_nthreads"] = min(values.get("omp_nthreads", threads), values["nprocs"])
    try:
        config = RunConfig(**values)
    except FileNotFoundError as error:  # what a relative path would be relative to
        raise ConfigError(
            "the current folder has been removed: change to an existing folder, or give absolute "
            "paths, also for --work-dir"
        ) from error
    for path in (config.bids_dir, config.output_dir, config.work_dir):
        if printable(str(path)) != str(path):
            raise ConfigError(
                f"{printable(str(path))}: the path contains bytes that are not valid UTF-8 text, "
                "and libraries that read images cannot open it; rename the folder"
            )
    return config


def _values_of_file(words: Sequence[str]) -> dict[str, Any]:
    """Read the file of ``--config-file``, if there is one."""
    finder = argparse.ArgumentParser(prog="bids_sr", add_help=False, allow_abbrev=False)
    finder.add_argument("--config-file", type=Path)
    finder.add_argument("others", nargs="*")
    path = finder.parse_known_args(words)[0].config_file
    return {} if path is None else read_toml(path)


def _typed(words: Sequence[str], values: dict[str, Any]) -> dict[str, Any]:
    """Return what was typed; folders and level may come from the configuration file alone."""
    if values.keys() >= POSITIONS:
        typed, others = build_parser(positions=False).parse_known_args(words)
        if not others:
            return vars(typed)
    return vars(build_parser().parse_args(words))


def build_parser(*, positions: bool = True) -> CommandParser:
    """Return the parser; options that were not given are absent from its result.

    Parameters
    ----------
    positions : bool
        Whether the two folders and the level have to be typed.
    """
    parser = CommandParser(
        everyday=EVERYDAY,
        prog="bids_sr",
        usage="bids_sr bids_dir output_dir {participant,group} [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        argument_default=argparse.SUPPRESS,
        formatter_class=_HelpFormatter,
    )
    if positions:
        parser.add_argument("bids_dir", type=Path, help="root folder of the BIDS dataset")
        parser.add_argument("output_dir", type=Path, help="folder for the derivatives")
        parser.add_argument(
            "analysis_level",
            metavar="{participant,group}",
            help="participant: process images; group: gather the quality measures of all "
            "subjects already processed into one table and one page",
        )
    parser.add_argument("--version", action="version", version=f"bids_sr {__version__}")
    parser.offer_completion()
    options.add_selection(parser.add_argument_group("Which images"))
    super_resolution = parser.add_argument_group("Super-resolution")
    options.add_super_resolution(super_resolution)
    add_session(super_resolution)
    options.add_acquisition(
        parser.add_argument_group(
            "How the images were acquired",
            "For values that the sidecars and headers do not state, or state wrongly; they apply "
            "to every selected image.",
        )
    )
    add_preprocessing(parser.add_argument_group("Steps before super-resolution"))
    after = parser.add_argument_group("Steps after super-resolution")
    add_segmentation(after)
    add_viewer(after)
    add_hand_over(parser.add_argument_group("Hand-over to other tools"))
    options.add_resources(parser.add_argument_group("CPUs, memory, device"))
    options.add_modes(parser.add_argument_group("What to do"))
    options.add_folders(parser.add_argument_group("Files and folders"))
    options.add_messages(parser.add_argument_group("Messages and debugging"))
    return parser


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Leave room for long options and end each help text with its default."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=min(_terminal_width(), 100))

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = RunConfig.__dataclass_fields__.get(action.dest)
        value = default.default if default else None
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            return action.help
        if isinstance(action, argparse._CountAction):
            return action.help
        if not action.option_strings or "default:" in (action.help or ""):
            return action.help
        return f"{action.help} (default: {value})"


def _terminal_width() -> int:
    import shutil

    return shutil.get_terminal_size().columns - 2


def _with_dashes(word: str) -> str:
    """Accept the underscore spellings that fMRIPrep users know."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _read_filters(path: Path) -> dict[str, Any]:
    expected = '--bids-filter-file, such as {"t1w": {"session": "01"}},'
    return read_json(path, what=expected, error=ConfigError)
