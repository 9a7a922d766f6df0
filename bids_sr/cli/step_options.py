"""Options of the steps before and after super-resolution."""

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
