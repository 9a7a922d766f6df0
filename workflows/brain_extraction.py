"""Graph of the brain mask of one image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.bids.image import AnatImage
from bids_sr.engines.template import describe
from bids_sr.interfaces.brain_extraction import ExtractBrain
from bids_sr.seed import DEFAULT_SEED

from .resources import Resources

TEXT = {
    "template": "Brain masks were computed by affine registration [ANTs, @avants2011] of "
    "{template}, whose surface was then fitted to the edge of the brain. ",
    "hdbet": "Brain masks were computed with HD-BET [@isensee2019]. ",
    "existing": "Brain masks given with the dataset's derivatives were used. ",
    "none": "No brain masks were computed. ",
}
STRIPPED_TEXT = "For skull-stripped images, all non-background voxels formed the mask. "


@dataclass(frozen=True, kw_only=True)
class BrainExtraction:
    """How brain masks are computed; the same for all images of a run."""

    engine: str
    """The engine by ``--skull-strip-method``: ``template``, ``hdbet`` or ``none``."""
    engine_reason: str = ""
    """Why this engine, for the record."""
    skull_strip_anat: str = "auto"
    """``auto``, ``force`` or ``skip``: whether images may already be skull-stripped."""
    weights_dir: Path | None = None
    """Folder of the HD-BET weights."""
    device: str = "auto"
    """Torch device of HD-BET."""
    template: str = "MNI152"
    """Template of the engine of that name."""
    hdbet_tta: bool = False
    """Whether HD-BET averages over mirrored copies."""
    allow_unverified_weights: bool = False
    """Whether HD-BET's checkpoint may run code."""
    random_seed: int = DEFAULT_SEED

    def engine_of(self, image: AnatImage) -> tuple[str, str]:
        """Return the engine for an image and why; an existing mask takes precedence."""
        if image.existing_mask is not None:
            return "existing", image.mask_note
        if image.n_frames > 1:
            return "none", "a series of frames has no brain mask"
        if not image.brain and self.engine != "none":
            return "none", "the sidecar says that this is not a head"
        return self.engine, " ".join(filter(None, [self.engine_reason, image.mask_note]))

    def skull_strip_anat_of(self, image: AnatImage) -> str:
        """Return whether an image is treated as skull-stripped; its sidecar takes precedence."""
        if image.n_frames > 1 or not image.brain:
            return "force"
        if self.skull_strip_anat == "auto" and image.skull_stripped:
            return "skip"
        return self.skull_strip_anat


def init_brain_extraction_wf(
    *,
    image: AnatImage,
    options: BrainExtraction,
    resources: Resources,
    name: str = "brain_extraction_wf",
) -> pe.Workflow:
    """Build the graph that finds the brain mask of one image.

    Parameters
    ----------
    image : AnatImage
        The image.
    options : BrainExtraction
        The engine and its options.
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
        Brain mask on the grid of the image; None if the engine refused the image.
    record
        What the step did.
    skull_stripped
        Whether the image has no skull; None if that was not checked.
    """
    engine, engine_reason = options.engine_of(image)
    skull_strip_anat = options.skull_strip_anat_of(image)
    workflow = pe.Workflow(name=name)
    workflow.__desc__ = TEXT[engine].format(template=describe(options.template))
    if engine in ("template", "hdbet") and skull_strip_anat != "force":
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
            existing_mask=image.existing_mask and str(image.existing_mask),
            skull_strip_anat=skull_strip_anat,
            weights_dir=str(options.weights_dir or ""),
            device=options.device,
            template=options.template,
            hdbet_tta=options.hdbet_tta,
            allow_unverified_weights=options.allow_unverified_weights,
            use_gpu=engine == "hdbet" and resources.gpu,
            num_threads=resources.threads,
            random_seed=options.random_seed,
        ),
        name="extract_brain",
        n_procs=resources.threads,
        mem_gb=resources.brain_gb[engine],
    )

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
