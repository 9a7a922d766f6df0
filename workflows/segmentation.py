"""Graph of the segmentations of one super-resolved image: one node per tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.bids.derivatives import segmentation_paths
from bids_sr.bids.image import AnatImage
from bids_sr.bids.output_sidecars import segmentation_metadata
from bids_sr.interfaces.outputs import SaveDerivative, SaveDerivatives
from bids_sr.interfaces.reportlets import SegmentationFigure
from bids_sr.interfaces.segmentation import SegmentImage, segmentation_tool
from bids_sr.interfaces.segmentation_on_slices import SegmentationOnSlices
from bids_sr.seed import DEFAULT_SEED

from .resources import Resources


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """Which tools segment the images; the same for all images of a run."""

    output_dir: Path
    """Root of the output dataset."""
    segmentation: tuple[str, ...] = ()
    """The tools, ``NAME`` or ``NAME=PATH``."""
    device: str = "cpu"
    """Torch device."""
    random_seed: int = DEFAULT_SEED
    template: str = "MNI152"
    """Template whose tissue maps are used."""
    fused: Path | None = None
    """Where the fused volume goes that is segmented in the place of the image, if one is."""


def init_segmentation_wf(
    *,
    image: AnatImage,
    options: Segmentation,
    companions: Sequence[AnatImage],
    resources: Resources,
) -> pe.Workflow:
    """Build the graph that segments one image with every requested tool.

    Parameters
    ----------
    image : AnatImage
        The image.
    options : Segmentation
        The tools; without any, the graph returns no records.
    companions : sequence of AnatImage
        Images of the run, one of which a tool may need beside this one.
    resources : Resources
        Threads and memory of the image's nodes.

    Inputs
    ------
    in_file, in_mask
        The super-resolved image, or the fused volume, and its brain mask; each may be None.
    slices_file, acquisition
        The slices that it was made of, and how they were taken; None where it was not.

    Outputs
    -------
    records
        What each tool did, or why it did not run.
    figure_records
        Why a figure is missing, one record each; empty for existing figures.
    """
    workflow = pe.Workflow(name="segmentation_wf")
    inputnode = pe.Node(
        niu.IdentityInterface(fields=["in_file", "in_mask", "slices_file", "acquisition"]),
        name="inputnode",
    )
    inputnode.inputs.trait_set(slices_file=None, acquisition=None)
    outputnode = pe.Node(
        niu.IdentityInterface(fields=["records", "figure_records"]), name="outputnode"
    )
    if not options.segmentation:
        outputnode.inputs.trait_set(records=[], figure_records=[])
        workflow.add_nodes([inputnode, outputnode])
        return workflow
    count = len(options.segmentation)
    gather = pe.Node(niu.Merge(count), name="gather_records", run_without_submitting=True)
    gather_figures = pe.Node(
        niu.Merge(count), name="gather_figure_records", run_without_submitting=True
    )
    texts = []
    for number, request in enumerate(options.segmentation, start=1):
        tool = segmentation_tool(request, template=options.template)
        companion = _companion(image, tool.companion, companions)
        refusal = _refusal(image, tool, companion)
        segment = _segment(request, tool, options, resources)
        segment.inputs.refusal = refusal
        segment.inputs.companion_file = str(companion.path) if companion and not refusal else None
        to_slices = pe.Node(
            SegmentationOnSlices(),
            name=f"to_slices_{tool.label}",
            mem_gb=resources.labels_gb,
        )
        save, save_figure = _save(image, tool, options)
        draw = pe.Node(SegmentationFigure(), name=f"draw_{tool.label}", mem_gb=resources.result_gb)
        texts += [] if refusal else [tool.sentence]
        workflow.connect([
            (inputnode, segment, [("in_file", "in_file"), ("in_mask", "in_mask")]),
            (inputnode, to_slices, [
                ("in_file", "sr_file"),
                ("slices_file", "slices_file"),
                ("acquisition", "acquisition"),
            ]),
            (segment, to_slices, [("out_files", "in_files"), ("record", "segmentation")]),
            (to_slices, save, [("out_files", "in_files"), ("record", "record")]),
            (inputnode, draw, [("in_file", "in_file")]),
            (segment, draw, [("out_labels", "in_labels"), ("colours", "colours")]),
            (draw, save_figure, [("out_file", "in_file")]),
            (to_slices, gather, [("record", f"in{number}")]),
            (draw, gather_figures, [("record", f"in{number}")]),
        ])  # fmt: skip
    workflow.connect([
        (gather, outputnode, [("out", "records")]),
        (gather_figures, outputnode, [("out", "figure_records")]),
    ])  # fmt: skip
    workflow.__desc__ = "".join(texts)
    return workflow


def _segment(request: str, tool: Any, options: Segmentation, resources: Resources) -> pe.Node:
    return pe.Node(
        SegmentImage(
            tool=request,
            model_files=[str(path) for path in tool.files()],
            device=options.device,
            random_seed=options.random_seed,
            template=options.template,
            num_threads=resources.threads,
            use_gpu=tool.uses_torch and resources.gpu,
        ),
        name=f"segment_{tool.label}",
        n_procs=resources.threads,
        mem_gb=resources.output_gb(*tool.memory_gb),
    )


def _save(image: AnatImage, tool: Any, options: Segmentation) -> tuple[pe.Node, pe.Node]:
    """Make the nodes that write the files of a tool, and its figure."""
    output_dir, fused = options.output_dir, options.fused
    paths = segmentation_paths(
        output_dir,
        image,
        tool.label,
        maps=tool.maps,
        masks=tool.masks,
        desc="fused" if fused else "sr",
    )
    figure = paths.pop("figure")
    files = SaveDerivatives(
        out_paths={key: str(path) for key, path in paths.items()},
        metadata=segmentation_metadata(output_dir, image, tool.name, paths, product=fused),
        record_key="Segmentation",
    )
    save = pe.Node(files, name=f"save_{tool.label}", run_without_submitting=True)
    drawing = SaveDerivative(out_path=str(figure))
    name = f"save_{tool.label}_figure"
    return save, pe.Node(drawing, name=name, run_without_submitting=True)


def _companion(image: AnatImage, suffix: str, images: Sequence[AnatImage]) -> AnatImage | None:
    """Return the other image of the subject and session that a tool needs, if there is one."""
    companions = [
        candidate
        for candidate in images
        if candidate.suffix == suffix
        and candidate.processed
        and candidate.n_frames == 1
        and (candidate.subject, candidate.session) == (image.subject, image.session)
    ]
    return min(
        companions,
        key=lambda candidate: (not candidate.is_reference, candidate.relpath),
        default=None,
    )


def _refusal(image: AnatImage, tool: Any, companion: AnatImage | None) -> str:
    if image.n_frames > 1:
        return "a series of frames is not segmented"
    if not image.brain:
        return "the sidecar says that this is not a head"
    if reason := tool.why_not(image.suffix):
        return str(reason)
    if tool.companion and companion is None:
        return f"{tool.name} also needs a {tool.companion} image of the same session"
    return ""
