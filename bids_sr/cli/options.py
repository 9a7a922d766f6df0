"""The options of ``bids_sr``, group by group, with their help; more in :mod:`.step_options`.

Each function adds one group; each option is a field of :class:`~bids_sr.config.RunConfig`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

from bids_sr.config import MODALITIES
from bids_sr.method_facts import METHOD_FACTS, Adaptation, MethodFacts, methods_help, methods_that

WORK_DIR_VARIABLE = "BIDS_SR_WORK_DIR"
_SUFFIXES = {
    suffix.lower(): suffix
    for suffix in (
        *MODALITIES,
        *("PDT2", "T2star", "T2starw", "inplaneT1", "inplaneT2", "UNIT1", "angio"),
        *("MESE", "MEGRE", "IRT1", "MP2RAGE", "MPM", "MTS", "VFA"),
    )
}
_ADAPTED_TO = {
    "none": "nothing",
    "dataset": "all images of the run",
    "image": "each image",
    "both": "first all images, then each",
}
_UNITS_GB = {"": 1e-3, "m": 1e-3, "g": 1.0, "t": 1e3}
_MEMORY = re.compile(r"(?P<number>\d+(\.\d*)?|\.\d+)\s*(?P<unit>[mgt]?)i?b?", re.IGNORECASE)


def add_selection(group: argparse._ArgumentGroup) -> None:
    """Add the options that say which images are processed."""
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
        type=_suffix,
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
        help="images whose ratio of largest to smallest voxel size is below this are passed "
        "through",
    )
    group.add_argument(
        "-d",
        "--derivatives",
        nargs="+",
        metavar="NAME=PATH",
        type=_named_path,
        help="derivative datasets to search for existing brain masks",
    )


def add_super_resolution(group: argparse._ArgumentGroup) -> None:
    """Add the options that say how images are super-resolved."""
    group.add_argument("--sr-method", choices=tuple(METHOD_FACTS), help=methods_help())
    add_method_options(group)
    group.add_argument(
        "--output-resolution",
        type=output_resolution,
        metavar="MM|native",
        help="output voxel size; native keeps the acquired in-plane grid "
        "(default: the in-plane voxel size, but at least 1 mm)",
    )
    group.add_argument(
        "--output-grid",
        choices=("fov", "slice"),
        help="fov: voxels tile exactly the acquired field of view; slice: the grid contains the "
        "centres of the acquired slices and runs from the first to the last "
        f"({default_grid()})",
    )


def add_method_options(
    group: argparse._ActionsContainer, adaptations: Sequence[str] = get_args(Adaptation)
) -> None:
    """Add the options that say how a method works; both commands have them."""
    presets = "; ".join(
        f"{name}: {', '.join(facts.presets)}"
        for name, facts in METHOD_FACTS.items()
        if facts.presets
    )
    group.add_argument(
        "--sr-preset", metavar="NAME", help=f"named settings of a method; {presets}"
    )
    group.add_argument(
        "--sr-model",
        metavar="NAME|PATH",
        help=f"weights for {_names(lambda facts: facts.takes_model)}: a published name (see "
        "bids_sr-tools fetch) or a file",
    )
    group.add_argument(
        "--sr-adapt",
        choices=adaptations,
        help=f"what the weights of {_names(lambda facts: facts.adaptations)} are adapted to "
        f"before use; {'; '.join(f'{name}: {_ADAPTED_TO[name]}' for name in adaptations)} "
        "(default: depends on the method)",
    )
    group.add_argument(
        "--sr-steps",
        type=count,
        metavar="N",
        help="maximum training steps per image (default: depends on the method)",
    )
    group.add_argument(
        "--sr-time-budget",
        type=positive,
        metavar="SECONDS",
        help="maximum training time per image; results then depend on the speed of the "
        "machine (default: depends on the method)",
    )
    group.add_argument(
        "--data-consistency",
        action=argparse.BooleanOptionalAction,
        help="make the result, degraded again, agree with the acquired slices up to their noise "
        "(default: depends on the method)",
    )
    group.add_argument(
        "--save-model",
        action="store_true",
        help="save the network trained on each image, with the geometry for which it is valid",
    )
    group.add_argument(
        "--sr-reuse-model",
        type=Path,
        metavar="PATH",
        help=f"method {_names(lambda facts: facts.reuses_result)}: apply a network saved by "
        "--save-model for an image of the same geometry, instead of training",
    )


def add_acquisition(group: argparse._ArgumentGroup) -> None:
    """Add the options that say how images were acquired."""
    group.add_argument(
        "--slice-thickness",
        type=float,
        metavar="MM",
        help="slice thickness (default: sidecar, otherwise estimated from the image)",
    )
    group.add_argument(
        "--slice-spacing",
        type=float,
        metavar="MM",
        help="distance between slice centres (default: header)",
    )
    group.add_argument(
        "--slice-profile",
        metavar="{auto,assumed,gaussian,rect,slr,FILE}",
        help="slice profile (default: auto); auto: estimate what is not stated from the image; "
        "assumed: take it as slr, 0.85 of the spacing; FILE: a TSV with position (mm) and weight",
    )


def add_resources(group: argparse._ArgumentGroup) -> None:
    """Add the options that say which CPUs, memory and device are used."""
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
        help="threads per step (default: nprocs, at most 8)",
    )
    group.add_argument(
        "--mem",
        dest="mem_gb",
        type=memory_gb,
        metavar="MEMORY",
        help="memory of the whole run: 8000 (MB), 8G, 8GB, 8000MB "
        "(default: 90 %% of what this process may use)",
    )
    group.add_argument(
        "--mem-mb", dest="mem_gb", type=lambda text: float(text) / 1e3, help=argparse.SUPPRESS
    )
    group.add_argument("--mem-gb", type=float, help=argparse.SUPPRESS)
    group.add_argument(
        "--low-mem",
        action="store_true",
        help="never run two heavy steps in parallel: use no more CPUs than --omp-nthreads",
    )
    group.add_argument(
        "--device",
        metavar="{auto,cpu,cuda,cuda:N,mps}",
        help="where networks run; cuda without a CUDA device is an error",
    )
    group.add_argument(
        "--use-plugin",
        "--nipype-plugin-file",
        type=Path,
        metavar="FILE",
        help="YAML file with a Nipype plugin and its plugin_args, instead of MultiProc",
    )


def add_modes(group: argparse._ArgumentGroup) -> None:
    """Add the options that say what is done at all."""
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="print what would happen to each image and why, and stop",
    )
    group.add_argument(
        "--level",
        choices=("minimal", "full"),
        help="minimal: images, masks and reports; full: also the denoised and bias-corrected "
        "images",
    )
    group.add_argument(
        "--sloppy",
        action="store_true",
        help="coarse settings in every step, to check within minutes that everything works; "
        "never for results",
    )
    group.add_argument("--random-seed", type=int, metavar="N", help="random seed of every step")
    group.add_argument("--reports-only", action="store_true", help="only write the reports again")
    group.add_argument(
        "--boilerplate-only",
        action="store_true",
        help="only write the methods text and its citations",
    )
    group.add_argument(
        "--stop-on-first-crash",
        action="store_true",
        help="stop the run at the first image that fails (default: the others continue)",
    )
    group.add_argument(
        "--strict",
        action="store_true",
        help='end with exit code 1 if the verdict on an image is "look" (default: only failed '
        "images do that)",
    )
    group.add_argument(
        "--skip-bids-validation",
        action="store_true",
        help="do not run the BIDS validator on the input",
    )
    group.add_argument("--notrack", action="store_true", help="no effect: nothing is tracked")


def add_folders(group: argparse._ArgumentGroup) -> None:
    """Add the options that say where files are."""
    group.add_argument(
        "-w",
        "--work-dir",
        type=Path,
        metavar="DIR",
        help=f"folder of intermediate files; a second run resumes from them "
        f"(default: ${WORK_DIR_VARIABLE}, otherwise ./work)",
    )
    group.add_argument(
        "--clean-workdir",
        action="store_true",
        help="first remove intermediate files of earlier runs for the selected images",
    )
    group.add_argument(
        "--config-file",
        type=Path,
        metavar="FILE",
        help="TOML file with options, such as logs/*.toml of an earlier run; the command line "
        "takes precedence",
    )
    group.add_argument(
        "--bids-database-dir",
        type=Path,
        metavar="DIR",
        help="no effect: folders are listed in each run, which is faster than reading a database",
    )


def add_messages(group: argparse._ArgumentGroup) -> None:
    """Add the options that say what is reported and recorded."""
    group.add_argument(
        "-v",
        "--verbose",
        action="count",
        help="more messages; twice for debugging",
    )
    group.add_argument(
        "--debug",
        action="store_true",
        help="show the tracebacks of expected errors and keep every intermediate file",
    )
    group.add_argument(
        "--write-graph", action="store_true", help="write a drawing of the workflow to the logs"
    )
    group.add_argument(
        "--resource-monitor",
        action="store_true",
        help="record memory and CPU use of every step in the logs",
    )


def _names(trait: Callable[[MethodFacts], object]) -> str:
    """Name the methods of which something is true: a, b or c."""
    *others, last = methods_that(trait)
    return f"{', '.join(others)} or {last}" if others else last


def default_grid() -> str:
    """Name the default layout of the output of every method."""
    slices = _names(lambda facts: facts.output_grid == "slice")
    return f"default: slice for {slices}, otherwise fov"


def count(text: str) -> int:
    """Read a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected at least 1")
    return number


def positive(text: str) -> float:
    """Read a finite number above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: expected a number above 0")
    return number


def _label(prefix: str) -> Any:
    def label(text: str) -> str:
        _refuse_commas(text)
        return text.removeprefix(prefix)

    return label


def _suffix(text: str) -> str:
    """Return a suffix as BIDS spells it, whatever the case of its letters."""
    _refuse_commas(text)
    return _SUFFIXES.get(text.lower(), text)


def _refuse_commas(text: str) -> None:
    if "," in text:
        words = " ".join(filter(None, text.split(",")))
        raise argparse.ArgumentTypeError(f"{text!r}: separate with spaces: {words}")


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


def memory_gb(text: str) -> float:
    """Return a memory size in GB; a bare number is in MB, as in fMRIPrep."""
    match = _MEMORY.fullmatch(text.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a size such as 8G or 8000 (MB)")
    return float(match["number"]) * _UNITS_GB[match["unit"].lower()]
