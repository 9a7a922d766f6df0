"""Options of the steps before and after super-resolution, and of the images for other tools."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from bids_sr.cli.slice_gain import add_slice_gain
from bids_sr.config import FuseStacks, ViewerChoice
from bids_sr.engines.segmentation import SEGMENTATIONS


def add_session(group: argparse._ArgumentGroup) -> None:
    """Add the options that say what the other scans of a session are used for."""
    group.add_argument(
        "--fuse-stacks",
        choices=get_args(FuseStacks),
        help="auto: stacks of one contrast of a session, in any planes, are also fused into one "
        "volume; none: each image stays alone",
    )
    group.add_argument(
        "--guide",
        nargs="+",
        metavar="{auto,none,SUFFIX,ENTITY=VALUE}",
        help="auto: the finest scan of a session with voxels of at most 1.5 mm guides the thick "
        "ones of other contrasts; SUFFIX, ENTITY=VALUE: only such a scan, also one that "
        "--modalities leaves out; none: each image is reconstructed alone (default: auto)",
    )


def add_preprocessing(group: argparse._ArgumentGroup) -> None:
    """Add the options that say what happens before super-resolution."""
    group.add_argument(
        "--denoise-method", choices=("nlm", "none"), help="nlm: non-local means (ANTs)"
    )
    group.add_argument(
        "--anat-biascorrect",
        choices=("n4", "auto", "none"),
        help="bias field correction; auto: only if a bias field is detected",
    )
    add_slice_gain(group)
    group.add_argument(
        "--skull-strip-method",
        choices=("auto", "hdbet", "template", "none"),
        help="brain mask; hdbet: HD-BET, needs its weights; template: a bundled template, "
        "registered and fitted to the surface of the brain; auto: HD-BET if its weights are "
        "installed, otherwise template",
    )
    group.add_argument(
        "--skull-strip-anat",
        choices=("auto", "force", "skip"),
        help="auto: skull-stripped images are recognised, and their non-background voxels form "
        "the brain mask; skip: treat every image as skull-stripped; force: treat none as "
        "skull-stripped",
    )
    group.add_argument(
        "--template",
        metavar="NAME[:cohort-C]",
        help="template for brain masks and tissue priors: MNI152 (included), or one of "
        "TemplateFlow, for example for children or older people",
    )
    group.add_argument(
        "--hdbet-tta",
        action="store_true",
        help="HD-BET: average over mirrored copies; eight times slower",
    )
    group.add_argument(
        "--allow-unverified-weights",
        action="store_true",
        help="load a checkpoint that contains more than weights and is not the released file; "
        "such a file can run arbitrary code",
    )
    group.add_argument(
        "--weights-dir",
        type=Path,
        metavar="DIR",
        help="folder of network weights (default: the folders named in the documentation)",
    )
    group.add_argument("--offline", action="store_true", help="refuse every network connection")


def add_segmentation(group: argparse._ArgumentGroup) -> None:
    """Add the options that say how the super-resolved images are segmented."""
    group.add_argument(
        "--segmentation",
        nargs="+",
        metavar="NAME",
        help=f"segment the super-resolved images with {', '.join(SEGMENTATIONS)} "
        "(nnunet=PATH: a model folder of nnU-Net v2); if a tool is missing, the run stops before "
        "any processing",
    )


def add_viewer(group: argparse._ArgumentGroup) -> None:
    """Add the option that says whether the viewer is written."""
    group.add_argument(
        "--viewer",
        choices=get_args(ViewerChoice),
        help="auto: beside each report, a page to scroll through the images before and after and "
        "to rate them (at most 25 MB); none: the report alone",
    )


def add_hand_over(group: argparse._ArgumentGroup) -> None:
    """Add the options that say what other tools get."""
    group.add_argument(
        "--anat-reference",
        nargs="+",
        metavar="RULE",
        help="which T1w (and T2w, with --surface-contrasts) becomes the desc-preproc image that "
        "fMRIPrep and sMRIPrep use; contrast-enhanced images, other body parts, parts of scans "
        "and localisers only if named. finest: finest slice spacing, ties go to the first "
        "path; first-lex: the first by path; ENTITY=VALUE ...: prefer images with these entities "
        "(null: without it), among several the finest (default: finest)",
    )
    group.add_argument(
        "--anat-reference-per",
        choices=("session", "subject"),
        help="session: one T1w (and T2w) per session; subject: one for all sessions together, "
        "for tools that make one reference of them",
    )
    group.add_argument(
        "--surface-contrasts",
        nargs="+",
        choices=("T2w", "FLAIR"),
        help="also provide these contrasts super-resolved to tools that refine pial surfaces "
        "with them: the T2w as desc-preproc, both in the folder of --raw-like-dir; what estimated "
        "detail does to pial surfaces is unproven (default: neither)",
    )
    group.add_argument(
        "--raw-like-dir",
        type=Path,
        metavar="DIR",
        help="also make a raw BIDS dataset of the processed subjects there: super-resolved images "
        "as rec-SR in place of the acquired ones, everything else linked",
    )
