"""The first and the last step of a run, which provide its results to other tools."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from bids_sr.exceptions import InputDataError
from bids_sr.run.exit_codes import ExitCode, ExitError
from bids_sr.run.plan import reference_rule

if TYPE_CHECKING:
    from bids_sr.bids.image import AnatImage
    from bids_sr.config import RunConfig
    from bids_sr.run.fence import Fence

LOGGER = logging.getLogger(__name__)


def prepare(config: RunConfig, images: Sequence[AnatImage]) -> None:
    """Log which images cannot be provided; refuse, before any work, an unusable folder."""
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
    config: RunConfig,
    images: Sequence[AnatImage],
    fence: Fence,
    complete: Collection[str] = (),
    fused: Collection[str] = (),
) -> None:
    """Leave one reference per suffix, bring the raw-like folder up to date, all from the disk.

    Parameters
    ----------
    config : RunConfig
        The run.
    images : sequence of AnatImage
        The plan, or all images of some of its subjects.
    fence : Fence
        Keeps the errors of one subject from the others.
    complete : collection of str
        Paths of the images of which this run has written all results.
    fused : collection of str
        Names of the groups of stacks that this run has tried to fuse.
    """
    from bids_sr.bids import subjects_of, write_raw_view

    settle(config, images, fence, complete, fused)
    if config.raw_like_dir is None:
        return
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


def settle(
    config: RunConfig,
    images: Sequence[AnatImage],
    fence: Fence,
    complete: Collection[str],
    fused: Collection[str] = (),
) -> None:
    """Leave one reference per suffix, as :func:`finish` does; also after a run that was ended."""
    from bids_sr.bids import subjects_of

    subjects = subjects_of(images)
    own: dict[str, list[AnatImage]] = {subject: [] for subject in subjects}
    for image in images:
        own.get(image.subject, []).append(image)
    for subject in subjects:
        with fence.around(f"hand-over of sub-{subject}"):
            _settle(config, own[subject], complete, fused)


def tell_what_is_as_acquired(config: RunConfig, images: Sequence[AnatImage]) -> None:
    """Log which super-resolved contrasts the raw-like folder holds as acquired."""
    from bids_sr.bids.raw_view import SURFACE_CONTRASTS

    if config.raw_like_dir is None:
        return
    contrasts = {image.suffix for image in images if image.action == "super-resolve"}
    if held_back := sorted((contrasts & SURFACE_CONTRASTS) - {*config.surface_contrasts}):
        LOGGER.info(
            "%s images are in %s as acquired, so that no tool refines surfaces with estimated "
            "detail; give --surface-contrasts %s to have them super-resolved there",
            " and ".join(held_back),
            config.raw_like_dir,
            " ".join(held_back),
        )


def _settle(
    config: RunConfig,
    images: Sequence[AnatImage],
    complete: Collection[str],
    fused: Collection[str],
) -> None:
    from bids_sr.bids import dataset_lock, settle_references, surface_notes
    from bids_sr.bids.fused_outputs import settle_fused
    from bids_sr.bids.fused_reference import provide_fused

    rule = reference_rule(config)

    with dataset_lock(config.output_dir):  # it renames and removes what another job may look at
        joined = provide_fused(config.output_dir, images, rule, fused)
        notes = joined.notes + settle_references(
            config.output_dir, images, rule, complete=complete, fused=joined.paths
        )
        notes += settle_fused(config.output_dir, images, complete=complete)
    for note in [*notes, *surface_notes(config.output_dir, images, joined.paths)]:
        LOGGER.warning("%s", note)
