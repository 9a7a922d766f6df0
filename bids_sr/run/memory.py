"""The memory that a run needs, from what its steps declare.

How much of it there is stands in :mod:`bids_sr.compute.resources`; the scheduler keeps to it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bids_sr.compute.resources import MEMORY_SHARE, memory_limit_gb
from bids_sr.config import RunConfig
from bids_sr.method_facts import PASS_THROUGH
from bids_sr.run.graph import named_nodes

if TYPE_CHECKING:
    from bids_sr.bids.image import AnatImage

LOGGER = logging.getLogger(__name__)

MAIN_PROCESS_GB = 0.25
"""Resident memory of the main process while the steps of one participant run
(benchmarks/RESULTS.md)."""

VIEWER_GB = 0.014
"""Memory of the main process per million voxels of a result, while it copies it for the viewer."""


def participant_memory_gb(config: RunConfig, images: Sequence[AnatImage]) -> float:
    """Return the memory to ask a batch system for, so that nothing has to wait for memory.

    Parameters
    ----------
    config : RunConfig
        The run; its ``nprocs``, ``omp_nthreads`` and steps count, its ``mem_gb`` does not.
    images : sequence of AnatImage
        The plan of one participant; several are taken as one run.

    Returns
    -------
    gigabytes : float
        GB (1e9 bytes).  A job that is given so much needs no ``--mem``: the default plans
        with 90 % of it.  0 where nothing is processed.
    """
    # mypy does not know where setuptools puts workflows/
    from bids_sr.bids.stacks import stack_groups
    from bids_sr.engines.brain import choose_engine
    from bids_sr.engines.segmentation import make_segmentation
    from bids_sr.workflows.resources import (  # type: ignore[import-not-found,unused-ignore]
        Demand,
        Resources,
        fusion_gb,
        most_at_once_gb,
    )

    engine, _ = choose_engine(config.skull_strip_method, config.weights_dir)
    tools = [make_segmentation(tool_name) for tool_name in config.segmentation]
    stages = []
    for image in images:
        if image.processed:
            assert image.source_grid is not None
            assert image.target_grid is not None
            needs = Resources.of(
                image.source_grid.shape,
                image.target_grid.shape,
                frames=image.n_frames,
                threads=config.omp_nthreads,
            )
            method = config.sr_method if image.action == "super-resolve" else PASS_THROUGH
            mask = engine if image.existing_mask is None else "existing"
            memory = [tool.memory_gb for tool in tools]
            stages.append(needs.stages(mask, method, memory, guided=bool(image.guide)))
    for group in stack_groups(images):
        after = [
            Demand(round(base + per * group.finest_megavoxels, 2), config.omp_nthreads)
            for base, per in (tool.memory_gb for tool in tools)
        ]
        stages.append([[Demand(fusion_gb(group.megavoxels), 1)], *([after] if after else [])])
    if not stages:
        return 0.0
    processes = config.omp_nthreads if config.low_mem else config.nprocs
    needed = MAIN_PROCESS_GB + most_at_once_gb(stages, processes)
    return round(float(needed) / MEMORY_SHARE, 2)


def memory_for_steps_gb(config: RunConfig, images: Sequence[AnatImage] = ()) -> float:
    """Return what ``--mem`` leaves for the steps, GB: all but what this process holds.

    Parameters
    ----------
    config : RunConfig
        The run.
    images : sequence of AnatImage
        The plan.  Viewers of several participants are written while steps of others run.
    """
    import psutil

    held: float = psutil.Process().memory_info().rss / 1e9
    grids = [image.target_grid for image in images if image.target_grid is not None]
    if config.viewer == "auto" and len({image.subject for image in images}) > 1:
        held += VIEWER_GB * max((math.prod(grid.shape) for grid in grids), default=0) / 1e6
    return max(round(config.mem_gb - held, 2), 0.1)


def warn_of_memory(workflow: Any, config: RunConfig, planned: float) -> None:
    """Say before the run what will not fit; such a step is run alone, and may be killed.

    Parameters
    ----------
    workflow : Workflow
        The graph.
    config : RunConfig
        The run.
    planned : float
        Memory for the steps, from :func:`memory_for_steps_gb`.
    """
    limit = memory_limit_gb()
    if config.mem_gb > limit:
        LOGGER.warning(
            "--mem is %.1f GB, and this process may use %.1f GB: a run that needs more is "
            "killed; lower --mem, or raise the limit of the container or the job",
            config.mem_gb,
            limit,
        )
    declared = ((name, float(node.mem_gb)) for name, node in named_nodes(workflow))
    too_large = {name: gb for name, gb in declared if gb > planned}
    if not too_large:
        return
    largest = max(too_large, key=lambda name: too_large[name])
    LOGGER.warning(
        "%d steps are expected to need more memory than there is: %s %.2f GB, and --mem "
        "(%.2f GB) leaves %.2f GB for the steps. Each runs alone and may be killed; expected "
        "--mem %.0fM or more",
        len(too_large),
        largest,
        too_large[largest],
        config.mem_gb,
        planned,
        1000 * (too_large[largest] + config.mem_gb - planned) + 1,
    )
