"""Graph of the steps before super-resolution: input check, denoising, N4."""

from __future__ import annotations

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.interfaces.preprocessing import CheckInput, CorrectBias, Denoise

from .resources import Resources

DENOISE_TEXT = {
    "nlm": "The image was denoised by adaptive non-local means [@manjon2010] as implemented in "
    "ANTs [@avants2011]. ",
    "none": "The image was not denoised. ",
}
BIAS_TEXT = {
    "n4": "Intensity non-uniformity was corrected with `N4BiasFieldCorrection` "
    "[@tustison2010; ANTs, @avants2011]. ",
    "auto": "Intensity non-uniformity was estimated with `N4BiasFieldCorrection` "
    "[@tustison2010; ANTs, @avants2011] and corrected where the field was not flat. ",
    "none": "Intensity non-uniformity was not corrected. ",
}


def init_preprocessing_wf(
    *,
    slice_axis: int,
    slice_spacing: float | None,
    denoise_method: str,
    bias_method: str,
    seed: int,
    resources: Resources,
    sloppy: bool = False,
    name: str = "preprocessing_wf",
) -> pe.Workflow:
    """Build the graph that checks, denoises and bias-corrects one image.

    Parameters
    ----------
    slice_axis : int
        Array axis across slices.
    slice_spacing : float or None, mm
        Replaces the spacing of the header where it is wrong.
    denoise_method : {"nlm", "none"}
    bias_method : {"n4", "auto", "none"}
    seed : int
        Random seed of the engines.
    resources : Resources
        Threads and memory of the image's nodes.
    sloppy : bool
        Few iterations, for tests only.
    name : str

    Inputs
    ------
    in_file
        The acquired image.

    Outputs
    -------
    conformed, denoised, corrected
        The image after each step, on the acquired grid.
    check_record, denoise_record, bias_record
        What each step did.
    """
    workflow = pe.Workflow(name=name)
    workflow.__desc__ = DENOISE_TEXT[denoise_method] + BIAS_TEXT[bias_method]

    inputnode = pe.Node(niu.IdentityInterface(fields=["in_file"]), name="inputnode")
    outputnode = pe.Node(
        niu.IdentityInterface(
            fields=[
                "conformed",
                "denoised",
                "corrected",
                "check_record",
                "denoise_record",
                "bias_record",
            ]
        ),
        name="outputnode",
    )
    check_input = pe.Node(
        CheckInput(slice_axis=slice_axis), name="check_input", mem_gb=resources.acquired_gb
    )
    if slice_spacing is not None:
        check_input.inputs.slice_spacing = slice_spacing
    threads = resources.threads
    denoise = pe.Node(
        Denoise(method=denoise_method, num_threads=threads, seed=seed),
        name="denoise",
        n_procs=threads,
        mem_gb=resources.denoise_gb(denoise_method),
    )
    correct_bias = pe.Node(
        CorrectBias(method=bias_method, num_threads=threads, seed=seed, sloppy=sloppy),
        name="correct_bias",
        n_procs=threads,
        mem_gb=resources.bias_gb(bias_method),
    )

    workflow.connect([
        (inputnode, check_input, [("in_file", "in_file")]),
        (check_input, denoise, [("out_file", "in_file")]),
        (denoise, correct_bias, [("out_file", "in_file")]),
        (check_input, outputnode, [("out_file", "conformed"), ("record", "check_record")]),
        (denoise, outputnode, [("out_file", "denoised"), ("record", "denoise_record")]),
        (correct_bias, outputnode, [("out_file", "corrected"), ("record", "bias_record")]),
    ])  # fmt: skip
    return workflow
