"""Graph of the super-resolution of one image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.interfaces.brain_extraction import MaskToGrid
from bids_sr.interfaces.super_resolution import EstimateProfile, SuperResolve
from bids_sr.method_facts import METHOD_FACTS

from .resources import Resources

PROFILE_TEXT = (
    "What was not known of the slice profile was estimated from the image, by comparing its "
    "spectra within and across the slices [after @han2023]. "
)

PLACES = ("weights_dir", "offline")
"""Parameters that say where weights come from, and change no result."""
RESULTS = (
    "out_file",
    "out_profile",
    "out_uncertainty",
    "out_model",
    "acquisition",
    "record",
    "curve",
)


def init_super_resolution_wf(
    *,
    acquisition: dict[str, Any],
    estimate: str,
    method: str,
    parameters: dict[str, Any],
    weights_files: tuple[Path, ...],
    keep_model: bool,
    spacing: float | str | None,
    grid: str,
    resources: Resources,
    name: str = "super_resolution_wf",
) -> pe.Workflow:
    """Build the graph that super-resolves one image and brings its mask along.

    Parameters
    ----------
    acquisition : dict
        Fields of ``Acquisition``: spacing, thickness, profile, slice axis.
    estimate : {"nothing", "width", "check"}
        What the image is asked for of its slices.
    method : str
        Name of a registered method; ``"none"`` keeps the image as it is.
    parameters : dict
        Hyper-parameters of the method.
    weights_files : tuple of Path
        Weights that the result depends on.
    keep_model : bool
        Whether what was learnt is handed on.
    spacing : float, "native" or None, mm
        Target spacing; None for the default.
    grid : {"fov", "slice"}
        How the output grid is laid.
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
        Weights that were learnt in this run, where there are such.

    Outputs
    -------
    out_file, out_mask
        The image and its mask on the output grid.
    mask_record
        Why there is no mask on that grid, if so.
    out_profile
        The slice profile that was used, TSV.
    out_uncertainty, out_model
        Standard deviation to expect, and what was learnt; each may be None.
    acquisition
        Fields of ``Acquisition`` by which the image was made.
    record, curve
        What the method did, and its learning curve.
    """
    workflow = pe.Workflow(name=name)
    facts = METHOD_FACTS[method]
    workflow.__desc__ = facts.methods_text(parameters)

    inputnode = pe.Node(
        niu.IdentityInterface(fields=["in_file", "in_mask", "in_model"]), name="inputnode"
    )
    inputnode.inputs.in_model = None
    outputnode = pe.Node(
        niu.IdentityInterface(fields=[*RESULTS, "out_mask", "mask_record"]), name="outputnode"
    )
    super_resolve = pe.Node(
        SuperResolve(
            acquisition=acquisition,
            method=method,
            parameters={k: v for k, v in parameters.items() if k not in PLACES},
            places={k: v for k, v in parameters.items() if k in PLACES},
            weights_files=[str(path) for path in weights_files],
            keep_model=keep_model,
            spacing=spacing,
            grid=grid,
            num_threads=resources.threads,
            use_gpu=resources.gpu,
        ),
        name="super_resolve",
        n_procs=resources.threads,
        mem_gb=resources.super_resolution_gb(method),
    )
    mask_to_grid = pe.Node(MaskToGrid(), name="mask_to_grid", mem_gb=resources.result_gb)

    workflow.connect([
        (inputnode, super_resolve, [("in_file", "in_file"), ("in_model", "in_model")]),
        (inputnode, mask_to_grid, [("in_mask", "in_mask")]),
        (super_resolve, mask_to_grid, [("out_file", "reference_file")]),
        (super_resolve, outputnode, [(result, result) for result in RESULTS]),
        (mask_to_grid, outputnode, [("out_mask", "out_mask"), ("record", "mask_record")]),
    ])  # fmt: skip
    if estimate != "nothing" and not facts.keeps_grid:
        workflow.__desc__ = PROFILE_TEXT + workflow.__desc__
        estimate_profile = pe.Node(
            EstimateProfile(acquisition=acquisition, thickness_is_known=estimate == "check"),
            name="estimate_profile",
            mem_gb=resources.acquired_gb,
        )
        workflow.connect([
            (inputnode, estimate_profile, [("in_file", "in_file")]),
            (estimate_profile, super_resolve, [
                ("acquisition", "acquisition"),
                ("record", "profile_record"),
            ]),
        ])  # fmt: skip
    return workflow
