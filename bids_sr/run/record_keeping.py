"""Records of a run, updated while it runs: decisions, pages, methods text.

Each image is recorded when it ends, so that a run that stops early has recorded all before.  When
the last image of a subject and its fused volumes have ended, its results are handed over and its
page is written; a page written before that says what is pending.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from bids_sr.run import hand_over
from bids_sr.run.fence import Fence
from bids_sr.run.outcome import Outcome, Outcomes

if TYPE_CHECKING:
    from pathlib import Path

    from bids_sr.bids.image import AnatImage
    from bids_sr.config import RunConfig
    from bids_sr.reports.results_text import ResultFacts
    from bids_sr.run.provenance import RunRecord

LOGGER = logging.getLogger(__name__)
_AGAIN = "run again, which writes what is missing without computing anew"
PAGE_SHARE = 0.02
"""Share of a run's time that goes into pages of subjects of whom more is pending."""


class RecordKeeper:
    """Write down what becomes of the images of one run.

    Parameters
    ----------
    config : RunConfig
        The run's options.
    record : RunRecord
        Its name and command.
    methods : str
        Its methods text; written with the first result.
    """

    def __init__(self, config: RunConfig, record: RunRecord, methods: str = "") -> None:
        self.config = config
        self.record = record
        self.methods = methods
        self.fence = Fence()
        """Around what belongs to one subject or image."""
        self._own: dict[str, Path] = {}
        self._rows: dict[str, dict[str, str]] = {}
        self._stale: set[str] = set()
        self._told: set[str] = set()
        self._methods_of: dict[str, str] = {}
        self._left_out: dict[str, dict[str, tuple[str, ...]]] = {}
        self._facts: dict[str, ResultFacts] = {}
        """Of the results of each subject; of all under an empty name."""
        self._pages_until = 0.0
        self._viewers = True
        self._images: list[AnatImage] = []
        self._pending: dict[str, set[str]] = {}
        """Paths of images and names of fused volumes that have not ended, by subject."""
        self._fused: set[str] = set()
        self._handed_over: set[str] = set()

    def begin(self, before: Outcomes) -> None:
        """Write down what is about to be done, and what belongs to no single image."""
        from bids_sr.bids.stacks import stack_groups

        self._images = [outcome.image for outcome in before.images]
        for image in self._images:
            if image.processed:
                self._pending.setdefault(image.subject, set()).add(image.relpath)
        for group in stack_groups(self._images):
            self._pending.setdefault(group.image.subject, set()).add(group.name)
        self._stale = _subjects(before)
        self._write_own()
        self._tell_what_is_gone()
        self._write_rows(before.images)

    def _tell_what_is_gone(self) -> None:
        """Note which results of earlier runs have lost their acquired image since."""
        from bids_sr.bids import read_decisions, update_decisions
        from bids_sr.bids.status import NO_INPUT, without_input

        output_dir, known = self.config.output_dir, {image.relpath for image in self._images}
        subjects = [label.removeprefix("sub-") for label in self.config.participant_label]
        rows = read_decisions(output_dir)
        if gone := without_input(rows, self.config.bids_dir, subjects, known):
            update_decisions(output_dir, gone)
            self._rows |= {row["image"]: row for row in gone}
        for row in gone:
            LOGGER.warning("%s: %s (%s)", row["image"], NO_INPUT, row["output"])

    def image_ended(self, outcome: Outcome) -> None:
        """Write down one image; what cannot be written now is tried again at the end."""
        subject = outcome.image.subject
        self._stale.add(subject)
        self._told.add(subject)
        try:
            self._write_rows([outcome])
        except Exception as error:
            LOGGER.debug("%s: not recorded yet: %s", outcome.image.stem, error)
        self._ended(subject, outcome.image.relpath)

    def stacks_fused(self, name: str) -> None:
        """Note that everything of a fused volume is written, or that it is not fused."""
        subjects = [subject for subject, pending in self._pending.items() if name in pending]
        self._fused.add(name)
        self._stale.update(subjects)
        for subject in subjects:
            self._ended(subject, name)

    def _ended(self, subject: str, name: str) -> None:
        """Write the page of a subject: at once with the last of its results, else now and then."""
        pending = self._pending.get(subject, set())
        last = pending == {name}
        pending.discard(name)
        try:
            if last:
                self._hand_over([image for image in self._images if image.subject == subject])
                self._write_pages([subject])
            elif pending and time.monotonic() >= self._pages_until:
                began = time.monotonic()
                self._write_pages([subject])
                self._pages_until = time.monotonic() + (time.monotonic() - began) / PAGE_SHARE
        except Exception as error:
            LOGGER.debug("sub-%s: page not written yet: %s", subject, error)

    def end(self, outcomes: Outcomes) -> None:
        """Record all images, hand over, and write every page that is out of date.

        A removed page or record is written again, with a warning that results may be missing.
        """
        removed = [what for what, path in self._own.items() if not path.exists()]
        if removed:
            self.fence.lines += [
                f"{what} was removed during the run: {_AGAIN}" for what in removed
            ]
            self._rows.clear()
            self._methods_of.clear()
            self._handed_over.clear()
            self._stale = _subjects(outcomes)
            self._write_own()
        self._write_rows(outcomes.images)
        self._pending.clear()
        self._fused |= outcomes.fused
        images = [outcome.image for outcome in outcomes.images]
        later = self.not_handed_over(images)
        self._stale |= {image.subject for image in later if image.processed}
        self._hand_over(later)
        hand_over.tell_what_is_as_acquired(self.config, images)
        self._write_pages(sorted(self._stale))

    def not_handed_over(self, images: Iterable[AnatImage]) -> list[AnatImage]:
        """Return the images of the subjects whose results have not been handed over yet."""
        return [image for image in images if image.subject not in self._handed_over]

    def _hand_over(self, images: Sequence[AnatImage]) -> None:
        """Provide the results of whole subjects to other tools; a page names what is there."""
        if not images:
            return
        hand_over.finish(self.config, images, self.fence, self.done, self._fused)
        self._handed_over |= {image.subject for image in images}

    @property
    def done(self) -> list[str]:
        """Paths of the images of this run that are done."""
        own = {image.relpath for image in self._images}
        rows = self._rows.items()
        return [image for image, row in rows if image in own and row["status"] == "done"]

    def interrupted(self) -> None:
        """Write the pages of the subjects of whom an image has ended."""
        self._pending.clear()  # what has not ended is not finished
        self._viewers = False  # they take seconds
        try:
            self._write_pages(sorted(self._stale & self._told))
        except Exception as error:
            LOGGER.warning("a page is out of date (%s): run again with --reports-only", error)

    def _write_own(self) -> None:
        """Write what belongs to no single image."""
        from bids_sr.bids import write_dataset_files

        output_dir, bids_dir = self.config.output_dir, self.config.bids_dir
        self._own["the output folder's content"] = self.record.write(self.config)
        for subject in sorted(self._stale):
            with self.fence.around(f"log of sub-{subject}"):
                self._own[f"sub-{subject}"] = self.record.write_log(self.config, subject)
        write_dataset_files(output_dir, bids_dir, derivatives=self.config.derivatives)

    def _write_rows(self, outcomes: Sequence[Outcome]) -> None:
        from bids_sr.bids import keep_decisions, update_decisions

        output_dir = self.config.output_dir
        rows = {outcome.image.relpath: self._row(outcome) for outcome in outcomes}
        changed = [row for image, row in rows.items() if self._rows.get(image) != row]
        if not changed:
            return
        # A file outside of the subjects' folders has a row, and no subject.
        subjects = {row["participant_id"].removeprefix("sub-") for row in changed} - {""}
        self._stale |= subjects
        for subject in sorted(subjects):
            with self.fence.around(f"log of sub-{subject}"):
                folder = self.record.log_dir(output_dir, subject)
                keep_decisions([folder], [*(self._rows | rows).values()])
        update_decisions(output_dir, changed)
        try:
            self._write_methods(outcome for outcome in outcomes if outcome.status == "done")
        except OSError:
            raise
        except Exception:  # images are worth more than a text about them
            LOGGER.warning("no methods text: writing it failed", exc_info=True)
            self.methods = ""
        self._rows |= rows  # last: what could not be written is tried again

    def _write_methods(self, done: Iterable[Outcome]) -> None:
        """Write the methods text of the run and of each subject with a result, where it is new."""
        from bids_sr.bids import dataset_lock, output_paths
        from bids_sr.records.method_record import MethodRecord
        from bids_sr.records.quality import read_quality
        from bids_sr.reports.boilerplate import write_citations
        from bids_sr.reports.results_text import ResultFacts

        if not self.methods:
            return
        subjects, output_dir = set(), self.config.output_dir
        for outcome in done:
            subjects.add(outcome.image.subject)
            self._left_out.setdefault(outcome.image.subject, {})[outcome.image.relpath] = (
                outcome.left_out
            )
            quality = read_quality(output_paths(output_dir, outcome.image).quality)
            method = quality.method if quality else MethodRecord()
            for name in (outcome.image.subject, ""):
                self._facts.setdefault(name, ResultFacts()).add(outcome.image.suffix, method)
        for subject in sorted(subjects):
            text = self._text_with(subject, self._left_out[subject].values())
            if self._methods_of.get(subject) != text:
                with self.fence.around(f"log of sub-{subject}"):
                    self.record.write_methods(output_dir, subject, text)
                    self._methods_of[subject] = text
        every = [steps for images in self._left_out.values() for steps in images.values()]
        text = self._text_with("", every)
        if every and self._methods_of.get("") != text:
            with dataset_lock(output_dir):
                write_citations(text, output_dir / "logs")
            self._methods_of[""] = text

    def _text_with(self, name: str, left_out: Iterable[tuple[str, ...]]) -> str:
        """Return the methods text with what is true of the results of a subject, or of all."""
        facts = self._facts.get(name)
        return " ".join(filter(None, [self.methods.strip(), facts.text if facts else ""])) + (
            exceptions_text(left_out)
        )

    def _write_pages(self, subjects: Iterable[str]) -> None:
        for subject in subjects:
            with self.fence.around(f"page of sub-{subject}"):
                pending = self._pending.get(subject, ())
                page = write_page(self.config, subject, pending, viewer=self._viewers)
                LOGGER.debug("wrote %s", page)
                self._stale.discard(subject)

    def _row(self, outcome: Outcome) -> dict[str, str]:
        from bids_sr.bids import decision_row, output_paths
        from bids_sr.bids.status import row_as_made
        from bids_sr.records.quality import read_quality

        output_dir, output = self.config.output_dir, ""
        if outcome.status == "done":
            with self.fence.around(f"row of {outcome.image.stem}"):
                product = output_paths(output_dir, outcome.image).product
                output = product.relative_to(output_dir).as_posix()
        message = outcome.message if outcome.image.processed else ""
        if outcome.status == "failed" and outcome.step and message:
            message = f"failed at {outcome.step}: {message}"
        row = decision_row(outcome.image, status=outcome.status, message=message, output=output)
        if outcome.status != "done":
            return row
        return row_as_made(row, read_quality(output_paths(output_dir, outcome.image).quality))


def _subjects(outcomes: Outcomes) -> set[str]:
    from bids_sr.bids import subjects_of

    return set(subjects_of(outcome.image for outcome in outcomes.images))


def exceptions_text(left_out: Iterable[tuple[str, ...]]) -> str:
    """Say what the methods text claims and images lack; empty where all have all."""
    images = list(left_out)
    counts = Counter(step for steps in images for step in steps)
    if not counts:
        return ""
    words = [f"{step} ({number})" for step, number in counts.most_common()]
    lacking = sum(map(bool, images))
    return f"\n\nSteps failed and were left out in {lacking} of {len(images)} images: " + (
        f"{'; '.join(words)}."
    )


def write_page(
    config: RunConfig, subject: str, pending: Collection[str] = (), *, viewer: bool = True
) -> Path:
    """Write the page of a subject, and its viewer, from what lies on disk.

    Parameters
    ----------
    config : RunConfig
        The run.
    subject : str
        Label without ``sub-``.
    pending : collection of str
        Paths of its images, and names of its fused volumes, that the run has not come to the end
        of; the viewer waits for them.
    viewer : bool
        Whether the viewer may be written; one that is out of date is removed in any case.
    """
    from bids_sr.bids import subject_lock
    from bids_sr.reports.assemble import assemble_subject
    from bids_sr.reports.viewer import update_viewer

    root = config.output_dir
    wanted = viewer and config.viewer == "auto" and not pending
    with subject_lock(root, subject):  # its other sessions may have own jobs
        name = update_viewer(root, subject, config.bids_dir, write=wanted)
        return assemble_subject(root, subject, pending, viewer=name)
