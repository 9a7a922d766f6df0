"""The plan of a run, printed: a table on a terminal, tab-separated lines in a log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from bids_sr.run.exit_codes import ExitCode, ExitError
from bids_sr.run.plan import count_words, make_plan, what_lacks

if TYPE_CHECKING:
    from bids_sr.bids.image import AnatImage
    from bids_sr.config import RunConfig

LOGGER = logging.getLogger(__name__)
COLUMNS = ("image", "what happens", "slices", "output", "why")


def read_plan(config: RunConfig, *, here: bool = True) -> list[AnatImage]:
    """Return the plan; print it and refuse the run where the options select no image.

    ``here`` says whether the steps run on this machine.
    """
    images = make_plan(config, here=here)
    for line in what_lacks(config, images):
        LOGGER.warning("%s", line)
    if not any(image.selected for image in images):
        print_plan(images, sys.stderr)
        raise ExitError(
            ExitCode.NOTHING_SELECTED,
            f"the options select none of the {len(images)} anatomical images; the plan above "
            "says why",
        )
    return images


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


def notes(image: AnatImage) -> list[str]:
    """Return what was assumed about an image and what a user should look at."""
    sentences = []
    if image.facts is not None and image.processed:
        sentences += [f"assumed: {assumption}" for assumption in image.facts.assumptions]
        sentences += [f"warning: {warning}" for warning in image.facts.warnings]
    if image.is_reference:
        joined = image.fused_into and not image.reference_asked
        instead = "; in its place the fused volume, if there is one" if joined else ""
        sentences.append(f"provided as desc-preproc: {image.reference_reason}{instead}")
    elif image.unfit:
        sentences.append(f"not provided as desc-preproc: {image.unfit}")
    if image.stack_note:
        sentences.append(f"stacks: {image.stack_note}")
    if image.guide_note:
        sentences.append(f"guide: {image.guide_note}")
    if image.mask_note:
        sentences.append(f"brain mask: {image.mask_note}")
    return sentences


def steps_words(config: RunConfig) -> str:
    """Say which steps every image goes through."""
    from bids_sr.engines.brain import choose_engine

    engine, reason = choose_engine(config.skull_strip_method, config.weights_dir)
    return (
        f"steps: denoising {config.denoise_method}; bias correction {config.anat_biascorrect}; "
        f"slice gain {config.slice_gain}; "
        f"brain mask {engine} ({reason}); super-resolution "
        f"{config.method_options.words()}"
        + (f"; segmentation {', '.join(config.segmentation)}" if config.segmentation else "")
    )


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
