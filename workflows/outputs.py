"""Graph that writes the results of one image to the output dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.bids.derivatives import OutputPaths
from bids_sr.bids.image import AnatImage
from bids_sr.bids.output_sidecars import (
    mask_metadata,
    preproc_metadata,
    product_metadata,
    stage_metadata,
    uncertainty_metadata,
)
from bids_sr.interfaces.outputs import HandOver, SaveDerivative, SaveQuality

FILES = (
    "denoised",
    "corrected",
    "native_mask",
    "sr_file",
    "sr_mask",
    "slice_profile",
    "uncertainty",
    "model",
)
SLOPPY = " (made with --sloppy: not a result)"
RECORDS = ("check", "denoise", "bias_correction", "brain_mask", "super_resolution")
LATER_RECORDS = ("sr_mask_record", "figures", "segmentation_figures")


def init_outputs_wf(
    *,
    image: AnatImage,
    output_dir: Path,
    paths: OutputPaths,
    provenance: dict[str, Any],
    full: bool,
    sloppy: bool = False,
    name: str = "outputs_wf",
) -> pe.Workflow:
    """Build the graph that writes the results of one image, each whole or not at all.

    Parameters
    ----------
    image : AnatImage
        The image.
    output_dir : Path
        Root of the output dataset.
    paths : OutputPaths
        Where its files go.
    provenance : dict
        What joins the ``SuperResolution`` object of the sidecars, the same for all images.
    full : bool
        Whether the images between the steps are written as well (``--level full``).
    sloppy : bool
        Whether all files say that they are no results.
    name : str

    Inputs
    ------
    denoised, corrected, native_mask
        Image after each step and its brain mask, on the acquired grid.
    sr_file, sr_mask, slice_profile
        Result on the output grid and the profile that was used.
    uncertainty, model
        Standard deviation to expect, and what was learnt; each may be None.
    check, denoise, bias_correction, brain_mask, super_resolution
        Records of the steps.
    curve
        Learning curve.
    skull_stripped
        Whether the image has no skull, for the sidecars; None where nobody looked.
    segmentations
        Records of the segmentations.
    sr_mask_record, figures, segmentation_figures
        Why the mask on the output grid or a figure is missing, if so.

    Notes
    -----
    The product's sidecar holds the warnings of the steps before it, the QC file those of
    all steps.
    """
    workflow = pe.Workflow(name=name)
    fields = [*FILES, *RECORDS, *LATER_RECORDS, "curve", "skull_stripped", "segmentations"]
    plan: dict[str, Any] = {"Image": image.relpath, "Suffix": image.suffix, "Action": image.action}
    if sloppy:
        plan["Sloppy"] = True
    inputnode = pe.Node(
        niu.IdentityInterface(fields=fields),
        name="inputnode",
    )
    inputnode.inputs.segmentations = []  # unless there is such a step
    inputnode.inputs.segmentation_figures = []
    gather_before = pe.Node(niu.Merge(3), name="gather_before", run_without_submitting=True)
    gather_later = pe.Node(niu.Merge(3), name="gather_later", run_without_submitting=True)

    def marked(metadata: dict[str, Any]) -> dict[str, Any]:
        """Say in a sidecar that the file is no result."""
        return (
            {**metadata, "Description": metadata["Description"] + SLOPPY} if sloppy else metadata
        )

    product = marked(_with_provenance(product_metadata(image), provenance))
    save_sr = _save("save_sr", paths.product, product, "SuperResolution")
    save_native_mask = _save(
        "save_native_mask",
        paths.native_mask,
        marked(mask_metadata(output_dir, image, native=True)),
        "BrainExtraction",
    )
    save_sr_mask = _save(
        "save_sr_mask",
        paths.mask,
        marked(mask_metadata(output_dir, image, native=False)),
        "BrainExtraction",
    )
    save_profile = _save("save_profile", paths.slice_profile)
    save_uncertainty = _save(
        "save_uncertainty", paths.uncertainty, marked(uncertainty_metadata(output_dir, image))
    )
    save_model = _save("save_model", paths.model)
    save_quality = pe.Node(
        SaveQuality(
            out_path=str(paths.quality),
            plan=plan,
        ),
        name="save_quality",
        run_without_submitting=True,
    )

    workflow.connect([
        (inputnode, gather_before, [
            ("denoise", "in1"),
            ("bias_correction", "in2"),
            ("brain_mask", "in3"),
        ]),
        (inputnode, gather_later, [
            ("sr_mask_record", "in1"),
            ("figures", "in2"),
            ("segmentation_figures", "in3"),
        ]),
        (inputnode, save_sr, [
            ("sr_file", "in_file"),
            ("super_resolution", "record"),
            ("skull_stripped", "skull_stripped"),
        ]),
        (gather_before, save_sr, [("out", "steps")]),
        (inputnode, save_native_mask, [("native_mask", "in_file"), ("brain_mask", "record")]),
        (inputnode, save_sr_mask, [("sr_mask", "in_file"), ("brain_mask", "record")]),
        (inputnode, save_profile, [("slice_profile", "in_file")]),
        (inputnode, save_uncertainty, [("uncertainty", "in_file")]),
        (inputnode, save_model, [("model", "in_file")]),
        (inputnode, save_quality, [(name, name) for name in (*RECORDS, "curve", "segmentations")]),
        (gather_later, save_quality, [("out", "later")]),
    ])  # fmt: skip
    if paths.preproc is not None:
        preproc = marked(_with_provenance(preproc_metadata(output_dir, image), provenance))
        save_preproc = pe.Node(
            HandOver(
                out_path=str(paths.preproc),
                metadata=preproc,
                record_key="SuperResolution",
                without_mask=image.reference_asked,
            ),
            name="save_preproc",
            run_without_submitting=True,
        )
        workflow.connect([
            (inputnode, save_preproc, [
                ("sr_file", "in_file"),
                ("super_resolution", "record"),
                ("skull_stripped", "skull_stripped"),
                ("native_mask", "in_mask"),
                ("brain_mask", "mask_record"),
            ]),
            (gather_before, save_preproc, [("out", "steps")]),
        ])  # fmt: skip
    if full:
        save_denoised = _save(
            "save_denoised", paths.denoised, marked(stage_metadata(image, "denoised"))
        )
        save_n4 = _save("save_n4", paths.n4, marked(stage_metadata(image, "n4")))
        workflow.connect([
            (inputnode, save_denoised, [
                ("denoised", "in_file"),
                ("skull_stripped", "skull_stripped"),
            ]),
            (inputnode, save_n4, [
                ("corrected", "in_file"),
                ("skull_stripped", "skull_stripped"),
            ]),
        ])  # fmt: skip
    return workflow


def _save(
    name: str, path: Path, metadata: dict[str, Any] | None = None, record_key: str = ""
) -> pe.Node:
    return pe.Node(
        SaveDerivative(out_path=str(path), metadata=metadata or {}, record_key=record_key),
        name=name,
        run_without_submitting=True,
    )


def _with_provenance(metadata: dict[str, Any], provenance: dict[str, Any]) -> dict[str, Any]:
    return {**metadata, "SuperResolution": {**metadata["SuperResolution"], **provenance}}
