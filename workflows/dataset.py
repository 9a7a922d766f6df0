"""Graph of what is learnt from all images of a contrast before each is processed."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_sr.bids.image import AnatImage
from bids_sr.interfaces.super_resolution import LearnFromImages
from bids_sr.method_facts import DatasetRecipe

from .resources import Resources


def init_dataset_wf(
    *,
    images: Sequence[AnatImage],
    acquisitions: Sequence[dict[str, Any]],
    estimates: Sequence[str],
    recipe: DatasetRecipe,
    parameters: dict[str, Any],
    start_file: Path | None,
    resources: Resources,
    name: str,
) -> pe.Workflow:
    """Build the graph that learns weights from the images of one contrast.

    Parameters
    ----------
    images : sequence of AnatImage
        Of one suffix; read as they were acquired, so that none waits for another.
    acquisitions : sequence of dict
        Fields of ``Acquisition`` of each.
    estimates : sequence of {"nothing", "width", "check"}
        What each is asked for of its slices.
    recipe : DatasetRecipe
        What trains the weights.
    parameters : dict
        Its settings; those that it lacks are left out.
    start_file : Path or None
        Weights to begin with.
    resources : Resources
        Threads and memory.
    name : str

    Outputs
    -------
    out_weights
        What was learnt, for each of the images.
    """
    workflow = pe.Workflow(name=name)
    workflow.__desc__ = recipe.text.format(suffix=images[0].suffix, number=len(images))
    outputnode = pe.Node(niu.IdentityInterface(fields=["out_weights"]), name="outputnode")
    learn = pe.Node(
        LearnFromImages(
            in_files=[str(image.path) for image in images],
            acquisitions=list(acquisitions),
            estimates=list(estimates),
            recipe=recipe.name,
            parameters=parameters,
            start_file=None if start_file is None else str(start_file),
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
