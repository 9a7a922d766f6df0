"""Graph of the brain mask of one image."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.interfaces.brain_extraction import ExtractBrain, describe_template

from .resources import Resources

TEXT = {
    "template": "A brain mask was computed by affine registration [ANTs, @avants2011] of "
    "{template}, whose surface was then fitted to the edge of the brain. ",
    "hdbet": "A brain mask was computed with HD-BET [@isensee2019]. ",
    "existing": "A brain mask given with the dataset's derivatives was used. ",
    "none": "No brain mask was computed. ",
}
STRIPPED_TEXT = "Of images without a skull, all that is not background was taken instead. "


def init_brain_extraction_wf(
    *,
    engine: str,
    engine_reason: str,
    existing_mask: Path | None,
    skull_strip: str,
    weights_dir: Path | None,
    device: str,
    template: str,
    tta: bool,
    allow_unverified: bool,
    seed: int,
    resources: Resources,
    name: str = "brain_extraction_wf",
) -> pe.Workflow:
    """Build the graph that finds the brain mask of one image.

    Parameters
    ----------
    engine : {"template", "hdbet", "existing", "none"}
    engine_reason : str
        Why this engine, for the record.
    existing_mask : Path or None
        Mask on the grid of the image, for ``engine="existing"``.
    skull_strip : {"auto", "force", "skip"}
        Whether the image may be stripped already: find out, no, yes.
    weights_dir : Path or None
        Folder of the HD-BET weights.
    device : str
        Torch device of HD-BET.
    template : str
        Template of the engine of that name.
    tta : bool
        Whether HD-BET averages over mirrored copies.
    allow_unverified : bool
        Whether HD-BET's checkpoint may run code.
    seed : int
        Random seed of the engine.
    resources : Resources
        Threads and memory of the image's nodes.
    name : str

    Inputs
    ------
    in_file
        The bias-corrected image.
    acquired_file
        The image as acquired, whose background is untouched.

    Outputs
    -------
    out_mask
        Brain mask on the grid of the image; None where the engine refused it.
    record
        What the step did.
    skull_stripped
        Whether the image has no skull; None where nobody looked.
    """
    workflow = pe.Workflow(name=name)
    workflow.__desc__ = TEXT[engine].format(template=describe_template(template))
    if engine in ("template", "hdbet") and skull_strip != "force":
        workflow.__desc__ += STRIPPED_TEXT

    inputnode = pe.Node(
        niu.IdentityInterface(fields=["in_file", "acquired_file"]), name="inputnode"
    )
    outputnode = pe.Node(
        niu.IdentityInterface(fields=["out_mask", "record", "skull_stripped"]), name="outputnode"
    )
    extract_brain = pe.Node(
        ExtractBrain(
            engine=engine,
            engine_reason=engine_reason,
            skull_strip=skull_strip,
            weights_dir=str(weights_dir or ""),
            device=device,
            template=template,
            tta=tta,
            allow_unverified=allow_unverified,
            use_gpu=engine == "hdbet" and resources.gpu,
            num_threads=resources.threads,
            seed=seed,
        ),
        name="extract_brain",
        n_procs=resources.threads,
        mem_gb=resources.brain_gb[engine],
    )
    if existing_mask is not None:
        extract_brain.inputs.existing_mask = str(existing_mask)

    workflow.connect([
        (inputnode, extract_brain, [
            ("in_file", "in_file"),
            ("acquired_file", "acquired_file"),
        ]),
        (extract_brain, outputnode, [
            ("out_mask", "out_mask"),
            ("record", "record"),
            ("skull_stripped", "skull_stripped"),
        ]),
    ])  # fmt: skip
    return workflow
