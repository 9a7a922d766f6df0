"""The plan of a run: which images there are and what happens to each, read or printed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from bids_sr.config import RunConfig
from bids_sr.run.feasibility import memory_here_gb, refuse_impossible

if TYPE_CHECKING:
    from bids_sr.bids import ReferenceRule
    from bids_sr.bids.image import AnatImage

LOGGER = logging.getLogger(__name__)
SHOWN_IMAGES = 20
COLUMNS = ("image", "what happens", "slices", "output", "why")


def make_plan(config: RunConfig, *, here: bool = True) -> list[AnatImage]:
    """Decide on every anatomical image of the selected subjects.

    Parameters
    ----------
    config : RunConfig
        The run.
    here : bool
        Whether the steps run on this machine, whose memory then counts.
    """
    from bids_sr.bids import (
        AcquisitionOverrides,
        Selection,
        open_layout,
        plan_images,
    )

    selection = Selection(
        participant_label=config.participant_label,
        session_label=config.session_label,
        modalities=config.modalities,
        bids_filters=config.bids_filters,
        derivatives=config.derivatives,
        overrides=AcquisitionOverrides(
            slice_thickness=config.slice_thickness,
            slice_spacing=config.slice_spacing,
            slice_profile=config.slice_profile,
        ),
        output_resolution=config.output_resolution,
        output_grid="slice" if config.output_grid == "slice" else "fov",
        sr_method=config.sr_method,
        min_anisotropy=config.min_anisotropy,
        reference=reference_rule(config),
    )
    layout = open_layout(
        config.bids_dir,
        participant_label=config.participant_label,
        left_out=[
            folder
            for folder in (config.output_dir, config.work_dir, config.raw_like_dir)
            if folder is not None
        ],
    )
    memory_gb = memory_here_gb(config) if here else None
    return refuse_impossible(plan_images(layout, selection), config, memory_gb=memory_gb)


def reference_rule(config: RunConfig) -> ReferenceRule:
    """Return the rule by which images are chosen that other tools are handed."""
    from bids_sr.bids import ReferenceRule

    return ReferenceRule.from_words(
        config.anat_reference, config.anat_reference_per, config.surface_contrasts
    )


def print_plan(images: Sequence[AnatImage], stream: TextIO) -> None:
    """Print the plan image by image: a table on a terminal, tab-separated lines in a log."""
    rows = [_row(image) for image in images]
    if stream.isatty():
        _print_table(rows, stream)
    else:
        stream.write("\t".join(COLUMNS) + "\n")
        cells = [[" ".join(cell.split()) for cell in row] for row in rows]
        stream.writelines("\t".join(row) + "\n" for row in cells)
    for image in images:
        for sentence in notes(image):
            stream.write(f"{image.stem}: {sentence}\n")
    stream.write(count_words(images) + "\n")


def log_plan(images: Sequence[AnatImage]) -> None:
    """Tell in the log which images are left out and which lose in-plane resolution, and why."""
    _tell_what_is_left_out(images)
    _tell_what_gets_coarser(images)


def notes(image: AnatImage) -> list[str]:
    """Return what was assumed about an image and what a user should look at."""
    found = []
    if image.facts is not None and image.processed:
        found += [f"assumed: {sentence}" for sentence in image.facts.assumptions]
        found += [f"warning: {sentence}" for sentence in image.facts.warnings]
    if image.is_reference:
        found.append(f"handed on as desc-preproc: {image.reference_reason}")
    elif image.unfit:
        found.append(f"not handed on as desc-preproc: {image.unfit}")
    if image.mask_note:
        found.append(f"brain mask: {image.mask_note}")
    return found


def count_words(images: Sequence[AnatImage]) -> str:
    """Say how many images there are of each action."""
    from bids_sr.bids import subjects_of

    counts: Counter[str] = Counter(image.action for image in images)
    subjects = len(subjects_of(images))
    words = [f"{counts[action]} {name}" for action, name in _COUNTED.items() if counts[action]]
    return f"{len(images)} images of {subjects} subjects: {', '.join(words) or 'none'}"


def steps_words(config: RunConfig) -> str:
    """Say which steps every image goes through."""
    from bids_sr.engines.brain import choose_engine

    engine, reason = choose_engine(config.skull_strip_method, config.weights_dir)
    return (
        f"steps: denoising {config.denoise_method}; bias correction {config.anat_biascorrect}; "
        f"brain mask {engine} ({reason}); super-resolution "
        f"{config.method_options.words()}"
        + (f"; segmentation {', '.join(config.segmentation)}" if config.segmentation else "")
    )


def _tell_what_is_left_out(images: Sequence[AnatImage]) -> None:
    words = {"skip": "skipped", "pass-through": "passed through", "fail": "cannot be used"}
    told = [image for image in images if image.action in words]
    told.sort(key=lambda image: not image.misplaced)
    for image in told[:SHOWN_IMAGES]:
        level = logging.WARNING if image.misplaced else logging.INFO
        name = image.relpath if image.misplaced else image.stem
        LOGGER.log(level, "%s: %s: %s", name, words[image.action], image.reason)
    if len(told) > SHOWN_IMAGES:
        LOGGER.info("and %d more images, see decisions.tsv", len(told) - SHOWN_IMAGES)


def _tell_what_gets_coarser(images: Sequence[AnatImage]) -> None:
    from bids_sr.bids.layout import KEEP_IN_PLANE, lost_in_plane

    found: dict[str, list[str]] = {}
    for image in images:
        if image.action == "super-resolve":
            assert image.facts is not None
            assert image.source_grid is not None
            assert image.target_grid is not None
            axis = image.facts.acquisition.slice_axis
            assert axis is not None
            spacing = image.target_spacing or 0.0
            if lost := lost_in_plane(image.source_grid, image.target_grid, axis, spacing):
                found.setdefault(lost, []).append(image.stem)
    for lost, stems in list(found.items())[:SHOWN_IMAGES]:
        more = f" and {len(stems) - 1} more" if len(stems) > 1 else ""
        LOGGER.info("%s (%s): %s%s", lost, KEEP_IN_PLANE, stems[0], more)


_COUNTED = {
    "super-resolve": "to super-resolve",
    "pass-through": "to pass through",
    "skip": "skipped",
    "fail": "that cannot be used",
}


def _row(image: AnatImage) -> tuple[str, ...]:
    slices = output = ""
    if image.facts is not None:
        acquisition = image.facts.acquisition
        slices = f"{acquisition.thickness:.3g} mm every {acquisition.spacing:.3g} mm"
    if image.target_grid is not None and image.processed:
        sizes = [f"{spacing:.3g}" for spacing in image.target_grid.spacings]
        output = f"{' x '.join(sizes)} mm"
    return image.relpath, image.action, slices, output, image.reason


def _print_table(rows: list[tuple[str, ...]], stream: TextIO) -> None:
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    styles = {"super-resolve": "green", "pass-through": "cyan", "fail": "red", "skip": "dim"}
    table = Table(*(Column(name, overflow="fold") for name in COLUMNS))
    for path, *cells in rows:
        stem = path.rpartition("/")[2].split(".")[0]
        table.add_row(*(Text(cell) for cell in (stem, *cells)), style=styles[cells[0]])
    Console(file=stream).print(table)
