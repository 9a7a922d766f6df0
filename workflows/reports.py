"""Graph of the figures of one image."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.bids.derivatives import FIGURES, GUIDE_FIGURES, output_paths
from bids_sr.bids.image import AnatImage
from bids_sr.interfaces.outputs import SaveDerivative
from bids_sr.interfaces.reportlets import (
    AlignedGuideFigure,
    BeforeAfterFigure,
    GuideFigure,
    LearningCurveFigure,
    MaskFigure,
    SliceGainFigure,
    SliceProfileFigure,
    SlicesFigure,
    UncertaintyFigure,
)

from .resources import Resources

EDGES_OF_GUIDE = [
    ("unguided_file", "unguided_file"),
    ("sr_file", "sr_file"),
    ("aligned_guide", "aligned_guide"),
    ("record", "record"),
]
"""What the figures of a guide are drawn of."""


def init_reports_wf(
    *,
    image: AnatImage,
    output_dir: Path,
    resources: Resources,
    name: str = "reports_wf",
) -> pe.Workflow:
    """Build the graph that draws the figures of one image.

    Parameters
    ----------
    image : AnatImage
        The image.
    output_dir : Path
        Root of the output dataset.
    resources : Resources
        Threads and memory of the image's nodes.
    name : str

    Inputs
    ------
    acquired_file
        The image as it was acquired.
    acquired_mask
        Its brain mask, or None.
    preprocessed_file, sr_file
        The image before and after super-resolution.
    gain_record
        What was done to the brightness of the slices.
    uncertainty
        Expected standard deviation of the result, or None.
    acquisition
        Acquisition that the result was computed with.
    curve
        Learning curve.
    record
        What the super-resolution did.
    unguided_file, aligned_guide
        The result without the guide, and the guide on its grid; of an image that has one.

    Outputs
    -------
    records
        Why a figure is missing, one record each; empty for existing figures.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(
        niu.IdentityInterface(
            fields=[
                "acquired_file",
                "acquired_mask",
                "preprocessed_file",
                "sr_file",
                "gain_record",
                "uncertainty",
                "acquisition",
                "curve",
                "record",
                "unguided_file",
                "aligned_guide",
            ]
        ),
        name="inputnode",
    )
    outputnode = pe.Node(niu.IdentityInterface(fields=["records"]), name="outputnode")
    figures = (*FIGURES, *(GUIDE_FIGURES if image.guide else ()))
    gather = pe.Node(niu.Merge(len(figures)), name="gather_records", run_without_submitting=True)
    acquired, result, light = resources.acquired_gb, resources.result_gb, resources.light_gb
    draw = {
        "mask": pe.Node(MaskFigure(), name="draw_mask", mem_gb=acquired),
        "sr": pe.Node(BeforeAfterFigure(), name="draw_sr", mem_gb=result),
        "uncertainty": pe.Node(UncertaintyFigure(), name="draw_uncertainty", mem_gb=result),
        "slices": pe.Node(SlicesFigure(), name="draw_slices", mem_gb=light),
        "slicegain": pe.Node(SliceGainFigure(), name="draw_slicegain", mem_gb=light),
        "sliceprofile": pe.Node(SliceProfileFigure(), name="draw_sliceprofile", mem_gb=light),
        "learningcurve": pe.Node(LearningCurveFigure(), name="draw_learningcurve", mem_gb=light),
        "guide": pe.Node(GuideFigure(), name="draw_guide", mem_gb=result),
        "guidealigned": pe.Node(AlignedGuideFigure(), name="draw_guidealigned", mem_gb=result),
    }
    paths = output_paths(output_dir, image).figures
    save = {
        figure: pe.Node(
            SaveDerivative(out_path=str(paths[figure])),
            name=f"save_{figure}_figure",
            run_without_submitting=True,
        )
        for figure in figures
    }
    of_guide = [(inputnode, draw[figure], EDGES_OF_GUIDE) for figure in figures[len(FIGURES) :]]

    workflow.connect([
        (inputnode, draw["mask"], [("acquired_file", "in_file"), ("acquired_mask", "in_mask")]),
        (inputnode, draw["sr"], [
            ("acquired_file", "acquired_file"),
            ("preprocessed_file", "before_file"),
            ("sr_file", "after_file"),
            ("record", "record"),
        ]),
        (inputnode, draw["uncertainty"], [
            ("sr_file", "in_file"),
            ("uncertainty", "in_uncertainty"),
            ("acquired_mask", "in_mask"),
            ("record", "record"),
        ]),
        (inputnode, draw["slices"], [("record", "record")]),
        (inputnode, draw["slicegain"], [("gain_record", "gain_record")]),
        (inputnode, draw["sliceprofile"], [("acquisition", "acquisition"), ("record", "record")]),
        (inputnode, draw["learningcurve"], [("curve", "curve")]),
        *of_guide,
        *((draw[figure], save[figure], [("out_file", "in_file")]) for figure in figures),
        *((draw[figure], gather, [("record", f"in{number}")])
          for number, figure in enumerate(figures, start=1)),
        (gather, outputnode, [("out", "records")]),
    ])  # fmt: skip
    return workflow
