"""The ``bids_sr`` command: from the command line to the exit code.

Heavy imports wait until the command line is known to be right.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bids_sr.cli.parser import parse_args
from bids_sr.cli.plan_table import print_plan, read_plan, steps_words
from bids_sr.compute.environment import Terminated, end_on_sigterm, prepare, refuse_network
from bids_sr.exceptions import BidsSrError
from bids_sr.run import checks, hand_over
from bids_sr.run.exit_codes import ExitCode, ExitError, code_of
from bids_sr.run.plan import log_plan
from bids_sr.run.streams import steady_streams
from bids_sr.run.system_errors import explain

if TYPE_CHECKING:
    from bids_sr.bids.image import AnatImage
    from bids_sr.config import RunConfig
    from bids_sr.run.outcome import Outcomes

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
        return _complain("interrupted; run again to continue", ExitCode.INTERRUPTED)
    except Terminated:
        return _complain("terminated; run again to continue", ExitCode.TERMINATED)
    except Exception as error:
        explained = explain(error)
        return _complain(*explained) if explained else _report_bug()


def _run(config: RunConfig, words: list[str]) -> int:
    from bids_sr.run.console import set_up_logging

    set_up_logging(max(config.verbose, 2 * config.debug))
    if not config.bids_dir.is_dir():
        raise ExitError(
            ExitCode.NO_INPUT,
            f"{config.bids_dir} is not a folder: expected the root of a BIDS dataset",
        )
    checks.check_folders(config)
    if config.analysis_level == "group":
        return _run_group(config)
    checks.check_files(config)
    if not (config.skip_bids_validation or config.dry_run or config.reports_only):
        checks.check_dataset(config.bids_dir)
    images = read_plan(config)
    if config.dry_run:
        print_plan(images, sys.stdout)
        print(steps_words(config))
        return ExitCode.OK
    if config.reports_only and not config.output_dir.is_dir():
        raise ExitError(
            ExitCode.NO_INPUT, f"{config.output_dir} does not exist: there is nothing to report"
        )
    checks.make_folders(config)
    hand_over.prepare(config, images)
    if config.reports_only:
        return _write_pages(config, images)
    return _run_participants(config, images, words)


def _run_participants(config: RunConfig, images: list[AnatImage], words: list[str]) -> int:
    from bids_sr.run.participant_level import process_images, write_methods

    log_plan(images)
    if config.boilerplate_only and any(image.processed for image in images):
        print(f"methods text: {write_methods(config, images)}")
        return ExitCode.OK
    outcomes = replace(process_images(config, images, words), strict=config.strict)
    _print_raw_view(config)
    _print_outcomes(config, outcomes)
    return outcomes.code


def _write_pages(config: RunConfig, images: list[AnatImage]) -> int:
    from bids_sr.run.fence import Fence
    from bids_sr.run.participant_level import write_pages

    fence = Fence()
    for path in write_pages(config, images, fence):
        print(f"wrote {path}")
    _print_raw_view(config)
    return ExitCode.SOME_FAILED if fence.lines else ExitCode.OK


def _run_group(config: RunConfig) -> int:
    from bids_sr.run.group_level import write_group_pages

    for path in write_group_pages(config):
        print(f"wrote {path}")
    return ExitCode.OK


def _print_raw_view(config: RunConfig) -> None:
    if config.raw_like_dir is not None:
        print(f"raw-like dataset: {config.raw_like_dir}")


def _print_outcomes(config: RunConfig, outcomes: Outcomes) -> None:
    from bids_sr.bids import subjects_of

    counts = {status: outcomes.having(status) for status in ("done", "failed", "skipped")}
    print(", ".join(f"{len(having)} {status}" for status, having in counts.items()))
    if config.sloppy:
        print("made with --sloppy: not a result")
    for outcome in outcomes.images:
        if outcome.status != "skipped":
            print(outcome.line)
        for check in outcome.verdict.looks if outcome.needs_look and outcome.verdict else ():
            print(f"  look: {check.line}")
    for name, verdict in outcomes.fused_verdicts.items():
        print(f"{name}: fused, verdict {verdict.status}")
        for check in verdict.looks:
            print(f"  look: {check.line}")
    for crash in outcomes.other_crashes:
        where = f" ({crash.path})" if crash.path else ""
        print(f"{crash.node} failed: {crash.message}{where}")
    for line in outcomes.beside:
        print(line)
    if outcomes.looks or outcomes.fused_looks:
        asked = [f"{len(outcomes.looks)} of {len(counts['done'])} images"]
        if outcomes.fused_verdicts:
            total = len(outcomes.fused_verdicts)
            asked.append(f"{len(outcomes.fused_looks)} of {total} fused volumes")
        strict = "; exit code 1, because of --strict" if config.strict else ""
        print(f'verdict "look": {", ".join(asked)}{strict}')
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
