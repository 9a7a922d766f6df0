"""Graph that writes the results of one image to the output dataset."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.bids.derivatives import output_paths
from bids_sr.bids.image import AnatImage
from bids_sr.bids.output_sidecars import (
    mask_metadata,
    preproc_metadata,
    product_metadata,
    stage_metadata,
    uncertainty_metadata,
)
from bids_sr.interfaces.outputs import (
    HandOver,
    SaveDerivative,
    SaveProduct,
    SaveQuality,
    SaveUncertainty,
)

FILES = (
    "denoised",
    "corrected",
    "native_mask",
    "sr_file",
    "sr_mask",
    "slice_profile",
    "uncertainty",
    "model",
)
SLOPPY = " (made with --sloppy: not a result)"
RECORDS = (
    "check",
    "denoise",
    "bias_correction",
    "slice_gain",
    "brain_mask",
    "super_resolution",
)
LATER_RECORDS = ("sr_mask_record", "figures", "segmentation_figures")

PRODUCT = [
    ("sr_file", "in_file"),
    ("super_resolution", "method"),
    ("slice_gain", "slice_gain"),
    ("skull_stripped", "skull_stripped"),
]
"""Source of a copy of the super-resolved image."""
Edges = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Which results are written and where; the same for all images of a run."""

    output_dir: Path
    """Root of the output dataset."""
    level: str = "minimal"
    """``full``: the images between the steps are written as well."""
    sloppy: bool = False
    """Whether all files are marked as not a result."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Additions to the ``SuperResolution`` object of every sidecar."""

    def marked(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """Mark in a sidecar that the file is not a result, if the run is sloppy."""
        description = metadata["Description"] + (SLOPPY if self.sloppy else "")
        return {**metadata, "Description": description}

    def of_product(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """Add the provenance of the result to its sidecar."""
        made_by = {**metadata["SuperResolution"], **self.provenance}
        return self.marked({**metadata, "SuperResolution": made_by})


def init_outputs_wf(
    *, image: AnatImage, options: Outputs, name: str = "outputs_wf"
) -> pe.Workflow:
    """Build the graph that writes the results of one image, each atomically.

    Parameters
    ----------
    image : AnatImage
        The image.
    options : Outputs
        Which files are written and where.
    name : str

    Inputs
    ------
    denoised, corrected, native_mask
        Image after each step and its brain mask, on the acquired grid.
    sr_file, sr_mask, slice_profile
        Result on the output grid and the profile that was used.
    uncertainty, model
        Expected standard deviation, and the trained network; each may be None.
    check, denoise, bias_correction, slice_gain, brain_mask, super_resolution
        Records of the steps.
    curve
        Learning curve.
    skull_stripped
        Whether the image has no skull, for the sidecars; None if that was not checked.
    segmentations
        Records of the segmentations.
    measures
        What was measured on the volumes for the verdict.
    sr_mask_record, figures, segmentation_figures
        Why the mask on the output grid or a figure is missing, if it is.

    Notes
    -----
    The product's sidecar holds the warnings of the steps before it, the QC file those of
    all steps.
    """
    workflow = pe.Workflow(name=name)
    others = ("curve", "skull_stripped", "segmentations", "measures")
    fields = [*FILES, *RECORDS, *LATER_RECORDS, *others]
    inputnode = pe.Node(niu.IdentityInterface(fields=fields), name="inputnode")
    gather_before = pe.Node(niu.Merge(4), name="gather_before", run_without_submitting=True)
    gather_later = pe.Node(niu.Merge(3), name="gather_later", run_without_submitting=True)
    products = _products(image, options)
    save_quality = _save_quality(image, options)

    workflow.connect([
        (inputnode, gather_before, [
            ("denoise", "in1"),
            ("bias_correction", "in2"),
            ("slice_gain", "in3"),
            ("brain_mask", "in4"),
        ]),
        (inputnode, gather_later, [
            ("sr_mask_record", "in1"),
            ("figures", "in2"),
            ("segmentation_figures", "in3"),
        ]),
        *((inputnode, save, edges) for save, edges in products),
        *((gather_before, save, [("out", "steps")]) for save, _ in products),
        *((inputnode, save, edges) for save, edges in _beside(image, options)),
        *((inputnode, save, edges) for save, edges in _between(image, options)),
        (inputnode, save_quality, [
            (name, name) for name in (*RECORDS, "curve", "segmentations", "measures")
        ]),
        (gather_later, save_quality, [("out", "later")]),
    ])  # fmt: skip
    return workflow


def _products(image: AnatImage, options: Outputs) -> list[tuple[pe.Node, Edges]]:
    """Write the super-resolved image, and of a reference image the copy for other tools."""
    paths = output_paths(options.output_dir, image)
    metadata = options.of_product(product_metadata(image))
    save_product = SaveProduct(out_path=str(paths.product), metadata=metadata)
    save = pe.Node(save_product, name="save_sr", run_without_submitting=True)
    product = (save, PRODUCT)
    if paths.preproc is None:
        return [product]
    hand_over = HandOver(
        out_path=str(paths.preproc),
        metadata=options.of_product(preproc_metadata(options.output_dir, image)),
        without_mask=image.reference_asked,
    )
    save = pe.Node(hand_over, name="save_preproc", run_without_submitting=True)
    return [product, (save, [*PRODUCT, ("native_mask", "in_mask"), ("brain_mask", "mask_record")])]


def _beside(image: AnatImage, options: Outputs) -> list[tuple[pe.Node, Edges]]:
    """Write the files that accompany the result: masks, profile, uncertainty, model."""
    paths = output_paths(options.output_dir, image)
    masks = {
        "native_mask": (paths.native_mask, mask_metadata(options.output_dir, image, native=True)),
        "sr_mask": (paths.mask, mask_metadata(options.output_dir, image, native=False)),
    }
    uncertainty = options.marked(uncertainty_metadata(options.output_dir, image))
    return [
        *(
            (
                _save(f"save_{mask}", path, options.marked(metadata), "BrainExtraction"),
                [(mask, "in_file"), ("brain_mask", "record")],
            )
            for mask, (path, metadata) in masks.items()
        ),
        (_save("save_profile", paths.slice_profile), [("slice_profile", "in_file")]),
        (
            pe.Node(
                SaveUncertainty(out_path=str(paths.uncertainty), metadata=uncertainty),
                name="save_uncertainty",
                run_without_submitting=True,
            ),
            [("uncertainty", "in_file"), ("super_resolution", "method")],
        ),
        (_save("save_model", paths.model), [("model", "in_file")]),
    ]


def _between(image: AnatImage, options: Outputs) -> list[tuple[pe.Node, Edges]]:
    """Write the images between the steps, if requested."""
    if options.level != "full":
        return []
    paths = output_paths(options.output_dir, image)
    stages = {
        "denoised": ("save_denoised", paths.denoised, stage_metadata(image, "denoised")),
        "corrected": ("save_n4", paths.n4, stage_metadata(image, "n4")),
    }
    return [
        (
            _save(name, path, options.marked(metadata)),
            [(stage, "in_file"), ("skull_stripped", "skull_stripped")],
        )
        for stage, (name, path, metadata) in stages.items()
    ]


def _save_quality(image: AnatImage, options: Outputs) -> pe.Node:
    quality = SaveQuality(
        out_path=str(output_paths(options.output_dir, image).quality),
        image=image.relpath,
        suffix=image.suffix,
        action=image.action,
        sloppy=options.sloppy,
    )
    return pe.Node(quality, name="save_quality", run_without_submitting=True)


def _save(
    name: str, path: Path, metadata: dict[str, Any] | None = None, record_key: str = ""
) -> pe.Node:
    return pe.Node(
        SaveDerivative(out_path=str(path), metadata=metadata or {}, record_key=record_key),
        name=name,
        run_without_submitting=True,
    )
