"""The participant level: the graph is run, and the outcome of each image recorded.

Prints nothing: what happened is in the outcomes, and on disk.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bids_sr.run import hand_over
from bids_sr.run.exit_codes import ExitCode, ExitError
from bids_sr.run.fence import Fence

if TYPE_CHECKING:
    from bids_sr.bids.image import AnatImage
    from bids_sr.config import RunConfig
    from bids_sr.run.graph import Graph
    from bids_sr.run.outcome import Outcomes
    from bids_sr.run.provenance import RunRecord
    from bids_sr.run.record_keeping import RecordKeeper

LOGGER = logging.getLogger(__name__)


def process_images(
    config: RunConfig, images: Sequence[AnatImage], words: Sequence[str]
) -> Outcomes:
    """Run all steps of the images, and update the records while they run.

    Parameters
    ----------
    config : RunConfig
        The run.
    images : sequence of AnatImage
        The plan.
    words : sequence of str
        The command line, for the record.
    """
    from bids_sr.run.graph import build
    from bids_sr.run.outcome import fused_verdicts, not_fused, planned, without_removed
    from bids_sr.run.provenance import new_record
    from bids_sr.run.record_keeping import RecordKeeper

    record = new_record(words)
    if not any(image.processed for image in images):
        keeper, outcomes = RecordKeeper(config, record), planned(images)
        keeper.begin(outcomes)
        keeper.end(outcomes)
        return replace(outcomes, beside=keeper.fence.lines)
    graph = build(config, images)
    images = graph.without_refused(images)
    keeper = RecordKeeper(config, record, graph.methods)
    with graph.claim(config.output_dir, [image.relpath for image in images if image.processed]):
        keeper.begin(planned(images))
        try:
            outcomes = _execute(config, graph, images, record, keeper)
        except BaseException:
            keeper.interrupted()
            hand_over.settle(config, keeper.not_handed_over(images), keeper.fence, keeper.done)
            raise
        outcomes = without_removed(outcomes, config.output_dir)
        keeper.end(outcomes)
        keeper.fence.lines += not_fused(config.output_dir, outcomes)
        verdicts = fused_verdicts(config.output_dir, outcomes)
        outcomes = replace(outcomes, fused_verdicts=verdicts)
    with keeper.fence.around("names of the results"):
        _warn_of_names(config, images)
    return replace(outcomes, beside=keeper.fence.lines)


def _execute(
    config: RunConfig,
    graph: Graph,
    images: Sequence[AnatImage],
    record: RunRecord,
    keeper: RecordKeeper,
) -> Outcomes:
    from bids_sr.run.execution import run_graph
    from bids_sr.run.graph import clean_work, write_graph

    if config.write_graph:
        try:
            LOGGER.info("graph: %s", write_graph(graph, config))
        except Exception as error:  # a drawing; the images do not wait for it
            LOGGER.warning("the graph was not drawn: %s: %s", type(error).__name__, error)
    if config.clean_workdir:
        clean_work(graph)
    return run_graph(
        graph, config, images, record, ended=keeper.image_ended, fused=keeper.stacks_fused
    )


def _warn_of_names(config: RunConfig, images: Sequence[AnatImage]) -> None:
    from bids_sr.bids import check_output_tree, subjects_of

    for problem in check_output_tree(config.output_dir, subjects_of(images)):
        LOGGER.warning("output: %s", problem)


def write_methods(config: RunConfig, images: Sequence[AnatImage]) -> Path:
    """Write the methods text of the steps that a run would do, and return its path."""
    from bids_sr.bids import dataset_lock
    from bids_sr.reports.boilerplate import write_citations
    from bids_sr.run.graph import build

    graph = build(config, images)
    graph.without_refused(images)
    with dataset_lock(config.output_dir):
        write_citations(graph.methods, config.output_dir / "logs")
    return config.output_dir / "logs" / "CITATION.md"


def write_pages(config: RunConfig, images: Sequence[AnatImage], fence: Fence) -> Iterator[Path]:
    """Bring the record in line with the files on disk, and write the pages again, one by one.

    ``fence`` keeps what goes wrong with one subject from the others.
    """
    from bids_sr.bids import restore_decisions, subjects_of
    from bids_sr.run.record_keeping import write_page

    known = [s for s in subjects_of(images) if (config.output_dir / f"sub-{s}").is_dir()]
    if not known:
        raise ExitError(
            ExitCode.NO_INPUT,
            f"{config.output_dir} contains no results of the selected subjects: there is nothing "
            "to report; run without --reports-only first",
        )
    restore_decisions(config.output_dir, known)
    hand_over.finish(config, images, fence)  # pages name the files that are there
    hand_over.tell_what_is_as_acquired(config, images)
    for subject in known:
        with fence.around(f"page of sub-{subject}"):
            yield write_page(config, subject)
