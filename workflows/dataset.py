"""Graph that trains weights on all images of a contrast before each is processed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.bids.image import AnatImage
from bids_sr.interfaces.super_resolution import LearnFromImages
from bids_sr.method_facts import DatasetRecipe

from .resources import Resources


@dataclass(frozen=True, kw_only=True)
class DatasetLearning:
    """How weights are trained on all images of a contrast."""

    recipe: DatasetRecipe
    """What trains the weights."""
    parameters: dict[str, Any]
    """Its settings; those that it lacks are left out."""
    start_file: Path | None = None
    """Weights to begin with."""
    estimates_profile: bool = False
    """Whether what is not stated of the slices is estimated from each image."""


def init_dataset_wf(
    *, images: Sequence[AnatImage], options: DatasetLearning, resources: Resources
) -> pe.Workflow:
    """Build the graph that trains weights on the images of one contrast.

    Parameters
    ----------
    images : sequence of AnatImage
        Images of one suffix; read as acquired, so that none waits for another.
    options : DatasetLearning
        Recipe and settings of the training.
    resources : Resources
        Threads and memory.

    Outputs
    -------
    out_weights
        The trained weights, for each of the images.
    """
    recipe, suffix = options.recipe, images[0].suffix
    workflow = pe.Workflow(name=f"dataset_{suffix}_wf")
    workflow.__desc__ = recipe.text.format(suffix=suffix, number=len(images))
    outputnode = pe.Node(niu.IdentityInterface(fields=["out_weights"]), name="outputnode")
    learn = pe.Node(
        LearnFromImages(
            in_files=[str(image.path) for image in images],
            acquisitions=[image.facts.acquisition for image in images if image.facts],
            estimates_profile=options.estimates_profile,
            recipe=recipe.name,
            parameters=options.parameters,
            start_file=options.start_file and str(options.start_file),
            num_threads=resources.threads,
            use_gpu=resources.gpu,
        ),
        name="learn",
        n_procs=resources.threads,
        mem_gb=resources.learning_gb(sum(map(_megavoxels, images))),
    )
    workflow.connect([
        (learn, outputnode, [("out_weights", "out_weights")]),
    ])  # fmt: skip
    return workflow


def _megavoxels(image: AnatImage) -> float:
    assert image.source_grid is not None
    return image.n_frames * prod(image.source_grid.shape) / 1e6
