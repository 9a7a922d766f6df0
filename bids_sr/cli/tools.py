"""The ``bids_sr-tools`` command: single images and demonstration data, no BIDS-App.

The parser stands here; each subcommand's work is in the module of its name and is
imported only when it is called, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
import traceback
from collections.abc import Sequence
from pathlib import Path

from bids_sr import __version__
from bids_sr.cli.command_parser import CommandParser
from bids_sr.cli.evaluate_options import add_evaluate
from bids_sr.cli.fetch import add_fetch_arguments
from bids_sr.cli.options import (
    add_method_options,
    count,
    default_grid,
    output_resolution,
    positive,
)
from bids_sr.cli.seed_option import seed
from bids_sr.cli.slice_gain import add_slice_gain
from bids_sr.cli.slice_profile import add_slice_profile_arguments
from bids_sr.cli.slurm import add_slurm_arguments, split_words
from bids_sr.cli.train import add_train_arguments
from bids_sr.compute.environment import prepare
from bids_sr.compute.resources import available_cpus, default_threads
from bids_sr.exceptions import BidsSrError
from bids_sr.method_facts import DEFAULT_METHOD, LABELS_METHOD, methods_help, methods_that
from bids_sr.run.exit_codes import ExitCode, ExitError, code_of
from bids_sr.run.streams import steady_streams
from bids_sr.run.system_errors import explain
from bids_sr.seed import DEFAULT_SEED

SR_METHODS = methods_that(lambda facts: not facts.keeps_grid)
PROFILE_HELP = "gaussian, rect, slr, or a TSV file with position (mm) and weight"
ESTIMABLE = (
    "; auto: estimate what is not stated from the image; assumed: take it as slr, 0.85 of the "
    "spacing"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit code."""
    with steady_streams():
        return _main([*(sys.argv[1:] if argv is None else argv)])


def _main(words: list[str]) -> int:
    own, others = split_words(words)
    options = build_parser().parse_args(own, argparse.Namespace(words=words, others=others))
    try:
        prepare(getattr(options, "omp_nthreads", None) or default_threads(available_cpus()))
        return _run(options)
    except ExitError as error:
        return _complain(options.command, error, error.code)
    except BidsSrError as error:
        if options.debug:
            traceback.print_exc()
        return _complain(options.command, error, code_of(error))
    except (OSError, MemoryError) as error:
        message, code = explain(error) or (str(error), ExitCode.CANNOT_WRITE)
        return _complain(options.command, message, code)
    except KeyboardInterrupt:
        return _complain(options.command, "interrupted", ExitCode.INTERRUPTED)


def _run(options: argparse.Namespace) -> int:
    from bids_sr.run.console import set_up_logging

    set_up_logging(2 if options.debug else 0)
    if options.command == "super-resolve":
        from bids_sr.cli.super_resolve import super_resolve_file
        from bids_sr.cli.super_resolve_together import super_resolve_files

        options.in_file, *others = options.in_files
        if others:
            return super_resolve_files(options)
        return super_resolve_file(options)
    if options.command == "simulate":
        from bids_sr.cli.simulate import simulate_file

        return simulate_file(options)
    if options.command == "demo":
        from bids_sr.cli.demo import write_demo

        return write_demo(options.folder)
    if options.command == "fetch":
        from bids_sr.cli.fetch import fetch_weights

        return fetch_weights(options)
    if options.command == "train":
        from bids_sr.cli.train import train_file

        return train_file(options)
    if options.command == "evaluate":
        from bids_sr.cli.evaluate import evaluate

        return evaluate(options)
    if options.command == "slice-profile":
        from bids_sr.cli.slice_profile import estimate_file

        return estimate_file(options)
    if options.command == "slurm":
        from bids_sr.cli.slurm import write_scripts

        return write_scripts(options, options.others)
    from bids_sr.cli.demo import print_scores

    return print_scores(options.folder, options.derivatives)


def _complain(command: str, error: object, code: ExitCode) -> int:
    sys.stderr.write(f"bids_sr-tools {command}: {error}\n")
    return code


_USAGES = {
    "super-resolve": (
        "IN [IN ...] OUT [options]",
        "flair.nii.gz flair_sr.nii.gz --slice-thickness 5",
        "axial.nii.gz coronal.nii.gz sagittal.nii.gz fused.nii.gz",
    ),
    "simulate": (
        "IN OUT --slice-thickness MM [options]",
        "t1w.nii.gz thick.nii.gz --slice-thickness 5 --slice-spacing 6",
    ),
    "evaluate": (
        "PATH --out DIR [options]",
        "/data/study --out comparison --protocols 5/6 3/3 --methods bspline finetuned",
        "/data/study --out comparison --protocol-file benchmarks/through-plane-v1.toml",
    ),
    "slice-profile": ("IN [options]", "flair.nii.gz --out profile.tsv --plot profile.svg"),
    "demo": ("DIR", "demo"),
    "fetch": ("NAME [options]", "hd-bet"),
    "train": ("RECIPE PATH [PATH ...] --out FILE [options]",),
    "slurm": (
        "BIDS OUT (--image SIF | --command WORDS) [options] [-- options of bids_sr]",
        "/data/study /data/study-sr --image bids_sr.sif --partition short -- -m FLAIR",
    ),
    "score": ("DIR [options]", "demo"),
}
"""Of each command: its usage in one line, then examples of its words."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    parser = CommandParser(
        prog="bids_sr-tools",
        description="Super-resolution of single images, simulation, demonstration data.",
    )
    parser.add_argument("--version", action="version", version=f"bids_sr {__version__}")
    parser.offer_completion()
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_super_resolve(
        _command(commands, "super-resolve", "super-resolve one NIfTI image, or fuse several")
    )
    _add_simulate(
        _command(
            commands,
            "simulate",
            "make a thick-slice image from a high-resolution one with the acquisition model",
        )
    )
    add_evaluate(
        _command(commands, "evaluate", "compare methods on your own images: scores and a page")
    )
    add_slice_profile_arguments(
        _command(commands, "slice-profile", "estimate the slice profile of one NIfTI image")
    )
    demo = _command(
        commands,
        "demo",
        "write a small BIDS dataset of thick slices made from the MNI152 template, and the "
        "high-resolution references next to it; downloads nothing",
    )
    demo.add_argument(
        "folder", type=Path, metavar="DIR", help="folder to write; created if missing"
    )
    add_fetch_arguments(_command(commands, "fetch", "download published network weights"))
    add_train_arguments(_command(commands, "train", "train a network with a recipe"))
    add_slurm_arguments(
        _command(commands, "slurm", "write the scripts of a Slurm job array for a BIDS dataset")
    )
    score = _command(
        commands,
        "score",
        "compare a finished run on the demonstration data with the reference images",
    )
    score.add_argument("folder", type=Path, metavar="DIR", help="folder written by demo")
    score.add_argument(
        "--derivatives",
        type=Path,
        metavar="DIR",
        help="output folder of the run (default: out in the demonstration's folder)",
    )
    return parser


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """End a help text with its default, unless the text states it or there is none."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        if "default" in text or action.required or action.default in (None, False, []):
            return action.help
        if isinstance(action.default, list):
            return f"{text} (default: {' '.join(map(str, action.default))})"
        return super()._get_help_string(action)


def _command(
    commands: argparse._SubParsersAction[CommandParser], name: str, what: str
) -> CommandParser:
    usage, *examples = _USAGES[name]
    lines = [textwrap.fill(what[0].upper() + what[1:] + ".", 80)]
    if examples:
        lines += ["", *(f"  bids_sr-tools {name} {example}" for example in examples)]
    command = commands.add_parser(
        name,
        help=what,
        usage=f"%(prog)s {usage}",
        description="\n".join(lines),
        formatter_class=_HelpFormatter,
    )
    command.add_argument("--debug", action="store_true", help="more messages, with tracebacks")
    return command


def _add_super_resolve(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "in_files",
        nargs="+",
        type=Path,
        metavar="IN",
        help="thick-slice NIfTI image; several are stacks of one contrast, in any planes, that "
        "are fused in the frame of the finest",
    )
    command.add_argument(
        "out_file", type=Path, metavar="OUT", help="image to write; a JSON record goes next to it"
    )
    _add_acquisition(command, "default: sidecar next to IN, otherwise estimated from the image")
    command.add_argument(
        "--sr-method",
        choices=SR_METHODS,
        help=f"{methods_help(SR_METHODS)} (default: {DEFAULT_METHOD}; for --labels "
        f"{LABELS_METHOD})",
    )
    add_slice_gain(command, default="auto")
    add_method_options(command, adaptations=("none", "image"))
    _add_overwrite(command)
    command.add_argument(
        "--strict",
        action="store_true",
        help='end with exit code 1 if the verdict on the result is "look"',
    )
    command.add_argument(
        "--labels",
        action="store_true",
        help="IN is a label map on the grid of an image: interpolate it, or apply the network "
        "trained on that image (--sr-reuse-model)",
    )
    command.add_argument(
        "--guide",
        type=Path,
        metavar="FILE",
        help="thin scan of another contrast of the same patient that helps (finetuned); used if "
        "held-out slices confirm that it helps",
    )
    command.add_argument(
        "--uncertainty",
        type=Path,
        metavar="FILE",
        help="also write the expected standard deviation of every voxel "
        f"({', '.join(methods_that(lambda facts: facts.tells_uncertainty))})",
    )
    command.add_argument(
        "--output-resolution",
        type=output_resolution,
        metavar="MM|native",
        default=None,
        help="output voxel size (default: the in-plane voxel size, but at least 1 mm)",
    )
    command.add_argument(
        "--output-grid",
        choices=("fov", "slice"),
        help=f"layout of the output ({default_grid()})",
    )
    command.add_argument(
        "--weights-dir", type=Path, metavar="DIR", help="folder of published weights"
    )
    command.add_argument("--offline", action="store_true", help="refuse every network connection")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    command.add_argument(
        "--omp-nthreads",
        type=count,
        metavar="N",
        default=default_threads(available_cpus()),
        help="threads",
    )
    command.add_argument(
        "--random-seed", type=seed, metavar="N", default=DEFAULT_SEED, help="seed"
    )


def _add_simulate(command: argparse.ArgumentParser) -> None:
    command.add_argument("in_file", type=Path, metavar="IN", help="high-resolution NIfTI image")
    command.add_argument(
        "out_file",
        type=Path,
        metavar="OUT",
        help="image to write; its JSON sidecar goes next to it",
    )
    _add_overwrite(command)
    _add_acquisition(command, "required")
    command.add_argument(
        "--slice-axis", type=int, choices=(0, 1, 2), default=2, help="array axis of the slices"
    )
    command.add_argument(
        "--noise",
        type=float,
        default=0.0,
        metavar="FRACTION",
        help="Rician noise, as a fraction of the 99th percentile",
    )
    command.add_argument(
        "--random-seed", type=seed, metavar="N", default=DEFAULT_SEED, help="seed"
    )


def _add_overwrite(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--overwrite", action="store_true", help="replace OUT if this program wrote it"
    )


def _add_acquisition(command: argparse.ArgumentParser, default: str) -> None:
    command.add_argument(
        "--slice-thickness",
        type=positive,
        metavar="MM",
        required=default.startswith("required"),
        help=f"slice thickness ({default})",
    )
    required = default.startswith("required")
    spacing = "the thickness" if required else "header"
    command.add_argument(
        "--slice-spacing",
        type=positive,
        metavar="MM",
        help=f"distance between slice centres (default: {spacing})",
    )
    words, profile = f"{PROFILE_HELP} (default: slr)", None
    if not required:
        words, profile = f"{PROFILE_HELP}{ESTIMABLE} (default: auto)", "auto"
    command.add_argument("--slice-profile", default=profile, metavar="PROFILE", help=words)


if __name__ == "__main__":
    sys.exit(main())
