"""The run itself: Nipype runs the graph, then the outcome of each image is reported.

This process never imports torch: it lives as long as the run, and its workers are
copies of it.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_sr.config import RunConfig
from bids_sr.run.batch_queue import ask_queue, is_queued, read_plugin
from bids_sr.run.crashes import Crash, read_crashes, unreported
from bids_sr.run.graph import named_nodes
from bids_sr.run.memory import memory_for_steps_gb, warn_of_memory
from bids_sr.run.outcome import Outcome, Outcomes, after_run
from bids_sr.run.progress import ImageEnds, StageLines

if TYPE_CHECKING:
    from bids_sr.bids.image import AnatImage
    from bids_sr.run.graph import Graph
    from bids_sr.run.provenance import RunRecord

LOGGER = logging.getLogger(__name__)
POLL_SECONDS = 0.2  # Nipype's 2 s add up over the many short nodes


def run_graph(
    graph: Graph,
    config: RunConfig,
    images: Sequence[AnatImage],
    record: RunRecord,
    *,
    ended: Callable[[Outcome], None] = lambda _: None,
    fused: Callable[[str], None] = lambda _: None,
) -> Outcomes:
    """Run the graph to its end and return the outcome of each image.

    ``ended`` is called with each image as soon as it is done or has failed, ``fused`` with the
    name of each group of stacks as soon as everything of its fused volume is written, its verdict
    and figures too.
    """
    from bids_sr.bids import output_paths, subjects_of
    from bids_sr.workflows.base import (  # type: ignore[import-not-found,unused-ignore]
        ended_groups,
        groups_by_graph,
        image_of_node,
        images_by_graph,
        makes_product,
    )

    known, groups = images_by_graph(images), groups_by_graph(images)

    def image_of(name: str) -> AnatImage | None:
        image: AnatImage | None = image_of_node(name, known)
        return image

    def stem_of(name: str) -> str | None:
        if (image := image_of(name)) is not None:
            return image.stem
        return next((groups[graph] for graph in name.split(".") if graph in groups), None)

    workflow = graph.workflow
    _configure_nipype(config)
    ask_queue(workflow, config)
    # Set here, else the defaults of the process that built it win over ours; and not in the
    # configuration of Nipype, which refuses a path with a percent sign.
    workflow.config = {"execution": {"crashdump_dir": str(_common_crash_dir(config, record))}}
    _send_crashes_to_subjects(workflow, config, record, image_of)
    lines = StageLines(stem_of, count=len(known) + len(groups))

    def tell(
        images: Sequence[AnatImage],
        crashes: Sequence[Crash],
        finished: Callable[[AnatImage], bool] = lambda _: True,
    ) -> Outcomes:
        return after_run(
            images,
            crashes,
            image_of=image_of,
            finished=finished,
            quality_path=lambda image: output_paths(config.output_dir, image).quality,
            makes_product=makes_product,
        )

    def image_ended(image: AnatImage) -> None:
        crashes = read_crashes([record.log_dir(config.output_dir, image.subject)])
        ended(tell([image], crashes).images[0])

    fusing = nodes_of_groups(_run_nodes(workflow), groups)

    def node_ended(name: str) -> None:
        for group, left in fusing.items():
            if name in left:
                left.remove(name)
                if not left:
                    fused(group)

    watch = ImageEnds(
        lines, _own_nodes(workflow, image_of), image_ended, makes_product, node_ended
    )
    error: Exception | None = None
    with _in_folder(config.work_dir), _graph_kept():
        planned = memory_for_steps_gb(config, images)
        if not is_queued(config):  # a batch system gives each step memory of its own
            warn_of_memory(workflow, config, planned)
        plugin = _plugin(config, watch, graph.gpus, planned)
        try:
            workflow.run(plugin=plugin)
        except Exception as caught:  # Nipype raises the first of the nodes' errors again
            error = caught
        finally:
            getattr(plugin, "stop", lambda: None)()
    folders = [record.log_dir(config.output_dir, subject) for subject in subjects_of(images)]
    crashes = read_crashes([*folders, _common_crash_dir(config, record)])
    crashes += unreported(getattr(plugin, "failures", {}), crashes)
    if error is not None and not crashes:
        raise error
    unfinished = _unfinished_nodes(workflow, lines.ended) if error is not None else []
    crashed = {crash.node for crash in crashes}
    undone = {
        image.relpath
        for name in unfinished
        if name not in crashed and (image := image_of(name)) is not None
    }
    if config.resource_monitor:
        _keep_monitor(workflow, config, record)
    outcomes = tell(images, crashes, lambda image: image.relpath not in undone)
    return replace(outcomes, fused=frozenset(ended_groups(images, lines.ended)))


@contextlib.contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    """Work in a folder: Nipype's monitor writes into the current one, which may be read-only.

    Neither the folder that was the current one nor this one need be there at the end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        before = Path.cwd()
    except FileNotFoundError:  # somebody has removed it
        before = Path("/")
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before if before.is_dir() else "/")


@contextlib.contextmanager
def _graph_kept() -> Iterator[None]:
    """Spare the garbage collector the graph, which stays to the end."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _configure_nipype(config: RunConfig) -> None:
    from nipype import config as nipype_config
    from nipype import logging as nipype_logging

    level = "DEBUG" if config.debug else "INFO" if config.verbose else "CRITICAL"
    nipype_config.update_config(
        {
            "logging": {
                "workflow_level": level,
                "interface_level": level,
                "utils_level": level,
                "log_to_file": False,
            },
            "execution": {
                "crashfile_format": "txt",
                "stop_on_first_crash": config.stop_on_first_crash,
                "hash_method": "content",
                "create_report": False,
                "check_version": False,
                "parameterize_dirs": False,
                "keep_inputs": config.debug,
                "remove_unnecessary_outputs": not config.debug,
                "poll_sleep_duration": POLL_SECONDS,
            },
            "monitoring": {"summary_append": True},
        }
    )
    nipype_logging.update_logging(nipype_config)
    logging.getLogger("nipype").handlers.clear()  # else everything is said twice
    if config.resource_monitor:
        nipype_config.enable_resource_monitor()


def _common_crash_dir(config: RunConfig, record: RunRecord) -> Path:
    return config.output_dir / "logs" / record.run_id


def _send_crashes_to_subjects(
    workflow: Any,
    config: RunConfig,
    record: RunRecord,
    image_of: Callable[[str], AnatImage | None],
) -> None:
    for path, node in named_nodes(workflow):
        image = image_of(path)
        if image is not None:
            folder = record.log_dir(config.output_dir, image.subject)
            node.config = {"execution": {"crashdump_dir": str(folder)}}


def _plugin(config: RunConfig, watch: ImageEnds, gpus: tuple[str, ...], memory_gb: float) -> Any:
    """Return the scheduler: ours, or the one of ``--use-plugin``."""
    name, plugin_args = "MultiProc", dict[str, Any]()
    if config.use_plugin is not None:
        name, plugin_args = read_plugin(config.use_plugin)
    arguments = {**plugin_args, "status_callback": watch}
    if name != "MultiProc":
        from nipype.pipeline import plugins

        from bids_sr.run.steps_of_several import goes_on

        return goes_on(getattr(plugins, f"{name}Plugin"))(plugin_args=arguments)
    from bids_sr.run.scheduler import SteadyMultiProcPlugin

    # --low-mem leaves room for one step with its threads, so that no two run together
    processes = config.omp_nthreads if config.low_mem else config.nprocs
    defaults = {
        "n_procs": processes,
        "memory_gb": memory_gb,
        # a GPU node takes as many slots as threads: one at a time on each device
        "n_gpu_procs": config.omp_nthreads * len(gpus),
        "devices": tuple(filter(None, gpus)),
        "raise_insufficient": False,
    }
    return SteadyMultiProcPlugin({**defaults, **arguments, "name_of": watch.lines.stem_of})


def _unfinished_nodes(workflow: Any, ended: set[str]) -> list[str]:
    return [name for name in _run_nodes(workflow) if name not in ended]


def _run_nodes(workflow: Any) -> list[str]:
    return [
        path
        for path, node in named_nodes(workflow)
        # identity nodes are taken out of the graph before it is run
        if type(node.interface).__name__ != "IdentityInterface"
    ]


def nodes_of_groups(names: Iterable[str], groups: Mapping[str, str]) -> dict[str, set[str]]:
    """Sort the full names of nodes by the groups of stacks, given by their graphs."""
    own: dict[str, set[str]] = {}
    for name in names:
        for graph in name.split("."):
            if graph in groups:
                own.setdefault(groups[graph], set()).add(name)
    return own


def _own_nodes(
    workflow: Any, image_of: Callable[[str], AnatImage | None]
) -> list[tuple[AnatImage, set[str]]]:
    """Group the nodes that belong to one image."""
    nodes_of: dict[str, tuple[AnatImage, set[str]]] = {}
    for name in _run_nodes(workflow):
        image = image_of(name)
        if image is not None:
            nodes_of.setdefault(image.relpath, (image, set()))[1].add(name)
    return list(nodes_of.values())


def _keep_monitor(workflow: Any, config: RunConfig, record: RunRecord) -> None:
    source = Path(workflow.base_dir) / workflow.name / "resource_monitor.json"
    if source.is_file():
        target = config.output_dir / "logs" / f"{record.run_id}_resources.json"
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            LOGGER.warning("the use of memory and CPU is not recorded: %s", error)
        else:
            LOGGER.info("memory and CPU use of every step: %s", target)
