"""Options of ``bids_sr-tools evaluate``, and the methods they name.

``self:steps=500,channels=32`` is a method with two of its hyper-parameters; a name can be
put before it, ``short=self:steps=500``.  Long ones go to a TOML file, a table each.
Imports nothing heavy.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_sr.cli.seed_option import seed
from bids_sr.compute.resources import available_cpus
from bids_sr.exceptions import ConfigError
from bids_sr.files import read_toml
from bids_sr.method_facts import DEFAULT_METHOD
from bids_sr.seed import DEFAULT_SEED

COMPARED = ("bspline", DEFAULT_METHOD)
"""The methods compared if none are named."""
MASKS = ("auto", "nonzero", "template", "none")
_SPEC = re.compile(r"^(?:(?P<label>[^=:,]+)=)?(?P<method>[\w-]+)(?::(?P<parameters>.*))?$")


@dataclass(frozen=True, kw_only=True)
class MethodSpec:
    """A method with some of its hyper-parameters, and its name in the tables."""

    label: str
    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    results: Path | None = None
    """Folder of another program's volumes; the method is of no account then."""


def add_evaluate(command: argparse.ArgumentParser) -> None:
    """Add the options to a parser."""
    command.add_argument(
        "path", type=Path, metavar="PATH", help="BIDS dataset, folder or file of references"
    )
    command.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the comparison"
    )
    command.add_argument(
        "--methods",
        nargs="+",
        default=[],
        metavar="[LABEL=]METHOD[:NAME=VALUE,...]",
        help="methods to compare, with hyper-parameters (default: those of --methods-file, "
        f"otherwise {' '.join(COMPARED)})",
    )
    command.add_argument(
        "--methods-file",
        type=Path,
        metavar="TOML",
        help="one table [LABEL] per method: method = NAME and its hyper-parameters; all of them "
        "are compared, or those that --methods names",
    )
    tests = command.add_argument_group("tests")
    tests.add_argument(
        "--protocols",
        nargs="+",
        default=["5/6"],
        metavar="THICKNESS/SPACING[PLANE][/PROFILE]",
        help="simulated slices, mm; several stacks joined by +, with motion between them at the "
        "end (5/6+5/6sagittal+5/6coronal@2mm2deg); a stack and its guide, the scan beside the "
        "image with that suffix (5/6+guide=T1w@5mm5deg); or leave-slices-out",
    )
    tests.add_argument(
        "--slices",
        nargs="+",
        choices=("axial", "sagittal", "coronal"),
        default=["axial"],
        help="orientation of simulated slices, if the protocol does not name one",
    )
    tests.add_argument(
        "--noise",
        nargs="+",
        type=float,
        default=[0.0],
        metavar="FRACTION",
        help="Rician noise of simulated slices, as a fraction of their 99th percentile",
    )
    tests.add_argument(
        "--protocol-file",
        type=Path,
        metavar="TOML",
        help="the frozen tests of a benchmark, in place of --protocols, --slices, --noise and "
        "--random-seed",
    )
    tests.add_argument(
        "--write-tests",
        type=Path,
        metavar="DIR",
        help="write the slices of every test for another program, and stop",
    )
    tests.add_argument(
        "--results",
        nargs="+",
        default=[],
        metavar="LABEL=DIR",
        help="folders of volumes that other programs made of these tests, to be scored",
    )
    images = command.add_argument_group("images and masks")
    images.add_argument(
        "--include",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="patterns of file names to keep",
    )
    images.add_argument(
        "--exclude",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="patterns of file names to leave out",
    )
    images.add_argument(
        "--mask",
        default="auto",
        metavar="{auto,nonzero,template,none,PATH}",
        help="where to score; auto: derivatives, otherwise the non-zero voxels of skull-stripped "
        "images, otherwise the template engine; images that are not of the head are scored "
        "everywhere; PATH: a mask or a folder of them",
    )
    images.add_argument(
        "-d",
        "--derivatives",
        nargs="+",
        type=Path,
        default=[],
        metavar="DIR",
        help="BIDS derivatives with brain masks or label-lesion masks",
    )
    tests.add_argument(
        "--downstream",
        action="store_true",
        help="also segment each reconstruction (tissues by atropos; lesions by wmh if there is a "
        "label-lesion mask), and compare with the segmentation of the reference and with the "
        "manual lesions",
    )
    output = command.add_argument_group("output")
    output.add_argument(
        "--baseline",
        metavar="LABEL",
        help="method that gains are relative to (default: bspline)",
    )
    output.add_argument(
        "--examples", type=int, default=3, metavar="N", help="images shown per protocol"
    )
    output.add_argument(
        "--keep-images", action="store_true", help="keep the reconstructions, in DIR/images"
    )
    output.add_argument(
        "--no-perceptual",
        action="store_true",
        help="leave out the measures of the package piq",
    )
    machine = command.add_argument_group("CPUs and device")
    machine.add_argument(
        "--nprocs", type=int, default=available_cpus(), metavar="N", help="CPUs of the whole run"
    )
    machine.add_argument(
        "--omp-nthreads", type=int, default=1, metavar="N", help="threads per reconstruction"
    )
    machine.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    machine.add_argument(
        "--random-seed", type=seed, metavar="N", default=DEFAULT_SEED, help="seed"
    )


def read_specs(options: argparse.Namespace) -> list[MethodSpec]:
    """Return the methods that the options name.

    Raises
    ------
    ConfigError
        If one cannot be understood or two have the same name.
    """
    tables = read_tables(options.methods_file) if options.methods_file else {}
    default = COMPARED[:1] if options.results else COMPARED  # what others made, and a baseline
    texts: Sequence[str] = options.methods or ([] if tables else default)
    specs = [tables[text] if text in tables else parse_spec(text) for text in texts]
    specs = specs or list(tables.values())
    specs += [_results_of(text) for text in options.results]
    labels = [spec.label for spec in specs]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ConfigError(
            f"Found {', '.join(twice)} more than once; expected a name of its own for each "
            "method. Write NAME=METHOD:..."
        )
    return specs


def _results_of(text: str) -> MethodSpec:
    """Turn ``LABEL=DIR`` into what another program made."""
    label, equals, folder = text.partition("=")
    if not (label and equals and Path(folder).is_dir()):
        raise ConfigError(
            f"Found --results {text}; expected LABEL=DIR with an existing folder. Give the "
            "name of the program and the folder of its volumes."
        )
    return MethodSpec(label=label, method=COMPARED[0], results=Path(folder).absolute())


def parse_spec(text: str) -> MethodSpec:
    """Turn ``label=method:name=value,name=value`` into a method."""
    match = _SPEC.match(text)
    if match is None:
        raise ConfigError(f"Found the method {text!r}; expected [LABEL=]METHOD[:NAME=VALUE,...].")
    parameters: dict[str, Any] = {}
    for part in filter(None, (match["parameters"] or "").split(",")):
        name, equals, value = part.partition("=")
        if not (name and equals):
            raise ConfigError(
                f"Found {part!r} in the method {text!r}; expected NAME=VALUE. Put values that "
                "have commas into a --methods-file."
            )
        parameters[name.strip().replace("-", "_")] = _value(value.strip())
    return MethodSpec(
        label=match["label"] or _short(text), method=match["method"], parameters=parameters
    )


def read_tables(path: Path) -> dict[str, MethodSpec]:
    """Read methods from a TOML file."""
    tables = read_toml(path, what="the table of methods", error=ConfigError)
    specs = {}
    for label, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: found {label} outside of a table; expected [LABEL] first.")
        parameters = {name.replace("-", "_"): value for name, value in table.items()}
        method = parameters.pop("method", label)
        specs[label] = MethodSpec(label=label, method=str(method), parameters=parameters)
    return specs


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return text


def _short(text: str) -> str:
    """Name a method after its text, with the last part of paths only."""
    return re.sub(r"=[^,=]*/", "=", text)
