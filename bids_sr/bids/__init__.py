"""The dataset's facts: which images there are, how they were acquired, where results go."""

from bids_sr.bids.boundary import place_in_dataset
from bids_sr.bids.dataset import (
    dataset_lock,
    keep_decisions,
    read_decisions,
    restore_decisions,
    subject_lock,
    update_decisions,
    write_dataset_files,
)
from bids_sr.bids.derivatives import (
    OutputPaths,
    output_path,
    output_paths,
    source_uri,
)
from bids_sr.bids.image import AnatImage, decision_row, subjects_of
from bids_sr.bids.layout import open_layout, plan_images
from bids_sr.bids.output_folder import prepare_output_dir
from bids_sr.bids.output_sidecars import (
    mask_metadata,
    preproc_metadata,
    product_metadata,
    stage_metadata,
)
from bids_sr.bids.raw_view import prepare_raw_view, write_raw_view
from bids_sr.bids.references import settle_references, surface_notes
from bids_sr.bids.selection import GuideRule, ReferenceRule, Selection
from bids_sr.bids.sidecar import AcquisitionFacts, AcquisitionOverrides, read_acquisition
from bids_sr.bids.validation import ValidationResult, check_output_tree, validate_dataset

__all__ = [
    "AcquisitionFacts",
    "AcquisitionOverrides",
    "AnatImage",
    "GuideRule",
    "OutputPaths",
    "ReferenceRule",
    "Selection",
    "ValidationResult",
    "check_output_tree",
    "dataset_lock",
    "decision_row",
    "keep_decisions",
    "mask_metadata",
    "open_layout",
    "output_path",
    "output_paths",
    "place_in_dataset",
    "plan_images",
    "prepare_output_dir",
    "prepare_raw_view",
    "preproc_metadata",
    "product_metadata",
    "read_acquisition",
    "read_decisions",
    "restore_decisions",
    "settle_references",
    "source_uri",
    "stage_metadata",
    "subject_lock",
    "subjects_of",
    "surface_notes",
    "update_decisions",
    "validate_dataset",
    "write_dataset_files",
    "write_raw_view",
]
