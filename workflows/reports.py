"""Graph of the figures of one image."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.bids.derivatives import FIGURES, output_paths
from bids_sr.bids.image import AnatImage
from bids_sr.interfaces.outputs import SaveDerivative
from bids_sr.interfaces.reportlets import (
    BeforeAfterFigure,
    LearningCurveFigure,
    MaskFigure,
    SliceProfileFigure,
    UncertaintyFigure,
)

from .resources import Resources


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
    uncertainty
        Expected standard deviation of the result, or None.
    acquisition
        Acquisition that the result was computed with.
    curve
        Learning curve.
    record
        What the super-resolution did.

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
                "uncertainty",
                "acquisition",
                "curve",
                "record",
            ]
        ),
        name="inputnode",
    )
    outputnode = pe.Node(niu.IdentityInterface(fields=["records"]), name="outputnode")
    gather = pe.Node(niu.Merge(len(FIGURES)), name="gather_records", run_without_submitting=True)
    acquired, result, light = resources.acquired_gb, resources.result_gb, resources.light_gb
    draw = {
        "mask": pe.Node(MaskFigure(), name="draw_mask", mem_gb=acquired),
        "sr": pe.Node(BeforeAfterFigure(), name="draw_sr", mem_gb=result),
        "uncertainty": pe.Node(UncertaintyFigure(), name="draw_uncertainty", mem_gb=result),
        "sliceprofile": pe.Node(SliceProfileFigure(), name="draw_sliceprofile", mem_gb=light),
        "learningcurve": pe.Node(LearningCurveFigure(), name="draw_learningcurve", mem_gb=light),
    }
    paths = output_paths(output_dir, image).figures
    save = {
        figure: pe.Node(
            SaveDerivative(out_path=str(paths[figure])),
            name=f"save_{figure}_figure",
            run_without_submitting=True,
        )
        for figure in FIGURES
    }

    workflow.connect([
        (inputnode, draw["mask"], [("acquired_file", "in_file"), ("acquired_mask", "in_mask")]),
        (inputnode, draw["sr"], [
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
        (inputnode, draw["sliceprofile"], [("acquisition", "acquisition")]),
        (inputnode, draw["learningcurve"], [("curve", "curve")]),
        *((draw[figure], save[figure], [("out_file", "in_file")]) for figure in FIGURES),
        *((draw[figure], gather, [("record", f"in{number}")])
          for number, figure in enumerate(FIGURES, start=1)),
        (gather, outputnode, [("out", "records")]),
    ])  # fmt: skip
    return workflow
