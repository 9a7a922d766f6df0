"""Options of the steps before and after super-resolution, and of the hand-over to other tools."""

from __future__ import annotations

import argparse
from pathlib import Path

from bids_sr.engines.segmentation import SEGMENTATIONS


def add_preprocessing(group: argparse._ArgumentGroup) -> None:
    """Add the options that say what happens before super-resolution."""
    group.add_argument(
        "--denoise-method", choices=("nlm", "none"), help="nlm: non-local means (ANTs)"
    )
    group.add_argument(
        "--anat-biascorrect",
        choices=("n4", "auto", "none"),
        help="bias field correction; auto: only where a field is found",
    )
    group.add_argument(
        "--skull-strip-method",
        choices=("auto", "hdbet", "template", "none"),
        help="brain mask; hdbet: HD-BET, needs its weights; template: a bundled template, "
        "registered and fitted to the edge of the brain; auto: HD-BET where its weights are at "
        "hand, else template",
    )
    group.add_argument(
        "--skull-strip-anat",
        choices=("auto", "force", "skip"),
        help="auto: an image without skull is recognised, and all that is not background is its "
        "brain mask; skip: take every image for such a one; force: none",
    )
    group.add_argument(
        "--template",
        metavar="NAME[:cohort-C]",
        help="of brain masks and tissue priors: MNI152 (comes with the package), or one of "
        "TemplateFlow, for children or the old",
    )
    group.add_argument(
        "--hdbet-tta",
        action="store_true",
        help="HD-BET: average over mirrored copies; eight times slower",
    )
    group.add_argument(
        "--allow-unverified-weights",
        action="store_true",
        help="load a checkpoint that holds more than weights and is not known to be the released "
        "one; such a file can run any code",
    )
    group.add_argument(
        "--weights-dir",
        type=Path,
        metavar="DIR",
        help="where network weights are (default: the places named in the documentation)",
    )
    group.add_argument("--offline", action="store_true", help="refuse every network connection")


def add_segmentation(group: argparse._ArgumentGroup) -> None:
    """Add the options that say how the super-resolved images are segmented."""
    group.add_argument(
        "--segmentation",
        nargs="+",
        metavar="NAME",
        help=f"segment the super-resolved images with {', '.join(SEGMENTATIONS)} "
        "(nnunet=PATH: a model folder of nnU-Net v2); a tool that is missing ends the run before "
        "anything is processed",
    )


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
