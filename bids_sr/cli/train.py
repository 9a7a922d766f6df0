"""``bids_sr-tools train``: files in, weights and their model card out."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
import tomllib
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

from bids_sr.cli.seed_option import seed
from bids_sr.compute.resources import available_cpus, default_threads
from bids_sr.exceptions import ConfigError, counted
from bids_sr.files import read_toml
from bids_sr.method_facts import RECIPE_IMPLEMENTATIONS
from bids_sr.plain_values import WrongTypeError, field_types, structured
from bids_sr.run.exit_codes import ExitCode, ExitError

ENDING = ".safetensors"


def add_train_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options of this command to its parser."""
    command.add_argument(
        "recipe",
        choices=tuple(RECIPE_IMPLEMENTATIONS),
        metavar="RECIPE",
        help=", ".join(RECIPE_IMPLEMENTATIONS),
    )
    command.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="training data: files, folders (with all below them), BIDS datasets",
    )
    command.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help=f"weights to write ({ENDING})"
    )
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML file with settings of the recipe"
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one setting of the recipe, in TOML; takes precedence over --config; may be repeated",
    )
    command.add_argument("--start", type=Path, metavar="FILE", help="initial weights")
    command.add_argument("--resume", action="store_true", help="continue an interrupted training")
    command.add_argument(
        "--licence",
        metavar="TEXT",
        default="not stated",
        help="licence of the data, for the model card",
    )
    command.add_argument(
        "--suffix", nargs="+", default=[], metavar="SUFFIX", help="BIDS suffixes, such as T1w"
    )
    command.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out files whose name or path matches; may be repeated",
    )
    command.add_argument(
        "--device", help="auto, cpu, cuda, cuda:N or mps (default: as in --config)"
    )
    command.add_argument(
        "--random-seed", type=seed, metavar="N", help="seed (default: as in --config)"
    )
    command.add_argument(
        "--omp-nthreads",
        type=int,
        metavar="N",
        default=default_threads(available_cpus()),
        help="threads",
    )


def train_file(options: argparse.Namespace) -> int:
    """Train by ``options.recipe`` and write ``options.out``, its card and its picture."""
    out, checkpoint = _checked_output(options)
    if checkpoint is None:
        return ExitCode.OK
    from bids_sr.bids.sidecar import AcquisitionOverrides
    from bids_sr.bids.training_set import list_files, read_acquisitions
    from bids_sr.reports.model_card import write_card
    from bids_sr.run.console import progress_bar
    from bids_sr.sr.contract.weights import Weights
    from bids_sr.sr.recipes.base import IMAGES, make_recipe
    from bids_sr.sr.recipes.registry import RECIPES

    recipe = make_recipe(RECIPES, options.recipe, settings(options, RECIPES[options.recipe]))
    start = None if options.start is None else Weights.load(options.start)
    files = list_files(
        options.paths, recipe.suffixes, suffixes=options.suffix, exclude=options.exclude
    )
    acquisitions = {}
    if recipe.suffixes == IMAGES:
        roots = [path for path in options.paths if path.is_dir()]
        acquisitions = read_acquisitions(files, roots, AcquisitionOverrides())
    print(
        f"training {out.name} by {recipe.name!r} on {counted(len(files), 'file')} ...", flush=True
    )
    begin = time.monotonic()
    try:
        with progress_bar(out.name) as progress:
            weights = recipe.train(
                files,
                acquisitions=acquisitions,
                start=start,
                checkpoint=checkpoint,
                progress=progress,
            )
    except KeyboardInterrupt:
        if checkpoint.exists():
            sys.stderr.write(f"the state is in {checkpoint}: --resume continues from it\n")
        raise
    command = shlex.join(["bids_sr-tools", *options.words])
    card = replace(weights.card, licence=options.licence, command=command)
    weights = replace(weights, card=card)
    weights.save(out)
    text = write_card(weights, out)
    checkpoint.unlink(missing_ok=True)
    print(f"wrote {out} and {text}, {time.monotonic() - begin:.0f} s")
    return ExitCode.OK


def settings(options: argparse.Namespace, recipe: type) -> dict[str, Any]:
    """Gather the settings of a recipe: from ``--config``, over them ``--set``, over all options.

    Raises
    ------
    ConfigError
        If the file is not TOML, or a value is of the wrong type.
    """
    values = (
        read_toml(options.config, what="--config", error=ConfigError) if options.config else {}
    )
    for text in options.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"Found --set {text}; expected NAME=VALUE.")
        values[name.strip()] = _parsed(value.strip())
    values["threads"] = options.omp_nthreads
    if options.device is not None:
        values["device"] = options.device
    if options.random_seed is not None:
        values["seed"] = options.random_seed
    hints = field_types(recipe)
    return {
        name: _typed(name, value, hints[name]) if name in hints else value
        for name, value in values.items()
    }


def _parsed(text: str) -> Any:
    """Return a TOML value; text that is not TOML stays text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _typed(name: str, value: Any, hint: Any) -> Any:
    """Return a value in the type of its field; the word ``none`` stands for no value."""
    if value == "none" and type(None) in typing.get_args(hint):
        return None
    try:
        return structured(value, hint)
    except WrongTypeError as error:
        raise ConfigError(
            f"Found {name} = {value!r}; expected {error}. Change that setting."
        ) from error


def _checked_output(options: argparse.Namespace) -> tuple[Path, Path | None]:
    """Return the paths of weights and checkpoint; None for the latter if training has ended."""
    out: Path = options.out
    if out.suffix != ENDING:
        raise ExitError(ExitCode.USAGE, f"{out}: expected a name that ends in {ENDING}")
    if not out.absolute().parent.is_dir():
        raise ExitError(
            ExitCode.CANNOT_WRITE, f"the folder {out.absolute().parent} does not exist: create it"
        )
    checkpoint = out.with_suffix(".checkpoint")
    if checkpoint.exists() and not options.resume:
        raise ExitError(
            ExitCode.USAGE,
            f"{checkpoint} is the state of an interrupted training: continue it with --resume, "
            "or remove it",
        )
    if out.exists() and not checkpoint.exists():
        if options.resume:
            print(f"{out} exists: nothing left to do")
            return out, None
        raise ExitError(ExitCode.USAGE, f"{out} exists: remove it, or choose another name")
    return out, checkpoint
