"""Super-resolution: a volume and its acquisition in, a finer volume out."""

from bids_sr.compute.progress import Progress
from bids_sr.imaging import Acquisition, Volume
from bids_sr.records.learning_curve import CurvePoint, LearningCurve
from bids_sr.sr.contract.results import Reconstruction
from bids_sr.sr.labels import super_resolve_labels
from bids_sr.sr.methods.base import Method
from bids_sr.sr.registry import METHODS, make_method, reconstruct, super_resolve
from bids_sr.sr.slices.consistency import data_consistency_residual
from bids_sr.sr.slices.slice_faults import SliceCheck, check_slices
from bids_sr.sr.slices.slice_gain import SliceGain, correct_slice_gain
from bids_sr.sr.together.fused import (
    FusedReconstruction,
    fuse_stacks,
    super_resolve_together,
)
from bids_sr.sr.together.guide import GuidedReconstruction, guided, super_resolve_guided
from bids_sr.sr.together.stack import Stack

__all__ = [
    "METHODS",
    "Acquisition",
    "CurvePoint",
    "FusedReconstruction",
    "GuidedReconstruction",
    "LearningCurve",
    "Method",
    "Progress",
    "Reconstruction",
    "SliceCheck",
    "SliceGain",
    "Stack",
    "Volume",
    "check_slices",
    "correct_slice_gain",
    "data_consistency_residual",
    "fuse_stacks",
    "guided",
    "make_method",
    "reconstruct",
    "super_resolve",
    "super_resolve_guided",
    "super_resolve_labels",
    "super_resolve_together",
]
