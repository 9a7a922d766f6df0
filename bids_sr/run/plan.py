"""The plan of a run: which images there are, what happens to each, and its lines in the log."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bids_sr.config import RunConfig
from bids_sr.exceptions import ConfigError, InputDataError, counted
from bids_sr.method_facts import METHOD_FACTS, methods_that
from bids_sr.run.exit_codes import ExitCode, ExitError
from bids_sr.run.feasibility import memory_here_gb, refuse_impossible

if TYPE_CHECKING:
    from bids_sr.bids import GuideRule, ReferenceRule
    from bids_sr.bids.image import AnatImage

LOGGER = logging.getLogger(__name__)
SHOWN_IMAGES = 20


def make_plan(config: RunConfig, *, here: bool = True) -> list[AnatImage]:
    """Decide on every anatomical image of the selected subjects.

    Parameters
    ----------
    config : RunConfig
        The run.
    here : bool
        Whether the steps run on this machine, whose memory then counts.

    Raises
    ------
    ExitError
        If there is none.
    """
    from bids_sr.bids import (
        AcquisitionOverrides,
        Selection,
        open_layout,
        plan_images,
    )

    selection = Selection(
        participant_label=config.participant_label,
        session_label=config.session_label,
        modalities=config.modalities,
        bids_filters=config.bids_filters,
        derivatives=config.derivatives,
        overrides=AcquisitionOverrides(
            slice_thickness=config.slice_thickness,
            slice_spacing=config.slice_spacing,
            slice_profile=config.slice_profile,
        ),
        output_resolution=config.output_resolution,
        output_grid="slice" if config.output_grid == "slice" else "fov",
        sr_method=config.sr_method,
        min_anisotropy=config.min_anisotropy,
        fuse_stacks=config.fuse_stacks == "auto",
        guide=guide_rule(config),
        reference=reference_rule(config),
    )
    try:
        layout = open_layout(
            config.bids_dir,
            participant_label=config.participant_label,
            left_out=[
                folder
                for folder in (config.output_dir, config.work_dir, config.raw_like_dir)
                if folder is not None
            ],
        )
        images = plan_images(layout, selection)
    except InputDataError as error:
        named = bool(config.participant_label)
        code = ExitCode.NOTHING_SELECTED if named else ExitCode.NO_INPUT
        raise ExitError(code, str(error)) from error
    if not images:
        raise ExitError(
            ExitCode.NOTHING_SELECTED,
            f"{config.bids_dir} has no anatomical images of the selected subjects",
        )
    memory_gb = memory_here_gb(config) if here else None
    return refuse_impossible(images, config, memory_gb=memory_gb)


def reference_rule(config: RunConfig) -> ReferenceRule:
    """Return the rule by which images are chosen that other tools are handed."""
    from bids_sr.bids import ReferenceRule

    return ReferenceRule.from_words(
        config.anat_reference, config.anat_reference_per, config.surface_contrasts
    )


def guide_rule(config: RunConfig) -> GuideRule:
    """Return the rule by which thin scans are chosen that guide thick ones.

    Raises
    ------
    ConfigError
        If scans are named for a method that cannot learn from them, or by unknown words.
    """
    from bids_sr.bids import GuideRule

    rule = GuideRule.from_words(config.guide)
    if rule.wanted and not METHOD_FACTS[config.sr_method].takes_guide:
        able = " or ".join(methods_that(lambda facts: facts.takes_guide))
        raise ConfigError(
            f"--guide {' '.join(config.guide)}: the method {config.sr_method!r} cannot learn from "
            f"a guide; expected {able}. Else give --guide auto or none"
        )
    return rule


def log_plan(images: Sequence[AnatImage]) -> None:
    """Tell in the log how many images there are, which are left out or get coarser, and why."""
    LOGGER.info("%s", count_words(images))
    _tell_what_is_left_out(images)
    _tell_what_gets_coarser(images)


def what_lacks(config: RunConfig, images: Sequence[AnatImage]) -> list[str]:
    """Say which of the wanted subjects and sessions have no anatomical image at all."""
    from bids_sr.bids import Selection, subjects_of
    from bids_sr.bids.places import find_subjects

    wanted = Selection(
        participant_label=config.participant_label, session_label=config.session_label
    )
    subjects = {*wanted.subjects} or find_subjects(config.bids_dir)
    lines = []
    if absent := sorted(subjects - {*subjects_of(images)}):
        shown = ", ".join(f"sub-{label}" for label in absent[:SHOWN_IMAGES])
        more = f" and {len(absent) - SHOWN_IMAGES} more" if len(absent) > SHOWN_IMAGES else ""
        lines.append(f"no anatomical image in {shown}{more}: nothing is done for them")
    existing = {image.session for image in images if image.session}
    for label in wanted.sessions:
        if label not in existing:
            known = ", ".join(sorted(existing)) or "no sessions"
            lines.append(
                f"--session-label {label}: no anatomical image of that session; the selected "
                f"subjects have {known}"
            )
    return lines


def count_words(images: Sequence[AnatImage]) -> str:
    """Say how many images there are of each action."""
    from bids_sr.bids import subjects_of

    counts: Counter[str] = Counter(image.action for image in images)
    subjects = len(subjects_of(images))
    words = [f"{counts[action]} {name}" for action, name in _COUNTED.items() if counts[action]]
    total = f"{counted(len(images), 'image')} of {counted(subjects, 'subject')}"
    return f"{total}: {', '.join(words) or 'none'}"


def _tell_what_is_left_out(images: Sequence[AnatImage]) -> None:
    words = {"skip": "skipped", "pass-through": "passed through", "fail": "cannot be used"}
    left_out = [image for image in images if image.action in words]
    left_out.sort(key=lambda image: not image.misplaced)
    for image in left_out[:SHOWN_IMAGES]:
        level = logging.WARNING if image.misplaced else logging.INFO
        name = image.relpath if image.misplaced else image.stem
        LOGGER.log(level, "%s: %s: %s", name, words[image.action], image.reason)
    if len(left_out) > SHOWN_IMAGES:
        LOGGER.info("and %d more images, see decisions.tsv", len(left_out) - SHOWN_IMAGES)


def _tell_what_gets_coarser(images: Sequence[AnatImage]) -> None:
    from bids_sr.bids.layout import KEEP_IN_PLANE, lost_in_plane

    stems_of: dict[str, list[str]] = {}
    for image in images:
        if image.action == "super-resolve":
            assert image.facts is not None
            assert image.source_grid is not None
            assert image.target_grid is not None
            axis = image.facts.acquisition.slice_axis
            assert axis is not None
            spacing = image.target_spacing or 0.0
            if lost := lost_in_plane(image.source_grid, image.target_grid, axis, spacing):
                stems_of.setdefault(lost, []).append(image.stem)
    for lost, stems in list(stems_of.items())[:SHOWN_IMAGES]:
        more = f" and {len(stems) - 1} more" if len(stems) > 1 else ""
        LOGGER.info("%s (%s): %s%s", lost, KEEP_IN_PLANE, stems[0], more)


_COUNTED = {
    "super-resolve": "to super-resolve",
    "pass-through": "to pass through",
    "skip": "skipped",
    "fail": "that cannot be used",
}
