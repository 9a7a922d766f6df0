"""Graph of one image: all steps from the acquired file to results and figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.bids.image import AnatImage
from bids_sr.bids.leftovers import leftover_patterns
from bids_sr.interfaces.measures import MeasureImage
from bids_sr.interfaces.outputs import ClearLeftovers, SaveDerivative, SaveDerivatives

from .brain_extraction import BrainExtraction, init_brain_extraction_wf
from .outputs import Outputs, init_outputs_wf
from .preprocessing import Preprocessing, init_preprocessing_wf
from .reports import init_reports_wf
from .resources import Resources
from .segmentation import Segmentation, init_segmentation_wf
from .super_resolution import SuperResolution, init_super_resolution_wf


@dataclass(frozen=True, kw_only=True)
class ImageSteps:
    """What is done to an image, step by step; the same for all images of a run."""

    preprocessing: Preprocessing
    brain_extraction: BrainExtraction
    super_resolution: SuperResolution
    segmentation: Segmentation
    outputs: Outputs


def graph_name(stem: str) -> str:
    """Name a graph after a BIDS name: Nipype takes letters, digits, underscores and hyphens.

    The plus of a label becomes a hyphen, so that ``acq-a+b`` differs from other names.
    """
    return re.sub(r"[^0-9A-Za-z-]", "_", stem.replace("-", "_").replace("+", "-")) + "_wf"


def image_wf_name(image: AnatImage) -> str:
    """Name the graph of an image after its file."""
    return graph_name(image.stem)


def init_image_wf(
    *,
    image: AnatImage,
    steps: ImageSteps,
    companions: Sequence[AnatImage],
    resources: Resources,
) -> pe.Workflow:
    """Build the graph of one image.

    Parameters
    ----------
    image : AnatImage
        An image whose action is to be super-resolved or passed through.
    steps : ImageSteps
        What is done to it.
    companions : sequence of AnatImage
        Images of the run, one of which a segmentation tool may need beside this one.
    resources : Resources
        Threads and memory of its nodes.

    Notes
    -----
    The brain mask is computed on the acquired grid, where the contrast is untouched,
    and brought to the output grid.  Super-resolution keeps the whole head and does
    not see the mask.
    """
    workflow = pe.Workflow(name=image_wf_name(image))
    source = pe.Node(niu.IdentityInterface(fields=["in_file"]), name="source")
    source.inputs.in_file = str(image.path)
    preprocessing_wf = init_preprocessing_wf(
        image=image, options=steps.preprocessing, resources=resources
    )
    brain_extraction_wf = init_brain_extraction_wf(
        image=image, options=steps.brain_extraction, resources=resources
    )
    super_resolution_wf = init_super_resolution_wf(
        image=image, options=steps.super_resolution, resources=resources
    )
    segmentation_wf = init_segmentation_wf(
        image=image, options=steps.segmentation, companions=companions, resources=resources
    )
    outputs_wf = init_outputs_wf(image=image, options=steps.outputs)
    measure_image = pe.Node(MeasureImage(), name="measure_image", mem_gb=resources.measure_gb)
    reports_wf = init_reports_wf(
        image=image, output_dir=steps.outputs.output_dir, resources=resources
    )

    workflow.connect([
        (source, preprocessing_wf, [("in_file", "inputnode.in_file")]),
        (preprocessing_wf, brain_extraction_wf, [
            ("outputnode.evened", "inputnode.in_file"),
            ("outputnode.conformed", "inputnode.acquired_file"),
        ]),
        (preprocessing_wf, super_resolution_wf, [("outputnode.evened", "inputnode.in_file")]),
        (brain_extraction_wf, super_resolution_wf, [("outputnode.out_mask", "inputnode.in_mask")]),
        (preprocessing_wf, outputs_wf, [
            ("outputnode.denoised", "inputnode.denoised"),
            ("outputnode.corrected", "inputnode.corrected"),
            ("outputnode.check_record", "inputnode.check"),
            ("outputnode.denoise_record", "inputnode.denoise"),
            ("outputnode.bias_record", "inputnode.bias_correction"),
            ("outputnode.gain_record", "inputnode.slice_gain"),
        ]),
        (brain_extraction_wf, outputs_wf, [
            ("outputnode.out_mask", "inputnode.native_mask"),
            ("outputnode.record", "inputnode.brain_mask"),
            ("outputnode.skull_stripped", "inputnode.skull_stripped"),
        ]),
        (super_resolution_wf, outputs_wf, [
            ("outputnode.out_file", "inputnode.sr_file"),
            ("outputnode.out_mask", "inputnode.sr_mask"),
            ("outputnode.mask_record", "inputnode.sr_mask_record"),
            ("outputnode.out_profile", "inputnode.slice_profile"),
            ("outputnode.out_uncertainty", "inputnode.uncertainty"),
            ("outputnode.out_model", "inputnode.model"),
            ("outputnode.record", "inputnode.super_resolution"),
            ("outputnode.curve", "inputnode.curve"),
        ]),
        (preprocessing_wf, reports_wf, [
            ("outputnode.conformed", "inputnode.acquired_file"),
            ("outputnode.corrected", "inputnode.preprocessed_file"),
            ("outputnode.gain_record", "inputnode.gain_record"),
        ]),
        (brain_extraction_wf, reports_wf, [("outputnode.out_mask", "inputnode.acquired_mask")]),
        (super_resolution_wf, reports_wf, [
            ("outputnode.out_file", "inputnode.sr_file"),
            ("outputnode.out_uncertainty", "inputnode.uncertainty"),
            ("outputnode.acquisition", "inputnode.acquisition"),
            ("outputnode.curve", "inputnode.curve"),
            ("outputnode.record", "inputnode.record"),
            ("outputnode.unguided_file", "inputnode.unguided_file"),
            ("outputnode.aligned_guide", "inputnode.aligned_guide"),
        ]),
        (reports_wf, outputs_wf, [("outputnode.records", "inputnode.figures")]),
        (preprocessing_wf, measure_image, [
            ("outputnode.conformed", "acquired_file"),
            ("outputnode.evened", "prepared_file"),
        ]),
        (brain_extraction_wf, measure_image, [("outputnode.out_mask", "brain_mask")]),
        (super_resolution_wf, measure_image, [
            ("outputnode.out_file", "result_file"),
            ("outputnode.out_mask", "result_mask"),
            ("outputnode.out_uncertainty", "uncertainty"),
            ("outputnode.acquisition", "acquisition"),
        ]),
        (measure_image, outputs_wf, [("record", "inputnode.measures")]),
        (super_resolution_wf, segmentation_wf, [
            ("outputnode.out_file", "inputnode.in_file"),
            ("outputnode.out_mask", "inputnode.in_mask"),
            ("outputnode.acquisition", "inputnode.acquisition"),
        ]),
        (preprocessing_wf, segmentation_wf, [("outputnode.corrected", "inputnode.slices_file")]),
        (segmentation_wf, outputs_wf, [
            ("outputnode.records", "inputnode.segmentations"),
            ("outputnode.figure_records", "inputnode.segmentation_figures"),
        ]),
    ])  # fmt: skip
    writers = (outputs_wf, reports_wf, segmentation_wf)
    clear_after(workflow, writers, leftover_patterns(steps.outputs.output_dir, image))
    return workflow


def clear_after(
    workflow: pe.Workflow, parts: Sequence[pe.Workflow], patterns: list[tuple[str, str, str]]
) -> None:
    """Remove outputs of earlier runs once all outputs of this run are written."""
    outputs = {SaveDerivative: "out_file", SaveDerivatives: "out_files"}
    written = {
        node.name: (part, f"{node.name}.{field}")
        for part in parts
        for node in sorted(part._graph.nodes, key=lambda node: node.name)
        for kind, field in outputs.items()
        if isinstance(node.interface, kind)
    }
    clear_leftovers = pe.Node(
        ClearLeftovers(written=list(written), patterns=patterns),
        name="clear_leftovers",
        run_without_submitting=True,
    )
    for name, (part, output) in written.items():
        workflow.connect(part, output, clear_leftovers, name)
