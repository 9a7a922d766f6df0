"""Graph of the super-resolution of one image."""

from __future__ import annotations

from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.interfaces.brain_extraction import MaskToGrid
from bids_sr.interfaces.super_resolution import SuperResolve

from .resources import Resources

TEXT = {
    "self": "Through-plane resolution was raised by self-supervised super-resolution of the SMORE "
    "family [@zhao2021]: a convolutional network learns on in-plane slices of the image itself, "
    "degraded along one in-plane direction as the acquisition degrades them across slices "
    "(slice thickness, gap and profile), and is applied to both through-plane views, whose mean "
    "is the result. ",
    "bspline": "The image was interpolated across slices by cubic B-splines [@unser1999]. ",
    "lanczos": "The image was interpolated across slices by a Lanczos kernel [@duchon1979]. ",
    "linear": "The image was interpolated across slices linearly. ",
    "none": "The image was kept on its acquired grid. ",
}


def init_super_resolution_wf(
    *,
    acquisition: dict[str, Any],
    method: str,
    parameters: dict[str, Any],
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
    method : str
        Name of a registered method; ``"none"`` keeps the image as it is.
    parameters : dict
        Hyper-parameters of the method.
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

    Outputs
    -------
    out_file, out_mask
        The image and its mask on the output grid.
    out_profile
        The slice profile that was used, TSV.
    record, curve
        What the method did, and its learning curve.
    """
    workflow = pe.Workflow(name=name)
    workflow.__desc__ = TEXT.get(method, f"The image was super-resolved by `{method}`. ")

    inputnode = pe.Node(niu.IdentityInterface(fields=["in_file", "in_mask"]), name="inputnode")
    outputnode = pe.Node(
        niu.IdentityInterface(fields=["out_file", "out_mask", "out_profile", "record", "curve"]),
        name="outputnode",
    )
    super_resolve = pe.Node(
        SuperResolve(
            acquisition=acquisition,
            method=method,
            parameters=parameters,
            spacing=spacing,
            grid=grid,
            num_threads=resources.threads,
            use_gpu=resources.gpu,
        ),
        name="super_resolve",
        n_procs=resources.threads,
        mem_gb=resources.super_resolution_gb,
    )
    mask_to_grid = pe.Node(MaskToGrid(), name="mask_to_grid", mem_gb=resources.light_gb)

    workflow.connect([
        (inputnode, super_resolve, [("in_file", "in_file")]),
        (inputnode, mask_to_grid, [("in_mask", "in_mask")]),
        (super_resolve, mask_to_grid, [("out_file", "reference_file")]),
        (super_resolve, outputnode, [
            ("out_file", "out_file"),
            ("out_profile", "out_profile"),
            ("record", "record"),
            ("curve", "curve"),
        ]),
        (mask_to_grid, outputnode, [("out_mask", "out_mask")]),
    ])  # fmt: skip
    return workflow
