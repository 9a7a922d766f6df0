"""Impossible requests, found in the plan before any work and named with the number.

Names that the file system does not take, and more memory than there is.  Other numbers
(slices, grids) are checked where they are read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from bids_sr.compute.resources import memory_limit_gb
from bids_sr.config import RunConfig
from bids_sr.method_facts import PASS_THROUGH

if TYPE_CHECKING:
    from bids_sr.bids.image import AnatImage

_LINUX_NAME, _LINUX_PATH = 255, 4096
_MOST_ADDED = 100
"""Bytes that the name of an output is at most longer than the image's."""
_MOST_FOLDERS = 100
"""Bytes of the folders' names in a path, without those that come from the image's name."""


def refuse_impossible(
    images: Sequence[AnatImage], config: RunConfig, *, memory_gb: float | None
) -> list[AnatImage]:
    """Fail the images that cannot be processed; the others stay as they are.

    Parameters
    ----------
    images : sequence of AnatImage
        The plan.
    config : RunConfig
        The run.
    memory_gb : float or None, GB
        What there is where the steps will run; None where that is not known here.

    Returns
    -------
    list of AnatImage
        The plan, with ``fail`` and the reason where something is impossible.
    """
    checked = []
    for image in images:
        problem = ""
        if image.processed:
            problem = name_problem(image, config) or memory_problem(image, config, memory_gb)
        checked.append(replace(image, action="fail", reason=problem) if problem else image)
    return checked


def memory_here_gb(config: RunConfig) -> float | None:
    """Return the memory that a step of the run can have; None where a batch system gives it."""
    from bids_sr.run.batch_queue import is_queued

    return None if is_queued(config) else memory_limit_gb()


def name_problem(image: AnatImage, config: RunConfig) -> str:
    """Tell whether a file or folder of an image would get a name that is too long."""
    if _is_surely_short(image, config):
        return ""
    for path in _paths(image, config):
        longest_name = _limit(path, "PC_NAME_MAX", _LINUX_NAME)
        longest_path = _limit(path, "PC_PATH_MAX", _LINUX_PATH)
        name, whole = len(os.fsencode(path.name)), len(os.fsencode(str(path)))
        if name > longest_name:
            length, bound = f"the name {path.name} of {name} bytes", longest_name
        elif whole >= longest_path:
            length, bound = f"a path of {whole} bytes ({str(path)[:80]}...)", longest_path
        else:
            continue
        return (
            f"{image.relpath}: its results would need {length}; this file system takes {bound}. "
            "Give the image shorter labels, or shorter paths of output and work folder."
        )
    return ""


def memory_problem(image: AnatImage, config: RunConfig, memory_gb: float | None) -> str:
    """Tell whether the super-resolution of an image needs more memory than there is."""
    assert image.source_grid is not None
    assert image.target_grid is not None
    if memory_gb is None:
        return ""
    method = config.sr_method if image.action == "super-resolve" else PASS_THROUGH
    shapes = image.source_grid.shape, image.target_grid.shape
    problem = memory_shortage(*shapes, method=method, frames=image.n_frames, memory_gb=memory_gb)
    return f"{image.relpath}: {problem}" if problem else ""


def memory_shortage(
    acquired: tuple[int, ...],
    output: tuple[int, ...],
    *,
    method: str,
    frames: int = 1,
    memory_gb: float,
) -> str:
    """Say that the forecast of super-resolution is above the memory that there is, if so.

    Parameters
    ----------
    acquired, output : tuple of 3 int
        Shapes of the two grids.
    method : str
        Name of the method.
    frames : int
    memory_gb : float, GB
    """
    # mypy does not know where setuptools puts workflows/
    from bids_sr.workflows.resources import (  # type: ignore[import-not-found,unused-ignore]
        Resources,
    )

    needed = float(Resources.of(acquired, output, frames=frames).super_resolution_gb(method))
    if needed <= memory_gb:
        return ""
    more = f" in {frames} frames" if frames > 1 else ""
    return (
        f"an output of {' x '.join(map(str, output))} voxels{more} is expected to need "
        f"{needed:,.1f} GB of memory; this machine, container or job has {memory_gb:.1f} GB. "
        "Give a coarser --output-resolution, or run where there is more memory."
    )


def fusion_shortage(outputs: Iterable[tuple[int, ...]], *, memory_gb: float) -> str:
    """Say that the forecast of fusing stacks is above the memory that there is, if so.

    Parameters
    ----------
    outputs : iterable of tuple of 3 int
        Shapes of the grids of their own reconstructions.
    memory_gb : float, GB
    """
    # mypy does not know where setuptools puts workflows/
    from bids_sr.workflows.resources import (  # type: ignore[import-not-found,unused-ignore]
        fusion_gb,
    )

    megavoxels = sum(prod(shape) for shape in outputs) / 1e6
    needed = float(fusion_gb(megavoxels))
    if needed <= memory_gb:
        return ""
    return (
        f"fusing these stacks, {megavoxels:,.1f} million voxels together, is expected to need "
        f"{needed:,.1f} GB of memory; this machine, container or job has {memory_gb:.1f} GB. "
        "Give a coarser --output-resolution, fewer stacks, or run where there is more memory."
    )


def _is_surely_short(image: AnatImage, config: RunConfig) -> bool:
    """Tell by an upper bound that no name is too long: making all names is slow."""
    stem = len(os.fsencode(image.stem))
    name = stem + _MOST_ADDED
    for folder in (config.output_dir, config.work_dir):
        whole = len(os.fsencode(str(folder))) + 2 * stem + _MOST_FOLDERS + name
        if name > _limit(folder / "_", "PC_NAME_MAX", _LINUX_NAME):
            return False
        if whole >= _limit(folder / "_", "PC_PATH_MAX", _LINUX_PATH):
            return False
    return True


def _paths(image: AnatImage, config: RunConfig) -> Iterator[Path]:
    """Yield all files that an image may get, and its work folder."""
    from bids_sr.bids.derivatives import output_paths, segmentation_paths
    from bids_sr.engines.segmentation import make_segmentation

    yield config.output_dir / f"sub-{image.subject}.html"
    paths = output_paths(config.output_dir, image)
    for value in vars(paths).values():
        if isinstance(value, Path):
            yield value
            yield value.with_name(value.name.split(".")[0] + ".json")
    yield from paths.figures.values()
    for tool_name in config.segmentation:
        tool = make_segmentation(tool_name)
        yield from segmentation_paths(
            config.output_dir, image, tool.label, maps=tool.maps, masks=tool.masks
        ).values()
    graphs = (f"sub_{image.subject}_wf", f"{image.stem}_wf", "super_resolution_wf")
    yield config.work_dir.joinpath("bids_sr_wf", *graphs, "super_resolve", "super_resolve.pklz")


def _limit(path: Path, name: str, usual: int) -> int:
    folder = next((ancestor for ancestor in path.parents if os.path.isdir(ancestor)), Path("/"))  # noqa: PTH112
    try:
        return os.pathconf(folder, name)
    except (OSError, ValueError, AttributeError):
        return usual
