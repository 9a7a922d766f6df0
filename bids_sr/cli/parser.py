"""The command line of ``bids_sr``: its options, their help, and the way to a RunConfig.

Options that fMRIPrep users know keep their spelling and meaning.  This module imports
nothing heavy, so that ``--help`` answers at once, and does not touch the disk except to
read the files named by ``--config-file`` and ``--bids-filter-file``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bids_sr import __version__
from bids_sr.cli.exit_codes import ExitCode, ExitError
from bids_sr.cli.resources import available_cpus, available_memory_gb, default_threads
from bids_sr.config import MODALITIES, RunConfig, read_toml
from bids_sr.exceptions import ConfigError

ANALYSIS_LEVELS = ("participant", "group")
WORK_DIR_VARIABLE = "BIDS_SR_WORK_DIR"
_UNITS_GB = {"": 1e-3, "m": 1e-3, "g": 1.0, "t": 1e3}
_MEMORY = re.compile(r"(?P<number>\d+(\.\d*)?|\.\d+)\s*(?P<unit>[mgt]?)i?b?", re.IGNORECASE)


def parse_args(argv: Sequence[str]) -> RunConfig:
    """Turn the command line into a run configuration.

    An option given on the command line wins over ``--config-file``, which wins over the
    defaults.  Wrong spelling ends in :class:`SystemExit` with code 2 (argparse).

    Raises
    ------
    ConfigError
        Values that cannot work together, or a file that cannot be used.
    """
    given = vars(build_parser().parse_args([_with_dashes(word) for word in argv]))
    given.pop("notrack", None)
    config_file = given.pop("config_file", None)
    filter_file = given.pop("bids_filter_file", None)
    values = read_toml(config_file) if config_file else {}
    values |= given
    if filter_file:
        values["bids_filters"] = _read_filters(filter_file)
    if "derivatives" in given:
        values["derivatives"] = dict(given["derivatives"])
    if given["analysis_level"] not in ANALYSIS_LEVELS:
        raise ExitError(
            ExitCode.ANALYSIS_LEVEL,
            f"unknown analysis level {given['analysis_level']!r}: expected participant or group",
        )
    values.setdefault("work_dir", os.environ.get(WORK_DIR_VARIABLE) or "work")
    values.setdefault("nprocs", available_cpus())
    values.setdefault("mem_gb", available_memory_gb())
    if "omp_nthreads" not in given and isinstance(values["nprocs"], int):
        # threads of a file written on a larger machine are cut, those asked for here are not
        threads = default_threads(values["nprocs"])
        values["omp_nthreads"] = min(values.get("omp_nthreads", threads), values["nprocs"])
    return RunConfig(**values)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; options that were not given are absent from its result."""
    parser = argparse.ArgumentParser(
        prog="bids_sr",
        description="Super-resolve thick-slice structural MRI of a BIDS dataset and write "
        "BIDS derivatives with a report for each subject.",
        epilog="Long options may be written with - or _. Exit codes: 0 done; 1 some image "
        "failed; 2 usage; 16 dataset not valid; 17 unknown analysis level; 18 nothing "
        "selected; 65 bad data; 66 no input; 70 no workflow; 73 cannot write; 127 a tool "
        "is missing; 130 and 143 interrupted.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        formatter_class=_HelpFormatter,
    )
    parser.add_argument("bids_dir", type=Path, help="root folder of the BIDS dataset")
    parser.add_argument("output_dir", type=Path, help="folder for the derivatives")
    parser.add_argument(
        "analysis_level",
        metavar="{participant,group}",
        help="participant: process images; group: gather the quality measures of all "
        "subjects already processed into one table and one page",
    )
    parser.add_argument("--version", action="version", version=f"bids_sr {__version__}")
    _add_selection(parser.add_argument_group("Which images"))
    _add_superoutput_resolution(parser.add_argument_group("Super-resolution"))
    _add_acquisition(
        parser.add_argument_group(
            "How the images were acquired",
            "For what the sidecars and headers do not say, or say wrongly; holds for every "
            "selected image.",
        )
    )
    _add_preprocessing(parser.add_argument_group("Steps before super-resolution"))
    _add_resources(parser.add_argument_group("CPUs, memory, device"))
    _add_modes(parser.add_argument_group("What to do"))
    _add_folders(parser.add_argument_group("Files and folders"))
    _add_messages(parser.add_argument_group("Messages and debugging"))
    return parser


class _HelpFormatter(argparse.HelpFormatter):
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


def _add_selection(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--participant-label",
        nargs="+",
        metavar="LABEL",
        type=_label("sub-"),
        help="subjects to process, with or without sub- (default: all)",
    )
    group.add_argument(
        "--session-label",
        "--session-id",
        nargs="+",
        metavar="LABEL",
        type=_label("ses-"),
        help="sessions to process, with or without ses- (default: all)",
    )
    group.add_argument(
        "-m",
        "--modalities",
        nargs="+",
        metavar="SUFFIX",
        help=f"image suffixes to process (default: {' '.join(MODALITIES)})",
    )
    group.add_argument(
        "--bids-filter-file",
        metavar="FILE",
        type=Path,
        help="JSON file with entity filters for each suffix, as in fMRIPrep: "
        '{"t1w": {"session": "01", "acquisition": null}}; unknown keys are errors',
    )
    group.add_argument(
        "--min-anisotropy",
        type=float,
        metavar="RATIO",
        help="images whose largest / smallest voxel size is below this are passed through",
    )
    group.add_argument(
        "-d",
        "--derivatives",
        nargs="+",
        metavar="NAME=PATH",
        type=_named_path,
        help="derivative datasets in which existing brain masks are sought",
    )


def _add_superoutput_resolution(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--sr-method",
        choices=("self", "bspline", "lanczos", "linear", "none"),
        help="self: a network trained on the image itself; bspline, lanczos, linear: "
        "interpolation; none: keep the acquired grid",
    )
    group.add_argument(
        "--sr-steps",
        type=int,
        metavar="N",
        help="most training steps of an image (default: chosen by the method)",
    )
    group.add_argument(
        "--sr-time-budget",
        type=float,
        metavar="SECONDS",
        help="most training time of an image; results then depend on the speed of the "
        "machine (default: chosen by the method)",
    )
    group.add_argument(
        "--output-resolution",
        type=output_resolution,
        metavar="MM|native",
        help="target voxel size; native keeps the in-plane grid exactly as acquired "
        "(default: the in-plane size, but not below 1 mm)",
    )
    group.add_argument(
        "--output-grid",
        choices=("fov", "slice"),
        help="fov: voxels tile exactly the acquired field of view; slice: the centres of "
        "the acquired slices lie on the grid, which runs from the first to the last of them",
    )


def _add_acquisition(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--slice-thickness",
        type=float,
        metavar="MM",
        help="slice thickness (default: sidecar, else the spacing)",
    )
    group.add_argument(
        "--slice-spacing",
        type=float,
        metavar="MM",
        help="distance between slice centres (default: sidecar, else header)",
    )
    group.add_argument(
        "--slice-profile",
        metavar="{gaussian,rect,slr,FILE}",
        help="shape of the slice; FILE is a TSV with position (mm) and weight",
    )


def _add_preprocessing(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--denoise-method", choices=("nlm", "none"), help="nlm: non-local means (ANTs)"
    )
    group.add_argument(
        "--anat-biascorrect",
        choices=("n4", "auto", "none"),
        help="bias field correction; auto: only where a field is found",
    )
    group.add_argument(
        "--skull-strip-method",
        choices=("auto", "hdbet", "template", "none"),
        help="brain mask; hdbet: HD-BET, needs its weights; template: affine registration "
        "of a bundled template; auto: HD-BET where its weights are at hand, else template",
    )
    group.add_argument(
        "--weights-dir",
        type=Path,
        metavar="DIR",
        help="where network weights are (default: the places named in the documentation)",
    )
    group.add_argument("--offline", action="store_true", help="refuse every network connection")


def _add_resources(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--nprocs",
        "--nthreads",
        "--n-cpus",
        type=int,
        metavar="N",
        help="CPUs of the whole run (default: all that this process may use)",
    )
    group.add_argument(
        "--omp-nthreads",
        type=int,
        metavar="N",
        help="threads of one step (default: nprocs, at most 8)",
    )
    group.add_argument(
        "--mem",
        dest="mem_gb",
        type=_memory,
        metavar="MEMORY",
        help="memory of the whole run: 8000 (MB), 8G, 8GB, 8000MB "
        "(default: 90 %% of what this process may use)",
    )
    group.add_argument(
        "--mem-mb", dest="mem_gb", type=lambda text: float(text) / 1e3, help=argparse.SUPPRESS
    )
    group.add_argument("--mem-gb", type=float, help=argparse.SUPPRESS)
    group.add_argument(
        "--low-mem", action="store_true", help="never run two heavy steps at the same time"
    )
    group.add_argument(
        "--device",
        metavar="{auto,cpu,cuda,cuda:N,mps}",
        help="where networks run; cuda without such a device is an error",
    )
    group.add_argument(
        "--use-plugin",
        "--nipype-plugin-file",
        type=Path,
        metavar="FILE",
        help="YAML file with a Nipype plugin and its plugin_args, instead of MultiProc",
    )


def _add_modes(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="print what would happen to each image and why, and stop",
    )
    group.add_argument(
        "--level",
        choices=("minimal", "full"),
        help="minimal: images, masks and reports; full: the denoised and bias-corrected "
        "images too",
    )
    group.add_argument(
        "--sloppy",
        action="store_true",
        help="coarse settings in every step, to see in minutes that all works; never for results",
    )
    group.add_argument(
        "--random-seed", type=int, metavar="N", help="seed of everything that draws numbers"
    )
    group.add_argument("--reports-only", action="store_true", help="only write the reports again")
    group.add_argument(
        "--boilerplate-only",
        action="store_true",
        help="only write the methods text and its citations",
    )
    group.add_argument(
        "--stop-on-first-crash",
        action="store_true",
        help="end the run at the first image that fails (default: the others go on)",
    )
    group.add_argument(
        "--skip-bids-validation",
        action="store_true",
        help="do not run the BIDS validator on the input",
    )
    group.add_argument("--notrack", action="store_true", help="does nothing: nothing is tracked")


def _add_folders(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-w",
        "--work-dir",
        type=Path,
        metavar="DIR",
        help=f"intermediate files; a second run resumes from them "
        f"(default: ${WORK_DIR_VARIABLE}, else ./work)",
    )
    group.add_argument(
        "--clean-workdir",
        action="store_true",
        help="first remove what earlier runs left of the selected images",
    )
    group.add_argument(
        "--config-file",
        type=Path,
        metavar="FILE",
        help="TOML file with options, such as logs/*.toml of an earlier run; the command "
        "line wins",
    )
    group.add_argument(
        "--bids-database-dir",
        type=Path,
        metavar="DIR",
        help="folder of a PyBIDS database, made there if absent; for large datasets",
    )


def _add_messages(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-v",
        "--verbose",
        action="count",
        help="say more; twice for debugging messages",
    )
    group.add_argument(
        "--debug",
        action="store_true",
        help="show tracebacks of expected errors and keep every intermediate file",
    )
    group.add_argument(
        "--write-graph", action="store_true", help="write the workflow as a graph to the logs"
    )
    group.add_argument(
        "--resource-monitor",
        action="store_true",
        help="record memory and CPU use of every step in the logs",
    )


def _label(prefix: str) -> Any:
    def label(text: str) -> str:
        return text.removeprefix(prefix)

    return label


def _named_path(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=PATH")
    return name, Path(path)


def output_resolution(text: str) -> float | str:
    """Read a target spacing: a number in mm or ``native``."""
    if text == "native":
        return text
    try:
        return float(text.removesuffix("mm"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a size in mm or native") from None


def _memory(text: str) -> float:
    """Return a memory size in GB; a bare number is in MB, as in fMRIPrep."""
    match = _MEMORY.fullmatch(text.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a size such as 8G or 8000 (MB)")
    return float(match["number"]) * _UNITS_GB[match["unit"].lower()]


def _with_dashes(word: str) -> str:
    """Accept the underscore spellings that fMRIPrep users know."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _read_filters(path: Path) -> dict[str, Any]:
    try:
        filters = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read --bids-filter-file {path} ({error.strerror}): check the path"
        ) from error
    except ValueError as error:
        raise ConfigError(f"--bids-filter-file {path} is not JSON: {error}") from error
    if not isinstance(filters, dict):
        raise ConfigError(
            f"--bids-filter-file {path} holds {type(filters).__name__}: expected an object "
            'such as {"t1w": {"session": "01"}}'
        )
    return filters
