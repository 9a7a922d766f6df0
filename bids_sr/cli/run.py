"""The ``bids_sr`` command: from the command line to the exit code.

Heavy imports wait until the command line is known to be right.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bids_sr.cli.parser import parse_args
from bids_sr.compute.environment import Terminated, end_on_sigterm, prepare, refuse_network
from bids_sr.exceptions import BidsSrError, ConfigError, InputDataError
from bids_sr.files import check_writable
from bids_sr.files.private_folders import make_work_folder
from bids_sr.run import hand_over
from bids_sr.run.exit_codes import ExitCode, ExitError, code_of
from bids_sr.run.streams import steady_streams
from bids_sr.run.system_errors import explain

if TYPE_CHECKING:
    from bids_sr.bids.image import AnatImage
    from bids_sr.config import RunConfig
    from bids_sr.run.graph import Graph
    from bids_sr.run.outcome import Outcomes
    from bids_sr.run.provenance import RunRecord
    from bids_sr.run.record_keeping import RecordKeeper

LOGGER = logging.getLogger(__name__)
_SHOWN_ERRORS = 10
_SHOWN_REPORTS = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Run the BIDS-App and return its exit code."""
    with steady_streams():
        return _main(list(sys.argv[1:] if argv is None else argv))


def _main(words: list[str]) -> int:
    debug = "--debug" in words
    try:
        config = parse_args(words)
        prepare(config.omp_nthreads)
        if config.offline:
            refuse_network()
        end_on_sigterm()
        return _run(config, words)
    except ExitError as error:
        return _complain(error, error.code)
    except BidsSrError as error:
        if debug:
            traceback.print_exc()
        return _complain(error, code_of(error))
    except KeyboardInterrupt:
        return _complain("interrupted; run again to go on from here", ExitCode.INTERRUPTED)
    except Terminated:
        return _complain("terminated; run again to go on from here", ExitCode.TERMINATED)
    except Exception as error:
        explained = explain(error)
        return _complain(*explained) if explained else _report_bug()


def _run(config: RunConfig, words: list[str]) -> int:
    from bids_sr.run.console import set_up_logging

    set_up_logging(max(config.verbose, 2 * config.debug))
    if not config.bids_dir.is_dir():
        raise ExitError(
            ExitCode.NO_INPUT,
            f"{config.bids_dir} is no folder: expected the root of a BIDS dataset",
        )
    check_folders(config)
    if config.analysis_level == "group":
        return _run_group(config)
    check_files(config)
    if not (config.skip_bids_validation or config.dry_run or config.reports_only):
        validate(config.bids_dir)
    images = plan(config)
    if config.dry_run:
        from bids_sr.run.plan import print_plan, steps_words

        print_plan(images, sys.stdout)
        print(steps_words(config))
        return ExitCode.OK
    if config.reports_only and not config.output_dir.is_dir():
        raise ExitError(
            ExitCode.NO_INPUT, f"{config.output_dir} does not exist: there is nothing to report"
        )
    _make_folders(config)
    hand_over.prepare(config, images)
    if config.reports_only:
        return _report_only(config, images)
    return _run_participants(config, images, words)


def _run_participants(config: RunConfig, images: list[AnatImage], words: list[str]) -> int:
    from bids_sr.bids import dataset_lock
    from bids_sr.reports.boilerplate import write_citations
    from bids_sr.run.graph import build
    from bids_sr.run.outcome import planned, without_removed
    from bids_sr.run.plan import count_words, log_plan
    from bids_sr.run.provenance import new_record
    from bids_sr.run.record_keeping import RecordKeeper

    usable = any(image.processed for image in images)
    LOGGER.info("%s", count_words(images))
    log_plan(images)
    record = new_record(words)
    if not usable:
        keeper, before = RecordKeeper(config, record), planned(images)
        keeper.begin(before)
        keeper.end(before)
        hand_over.finish(config, images, keeper.fence)
        _summarise(config, replace(before, beside=keeper.fence.lines))
        return ExitCode.BAD_DATA
    graph = build(config, images)
    images = graph.without_refused(images)
    if config.boilerplate_only:
        with dataset_lock(config.output_dir):
            write_citations(graph.methods, config.output_dir / "logs")
        print(f"methods text: {config.output_dir / 'logs' / 'CITATION.md'}")
        return ExitCode.OK
    keeper = RecordKeeper(config, record, graph.methods)
    with graph.claim(config.output_dir, [image.relpath for image in images if image.processed]):
        keeper.begin(planned(images))
        try:
            outcomes = _execute(config, graph, images, record, keeper)
        except BaseException:
            keeper.interrupted()
            hand_over.settle(config, images, keeper.fence, keeper.done)
            raise
        outcomes = without_removed(outcomes, config.output_dir)
        keeper.end(outcomes)
        made = [outcome.image.relpath for outcome in outcomes.having("done")]
        hand_over.finish(config, images, keeper.fence, made)
    with keeper.fence.around("names of the results"):
        _warn_of_names(config, images)
    outcomes = replace(outcomes, beside=keeper.fence.lines)
    _summarise(config, outcomes)
    return outcomes.code


def _execute(
    config: RunConfig,
    graph: Graph,
    images: list[AnatImage],
    record: RunRecord,
    keeper: RecordKeeper,
) -> Outcomes:
    from bids_sr.run import graph as graphs
    from bids_sr.run.execution import run_graph

    if config.write_graph:
        try:
            LOGGER.info("graph: %s", graphs.write_graph(graph, config))
        except Exception as error:  # a drawing; the images do not wait for it
            LOGGER.warning("the graph was not drawn: %s: %s", type(error).__name__, error)
    if config.clean_workdir:
        graphs.clean_work(graph)
    return run_graph(graph, config, images, record, ended=keeper.image_ended)


def _run_group(config: RunConfig) -> int:
    from bids_sr.bids import restore_decisions
    from bids_sr.reports.group import group_report

    if not config.output_dir.is_dir():
        raise ExitError(
            ExitCode.NO_INPUT,
            f"{config.output_dir} does not exist: run the participant level first",
        )
    restore_decisions(config.output_dir)
    for path in group_report(config.output_dir):
        print(f"wrote {path}")
    return ExitCode.OK


def check_folders(config: RunConfig) -> None:
    """Refuse to write into the dataset, by whatever path: a link or a second mount of it."""
    from bids_sr.bids import place_in_dataset

    folders = {
        "output folder": config.output_dir,
        "work folder": config.work_dir,
        "raw-like folder": config.raw_like_dir,
    }
    for name, folder in folders.items():
        place = None if folder is None else place_in_dataset(folder, config.bids_dir)
        is_output = name == "output folder"
        if place is None or (is_output and place.parts[1:] and place.parts[0] == "derivatives"):
            continue
        raise ConfigError(
            f"the {name} {folder} is in truth {config.bids_dir / place}, in the input dataset, "
            "which is never written to: give a folder elsewhere"
            + (f" or below {config.bids_dir / 'derivatives'}" if is_output else "")
        )


def check_files(config: RunConfig) -> None:
    """Refuse files and folders of the options that are not there, before any work."""
    from bids_sr.config import SLICE_PROFILES

    named = {f"--derivatives {name}": path for name, path in config.derivatives.items()}
    if config.weights_dir is not None:
        named["--weights-dir"] = config.weights_dir
    for spelled, path in named.items():
        if not path.is_dir():
            found = "is no folder" if path.exists() else "does not exist"
            raise ConfigError(f"{spelled}: {path} {found}; check the path")
    if config.use_plugin is not None and not config.use_plugin.exists():
        raise ConfigError(f"--use-plugin: {config.use_plugin} does not exist; check the path")
    if config.use_plugin is not None:
        from bids_sr.run.batch_queue import read_plugin

        read_plugin(config.use_plugin)
    if config.segmentation:
        from bids_sr.engines.segmentation import check_segmentations

        check_segmentations(config.segmentation)
    from bids_sr.engines import BUNDLED_TEMPLATE

    if config.template != BUNDLED_TEMPLATE:
        _require_template(config)
    profile = config.slice_profile
    if profile is not None and profile not in SLICE_PROFILES:
        _require_profile(Path(profile), ", ".join(SLICE_PROFILES))


def _require_profile(path: Path, names: str) -> None:
    from bids_sr.files import TABLE_LIMIT, check_regular

    expected = f"expected {names} or the path of a TSV file"
    try:
        check_regular(path, TABLE_LIMIT)
    except OSError as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise ConfigError(f"--slice-profile {path}: {found}; {expected}") from error
    except InputDataError as error:
        raise ConfigError(f"--slice-profile {error}") from error


def _require_template(config: RunConfig) -> None:
    from bids_sr.engines.segmentation import make_segmentation
    from bids_sr.engines.template import require_template

    tissues = any(make_segmentation(asked).tissue_maps for asked in config.segmentation)
    require_template(config.template, tissues=tissues, offline=config.offline)


def validate(bids_dir: Path) -> None:
    """Refuse a dataset in which the BIDS validator finds errors."""
    from bids_sr.bids import validate_dataset

    LOGGER.info("validating %s", bids_dir)
    result = validate_dataset(bids_dir)
    if result.note:
        LOGGER.warning("%s", result.note)
    if not result.errors:
        return
    lines = [f"  {issue}" for issue in result.errors[:_SHOWN_ERRORS]]
    if len(result.errors) > _SHOWN_ERRORS:
        lines.append(f"  and {len(result.errors) - _SHOWN_ERRORS} more")
    raise ExitError(
        ExitCode.VALIDATION_FAILED,
        f"{bids_dir} is no valid BIDS dataset ({len(result.errors)} errors): mend it, or give "
        "--skip-bids-validation\n" + "\n".join(lines),
    )


def plan(config: RunConfig, *, here: bool = True) -> list[AnatImage]:
    """Decide on every anatomical image; refuse a run that selects none.

    ``here`` says whether the steps run on this machine.
    """
    from bids_sr.run.plan import make_plan, print_plan

    try:
        images = make_plan(config, here=here)
    except InputDataError as error:
        asked = bool(config.participant_label)
        code = ExitCode.NOTHING_SELECTED if asked else ExitCode.NO_INPUT
        raise ExitError(code, str(error)) from error
    if not images:
        raise ExitError(
            ExitCode.NOTHING_SELECTED,
            f"{config.bids_dir} has no anatomical images of the selected subjects",
        )
    if not any(image.selected for image in images):
        print_plan(images, sys.stderr)
        raise ExitError(
            ExitCode.NOTHING_SELECTED,
            f"the options select none of the {len(images)} anatomical images; the plan above "
            "says why",
        )
    return images


def _make_folders(config: RunConfig) -> None:
    from bids_sr.bids import prepare_output_dir

    try:
        prepare_output_dir(config.output_dir, config.bids_dir)
        if not config.reports_only:
            make_work_folder(config.work_dir)
            check_writable(config.work_dir)
    except InputDataError as error:
        raise ExitError(ExitCode.CANNOT_WRITE, str(error)) from error
    except OSError as error:
        raise ExitError(
            ExitCode.CANNOT_WRITE,
            f"the work folder {config.work_dir} cannot be written ({error.strerror}): "
            "give another with --work-dir",
        ) from error


def _report_only(config: RunConfig, images: list[AnatImage]) -> int:
    """Bring the record in line with the files on disk, and write the pages again."""
    from bids_sr.bids import restore_decisions, subjects_of
    from bids_sr.run.fence import Fence
    from bids_sr.run.record_keeping import write_page

    known = [s for s in subjects_of(images) if (config.output_dir / f"sub-{s}").is_dir()]
    if not known:
        raise ExitError(
            ExitCode.NO_INPUT,
            f"{config.output_dir} holds nothing of the selected subjects: there is nothing to "
            "report; run without --reports-only first",
        )
    restore_decisions(config.output_dir, known)
    fence = Fence()
    for subject in known:
        with fence.around(f"page of sub-{subject}"):
            print(f"wrote {write_page(config.output_dir, subject)}")
    hand_over.finish(config, images, fence)
    return ExitCode.SOME_FAILED if fence.lines else ExitCode.OK


def _warn_of_names(config: RunConfig, images: Iterable[AnatImage]) -> None:
    from bids_sr.bids import check_output_tree, subjects_of

    for problem in check_output_tree(config.output_dir, subjects_of(images)):
        LOGGER.warning("output: %s", problem)


def _summarise(config: RunConfig, outcomes: Outcomes) -> None:
    from bids_sr.bids import subjects_of

    counts = {status: outcomes.having(status) for status in ("done", "failed", "skipped")}
    print(", ".join(f"{len(found)} {status}" for status, found in counts.items()))
    if config.sloppy:
        print("made with --sloppy: not a result")
    for outcome in outcomes.images:
        if outcome.status in ("failed", "planned") or (
            outcome.status == "done" and outcome.message
        ):
            print(outcome.line)
    for crash in outcomes.other_crashes:
        where = f" ({crash.path})" if crash.path else ""
        print(f"{crash.node} failed: {crash.message}{where}")
    for line in outcomes.beside:
        print(line)
    subjects = subjects_of(outcome.image for outcome in outcomes.images)
    for subject in subjects[:_SHOWN_REPORTS]:
        print(f"report: {config.output_dir / f'sub-{subject}.html'}")
    if len(subjects) > _SHOWN_REPORTS:
        print(f"and {len(subjects) - _SHOWN_REPORTS} more reports there")


def _report_bug() -> int:
    traceback.print_exc()
    return _complain(
        "this is an error of bids_sr: please report it with the lines above",
        ExitCode.NO_WORKFLOW,
    )


def _complain(error: object, code: ExitCode) -> int:
    sys.stderr.write(f"bids_sr: {error}\n")
    return code
