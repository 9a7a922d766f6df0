"""Graph of one image: all steps from the acquired file to results and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.bids.derivatives import output_paths
from bids_sr.bids.image import AnatImage
from bids_sr.bids.leftovers import leftover_patterns
from bids_sr.interfaces.outputs import ClearLeftovers, SaveDerivative, SaveDerivatives

from .brain_extraction import init_brain_extraction_wf
from .outputs import init_outputs_wf
from .preprocessing import init_preprocessing_wf
from .reports import init_reports_wf
from .resources import Resources
from .segmentation import SegmentationSteps, init_segmentation_wf
from .super_resolution import init_super_resolution_wf


@dataclass(frozen=True, kw_only=True)
class ImageSteps:
    """What is done to an image, step by step; the same for all images of a run."""

    denoise_method: str = "nlm"
    """``nlm`` or ``none``."""
    bias_method: str = "n4"
    """``n4``, ``auto`` or ``none``."""
    mask_engine: str = "template"
    """``template``, ``hdbet`` or ``none``; an existing mask is taken before any engine."""
    mask_reason: str = ""
    """Why this engine."""
    skull_strip: str = "auto"
    """``auto``, ``force`` or ``skip``: whether images may be stripped already."""
    template: str = "MNI152"
    """Of the mask engine ``template`` and of tissue priors."""
    tta: bool = False
    """Whether HD-BET averages over mirrored copies."""
    allow_unverified: bool = False
    """Whether HD-BET's checkpoint may run code."""
    weights_dir: Path | None = None
    """Folder of the HD-BET weights."""
    sr_method: str = "finetuned"
    """A registered method."""
    sr_parameters: dict[str, Any] = field(default_factory=dict)
    """Its hyper-parameters."""
    weights_files: tuple[Path, ...] = ()
    """Weights that the result depends on."""
    save_model: bool = False
    """Whether what was learnt is written."""
    slice_profile: str | None = None
    """Name of the profile, the path of its table, or ``auto``; None: assumed."""
    output_spacing: float | str | None = None
    """mm, ``native``, or None for the default."""
    output_grid: str = "fov"
    """``fov`` or ``slice``."""
    segmentations: tuple[str, ...] = ()
    """Segmentation tools, ``NAME`` or ``NAME=PATH``."""
    device: str = "auto"
    """Torch device."""
    seed: int = 0
    """Random seed of every step."""
    sloppy: bool = False
    """Few iterations, for tests only."""
    full: bool = False
    """Whether the images between the steps are written as well."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """What joins the ``SuperResolution`` object of every sidecar."""


def init_image_wf(
    *,
    image: AnatImage,
    output_dir: Path,
    steps: ImageSteps,
    resources: Resources,
    companions: Sequence[AnatImage] = (),
    name: str,
) -> pe.Workflow:
    """Build the graph of one image.

    Parameters
    ----------
    image : AnatImage
        An image whose action is to be super-resolved or passed through.
    output_dir : Path
        Root of the output dataset.
    steps : ImageSteps
        What is done to it.
    resources : Resources
        Threads and memory of its nodes.
    companions : sequence of AnatImage
        Images of the run, one of which a segmentation tool may need beside this one.
    name : str

    Notes
    -----
    The brain mask is computed on the acquired grid, where the contrast is untouched,
    and brought to the output grid.  Super-resolution keeps the whole head and does
    not see the mask.
    """
    assert image.facts is not None
    workflow = pe.Workflow(name=name)
    paths = output_paths(output_dir, image)
    acquisition = acquisition_fields(image, steps)
    engine, reason = _mask_engine(image, steps)

    source = pe.Node(niu.IdentityInterface(fields=["in_file"]), name="source")
    source.inputs.in_file = str(image.path)
    preprocessing_wf = init_preprocessing_wf(
        slice_axis=acquisition["slice_axis"],
        slice_spacing=acquisition["spacing"] if image.facts.respaced else None,
        denoise_method=steps.denoise_method if image.n_frames == 1 else "none",
        bias_method=steps.bias_method if image.n_frames == 1 else "none",
        seed=steps.seed,
        sloppy=steps.sloppy,
        resources=resources,
    )
    brain_extraction_wf = init_brain_extraction_wf(
        engine=engine,
        engine_reason=reason,
        existing_mask=image.existing_mask,
        skull_strip=_skull_strip(image, steps),
        weights_dir=steps.weights_dir,
        device=steps.device,
        template=steps.template,
        tta=steps.tta,
        allow_unverified=steps.allow_unverified,
        seed=steps.seed,
        resources=resources,
    )
    super_resolution_wf = init_super_resolution_wf(
        acquisition=acquisition,
        estimate=estimated_part(image, steps),
        method=steps.sr_method if image.action == "super-resolve" else "none",
        parameters=steps.sr_parameters if image.action == "super-resolve" else {},
        weights_files=steps.weights_files if image.action == "super-resolve" else (),
        keep_model=steps.save_model,
        spacing=steps.output_spacing,
        grid=steps.output_grid,
        resources=resources,
    )
    outputs_wf = init_outputs_wf(
        image=image,
        output_dir=output_dir,
        paths=paths,
        provenance=steps.provenance,
        full=steps.full,
        sloppy=steps.sloppy,
    )
    reports_wf = init_reports_wf(paths=paths.figures, resources=resources)

    workflow.connect([
        (source, preprocessing_wf, [("in_file", "inputnode.in_file")]),
        (preprocessing_wf, brain_extraction_wf, [
            ("outputnode.corrected", "inputnode.in_file"),
            ("outputnode.conformed", "inputnode.acquired_file"),
        ]),
        (preprocessing_wf, super_resolution_wf, [("outputnode.corrected", "inputnode.in_file")]),
        (brain_extraction_wf, super_resolution_wf, [("outputnode.out_mask", "inputnode.in_mask")]),
        (preprocessing_wf, outputs_wf, [
            ("outputnode.denoised", "inputnode.denoised"),
            ("outputnode.corrected", "inputnode.corrected"),
            ("outputnode.check_record", "inputnode.check"),
            ("outputnode.denoise_record", "inputnode.denoise"),
            ("outputnode.bias_record", "inputnode.bias_correction"),
        ]),
        (brain_extraction_wf, outputs_wf, [
            ("outputnode.out_mask", "inputnode.native_mask"),
            ("outputnode.record", "inputnode.brain_mask"),
            ("outputnode.skull_stripped", "inputnode.skull_stripped"),
        ]),
        (super_resolution_wf, outputs_wf, [
            ("outputnode.out_file", "inputnode.sr_file"),
            ("outputnode.out_mask", "inputnode.sr_mask"),
            ("outputnode.mask_record", "inputnode.sr_mask_record"),
            ("outputnode.out_profile", "inputnode.slice_profile"),
            ("outputnode.out_uncertainty", "inputnode.uncertainty"),
            ("outputnode.out_model", "inputnode.model"),
            ("outputnode.record", "inputnode.super_resolution"),
            ("outputnode.curve", "inputnode.curve"),
        ]),
        (preprocessing_wf, reports_wf, [
            ("outputnode.conformed", "inputnode.acquired_file"),
            ("outputnode.corrected", "inputnode.preprocessed_file"),
        ]),
        (brain_extraction_wf, reports_wf, [("outputnode.out_mask", "inputnode.acquired_mask")]),
        (super_resolution_wf, reports_wf, [
            ("outputnode.out_file", "inputnode.sr_file"),
            ("outputnode.out_uncertainty", "inputnode.uncertainty"),
            ("outputnode.out_profile", "inputnode.profile"),
            ("outputnode.acquisition", "inputnode.acquisition"),
            ("outputnode.curve", "inputnode.curve"),
            ("outputnode.record", "inputnode.record"),
        ]),
        (reports_wf, outputs_wf, [("outputnode.records", "inputnode.figures")]),
    ])  # fmt: skip
    parts = [outputs_wf, reports_wf]
    if steps.segmentations:
        segmentation_wf = init_segmentation_wf(
            image=image,
            output_dir=output_dir,
            steps=SegmentationSteps(
                asked=steps.segmentations,
                device=steps.device,
                seed=steps.seed,
                template=steps.template,
            ),
            companions=companions,
            resources=resources,
        )
        workflow.connect([
            (super_resolution_wf, segmentation_wf, [
                ("outputnode.out_file", "inputnode.in_file"),
                ("outputnode.out_mask", "inputnode.in_mask"),
            ]),
            (segmentation_wf, outputs_wf, [
                ("outputnode.records", "inputnode.segmentations"),
                ("outputnode.figure_records", "inputnode.segmentation_figures"),
            ]),
        ])  # fmt: skip
        parts.append(segmentation_wf)
    _clear_after(workflow, parts, leftover_patterns(output_dir, image))
    return workflow


def _clear_after(
    workflow: pe.Workflow, parts: Sequence[pe.Workflow], patterns: list[tuple[str, str, str]]
) -> None:
    """Let what earlier runs left of the image go when all that this run makes is written."""
    outputs = {SaveDerivative: "out_file", SaveDerivatives: "out_files"}
    saved = {
        node.name: (part, f"{node.name}.{field}")
        for part in parts
        for node in sorted(part._graph.nodes, key=lambda node: node.name)
        for kind, field in outputs.items()
        if isinstance(node.interface, kind)
    }
    clear_leftovers = pe.Node(
        ClearLeftovers(written=list(saved), patterns=patterns),
        name="clear_leftovers",
        run_without_submitting=True,
    )
    for name, (part, output) in saved.items():
        workflow.connect(part, output, clear_leftovers, name)


def acquisition_fields(image: AnatImage, steps: ImageSteps) -> dict[str, Any]:
    """Return the acquisition as plain values, which Nipype can hash (a file by its content)."""
    assert image.facts is not None
    acquisition = image.facts.acquisition
    return {
        "spacing": acquisition.spacing,
        "thickness": acquisition.thickness,
        "profile": _profile(image, steps),
        "slice_axis": acquisition.slice_axis,
        "assumed": list(acquisition.assumed),
    }


def estimated_part(image: AnatImage, steps: ImageSteps) -> str:
    """Return what the image is asked for: ``nothing``, their ``width``, or a ``check``.

    The check compares a thickness that is stated with the image.
    """
    assert image.facts is not None
    if steps.slice_profile != "auto":
        return "nothing"
    return "width" if "thickness" in image.facts.acquisition.assumed else "check"


def _profile(image: AnatImage, steps: ImageSteps) -> str:
    """Return the name of the profile, or the path of its table: the file joins the hash."""
    assert image.facts is not None
    stated = steps.slice_profile not in (None, "auto")
    return str(steps.slice_profile) if stated else image.facts.acquisition.slice_profile.name


def _skull_strip(image: AnatImage, steps: ImageSteps) -> str:
    """Return whether the image is taken for stripped: what its sidecar says counts."""
    if image.n_frames > 1 or not image.brain:
        return "force"
    if steps.skull_strip == "auto" and image.metadata.get("SkullStripped") is True:
        return "skip"
    return steps.skull_strip


def _mask_engine(image: AnatImage, steps: ImageSteps) -> tuple[str, str]:
    if image.existing_mask is not None:
        return "existing", image.mask_note
    if image.n_frames > 1:
        return "none", "a series of frames has no brain mask"
    if not image.brain and steps.mask_engine != "none":
        return "none", "the sidecar says that this is not a head"
    return steps.mask_engine, " ".join(filter(None, [steps.mask_reason, image.mask_note]))
