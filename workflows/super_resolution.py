"""Graph of the super-resolution of one image."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.bids.derivatives import guide_uri
from bids_sr.bids.image import AnatImage
from bids_sr.bids.sidecar import AcquisitionOverrides
from bids_sr.interfaces.brain_extraction import MaskToGrid
from bids_sr.interfaces.guide import NEEDED, PASSED, ApplyGuide
from bids_sr.interfaces.super_resolution import EstimateProfile, SuperResolve
from bids_sr.method_facts import METHOD_FACTS, PASS_THROUGH
from bids_sr.seed import DEFAULT_SEED

from .resources import Resources

PROFILE_TEXT = (
    "Where the slice profile was not known, it was estimated from the image by comparing its "
    "spectra within and across the slices [after @han2023]. "
)

SLICES_TEXT = (
    "Slices that had moved or lost signal were identified by comparison with their neighbours and "
    "given less weight. "
)
GUIDE_TEXT = (
    "A thin scan of another contrast and the same session was registered rigidly to the result. A "
    "small network learnt from slices of the image itself, degraded along one in-plane direction, "
    "what the result lacks and the scan shows; its correction was added if held-out slices "
    "improved. "
)

PLACES = ("weights_dir", "offline")
"""Parameters that locate weights and do not change the result."""
RESULTS = ("out_profile", "out_model", "acquisition", "curve")
"""What the method returns beside the image."""
GUIDED = {"sr_file": "out_file", "uncertainty": "out_uncertainty", "method": "record"}
"""Results that a guide can change, and their names otherwise."""
OF_GUIDE = ("unguided_file", "aligned_guide")
"""What only an image with a guide has."""


@dataclass(frozen=True, kw_only=True)
class SuperResolution:
    """How images are super-resolved; the same for all images of a run."""

    sr_method: str
    """A registered method; ``none`` keeps images as they are."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Its hyper-parameters."""
    weights_files: tuple[Path, ...] = ()
    """Weights that the result depends on."""
    save_model: bool = False
    """Whether the trained network is returned."""
    slice_profile: str | None = None
    """As on the command line; None: nothing is estimated."""
    output_resolution: float | str | None = None
    """Target spacing, mm, or ``native``; None for the default."""
    output_grid: str = "fov"
    """``fov`` or ``slice``: how the output grid is laid."""
    random_seed: int = DEFAULT_SEED
    """Of the registration of guides and what is learnt from them."""

    def of_image(self, image: AnatImage) -> SuperResolution:
        """Return the options for an image: no method for one that is passed through."""
        if image.action == "super-resolve":
            return self
        return SuperResolution(sr_method=PASS_THROUGH)

    @property
    def estimates_profile(self) -> bool:
        """Whether what is not stated of the slice profile is estimated from the image."""
        overrides = AcquisitionOverrides(slice_profile=self.slice_profile)
        return overrides.estimates and not METHOD_FACTS[self.sr_method].keeps_grid


def init_super_resolution_wf(
    *,
    image: AnatImage,
    options: SuperResolution,
    resources: Resources,
    name: str = "super_resolution_wf",
) -> pe.Workflow:
    """Build the graph that super-resolves one image and resamples its mask.

    Parameters
    ----------
    image : AnatImage
        An image that is super-resolved, or passed through.
    options : SuperResolution
        Method, its parameters and the output grid.
    resources : Resources
        Threads and memory of the image's nodes.
    name : str

    Inputs
    ------
    in_file
        The preprocessed image.
    in_mask
        Its brain mask, or None.
    in_model
        Weights trained in this run, if any.
    in_guide
        The thin scan that guides it; None without one, or if its own image failed.

    Outputs
    -------
    out_file, out_mask
        The image, guided if it has a guide, and its mask on the output grid.
    mask_record
        Why there is no mask on that grid, if it is missing.
    out_profile
        The slice profile that was used, TSV.
    out_uncertainty, out_model
        Expected standard deviation, and the trained network; each may be None.
    acquisition
        Acquisition that the image was computed with.
    record, curve
        What the method did, and its learning curve.
    unguided_file, aligned_guide
        The image without the guide and the guide on the same grid, for figures; only with a guide.
    """
    options = options.of_image(image)
    method, parameters = options.sr_method, options.parameters
    workflow = pe.Workflow(name=name)
    workflow.__desc__ = PROFILE_TEXT if options.estimates_profile else ""
    workflow.__desc__ += "" if METHOD_FACTS[method].keeps_grid else SLICES_TEXT
    workflow.__desc__ += METHOD_FACTS[method].methods_text(parameters)
    workflow.__desc__ += GUIDE_TEXT if image.guide else ""

    inputs = ["in_file", "in_mask", "in_model", "in_guide"]
    inputnode = pe.Node(niu.IdentityInterface(fields=inputs), name="inputnode")
    inputnode.inputs.trait_set(in_model=None, in_guide=image.guide_path and str(image.guide_path))
    outputs = [*RESULTS, *GUIDED.values(), *OF_GUIDE, "out_mask", "mask_record"]
    outputnode = pe.Node(niu.IdentityInterface(fields=outputs), name="outputnode")
    estimate_profile = _estimate_profile(image, options, resources)
    super_resolve = pe.Node(
        SuperResolve(
            sr_method=method,
            parameters={k: v for k, v in parameters.items() if k not in PLACES},
            places={k: v for k, v in parameters.items() if k in PLACES},
            weights_files=[str(path) for path in options.weights_files],
            save_model=options.save_model,
            keep_learned=METHOD_FACTS[method].takes_guide,
            output_resolution=options.output_resolution,
            output_grid=options.output_grid,
            num_threads=resources.threads,
            use_gpu=resources.gpu,
        ),
        name="super_resolve",
        n_procs=resources.threads,
        mem_gb=resources.super_resolution_gb(method),
    )
    apply_guide = _apply_guide(image, options, resources)
    mask_to_grid = pe.Node(MaskToGrid(), name="mask_to_grid", mem_gb=resources.result_gb)

    workflow.connect([
        (inputnode, estimate_profile, [("in_file", "in_file")]),
        (inputnode, super_resolve, [("in_file", "in_file"), ("in_model", "in_model")]),
        (inputnode, mask_to_grid, [("in_mask", "in_mask")]),
        (estimate_profile, super_resolve, [
            ("acquisition", "acquisition"),
            ("record", "profile_record"),
        ]),
        (inputnode, apply_guide, [("in_file", "slices"), ("in_guide", "guide_file")]),
        (super_resolve, apply_guide, [
            ("acquisition", "acquisition"),
            ("learned", "learned"),
            *((result, guided) for guided, result in GUIDED.items()),
        ]),
        (super_resolve, mask_to_grid, [("out_file", "reference_file")]),
        (super_resolve, outputnode, [(result, result) for result in RESULTS]),
        (super_resolve, outputnode, [("out_file", "unguided_file")]),
        (apply_guide, outputnode, [*GUIDED.items(), ("aligned", "aligned_guide")]),
        (mask_to_grid, outputnode, [("out_mask", "out_mask"), ("record", "mask_record")]),
    ])  # fmt: skip
    return workflow


def _apply_guide(image: AnatImage, options: SuperResolution, resources: Resources) -> pe.Node:
    """Make the node that applies the guide of the image, or one that passes the result on."""
    name = "apply_guide"
    if not image.guide:
        return pe.Node(niu.IdentityInterface(fields=[*PASSED, *NEEDED, "aligned"]), name=name)
    interface = ApplyGuide(
        source=guide_uri(image),
        random_seed=options.random_seed,
        num_threads=resources.threads,
    )
    return pe.Node(interface, name=name, n_procs=resources.threads, mem_gb=resources.guide_gb)


def _estimate_profile(image: AnatImage, options: SuperResolution, resources: Resources) -> pe.Node:
    """Make the node that completes the acquisition, or one that returns it as planned."""
    assert image.facts is not None
    acquisition, name = image.facts.acquisition, "estimate_profile"
    if options.estimates_profile:
        interface = EstimateProfile(acquisition=acquisition, sequence=image.facts.sequence)
        return pe.Node(interface, name=name, mem_gb=resources.estimate_gb)
    planned = niu.IdentityInterface(fields=["in_file", "acquisition", "record"])
    planned.inputs.trait_set(acquisition=acquisition, record={})
    return pe.Node(planned, name=name)
