"""The graph of images that are guided: built, not run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bids_sr.bids.image import AnatImage
from bids_sr.config import RunConfig
from bids_sr.interfaces.guide import ApplyGuide
from bids_sr.workflows.base import init_bids_sr_wf, methods_text
from bids_sr.workflows.resources import Demand, Resources

MakeImage = Callable[..., AnatImage]
GUIDE = "sub-01/anat/sub-01_T1w.nii.gz"


def config(tmp_path: Path, **options: Any) -> RunConfig:
    folders = {name: tmp_path / name for name in ("bids", "out", "work")}
    return RunConfig(
        bids_dir=folders["bids"],
        output_dir=folders["out"],
        work_dir=folders["work"],
        skull_strip_method="none",
        **options,
    )


def session(make_image: MakeImage, action: str = "pass-through") -> list[AnatImage]:
    thin = make_image()
    if action == "pass-through":
        thin = replace(thin, action="pass-through", target_grid=thin.source_grid)
    return [make_image(suffix="FLAIR", guide=GUIDE, is_reference=False), thin]


def edges_of_step(workflow: Any, kind: type) -> dict[str, str]:
    """Return the full names of the nodes before a step, by its inputs, as they are run."""
    flat = workflow._create_flat_graph()
    from nipype.pipeline.engine.utils import generate_expanded_graph

    graph = generate_expanded_graph(flat)
    step = next(node for node in graph.nodes if isinstance(node.interface, kind))
    return {
        name: before.fullname
        for before, _, edge in graph.in_edges(step, data=True)
        for _, name in edge["connect"]
    }


@pytest.mark.parametrize("action", ["pass-through", "super-resolve"])
@pytest.mark.parametrize("adapt", ["none", "image"])
def test_the_preprocessed_guide_comes_after_the_own_super_resolution(
    make_image: MakeImage, tmp_path: Path, action: str, adapt: str
) -> None:
    workflow = init_bids_sr_wf(config(tmp_path, sr_adapt=adapt), session(make_image, action))
    before = edges_of_step(workflow, ApplyGuide)
    assert before["guide_file"].endswith("sub_01_T1w_wf.preprocessing_wf.correct_bias")
    own = "sub_01_FLAIR_wf.super_resolution_wf.super_resolve"
    made = ("sr_file", "uncertainty", "method", "learned", "acquisition")
    assert all(before[name].endswith(own) for name in made)
    step = workflow.get_node("sub_01_wf.sub_01_FLAIR_wf.super_resolution_wf.apply_guide")
    assert step.interface.inputs.source == f"bids:raw:{GUIDE}"
    assert step.interface.inputs.random_seed == config(tmp_path).random_seed
    assert methods_text(workflow).count("registered rigidly") == 1


def test_what_follows_takes_the_guided_image(make_image: MakeImage, tmp_path: Path) -> None:
    from nipype.pipeline.engine.utils import generate_expanded_graph

    chosen = config(tmp_path, segmentation=("atropos",))
    graph = generate_expanded_graph(
        init_bids_sr_wf(chosen, session(make_image))._create_flat_graph()
    )
    step = next(node for node in graph.nodes if isinstance(node.interface, ApplyGuide))
    after = {node.name for node in graph.successors(step)}
    assert {"save_sr", "save_uncertainty", "draw_sr", "draw_guide", "segment_atropos"} <= after
    assert "mask_to_grid" not in after  # which depends on the grid alone


def test_images_without_a_guide_have_no_further_steps(
    make_image: MakeImage, tmp_path: Path
) -> None:
    images = [replace(image, guide="") for image in session(make_image)]
    names = init_bids_sr_wf(config(tmp_path), images)._create_flat_graph().nodes
    assert not [node for node in names if isinstance(node.interface, ApplyGuide)]
    assert not [node.name for node in names if "guide" in node.name and "draw" in node.name]


def test_a_guide_that_is_left_out_of_the_run_is_read_as_acquired(
    make_image: MakeImage, tmp_path: Path
) -> None:
    flair, thin = session(make_image)
    workflow = init_bids_sr_wf(config(tmp_path), [replace(flair, guide_path=thin.path)])
    inputnode = "sub_01_wf.sub_01_FLAIR_wf.super_resolution_wf.inputnode"
    assert str(workflow.get_node(inputnode).inputs.in_guide) == str(thin.path)
    assert "guide_file" not in edges_of_step(workflow, ApplyGuide)


def test_an_image_whose_guide_cannot_be_planned_has_a_graph(
    make_image: MakeImage, tmp_path: Path
) -> None:
    flair, thin = session(make_image)
    for images in ([flair], [flair, replace(thin, action="fail")]):
        assert "guide_file" not in edges_of_step(
            init_bids_sr_wf(config(tmp_path), images), ApplyGuide
        )


def test_the_memory_of_an_image_counts_the_guide() -> None:
    needs = Resources(acquired_megavoxels=2.0, output_megavoxels=9.0)
    step = Demand(needs.guide_gb, 1)
    alone, guided = (needs.stages("none", "finetuned", guided=guided) for guided in (False, True))
    assert not [stage for stage in alone if step in stage]
    assert [stage for stage in guided if stage not in alone] == [
        [Demand(needs.brain_gb["none"], 1), step, Demand(needs.light_gb, 1)]
    ]
