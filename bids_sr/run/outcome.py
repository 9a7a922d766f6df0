"""Outcome of each image, for ``decisions.tsv``, the last lines and the exit code."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bids_sr.bids.status import LEFT_UNDONE
from bids_sr.records.quality import QualityRecord, read_quality
from bids_sr.records.verdict import LOOK, Verdict
from bids_sr.run.crashes import Crash
from bids_sr.run.exit_codes import ExitCode

if TYPE_CHECKING:
    from bids_sr.bids.image import AnatImage

LOGGER = logging.getLogger(__name__)
REMOVED = (
    "its results were removed from the output folder during the run: run again, which writes them "
    "without computing anew"
)
Status = Literal["planned", "done", "failed", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One image at one moment of the run."""

    image: AnatImage
    status: Status
    message: str = ""
    step: str = ""
    """Where it failed."""
    crash_file: Path | None = None
    incomplete: bool = False
    """Whether the product is there, and something that was asked for beside it is not."""
    left_out: tuple[str, ...] = ()
    """What the methods text says and this image has not: a step that failed."""
    verdict: Verdict | None = None
    """On the result; None where there is none."""

    @property
    def needs_look(self) -> bool:
        """Whether a check of the result asks for a look at it."""
        return self.status == "done" and self.verdict is not None and self.verdict.status == LOOK

    @property
    def line(self) -> str:
        """Return one line for the user."""
        if self.status == "failed":
            at = f" at {self.step}" if self.step else ""
            return f"{self.image.stem}: failed{at}: {self.message}"
        status: str = "not done" if self.status == "planned" else self.status
        status += ", but incomplete" if self.incomplete else ""
        verdict = f", verdict {self.verdict.status}" if self.verdict else ""
        # Of a result that is done, the message is a warning: not the reason of its verdict.
        before = "; warning: " if self.verdict else ": "
        message = f"{before}{self.message}" if self.message else ""
        return f"{self.image.stem}: {status}{verdict}{message}"


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """All images of the run."""

    images: list[Outcome] = field(default_factory=list)
    other_crashes: list[Crash] = field(default_factory=list)
    """Failures of steps that belong to no single image."""
    fused: frozenset[str] = frozenset()
    """Names of the groups of stacks whose step has ended, whatever came of it."""
    fused_verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    """On the volumes that were fused, by their names."""
    beside: list[str] = field(default_factory=list)
    """What else went wrong, a line each: a page that could not be written."""
    strict: bool = False
    """Whether an image that needs a look counts as one that failed (``--strict``)."""

    def having(self, status: Status) -> list[Outcome]:
        """Return the images of one status."""
        return [outcome for outcome in self.images if outcome.status == status]

    @property
    def looks(self) -> list[Outcome]:
        """Return the images whose verdict is ``look``."""
        return [outcome for outcome in self.images if outcome.needs_look]

    @property
    def fused_looks(self) -> dict[str, Verdict]:
        """Return the verdicts on fused volumes that are ``look``, by their names."""
        return {name: verdict for name, verdict in self.fused_verdicts.items() if verdict.looks}

    @property
    def code(self) -> ExitCode:
        """Return the exit code of the run."""
        if self.images and not any(outcome.image.processed for outcome in self.images):
            return ExitCode.BAD_DATA
        incomplete = any(outcome.incomplete for outcome in self.images)
        looks = self.strict and (self.looks or self.fused_looks)
        others = incomplete or self.other_crashes or self.beside or looks
        if self.having("failed") or self.having("planned") or others:
            return ExitCode.SOME_FAILED
        return ExitCode.OK


def planned(images: Sequence[AnatImage]) -> Outcomes:
    """Return the outcomes before the run."""
    return Outcomes(images=[_before(image) for image in images])


def after_run(
    images: Sequence[AnatImage],
    crashes: Sequence[Crash],
    *,
    image_of: Callable[[str], AnatImage | None],
    finished: Callable[[AnatImage], bool],
    quality_path: Callable[[AnatImage], Path],
    makes_product: Callable[[str], bool] = lambda _: True,
) -> Outcomes:
    """Tell what became of each image.

    Parameters
    ----------
    images : sequence of AnatImage
        The plan.
    crashes : sequence of Crash
        Failed nodes, oldest first.
    image_of : callable
        Full name of a node to its image.
    finished : callable
        Whether all steps of an image were reached; an image without a crash may have
        been left undone by ``--stop-on-first-crash``.
    quality_path : callable
        Where the QC file of an image is, which holds its warnings.
    makes_product : callable
        Whether the product waits for a node, by its full name.  Another node that failed
        leaves an image that is done, and incomplete.
    """
    first: dict[str, Crash] = {}
    beside: dict[str, list[Crash]] = {}
    others = []
    for crash in crashes:
        image = image_of(crash.node)
        if image is None:
            others.append(crash)
        elif makes_product(crash.node):
            first.setdefault(image.relpath, crash)
        else:
            beside.setdefault(image.relpath, []).append(crash)
    outcomes = []
    for image in images:
        outcome = _before(image)
        if image.processed and image.relpath in first:
            crash = first[image.relpath]
            outcome = Outcome(
                image=image,
                status="failed",
                message=crash.message,
                step=crash.step,
                crash_file=crash.path,
            )
        elif image.processed and finished(image):
            outcome = _done(image, quality_path(image), beside.get(image.relpath, []))
        elif image.processed:
            outcome = Outcome(image=image, status="planned", message=LEFT_UNDONE)
        outcomes.append(outcome)
    return Outcomes(images=outcomes, other_crashes=others)


def without_removed(outcomes: Outcomes, output_dir: Path) -> Outcomes:
    """Fail the images that are done, and whose results somebody has removed meanwhile."""
    from bids_sr.bids import output_paths

    def still_there(outcome: Outcome) -> bool:
        if outcome.status != "done":
            return True
        paths = output_paths(output_dir, outcome.image)
        # Others may have failed, or be withheld: what has no brain mask is not provided.
        needed = [paths.product, *([] if outcome.crash_file else [paths.quality])]
        return all(path.is_file() for path in needed)

    images = [
        outcome
        if still_there(outcome)
        else replace(outcome, status="failed", step="", message=REMOVED)
        for outcome in outcomes.images
    ]
    return replace(outcomes, images=images)


def not_fused(output_dir: Path, outcomes: Outcomes) -> list[str]:
    """Tell which stacks were not fused, or what was not made of the volume: a line each.

    Where the stacks do not fit, the line is in the log only.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    outcomes : Outcomes
        After the run.
    """
    from bids_sr.bids.fused_outputs import read_fusion
    from bids_sr.bids.stacks import stack_groups

    done = {outcome.image.relpath for outcome in outcomes.having("done")}
    lines = []
    for group in stack_groups(outcome.image for outcome in outcomes.images):
        record = read_fusion(output_dir, group)
        lacking = [member.stem for member in group.members if member.relpath not in done]
        known = group.name in outcomes.fused and bool(record.status)
        if not known or not done.issuperset(record.used):
            without = f"without a result of {', '.join(lacking)}" if lacking else "see the log"
            lines.append(f"{group.name}: not fused in this run, {without}")
            continue
        if record.status == "failed":
            lines.append(f"{group.name}: not fused: {record.reason}")
        elif record.status == "skipped":
            LOGGER.warning("%s: not fused: %s", group.name, record.reason)
        lines += [f"{group.name}: {step.warning}" for step in record.segmentations if step.failed]
    return lines


def fused_verdicts(output_dir: Path, outcomes: Outcomes) -> dict[str, Verdict]:
    """Read the verdicts on the volumes that were fused in this run, by their names."""
    from bids_sr.bids.fused_outputs import read_fusion
    from bids_sr.bids.stacks import stack_groups

    groups = stack_groups(outcome.image for outcome in outcomes.images)
    records = {group.name: read_fusion(output_dir, group) for group in groups}
    return {
        name: record.verdict
        for name, record in records.items()
        if name in outcomes.fused and record.verdict is not None
    }


def _before(image: AnatImage) -> Outcome:
    if image.action == "skip":
        return Outcome(image=image, status="skipped")
    if image.action == "fail":
        return Outcome(image=image, status="failed", message=image.reason, step="planning")
    return Outcome(image=image, status="planned")


def _done(image: AnatImage, quality_file: Path, crashes: Sequence[Crash]) -> Outcome:
    """Gather what an image that has its product warns of, and what it lacks."""
    quality = read_quality(quality_file) or QualityRecord(image=image.relpath)
    warnings = [*quality.warnings, *(f"{crash.step} failed: {crash.message}" for crash in crashes)]
    lacks = any(tool.failed for tool in quality.segmentations)
    return Outcome(
        image=image,
        status="done",
        message="; ".join(warnings),
        crash_file=crashes[0].path if crashes else None,
        incomplete=lacks or bool(crashes),
        left_out=tuple(step.warning.partition(":")[0] for step in quality.left_out),
        verdict=quality.verdict,
    )
