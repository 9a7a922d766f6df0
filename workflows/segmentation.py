"""Graph of the segmentations of one super-resolved image: a node a tool."""

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

from .resources import Resources


@dataclass(frozen=True, kw_only=True)
class SegmentationSteps:
    """Which tools are asked for; the same for all images of a run."""

    asked: tuple[str, ...] = ()
    """``NAME`` or ``NAME=PATH``."""
    device: str = "cpu"
    """Torch device."""
    seed: int = 0
    template: str = "MNI152"
    """Whose tissue maps are taken."""


def init_segmentation_wf(
    *,
    image: AnatImage,
    output_dir: Path,
    steps: SegmentationSteps,
    companions: Sequence[AnatImage],
    resources: Resources,
    name: str = "segmentation_wf",
) -> pe.Workflow:
    """Build the graph that segments one image with every tool that is asked for.

    Parameters
    ----------
    image : AnatImage
        The image.
    output_dir : Path
        Root of the output dataset.
    steps : SegmentationSteps
        The tools.
    companions : sequence of AnatImage
        Images of the run, one of which a tool may need beside this one.
    resources : Resources
        Threads and memory of the image's nodes.
    name : str

    Inputs
    ------
    in_file, in_mask
        The super-resolved image and its brain mask, or None.

    Outputs
    -------
    records
        What each tool did, or why not.
    figure_records
        Why a figure is missing, one record each; empty for those that are there.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(fields=["in_file", "in_mask"]), name="inputnode")
    outputnode = pe.Node(
        niu.IdentityInterface(fields=["records", "figure_records"]), name="outputnode"
    )
    count = len(steps.asked)
    gather = pe.Node(niu.Merge(count), name="gather_records", run_without_submitting=True)
    gather_figures = pe.Node(
        niu.Merge(count), name="gather_figure_records", run_without_submitting=True
    )
    texts = []
    for number, asked in enumerate(steps.asked, start=1):
        tool = segmentation_tool(asked, template=steps.template)
        companion = _companion(image, tool.companion, companions)
        refusal = _refusal(image, tool, companion)
        paths = segmentation_paths(output_dir, image, tool.label, maps=tool.maps, masks=tool.masks)
        figure = paths.pop("figure")
        base, per_megavoxel = tool.memory_gb
        segment = pe.Node(
            SegmentImage(
                tool=asked,
                refusal=refusal,
                companion_file=str(companion.path) if companion and not refusal else None,
                model_files=[str(path) for path in tool.files()],
                device=steps.device,
                seed=steps.seed,
                template=steps.template,
                num_threads=resources.threads,
                use_gpu=tool.uses_torch and resources.gpu,
            ),
            name=f"segment_{tool.label}",
            n_procs=resources.threads,
            mem_gb=resources.output_gb(base, per_megavoxel),
        )
        save = pe.Node(
            SaveDerivatives(
                out_paths={key: str(path) for key, path in paths.items()},
                metadata=segmentation_metadata(output_dir, image, tool.name, paths),
                record_key="Segmentation",
            ),
            name=f"save_{tool.label}",
            run_without_submitting=True,
        )
        draw = pe.Node(SegmentationFigure(), name=f"draw_{tool.label}", mem_gb=resources.result_gb)
        save_figure = pe.Node(
            SaveDerivative(out_path=str(figure)),
            name=f"save_{tool.label}_figure",
            run_without_submitting=True,
        )
        texts += [] if refusal else [tool.sentence]
        workflow.connect([
            (inputnode, segment, [("in_file", "in_file"), ("in_mask", "in_mask")]),
            (segment, save, [("out_files", "in_files"), ("record", "record")]),
            (inputnode, draw, [("in_file", "in_file")]),
            (segment, draw, [("out_labels", "in_labels"), ("colours", "colours")]),
            (draw, save_figure, [("out_file", "in_file")]),
            (segment, gather, [("record", f"in{number}")]),
            (draw, gather_figures, [("record", f"in{number}")]),
        ])  # fmt: skip
    workflow.connect([
        (gather, outputnode, [("out", "records")]),
        (gather_figures, outputnode, [("out", "figure_records")]),
    ])  # fmt: skip
    workflow.__desc__ = "".join(texts)
    return workflow


def _companion(image: AnatImage, suffix: str, images: Sequence[AnatImage]) -> AnatImage | None:
    """Return the other image of the subject and session that a tool needs, if there is one."""
    found = [
        other
        for other in images
        if other.suffix == suffix
        and other.processed
        and other.n_frames == 1
        and (other.subject, other.session) == (image.subject, image.session)
    ]
    return min(found, key=lambda other: (not other.is_reference, other.relpath), default=None)


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
