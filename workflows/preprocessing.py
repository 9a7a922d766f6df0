"""Graph of the steps before super-resolution: input check, denoising, N4, slice gain."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.bids.image import AnatImage
from bids_sr.interfaces.preprocessing import (
    CheckInput,
    CorrectBias,
    CorrectSliceGain,
    Denoise,
    Unchanged,
)
from bids_sr.seed import DEFAULT_SEED

from .resources import Resources

DENOISE_TEXT = {
    "nlm": "Images were denoised by adaptive non-local means [@manjon2010] as implemented in "
    "ANTs [@avants2011]. ",
    "none": "Images were not denoised. ",
}
BIAS_TEXT = {
    "n4": "Intensity non-uniformity was corrected with `N4BiasFieldCorrection` "
    "[@tustison2010; ANTs, @avants2011]. ",
    "auto": "Intensity non-uniformity was estimated with `N4BiasFieldCorrection` "
    "[@tustison2010; ANTs, @avants2011] and corrected where the field was not flat. ",
    "none": "Intensity non-uniformity was not corrected. ",
}

GAIN_TEXT = {
    "auto": "Each image was tested for slices whose brightness differs from that of their "
    "neighbours by more than anatomy explains; if there were any, each slice was multiplied by "
    "one factor, estimated from the log ratios of neighbouring slices by Gaussian process "
    "regression [@rasmussen2006]. ",
    "none": "",
}


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What is done to images before super-resolution; the same for all images of a run."""

    denoise_method: str = "nlm"
    """``nlm`` or ``none``."""
    anat_biascorrect: str = "n4"
    """``n4``, ``auto`` or ``none``."""
    slice_gain: str = "auto"
    """``auto`` or ``none``."""
    random_seed: int = DEFAULT_SEED
    sloppy: bool = False
    """Few iterations, for tests only."""

    def of_image(self, image: AnatImage) -> Preprocessing:
        """Return what is done to an image: a series of frames is only checked.

        Slices keep their brightness where they are not super-resolved: what is acquired in
        3D has none.
        """
        if image.n_frames > 1:
            return replace(self, denoise_method="none", anat_biascorrect="none", slice_gain="none")
        return self if image.action == "super-resolve" else replace(self, slice_gain="none")


def init_preprocessing_wf(
    *,
    image: AnatImage,
    options: Preprocessing,
    resources: Resources,
    name: str = "preprocessing_wf",
) -> pe.Workflow:
    """Build the graph that checks, denoises and corrects one image.

    Parameters
    ----------
    image : AnatImage
        The image.
    options : Preprocessing
        The steps.
    resources : Resources
        Threads and memory of the image's nodes.
    name : str

    Inputs
    ------
    in_file
        The acquired image.

    Outputs
    -------
    conformed, denoised, corrected, evened
        The image after each step, on the acquired grid.
    check_record, denoise_record, bias_record, gain_record
        What each step did.

    Notes
    -----
    The gain comes after N4, whose field is smooth and does not see single slices: without the
    bias field neighbouring slices are more alike, and what is left of their differences is
    clearer.
    """
    assert image.facts is not None
    acquisition, options = image.facts.acquisition, options.of_image(image)
    denoise_method, anat_biascorrect = options.denoise_method, options.anat_biascorrect
    workflow = pe.Workflow(name=name)
    workflow.__desc__ = DENOISE_TEXT[denoise_method] + BIAS_TEXT[anat_biascorrect]
    workflow.__desc__ += GAIN_TEXT[options.slice_gain]

    inputnode = pe.Node(niu.IdentityInterface(fields=["in_file"]), name="inputnode")
    outputnode = pe.Node(
        niu.IdentityInterface(
            fields=[
                "conformed",
                "denoised",
                "corrected",
                "evened",
                "check_record",
                "denoise_record",
                "bias_record",
                "gain_record",
            ]
        ),
        name="outputnode",
    )
    check_input = pe.Node(
        CheckInput(
            slice_axis=acquisition.slice_axis,
            slice_spacing=acquisition.spacing if image.facts.respaced else None,
        ),
        name="check_input",
        mem_gb=resources.acquired_gb,
    )
    threads = resources.threads
    common = {"num_threads": threads, "random_seed": options.random_seed}
    denoise = pe.Node(
        _denoise(options, **common),
        name="denoise",
        n_procs=threads,
        mem_gb=resources.denoise_gb(denoise_method),
    )
    correct_bias = pe.Node(
        _correct_bias(options, **common),
        name="correct_bias",
        n_procs=threads,
        mem_gb=resources.bias_gb(anat_biascorrect),
    )
    correct_slice_gain = pe.Node(
        _correct_slice_gain(image, options),
        name="correct_slice_gain",
        mem_gb=resources.slice_gain_gb(options.slice_gain),
    )

    workflow.connect([
        (inputnode, check_input, [("in_file", "in_file")]),
        (check_input, denoise, [("out_file", "in_file")]),
        (denoise, correct_bias, [("out_file", "in_file")]),
        (correct_bias, correct_slice_gain, [("out_file", "in_file")]),
        (check_input, outputnode, [("out_file", "conformed"), ("record", "check_record")]),
        (denoise, outputnode, [("out_file", "denoised"), ("record", "denoise_record")]),
        (correct_bias, outputnode, [("out_file", "corrected"), ("record", "bias_record")]),
        (correct_slice_gain, outputnode, [("out_file", "evened"), ("record", "gain_record")]),
    ])  # fmt: skip
    return workflow


def _denoise(options: Preprocessing, **common: int) -> Denoise | Unchanged:
    """Make the step that denoises, or one that passes the image through."""
    return Unchanged(**common) if options.denoise_method == "none" else Denoise(**common)


def _correct_bias(options: Preprocessing, **common: int) -> CorrectBias | Unchanged:
    """Make the step that removes the bias field, or one that passes the image through."""
    if options.anat_biascorrect == "none":
        return Unchanged(**common)
    return CorrectBias(anat_biascorrect=options.anat_biascorrect, sloppy=options.sloppy, **common)


def _correct_slice_gain(image: AnatImage, options: Preprocessing) -> CorrectSliceGain | Unchanged:
    """Make the step that brings slices to one brightness, or one that passes the image through."""
    assert image.facts is not None
    if options.slice_gain == "none":
        return Unchanged()
    return CorrectSliceGain(acquisition=image.facts.acquisition)
