"""The options and the last step of a run that hand its results on to other tools."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bids_sr.exceptions import InputDataError
from bids_sr.run.exit_codes import ExitCode, ExitError
from bids_sr.run.plan import reference_rule

if TYPE_CHECKING:
    from bids_sr.bids.image import AnatImage
    from bids_sr.config import RunConfig
    from bids_sr.run.fence import Fence

LOGGER = logging.getLogger(__name__)


def add_hand_over(group: argparse._ArgumentGroup) -> None:
    """Add the options that say what other tools get."""
    group.add_argument(
        "--anat-reference",
        nargs="+",
        metavar="RULE",
        help="which T1w (and T2w, with --surface-contrasts) becomes desc-preproc, which fMRIPrep "
        "and sMRIPrep take; contrast-enhanced images, other body parts, parts of scans and "
        "localisers only if named; "
        "finest: finest slice spacing, of equals the first by path; first-lex: first by path; "
        "ENTITY=VALUE ...: one with these entities (null: without it) before all others "
        "(default: finest)",
    )
    group.add_argument(
        "--anat-reference-per",
        choices=("session", "subject"),
        help="session: one of a kind in each session; subject: one of a kind in all, for tools "
        "that make one reference of all sessions",
    )
    group.add_argument(
        "--surface-contrasts",
        nargs="+",
        choices=("T2w", "FLAIR"),
        help="also hand these on super-resolved to tools that refine pial surfaces with them: a "
        "T2w as desc-preproc, both in the raw-shaped view; unproven (default: neither)",
    )
    group.add_argument(
        "--raw-like-dir",
        type=Path,
        metavar="DIR",
        help="also keep a raw-shaped view of the processed subjects there: super-resolved images "
        "as rec-SR in place of the acquired ones, all else linked",
    )


def prepare(config: RunConfig, images: Sequence[AnatImage]) -> None:
    """Tell what cannot be handed on; refuse, before any work, a folder that cannot be used."""
    from bids_sr.bids import prepare_raw_view
    from bids_sr.bids.references import without_reference

    for note in without_reference(images, reference_rule(config)):
        LOGGER.warning("%s", note)
    if config.raw_like_dir is None:
        return
    try:
        prepare_raw_view(config.raw_like_dir, config.bids_dir, config.output_dir, images)
    except InputDataError as error:
        raise ExitError(ExitCode.CANNOT_WRITE, str(error)) from error


def finish(
    config: RunConfig, images: Sequence[AnatImage], fence: Fence, made: Iterable[str] = ()
) -> None:
    """Leave one reference of a kind, bring the raw-like folder up to date, all from the disk.

    ``fence`` keeps what goes wrong with one subject from the others; ``made`` holds the paths of
    the images of which this run has made all that it makes.
    """
    from bids_sr.bids import subjects_of, write_raw_view

    settle(config, images, fence, made)
    if config.raw_like_dir is None:
        return
    _tell_what_is_as_acquired(config, images)
    for subject in subjects_of(images):
        with fence.around(f"raw-like dataset of sub-{subject}"):
            for note in write_raw_view(
                config.raw_like_dir,
                config.bids_dir,
                config.output_dir,
                [subject],
                surface_contrasts=config.surface_contrasts,
            ):
                LOGGER.warning("%s", note)
    print(f"raw-like dataset: {config.raw_like_dir}")


def settle(
    config: RunConfig, images: Sequence[AnatImage], fence: Fence, made: Iterable[str]
) -> None:
    """Leave one reference of a kind, as :func:`finish` does; also after a run that was ended."""
    from bids_sr.bids import subjects_of

    subjects = subjects_of(images)
    own: dict[str, list[AnatImage]] = {subject: [] for subject in subjects}
    for image in images:
        own.get(image.subject, []).append(image)
    for subject in subjects:
        with fence.around(f"hand-over of sub-{subject}"):
            _settle(config, own[subject], made)


def _tell_what_is_as_acquired(config: RunConfig, images: Sequence[AnatImage]) -> None:
    from bids_sr.bids.raw_view import SURFACE_CONTRASTS

    found = {image.suffix for image in images if image.action == "super-resolve"}
    if held_back := sorted((found & SURFACE_CONTRASTS) - {*config.surface_contrasts}):
        LOGGER.info(
            "%s images are in %s as acquired, so that no tool refines surfaces with estimated "
            "detail; give --surface-contrasts %s to have them super-resolved there",
            " and ".join(held_back),
            config.raw_like_dir,
            " ".join(held_back),
        )


def _settle(config: RunConfig, images: Sequence[AnatImage], made: Iterable[str]) -> None:
    from bids_sr.bids import dataset_lock, settle_references, surface_notes

    with dataset_lock(config.output_dir):  # it renames and removes what another job may look at
        notes = settle_references(config.output_dir, images, reference_rule(config), made=made)
    for note in [*notes, *surface_notes(config.output_dir, images)]:
        LOGGER.warning("%s", note)
