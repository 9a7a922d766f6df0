"""``bids_sr-tools super-resolve A B C OUT``: several stacks of one contrast, one volume."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_sr import __version__
from bids_sr.cli.image_verdict import print_verdict
from bids_sr.cli.slice_estimate import with_estimated_profile
from bids_sr.cli.slice_gain import with_even_slices
from bids_sr.cli.super_resolve import (
    check_beside,
    checked_output,
    method_options,
    print_facts,
    read_facts,
    record_path,
    save_uncertainty,
)
from bids_sr.compute.environment import refuse_network
from bids_sr.compute.resources import memory_limit_gb
from bids_sr.exceptions import ConfigError
from bids_sr.files.writing import write_json_atomic
from bids_sr.imaging import Acquisition, Volume
from bids_sr.imaging.itk_transform import write_itk_transform
from bids_sr.records.fusion_checks import verdict_on_fused
from bids_sr.records.fusion_record import FusionRecord
from bids_sr.records.verdict import Verdict
from bids_sr.run.console import progress_bar
from bids_sr.run.exit_codes import ExitCode, ExitError
from bids_sr.run.feasibility import fusion_shortage, memory_shortage

if TYPE_CHECKING:
    from bids_sr.sr import FusedReconstruction

ALONE = {
    "labels": "--labels",
    "guide": "--guide",
    "save_model": "--save-model",
    "output_grid": "--output-grid",
}
"""Options that hold for a single image."""


def super_resolve_files(options: argparse.Namespace) -> int:
    """Fuse ``options.in_files`` into ``options.out_file``, its JSON record and transforms."""
    from bids_sr.sr import super_resolve_together
    from bids_sr.sr.registry import make_method, parameters_for

    for name, option in ALONE.items():
        if getattr(options, name):
            raise ExitError(
                ExitCode.USAGE,
                f"{option}: found {len(options.in_files)} images; expected one. Leave the option "
                "out, or give the images one by one",
            )
    for in_file in options.in_files:
        if options.in_files.count(in_file) > 1:
            raise ExitError(
                ExitCode.USAGE,
                f"{in_file} is given twice: expected each stack once. Leave one out",
            )
        out_file = checked_output(options, in_file)
    check_beside(options, *options.in_files, out_file)
    chosen = method_options(options)
    parameters = parameters_for(
        chosen.method, {**chosen.parameters(), "threads": options.omp_nthreads}
    )
    make_method(chosen.method, parameters).required_files()
    if chosen.offline:
        refuse_network()
    stacks = [_read(in_file, options) for in_file in options.in_files]
    _refuse_too_large(stacks, chosen.method, options)
    start = time.monotonic()
    print(f"super-resolving {len(stacks)} stacks by {chosen.words()} ...", flush=True)
    with progress_bar(out_file.name) as progress:
        fused = super_resolve_together(
            [volume for volume, _, _ in stacks],
            [acquisition for _, acquisition, _ in stacks],
            method=chosen.method,
            output_resolution=options.output_resolution,
            progress=progress,
            **parameters,
        )
    fused.volume.save(out_file)
    record = _record(fused, options.in_files, [gain for _, _, gain in stacks])
    write_json_atomic(record_path(out_file), record)
    save_uncertainty(fused.uncertainty, options)
    transforms = _save_transforms(fused, out_file)
    for warning in fused.warnings:
        print(f"warning: {warning}")
    print(
        f"frame: {options.in_files[fused.frame]}; {len(transforms)} transforms beside {out_file}"
    )
    print(f"wrote {out_file}: {fused.volume.grid.words}, {time.monotonic() - start:.0f} s")
    verdict = Verdict.from_dict(record["Fusion"])
    if verdict is None:
        return ExitCode.OK
    print_verdict(verdict)
    return ExitCode.SOME_FAILED if options.strict and verdict.looks else ExitCode.OK


def _refuse_too_large(
    stacks: Sequence[tuple[Volume, Acquisition, dict[str, Any]]],
    method: str,
    options: argparse.Namespace,
) -> None:
    """Raise :class:`ConfigError` where a step is expected to need more memory than there is."""
    from bids_sr.sr.registry import grid_of_result

    memory_gb, outputs = memory_limit_gb(), []
    for in_file, (volume, acquisition, _) in zip(options.in_files, stacks, strict=True):
        grid = grid_of_result(
            volume,
            acquisition,
            method=method,
            output_resolution=options.output_resolution,
            output_grid="fov",
        )
        outputs.append(grid.shape)
        if problem := memory_shortage(
            volume.shape, grid.shape, method=method, memory_gb=memory_gb
        ):
            raise ConfigError(f"{in_file}: {problem}")
    if problem := fusion_shortage(outputs, memory_gb=memory_gb):
        raise ConfigError(problem)


def _read(
    in_file: Path, options: argparse.Namespace
) -> tuple[Volume, Acquisition, dict[str, Any]]:
    """Read a stack, how it was acquired and what was done to its slices, as of a single image."""
    facts = read_facts(in_file, options)
    print_facts(facts)
    volume, axis = Volume.load(in_file), facts.acquisition.slice_axis
    assert axis is not None  # read_acquisition always names it
    if facts.respaced:
        volume = volume.with_slice_spacing(facts.acquisition.spacing, axis)
    volume, gain = with_even_slices(volume, facts.acquisition, options.slice_gain)
    acquisition, _ = with_estimated_profile(volume, facts, options, method_options(options))
    return volume, acquisition, gain


def _record(
    fused: FusedReconstruction, in_files: list[Path], gains: list[dict[str, Any]]
) -> dict[str, Any]:
    """Say what was done, each stack with its file."""
    named = zip(fused.record["Stacks"], in_files, gains, strict=True)
    facts = [{"Image": str(path), **stack, **gain} for stack, path, gain in named]
    used = sum(bool(stack["Used"]) for stack in facts)
    status = "done" if used > 1 else "skipped"
    verdict = verdict_on_fused(FusionRecord.from_dict({"Status": status, "Stacks": facts}))
    return {
        "Sources": [str(path) for path in in_files],
        "Fusion": {
            **fused.record,
            **(verdict.to_dict() if verdict else {}),
            "Frame": str(in_files[fused.frame]),
            "Stacks": facts,
            "Warnings": list(fused.warnings),
            "OutputSpacings": [float(value) for value in fused.volume.spacings],
            "Software": {"bids_sr": __version__},
        },
    }


def _save_transforms(fused: FusedReconstruction, out_file: Path) -> list[Path]:
    """Write the transform of each stack that was moved and used, numbered as the inputs."""
    head = record_path(out_file).with_suffix("").name
    return [
        write_itk_transform(
            np.asarray(stack.from_frame), out_file.with_name(f"{head}_from-{number}_xfm.txt")
        )
        for number, (stack, facts) in enumerate(
            zip(fused.stacks, fused.record["Stacks"], strict=True), start=1
        )
        if facts["Used"]
    ]
