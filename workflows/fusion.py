"""Graph that fuses stacks of one contrast, each with a result of its own, into one volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.bids.fused_outputs import RECORD, fused_metadata, fused_paths, fused_sources
from bids_sr.bids.image import AnatImage
from bids_sr.bids.leftovers import fused_segmentation_patterns
from bids_sr.bids.stacks import StackGroup
from bids_sr.interfaces.fusion import (
    PARTS,
    CompleteFusedQuality,
    FuseMasks,
    FuseStacks,
    SaveFused,
)
from bids_sr.interfaces.fusion_figures import SliceWeightsFigure, StacksFigure
from bids_sr.interfaces.outputs import SaveDerivative

from .image import ImageSteps, clear_after, graph_name
from .outputs import Outputs
from .resources import Resources, fusion_gb
from .segmentation import init_segmentation_wf

TEXT = (
    "Where two or more stacks of one contrast and session had a result, they were fused: their "
    "reconstructions were registered rigidly to that of the finest, their intensities matched by "
    "a factor and a smooth field, slices that disagreed with the other stacks given less weight, "
    "and the mean of the reconstructions was changed until it agreed with the acquired slices of "
    "all stacks, as far as their noise allows (regularised least squares, conjugate gradients). "
)
LAST_NODE = "save_fused"
"""Writes the volume and the QC file."""
OF_IMAGE = {
    "slices": "preprocessing_wf.outputnode.evened",
    "sr": "super_resolution_wf.outputnode.out_file",
    "acquisition": "super_resolution_wf.outputnode.acquisition",
    "uncertainty": "super_resolution_wf.outputnode.out_uncertainty",
    "mask": "super_resolution_wf.outputnode.out_mask",
}
"""Where the graph of an image has what is needed of a stack."""


def fusion_wf_name(group: StackGroup) -> str:
    """Name the graph of a group of stacks after its volume."""
    return graph_name(group.name)


def edges_of_member(place: int) -> list[tuple[str, str]]:
    """Return what connects the graph of an image with that in which it is stack `place`."""
    return [(source, f"inputnode.{kind}_{place}") for kind, source in OF_IMAGE.items()]


def init_fusion_wf(
    *,
    group: StackGroup,
    steps: ImageSteps,
    companions: Sequence[AnatImage],
    resources: Resources,
) -> pe.Workflow:
    """Build the graph that fuses one group of stacks and writes what comes of it.

    Parameters
    ----------
    group : StackGroup
        The stacks.
    steps : ImageSteps
        What is segmented, where files go, and what joins their sidecars.
    companions : sequence of AnatImage
        Images of the run, one of which a segmentation tool may need.
    resources : Resources
        Memory of nodes on the grid of the finest stack.

    Inputs
    ------
    slices_N, sr_N, acquisition_N, uncertainty_N, mask_N
        Of each stack its corrected slices, its own reconstruction, how it was acquired, the
        uncertainty and brain mask of the reconstruction, each of which may be None.

    Notes
    -----
    A stack that failed is missing from the inputs; the others are fused without it.  The volume
    is written before its figures and segmentations are made, so that none of them can cost it.
    """
    options, paths = steps.outputs, fused_paths(steps.outputs.output_dir, group)
    count = len(group.members)
    images = [member.relpath for member in group.members]
    workflow = pe.Workflow(name=fusion_wf_name(group))
    workflow.__desc__ = TEXT
    fields = [f"{kind}_{place}" for place in range(count) for kind in OF_IMAGE]
    inputnode = pe.Node(niu.IdentityInterface(fields=fields), name="inputnode")
    fuse_stacks = pe.Node(
        FuseStacks(count, images=images, random_seed=steps.segmentation.random_seed),
        name="fuse_stacks",
        mem_gb=fusion_gb(group.megavoxels),
    )
    result_gb = resources.result_gb
    fuse_masks = pe.Node(FuseMasks(count, images=images), name="fuse_masks", mem_gb=2 * result_gb)
    draw = {
        "fused": pe.Node(
            StacksFigure(count, images=images), name="draw_fused", mem_gb=3 * result_gb
        ),
        "fusedweights": pe.Node(
            SliceWeightsFigure(), name="draw_weights", mem_gb=resources.light_gb
        ),
    }
    save_figures = {
        name: pe.Node(
            SaveDerivative(out_path=str(paths.figures[name])),
            name=f"save_{name}_figure",
            run_without_submitting=True,
        )
        for name in draw
    }
    segmentation_wf = init_segmentation_wf(
        image=group.image,
        options=replace(steps.segmentation, fused=paths.products[group.finest.relpath]),
        companions=companions,
        resources=resources,
    )
    gather = pe.Node(niu.Merge(4), name="gather_records", run_without_submitting=True)
    save = pe.Node(_save(group, options), name=LAST_NODE, run_without_submitting=True)
    complete = pe.Node(
        CompleteFusedQuality(), name="complete_quality", run_without_submitting=True
    )

    stacks = [f"{kind}_{place}" for place in range(count) for kind in PARTS]
    masks, shown = ([f"{kind}_{place}" for place in range(count)] for kind in ("mask", "sr"))
    workflow.connect([
        (inputnode, fuse_stacks, [(name, name) for name in stacks]),
        (inputnode, fuse_masks, [(name, name) for name in masks]),
        (inputnode, draw["fused"], [(name, name) for name in shown]),
        (fuse_stacks, fuse_masks, [("record", "fusion"), ("out_file", "reference_file")]),
        (fuse_stacks, draw["fused"], [("record", "fusion"), ("out_file", "fused_file")]),
        (fuse_stacks, draw["fusedweights"], [("record", "fusion")]),
        (fuse_stacks, segmentation_wf, [("out_file", "inputnode.in_file")]),
        (fuse_masks, segmentation_wf, [("out_mask", "inputnode.in_mask")]),
        *((draw[name], save_figures[name], [("out_file", "in_file")]) for name in draw),
        (fuse_masks, save, [("out_mask", "in_mask")]),
        (fuse_stacks, save, [
            ("out_file", "in_file"),
            ("out_uncertainty", "in_uncertainty"),
            ("out_transforms", "in_transforms"),
            ("record", "fusion"),
        ]),
        (fuse_masks, gather, [("record", "in1")]),
        (draw["fused"], gather, [("record", "in2")]),
        (draw["fusedweights"], gather, [("record", "in3")]),
        (segmentation_wf, gather, [("outputnode.figure_records", "in4")]),
        (save, complete, [("out_quality", "in_file")]),
        (gather, complete, [("out", "later")]),
        (segmentation_wf, complete, [("outputnode.records", "segmentations")]),
    ])  # fmt: skip
    patterns = fused_segmentation_patterns(options.output_dir, group.image)
    clear_after(workflow, [segmentation_wf], patterns)
    return workflow


def _save(group: StackGroup, options: Outputs) -> SaveFused:
    paths = fused_paths(options.output_dir, group)
    return SaveFused(
        output_dir=str(options.output_dir),
        suffix=group.image.suffix,
        name=group.name,
        record_key=RECORD,
        products={image: str(path) for image, path in paths.products.items()},
        metadata={
            member.relpath: options.marked(fused_metadata(group, member))
            for member in group.members
        },
        sources=fused_sources(options.output_dir, group),
        transforms={image: str(path) for image, path in paths.transforms.items()},
        out_mask=str(paths.mask),
        out_uncertainty=str(paths.uncertainty),
        out_quality=str(paths.quality),
    )
