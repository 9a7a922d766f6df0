"""Graph of the figures of one image."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.interfaces.outputs import SaveDerivative
from bids_sr.interfaces.reportlets import (
    BeforeAfterFigure,
    LearningCurveFigure,
    MaskFigure,
    SliceProfileFigure,
    UncertaintyFigure,
)

from .resources import Resources

FIGURES = ("mask", "sr", "uncertainty", "sliceprofile", "learningcurve")


def init_reports_wf(
    *,
    paths: dict[str, Path],
    resources: Resources,
    name: str = "reports_wf",
) -> pe.Workflow:
    """Build the graph that draws the figures of one image.

    Parameters
    ----------
    paths : dict of Path
        Where each of ``FIGURES`` goes.
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
        Standard deviation to expect of the result, or None.
    profile, acquisition
        Table of the slice profile that was used, and fields of ``Acquisition``.
    curve
        Learning curve.
    record
        What the super-resolution did.

    Outputs
    -------
    records
        Why a figure is missing, one record each; empty for those that are there.
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
                "profile",
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
    draw_mask = pe.Node(MaskFigure(), name="draw_mask", mem_gb=acquired)
    draw_sr = pe.Node(BeforeAfterFigure(), name="draw_sr", mem_gb=result)
    draw_uncertainty = pe.Node(UncertaintyFigure(), name="draw_uncertainty", mem_gb=result)
    draw_sliceprofile = pe.Node(SliceProfileFigure(), name="draw_sliceprofile", mem_gb=light)
    draw_learningcurve = pe.Node(LearningCurveFigure(), name="draw_learningcurve", mem_gb=light)
    save = {
        figure: pe.Node(
            SaveDerivative(out_path=str(paths[figure])),
            name=f"save_{figure}_figure",
            run_without_submitting=True,
        )
        for figure in FIGURES
    }

    workflow.connect([
        (inputnode, draw_mask, [("acquired_file", "in_file"), ("acquired_mask", "in_mask")]),
        (inputnode, draw_sr, [
            ("preprocessed_file", "before_file"),
            ("sr_file", "after_file"),
            ("record", "record"),
        ]),
        (inputnode, draw_uncertainty, [
            ("sr_file", "in_file"), ("uncertainty", "in_uncertainty"),
        ]),
        (inputnode, draw_sliceprofile, [
            ("profile", "in_profile"), ("acquisition", "acquisition"),
        ]),
        (inputnode, draw_learningcurve, [("curve", "curve")]),
        (draw_mask, save["mask"], [("out_file", "in_file")]),
        (draw_sr, save["sr"], [("out_file", "in_file")]),
        (draw_uncertainty, save["uncertainty"], [("out_file", "in_file")]),
        (draw_sliceprofile, save["sliceprofile"], [("out_file", "in_file")]),
        (draw_learningcurve, save["learningcurve"], [("out_file", "in_file")]),
        (draw_mask, gather, [("record", "in1")]),
        (draw_sr, gather, [("record", "in2")]),
        (draw_uncertainty, gather, [("record", "in3")]),
        (draw_sliceprofile, gather, [("record", "in4")]),
        (draw_learningcurve, gather, [("record", "in5")]),
        (gather, outputnode, [("out", "records")]),
    ])  # fmt: skip
    return workflow
