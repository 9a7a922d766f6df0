"""Graph of a whole run; only this module reads the run's configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from nipype.pipeline import engine as pe

from bids_sr import __version__
from bids_sr.bids.image import AnatImage
from bids_sr.bids.stacks import stack_groups
from bids_sr.config import RunConfig
from bids_sr.engines.brain import choose_engine
from bids_sr.exceptions import ConfigError
from bids_sr.interfaces.super_resolution import chosen_method

from .brain_extraction import BrainExtraction
from .dataset import DatasetLearning, init_dataset_wf
from .fusion import LAST_NODE, edges_of_member, fusion_wf_name, init_fusion_wf
from .image import ImageSteps, graph_name, image_wf_name, init_image_wf
from .outputs import Outputs
from .preprocessing import Preprocessing
from .resources import Resources
from .segmentation import Segmentation
from .super_resolution import SuperResolution

SOFTWARE = ("bids_sr", "antspyx", "torch")
SLOPPY_TEXT = (
    "**This is not a result**: the run was started with `--sloppy`, which uses coarse settings "
    "in every step, to test that everything works. Do not publish its images.\n\n"
)
INTRODUCTION = (
    "Images with thick slices were processed with *bids_sr* {version}, a BIDS App "
    "[@gorgolewski2017] built on *Nipype* [@gorgolewski2011], *nibabel* [@brett_nibabel] and "
    "*pybids* [@yarkoni2019]; the data were organised by BIDS [@gorgolewski2016]. "
)


def init_bids_sr_wf(
    config: RunConfig, images: Sequence[AnatImage], *, use_gpu: bool = False
) -> pe.Workflow:
    """Build the graph of a run: one sub-graph per subject, which holds one per image.

    Parameters
    ----------
    config : RunConfig
        The run's configuration.
    images : sequence of AnatImage
        The plan; images that are skipped or failed the header check are left out.
    use_gpu : bool
        Whether torch nodes take a GPU slot.

    Returns
    -------
    Workflow
        With ``base_dir`` set; its methods text is gathered by :func:`methods_text`.

    Raises
    ------
    ConfigError
        If no image is left to process.
    WeightsError
        If weights are missing; the message says how to get them.
    """
    todo = [image for image in images if image.processed]
    if not todo:
        raise ConfigError(
            f"0 of {len(images)} images can be processed; expected at least one. "
            "Run with --dry-run to see what happens to each image and why."
        )
    workflow = pe.Workflow(
        name=f"bids_sr_{re.sub(r'[^0-9]+', '_', __version__)}_wf", base_dir=str(config.work_dir)
    )
    workflow.__desc__ = (SLOPPY_TEXT if config.sloppy else "") + INTRODUCTION.format(
        version=__version__
    )
    steps = _steps(config)
    learnt = _dataset_graphs(config, steps, todo, use_gpu)
    by_subject: dict[str, list[AnatImage]] = {}
    for image in todo:
        by_subject.setdefault(image.subject, []).append(image)
    subject_wfs = {
        subject: pe.Workflow(name=graph_name(f"sub-{subject}")) for subject in sorted(by_subject)
    }
    for subject, subject_wf in subject_wfs.items():
        image_wfs = [
            init_image_wf(
                image=image,
                steps=steps,
                companions=by_subject[subject],
                resources=_resources(config, image, use_gpu),
            )
            for image in by_subject[subject]
        ]
        subject_wf.add_nodes(image_wfs)
        _connect_guides(subject_wf, by_subject[subject])
        _add_fusion(subject_wf, config, by_subject[subject], steps, use_gpu=use_gpu)
    workflow.add_nodes(list(subject_wfs.values()))
    in_model = "super_resolution_wf.inputnode.in_model"
    workflow.connect([
        (learnt[image.suffix], subject_wfs[image.subject], [
            ("outputnode.out_weights", f"{image_wf_name(image)}.{in_model}"),
        ])
        for image in todo
        if image.suffix in learnt and image.action == "super-resolve"
    ])  # fmt: skip
    return workflow


def _connect_guides(subject_wf: pe.Workflow, images: Sequence[AnatImage]) -> None:
    """Bring each guide that is processed in the run, preprocessed, to the image that it guides."""
    guides = {image.relpath: subject_wf.get_node(image_wf_name(image)) for image in images}
    in_guide = "super_resolution_wf.inputnode.in_guide"
    subject_wf.connect([
        (guides[image.guide], guides[image.relpath], [
            ("preprocessing_wf.outputnode.corrected", in_guide),
        ])
        for image in images
        if image.guide in guides and image.guide_path is None
    ])  # fmt: skip


def _add_fusion(
    subject_wf: pe.Workflow,
    config: RunConfig,
    images: Sequence[AnatImage],
    steps: ImageSteps,
    *,
    use_gpu: bool,
) -> None:
    """Add to the graph of a subject what fuses its stacks, group by group."""
    for group in stack_groups(images):
        fusion_wf = init_fusion_wf(
            group=group,
            steps=steps,
            companions=images,
            resources=_resources(config, group.finest, use_gpu),
        )
        subject_wf.connect([
            (subject_wf.get_node(image_wf_name(member)), fusion_wf, edges_of_member(place))
            for place, member in enumerate(group.members)
        ])  # fmt: skip


def _dataset_graphs(
    config: RunConfig, steps: ImageSteps, images: Sequence[AnatImage], use_gpu: bool
) -> dict[str, pe.Workflow]:
    """Build the graphs that train on all images of a suffix, if the options ask for it."""
    recipe = config.method_options.recipe
    if recipe is None:
        return {}
    learners: dict[str, list[AnatImage]] = {}
    for image in images:
        if image.action == "super-resolve":
            learners.setdefault(image.suffix, []).append(image)
    parameters: dict[str, Any] = {"seed": config.random_seed, "device": config.device}
    if config.sloppy:
        parameters |= recipe.sloppy
    if isinstance(config.output_resolution, float):
        parameters["spacing"] = config.output_resolution
    learning = DatasetLearning(
        recipe=recipe,
        parameters=parameters,
        start_file=next(iter(steps.super_resolution.weights_files), None),
        estimates_profile=steps.super_resolution.estimates_profile,
    )
    return {
        suffix: init_dataset_wf(
            images=learned_from,
            options=learning,
            resources=_resources(config, learned_from[0], use_gpu),
        )
        for suffix, learned_from in learners.items()
    }


def images_by_graph(images: Sequence[AnatImage]) -> dict[str, AnatImage]:
    """Return the images of a plan that have graphs, by the names of these."""
    processed = [image for image in images if image.processed]
    return {image_wf_name(image): image for image in reversed(processed)}


def image_of_node(fullname: str, images: Mapping[str, AnatImage]) -> AnatImage | None:
    """Find the image that a node belongs to.

    Parameters
    ----------
    fullname : str
        Full name of the node, with the names of the graphs around it.
    images : mapping of str to AnatImage
        From :func:`images_by_graph`.
    """
    return next((images[graph] for graph in fullname.split(".") if graph in images), None)


def groups_by_graph(images: Sequence[AnatImage]) -> dict[str, str]:
    """Return the names of the volumes that stacks of a plan are fused into, by their graphs."""
    return {fusion_wf_name(group): group.name for group in stack_groups(images)}


def ended_groups(images: Sequence[AnatImage], ended: Iterable[str]) -> list[str]:
    """List the groups of stacks of which everything is written, by the nodes that have ended."""
    last = {tuple(name.split(".")[-2:]) for name in ended}
    return [
        group.name for group in stack_groups(images) if (fusion_wf_name(group), LAST_NODE) in last
    ]


def makes_product(fullname: str) -> bool:
    """Tell whether the product of an image depends on a node, by its full name.

    Nodes of other outputs may fail without loss of the product.
    """
    *graphs, node = fullname.split(".")
    if "outputs_wf" in graphs:
        return node in ("gather_before", "save_sr", "save_preproc")
    beside = {"reports_wf", "segmentation_wf"} & {*graphs}
    return not beside and node not in ("mask_to_grid", "measure_image", "clear_leftovers")


def methods_text(workflow: pe.Workflow) -> str:
    """Gather the methods text from the graph that was really built.

    Sentences that several images share appear once, in the order of the first
    image that has them.
    """
    texts: dict[str, None] = {}
    _gather(workflow, texts)
    return "".join(texts).strip()


def _gather(workflow: pe.Workflow, texts: dict[str, None]) -> None:
    text = getattr(workflow, "__desc__", None)
    if text:
        texts[text] = None
    for node in workflow._graph.nodes:
        if isinstance(node, pe.Workflow):
            _gather(node, texts)


def _steps(config: RunConfig) -> ImageSteps:
    engine, reason = choose_engine(config.skull_strip_method, config.weights_dir)
    options = config.method_options
    parameters, files = chosen_method(
        options.method, options.parameters(), model_follows=options.recipe is not None
    )
    provenance: dict[str, Any] = {"Software": {name: version(name) for name in SOFTWARE}}
    if config.sloppy:
        provenance["Sloppy"] = True
    if options.recipe is not None:
        provenance["DatasetRecipe"] = options.recipe.name
    return ImageSteps(
        preprocessing=Preprocessing(
            denoise_method=config.denoise_method,
            anat_biascorrect=config.anat_biascorrect,
            slice_gain=config.slice_gain,
            random_seed=config.random_seed,
            sloppy=config.sloppy,
        ),
        brain_extraction=BrainExtraction(
            engine=engine,
            engine_reason=reason,
            skull_strip_anat=config.skull_strip_anat,
            weights_dir=config.weights_dir,
            device=config.device,
            template=config.template,
            hdbet_tta=config.hdbet_tta,
            allow_unverified_weights=config.allow_unverified_weights,
            random_seed=config.random_seed,
        ),
        super_resolution=SuperResolution(
            sr_method=config.sr_method,
            parameters=parameters,
            weights_files=files,
            save_model=config.save_model,
            slice_profile=config.slice_profile,
            output_resolution=config.output_resolution,
            output_grid=str(config.output_grid),
            random_seed=config.random_seed,
        ),
        segmentation=Segmentation(
            output_dir=config.output_dir,
            segmentation=config.segmentation,
            device=config.device,
            random_seed=config.random_seed,
            template=config.template,
        ),
        outputs=Outputs(
            output_dir=config.output_dir,
            level=config.level,
            sloppy=config.sloppy,
            provenance=provenance,
        ),
    )


def _resources(config: RunConfig, image: AnatImage, use_gpu: bool) -> Resources:
    assert image.source_grid is not None
    assert image.target_grid is not None
    return Resources.of(
        image.source_grid.shape,
        image.target_grid.shape,
        frames=image.n_frames,
        threads=config.omp_nthreads,
        gpu=use_gpu,
    )
