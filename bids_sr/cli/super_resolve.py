"""``bids_sr-tools super-resolve``: one thick-slice NIfTI image in, one fine image out.

No denoising, no bias correction, no masks: those belong to the BIDS-App.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from bids_sr import __version__
from bids_sr.bids.sidecar import AcquisitionFacts, AcquisitionOverrides, read_acquisition
from bids_sr.bids.writing import write_json_atomic
from bids_sr.cli.console import progress_bar
from bids_sr.cli.exit_codes import ExitCode, ExitError
from bids_sr.imaging import Volume, check_input, output_grid


def super_resolve_file(options: argparse.Namespace) -> int:
    """Super-resolve ``options.in_file`` into ``options.out_file`` and its JSON record."""
    out_file = checked_output(options.out_file, options.in_file)
    facts = _read_facts(options)
    _print_facts(facts)
    volume = Volume.load(options.in_file)
    axis = facts.acquisition.slice_axis
    assert axis is not None  # read_acquisition always names it
    if facts.respaced:
        volume = volume.with_slice_spacing(facts.acquisition.spacing, axis)
    grid = output_grid(
        volume, slice_axis=axis, spacing=options.output_resolution, mode=options.output_grid
    )
    start = time.monotonic()
    print(f"super-resolving by {options.sr_method!r} ...", flush=True)
    from bids_sr.sr import reconstruct

    with progress_bar(options.in_file.name) as progress:
        result = reconstruct(
            volume,
            facts.acquisition,
            method=options.sr_method,
            grid=grid,
            parameters=_parameters(options),
            progress=progress,
        )
    result.volume.save(out_file)
    record = {
        "Sources": [str(options.in_file)],
        "SuperResolution": {
            **facts.acquisition.to_dict(),
            "Origins": dict(facts.sources),
            "Assumptions": list(facts.assumptions),
            "SourceSpacings": [float(value) for value in volume.spacings],
            "OutputSpacings": [float(value) for value in result.volume.spacings],
            **result.record,
            "Software": {"bids_sr": __version__},
        },
    }
    write_json_atomic(record_path(out_file), record)
    print(f"wrote {out_file}: {_grid_words(result.volume)}, {time.monotonic() - start:.0f} s")
    return ExitCode.OK


def checked_output(out_file: Path, in_file: Path) -> Path:
    """Return the output path if it can be written, before any work is done for it."""
    if not out_file.name.endswith((".nii", ".nii.gz")):
        raise ExitError(
            ExitCode.USAGE,
            f"{out_file} is no NIfTI name: expected an ending in .nii.gz or .nii",
        )
    if out_file.absolute() == in_file.absolute():
        raise ExitError(ExitCode.USAGE, f"{out_file} is the input: choose another name")
    if not in_file.exists() and not in_file.is_symlink():
        raise ExitError(ExitCode.NO_INPUT, f"{in_file} does not exist: check the path")
    folder = out_file.absolute().parent
    if not folder.is_dir():
        raise ExitError(ExitCode.CANNOT_WRITE, f"the folder {folder} does not exist: make it")
    if not os.access(folder, os.W_OK):
        raise ExitError(ExitCode.CANNOT_WRITE, f"the folder {folder} cannot be written to")
    return out_file


def record_path(image: Path) -> Path:
    """Return the path of the JSON file beside an image."""
    return image.with_name(image.name.removesuffix(".gz").removesuffix(".nii") + ".json")


def _read_facts(options: argparse.Namespace) -> AcquisitionFacts:
    overrides = AcquisitionOverrides(
        thickness=options.slice_thickness,
        spacing=options.slice_spacing,
        profile=options.slice_profile,
    )
    return read_acquisition(check_input(options.in_file), _sidecar(options.in_file), overrides)


def _sidecar(image: Path) -> dict[str, Any]:
    path = record_path(image)
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExitError(ExitCode.BAD_DATA, f"{path} is not JSON ({error}): mend it") from error
    if not isinstance(content, dict):
        raise ExitError(ExitCode.BAD_DATA, f"{path} holds no JSON object: mend it")
    print(f"read {path}")
    return content


def _print_facts(facts: AcquisitionFacts) -> None:
    acquisition = facts.acquisition
    print(
        f"slices along axis {acquisition.slice_axis}: "
        f"{acquisition.spacing:g} mm apart ({facts.sources['spacing']}), "
        f"{acquisition.thickness:g} mm thick ({facts.sources['thickness']}), "
        f"{acquisition.slice_profile.name} profile ({facts.sources['profile']})"
    )
    for sentence in facts.assumptions:
        print(f"assumed: {sentence}")
    for sentence in facts.warnings:
        print(f"warning: {sentence}")


def _parameters(options: argparse.Namespace) -> dict[str, Any]:
    """Return the hyper-parameters that the method takes; interpolation takes none."""
    if options.sr_method != "self":
        return {}
    parameters = {
        "seed": options.random_seed,
        "device": options.device,
        "threads": options.omp_nthreads,
    }
    if options.sr_steps is not None:
        parameters["steps"] = options.sr_steps
    if options.sr_time_budget is not None:
        parameters["time_budget"] = options.sr_time_budget
    return parameters


def _grid_words(volume: Volume) -> str:
    shape = " x ".join(str(size) for size in volume.shape)
    spacings = " x ".join(f"{spacing:.3g}" for spacing in volume.spacings)
    return f"{shape} voxels of {spacings} mm"
