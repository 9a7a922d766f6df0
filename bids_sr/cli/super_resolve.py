"""``bids_sr-tools super-resolve``: one thick-slice NIfTI image in, one high-resolution image out.

No denoising, no bias correction, no masks: those belong to the BIDS-App.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bids_sr import __version__
from bids_sr.bids.derivatives import assumptions_made
from bids_sr.bids.layout import KEEP_IN_PLANE, lost_in_plane
from bids_sr.bids.sidecar import (
    AcquisitionFacts,
    AcquisitionOverrides,
    read_acquisition,
)
from bids_sr.cli.image_verdict import print_verdict, verdict_of
from bids_sr.cli.slice_estimate import with_estimated_profile
from bids_sr.cli.slice_gain import with_even_slices
from bids_sr.compute.environment import refuse_network
from bids_sr.compute.resources import memory_limit_gb
from bids_sr.exceptions import ConfigError
from bids_sr.files import read_json, read_json_or_empty
from bids_sr.files.writing import write_json_atomic
from bids_sr.imaging import Series, Volume, check_input
from bids_sr.imaging.resample import DEFAULT_SPACING_MM
from bids_sr.method_facts import DEFAULT_METHOD, LABELS_METHOD, methods_that
from bids_sr.method_options import MethodOptions
from bids_sr.records.verdict import Verdict
from bids_sr.run.console import progress_bar
from bids_sr.run.exit_codes import ExitCode, ExitError
from bids_sr.run.feasibility import memory_shortage

if TYPE_CHECKING:
    from bids_sr.sr.contract.weights import Weights

GUIDED_METHOD = "finetuned"
"""The method whose network learns from a guide."""
WRITTEN_HERE = {"SuperResolution", "Fusion", "Simulation"}
"""Fields by which the record beside an image says that this program wrote the image."""


class _Made(NamedTuple):
    """What was made of an image."""

    image: Volume | Series
    record: dict[str, Any]
    learned: Weights | None = None
    uncertainty: Volume | None = None


def super_resolve_file(options: argparse.Namespace) -> int:
    """Super-resolve ``options.in_file`` into ``options.out_file`` and its JSON record."""
    out_file = checked_output(options, options.in_file)
    check_beside(options, options.in_file, out_file)
    chosen = method_options(options)
    if options.labels:
        chosen = replace(chosen, data_consistency=None)
    able = methods_that(lambda facts: facts.tells_uncertainty)
    if options.uncertainty and (options.labels or chosen.method not in able):
        raise ExitError(
            ExitCode.USAGE,
            "--uncertainty: no uncertainty map with "
            f"{'labels' if options.labels else f'the method {chosen.method!r}'}; expected an "
            f"image and one of the methods {', '.join(able)}. Otherwise leave it out",
        )
    if options.guide and (options.labels or chosen.method != GUIDED_METHOD):
        raise ExitError(
            ExitCode.USAGE,
            "--guide: no guide with "
            f"{'labels' if options.labels else f'the method {chosen.method!r}'}; expected an "
            f"image and the method {GUIDED_METHOD}. Otherwise leave it out",
        )
    from bids_sr.sr.registry import make_method, parameters_for

    parameters = parameters_for(
        chosen.method, {**chosen.parameters(), "threads": options.omp_nthreads}
    )
    make_method(chosen.method, parameters).required_files()
    if chosen.offline:
        refuse_network()
    facts = read_facts(options.in_file, options)
    print_facts(facts)
    start = time.monotonic()
    print(f"super-resolving by {chosen.words()} ...", flush=True)
    work = _labels if options.labels else _image
    made = work(options, chosen, facts, parameters)
    image = made.image
    image.save(out_file)
    details = {
        **facts.acquisition.to_dict(),
        "Origins": dict(facts.sources),
        "Assumptions": list(facts.assumptions),
        "OutputSpacings": [float(value) for value in _first(image).spacings],
        **made.record,
        "Software": {"bids_sr": __version__},
    }
    sources = [str(path) for path in (options.in_file, options.guide) if path]
    write_json_atomic(record_path(out_file), {"Sources": sources, "SuperResolution": details})
    # After the image and its record, which must not be lost if these cannot be written.
    if not options.labels:
        _save_model(made.learned, options)
        save_uncertainty(made.uncertainty, options)
    print(f"wrote {out_file}: {_first(image).grid.words}, {time.monotonic() - start:.0f} s")
    verdict = Verdict.from_dict(made.record)
    if verdict:
        print_verdict(verdict)
    return ExitCode.SOME_FAILED if options.strict and verdict and verdict.looks else ExitCode.OK


def _image(
    options: argparse.Namespace,
    chosen: MethodOptions,
    facts: AcquisitionFacts,
    parameters: dict[str, Any],
) -> _Made:
    """Super-resolve an image or a series."""
    from bids_sr.sr.registry import grid_of_result
    from bids_sr.sr.series import SeriesReconstruction, reconstruct_image
    from bids_sr.sr.together.guide import guided

    series = Series.load(options.in_file)
    guide = _guide(options, series)
    axis = facts.acquisition.slice_axis
    assert axis is not None  # read_acquisition always names it
    if facts.respaced:
        series = series.with_slice_spacing(facts.acquisition.spacing, axis)
    volume = _first(series)
    gain = dict[str, Any]()
    if len(series) == 1:
        volume, gain = with_even_slices(volume, facts.acquisition, options.slice_gain)
        series = Series.of([volume], series.frame_spacing)
    acquisition, estimate = with_estimated_profile(volume, facts, options, chosen)
    grid = grid_of_result(
        volume,
        acquisition,
        method=chosen.method,
        output_resolution=options.output_resolution,
        output_grid=options.output_grid or chosen.facts.output_grid,
    )
    if problem := memory_shortage(
        volume.shape,
        grid.shape,
        method=chosen.method,
        frames=len(series),
        memory_gb=memory_limit_gb(),
    ):
        raise ConfigError(f"{options.in_file}: {problem}")
    nominal = options.output_resolution or DEFAULT_SPACING_MM
    if lost := lost_in_plane(volume.grid, grid, axis, nominal):
        print(f"{lost} ({KEEP_IN_PLANE})")
    with progress_bar(options.in_file.name) as progress:
        result = reconstruct_image(
            series,
            acquisition,
            method=chosen.method,
            grid=grid,
            parameters=parameters,
            progress=progress,
        )
        if guide is not None and not isinstance(result, SeriesReconstruction):
            result = guided(
                result,
                volume,
                guide,
                seed=options.random_seed,
                threads=options.omp_nthreads,
                progress=progress,
            )
    if isinstance(result, SeriesReconstruction):
        frames = [frame.to_dict() for frame in result.frames]
        record = {**estimate, **result.record.to_dict(), "Frames": frames}
        return _Made(result.image, record, result.learned, result.uncertainty)
    verdict = verdict_of(result, volume, acquisition)
    record = {
        "SourceSpacings": [float(value) for value in volume.spacings],
        "Assumptions": assumptions_made(facts.assumptions, result.record.with_details(**estimate)),
        **gain,
        **estimate,
        **result.record.to_dict(),
        **verdict.to_dict(),
    }
    return _Made(result.image, record, result.learned, result.uncertainty)


def _guide(options: argparse.Namespace, series: Series) -> Volume | None:
    """Return the guide that was asked for, as a volume of one frame."""
    if not options.guide:
        return None
    check_input(options.guide)
    guide = Series.load(options.guide)
    for path, image in ((options.in_file, series), (options.guide, guide)):
        if len(image) > 1:
            raise ExitError(
                ExitCode.USAGE,
                f"--guide: {path} has {len(image)} frames, expected one: give single volumes",
            )
    return _first(guide)


def _labels(
    options: argparse.Namespace,
    chosen: MethodOptions,
    facts: AcquisitionFacts,
    parameters: dict[str, Any],
) -> _Made:
    from bids_sr.imaging.labels import read_labels
    from bids_sr.sr.labels import super_resolve_labels

    volume = read_labels(options.in_file)
    axis = facts.acquisition.slice_axis
    assert axis is not None
    if facts.respaced:
        volume = volume.with_slice_spacing(facts.acquisition.spacing, axis)
    with progress_bar(options.in_file.name) as progress:
        result = super_resolve_labels(
            volume,
            facts.acquisition,
            method=chosen.method,
            output_resolution=options.output_resolution,
            output_grid=options.output_grid or chosen.facts.output_grid,
            progress=progress,
            **parameters,
        )
    labels = [int(label) for label in np.unique(result.data)]
    record = {"Method": chosen.method, "Parameters": parameters, "Labels": labels}
    return _Made(result, record)


def save_uncertainty(uncertainty: Volume | None, options: argparse.Namespace) -> None:
    """Write the map that was asked for; the image itself must not be lost if there is none."""
    if not options.uncertainty:
        return
    if uncertainty is None:
        sys.stderr.write("this method gives no uncertainty: no map is written\n")
    else:
        print(f"wrote {uncertainty.save(options.uncertainty)}")


def _save_model(learned: Weights | None, options: argparse.Namespace) -> None:
    """Write the trained network next to the output, with ``--save-model``."""
    if not options.save_model:
        return
    if learned is None:
        sys.stderr.write("no network was trained: no model is written\n")
        return
    stem = record_path(options.out_file).with_suffix("").name
    path = options.out_file.with_name(f"{stem}_model.safetensors")
    card = replace(learned.card, command=shlex.join(["bids_sr-tools", *options.words]))
    replace(learned, card=card).save(path)
    print(f"wrote {path}")


def _first(image: Volume | Series) -> Volume:
    return image if isinstance(image, Volume) else next(image.frames())


def checked_output(options: argparse.Namespace, in_file: Path) -> Path:
    """Return the output path if it can be written, before any work is done for it.

    What lies there is replaced only with ``--overwrite``, and only where its record says that
    this program wrote it: a forgotten output path must not cost the last of the acquired images.
    """
    out_file: Path = options.out_file
    if not out_file.name.endswith((".nii", ".nii.gz")):
        raise ExitError(
            ExitCode.USAGE,
            f"{out_file} is not a NIfTI file name: expected the ending .nii.gz or .nii",
        )
    if _same_file(out_file, in_file):
        raise ExitError(ExitCode.USAGE, f"{out_file} is the input: choose another name")
    if _same_file(record_path(out_file), record_path(in_file)):
        raise ExitError(
            ExitCode.USAGE,
            f"{record_path(out_file)}, the record of {out_file.name}, is the input's sidecar: "
            "choose another name",
        )
    if not in_file.exists() and not in_file.is_symlink():
        raise ExitError(ExitCode.NO_INPUT, f"{in_file} does not exist: check the path")
    folder = out_file.absolute().parent
    if not folder.is_dir():
        raise ExitError(ExitCode.CANNOT_WRITE, f"the folder {folder} does not exist: create it")
    if not os.access(folder, os.W_OK):
        raise ExitError(ExitCode.CANNOT_WRITE, f"the folder {folder} cannot be written to")
    record = record_path(out_file)
    taken = next((path for path in (out_file, record) if os.path.lexists(path)), None)
    if taken is not None and not WRITTEN_HERE & read_json_or_empty(record).keys():
        raise ExitError(
            ExitCode.USAGE,
            f"{taken} exists and was not written by this program: expected a new name, or that of "
            "an earlier result, as the last path. Add the output path, or remove the file",
        )
    if taken is not None and not options.overwrite:
        raise ExitError(
            ExitCode.USAGE,
            f"{taken} exists: choose a new name, or add --overwrite to replace it",
        )
    return out_file


def check_beside(options: argparse.Namespace, *others: Path) -> None:
    """Refuse, before any work, an uncertainty map that would replace a file or has no place."""
    uncertainty: Path | None = options.uncertainty
    if uncertainty is None:
        return
    problem = ""
    if any(_same_file(uncertainty, other) for other in others):
        problem = "is an input or the output: choose another name"
    elif not uncertainty.name.endswith((".nii", ".nii.gz")):
        problem = "is not a NIfTI file name: expected the ending .nii.gz or .nii"
    elif not uncertainty.absolute().parent.is_dir():
        problem = f"cannot be written, as {uncertainty.absolute().parent} is no folder: create it"
    elif os.path.lexists(uncertainty) and not options.overwrite:
        problem = "exists: choose a new name, or add --overwrite to replace it"
    if problem:
        raise ExitError(ExitCode.USAGE, f"--uncertainty: {uncertainty} {problem}")


def _same_file(first: Path, second: Path) -> bool:
    """Tell whether two paths are the same file, whatever links lead to it."""
    if os.path.realpath(first) == os.path.realpath(second):
        return True
    return first.exists() and second.exists() and first.samefile(second)


def record_path(image: Path) -> Path:
    """Return the path of the JSON file next to an image."""
    return image.with_name(image.name.removesuffix(".gz").removesuffix(".nii") + ".json")


def read_facts(in_file: Path, options: argparse.Namespace) -> AcquisitionFacts:
    """Read how an image was acquired: its header, its sidecar, and the command line."""
    overrides = AcquisitionOverrides(
        slice_thickness=options.slice_thickness,
        slice_spacing=options.slice_spacing,
        slice_profile=options.slice_profile,
    )
    if options.labels:
        overrides = overrides.without_estimate()
    return read_acquisition(check_input(in_file), _sidecar(in_file), overrides)


def _sidecar(image: Path) -> dict[str, Any]:
    path = record_path(image)
    if not os.path.lexists(path):
        return {}
    content = read_json(path, what="the sidecar", any_encoding=True)
    print(f"read {path}")
    return content


def print_facts(facts: AcquisitionFacts) -> None:
    """Say how an image was acquired, what is assumed, and what to look at."""
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


def method_options(options: argparse.Namespace) -> MethodOptions:
    """Return what the options ask of the super-resolution (ConfigError)."""
    return MethodOptions(
        method=options.sr_method or (LABELS_METHOD if options.labels else DEFAULT_METHOD),
        preset=options.sr_preset,
        model=options.sr_model,
        adapt=options.sr_adapt,
        reuse_model=options.sr_reuse_model,
        save_model=options.save_model,
        data_consistency=options.data_consistency,
        steps=options.sr_steps,
        time_budget=options.sr_time_budget,
        seed=options.random_seed,
        device=options.device,
        weights_dir=options.weights_dir,
        offline=options.offline,
        alone=True,
    )
