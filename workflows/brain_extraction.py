"""Graph of the brain mask of one image."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.interfaces.brain_extraction import ExtractBrain

from .resources import Resources

TEXT = {
    "template": "A brain mask was computed by affine registration [ANTs, @avants2011] of the "
    "ICBM 152 template [@fonov2011] distributed with *nilearn* [@abraham2014]. ",
    "hdbet": "A brain mask was computed with HD-BET [@isensee2019]. ",
    "existing": "A brain mask given with the dataset's derivatives was used. ",
    "none": "No brain mask was computed. ",
}


def init_brain_extraction_wf(
    *,
    engine: str,
    engine_reason: str,
    existing_mask: Path | None,
    weights_dir: Path | None,
    device: str,
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
    weights_dir : Path or None
        Folder of the HD-BET weights.
    device : str
        Torch device of HD-BET.
    seed : int
        Random seed of the engine.
    resources : Resources
        Threads and memory of the image's nodes.
    name : str

    Inputs
    ------
    in_file
        The bias-corrected image.

    Outputs
    -------
    out_mask
        Brain mask on the grid of the image; None where the engine refused it.
    record
        What the step did.
    """
    workflow = pe.Workflow(name=name)
    workflow.__desc__ = TEXT[engine]

    inputnode = pe.Node(niu.IdentityInterface(fields=["in_file"]), name="inputnode")
    outputnode = pe.Node(niu.IdentityInterface(fields=["out_mask", "record"]), name="outputnode")
    extract_brain = pe.Node(
        ExtractBrain(
            engine=engine,
            engine_reason=engine_reason,
            weights_dir=str(weights_dir or ""),
            device=device,
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
        (inputnode, extract_brain, [("in_file", "in_file")]),
        (extract_brain, outputnode, [("out_mask", "out_mask"), ("record", "record")]),
    ])  # fmt: skip
    return workflow
