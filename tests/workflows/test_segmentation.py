"""Which tools get a node, and what each is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nipype.pipeline.engine.utils import generate_expanded_graph

from bids_sr.bids.image import AnatImage
from bids_sr.config import RunConfig
from bids_sr.engines.segmentation import make_segmentation
from bids_sr.workflows.base import init_bids_sr_wf, methods_text

MakeImage = Callable[..., AnatImage]


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Any]:
    def build(images: list[AnatImage], *tools: str, **changes: Any) -> Any:
        config = RunConfig(
            bids_dir=tmp_path / "bids",
            output_dir=tmp_path / "out",
            work_dir=tmp_path / "work",
            sr_method="bspline",
            skull_strip_method="template",
            segmentation=tools,
            **changes,
        )
        return init_bids_sr_wf(config, images)

    return build


def node(workflow: Any, name: str) -> Any:
    return workflow.get_node(next(n for n in workflow.list_node_names() if n.endswith(name)))


def test_no_tool_makes_no_node(make_image: MakeImage, build: Callable[..., Any]) -> None:
    workflow = build([make_image()])
    assert not [name for name in workflow.list_node_names() if ".segment_" in name]
    graph = generate_expanded_graph(workflow._create_flat_graph())
    (quality,) = (node for node in graph.nodes if node.name == "save_quality")
    assert quality.inputs.segmentations == []


def test_each_tool_is_a_node_with_its_names(
    make_image: MakeImage, build: Callable[..., Any], tmp_path: Path
) -> None:
    workflow = build([make_image(suffix="FLAIR")], "atropos", "wmh", omp_nthreads=1)
    for tool, files in {
        "atropos": {
            "sub-01_acq-FLAIR_seg-atropos_desc-sr_dseg.nii.gz",
            "sub-01_acq-FLAIR_seg-atropos_desc-sr_dseg.tsv",
            "sub-01_acq-FLAIR_seg-atropos_desc-sr_volumes.tsv",
            "sub-01_acq-FLAIR_space-orig_seg-atropos_desc-sr_dseg.nii.gz",
            "sub-01_acq-FLAIR_space-orig_seg-atropos_desc-sr_volumes.tsv",
            "sub-01_space-FLAIR_label-CSF_desc-atropos_probseg.nii.gz",
            "sub-01_space-FLAIR_label-GM_desc-atropos_probseg.nii.gz",
            "sub-01_space-FLAIR_label-WM_desc-atropos_probseg.nii.gz",
        },
        "wmh": {
            "sub-01_acq-FLAIR_seg-wmh_desc-sr_dseg.nii.gz",
            "sub-01_acq-FLAIR_seg-wmh_desc-sr_dseg.tsv",
            "sub-01_acq-FLAIR_seg-wmh_desc-sr_volumes.tsv",
            "sub-01_acq-FLAIR_seg-wmh_desc-sr_lesions.tsv",
            "sub-01_acq-FLAIR_space-orig_seg-wmh_desc-sr_dseg.nii.gz",
            "sub-01_acq-FLAIR_space-orig_seg-wmh_desc-sr_volumes.tsv",
            "sub-01_acq-FLAIR_space-orig_label-lesion_desc-wmh_mask.nii.gz",
            "sub-01_space-FLAIR_label-lesion_desc-wmh_mask.nii.gz",
        },
    }.items():
        segment = node(workflow, f"segment_{tool}")
        assert segment.inputs.refusal == ""
        assert segment.mem_gb >= make_segmentation(tool).memory_gb[0]
        paths = node(workflow, f"save_{tool}").inputs.out_paths.values()
        assert {Path(path).name for path in paths} == files
        metadata = node(workflow, f"save_{tool}").inputs.metadata
        assert metadata["labels"]["Sources"] == [
            "bids::sub-01/anat/sub-01_res-1mm_desc-sr_FLAIR.nii.gz"
        ]
    text = methods_text(workflow)
    assert "Roura" in text
    assert "Atropos" in text


def test_what_is_not_segmented_is_told_why(
    make_image: MakeImage, build: Callable[..., Any]
) -> None:
    workflow = build([make_image(suffix="T1w")], "wmh")
    assert node(workflow, "segment_wmh").inputs.refusal == "wmh is made for FLAIR, not for T1w"
    assert "Roura" not in methods_text(workflow)
    knee = make_image(brain=False)
    assert "not a head" in node(build([knee], "atropos"), "segment_atropos").inputs.refusal
    series = make_image(n_frames=3)
    assert "series" in node(build([series], "atropos"), "segment_atropos").inputs.refusal


def test_lst_ai_gets_the_t1w_of_its_session(
    make_image: MakeImage, build: Callable[..., Any]
) -> None:
    flair, t1w, other = (
        make_image(suffix="FLAIR"),
        make_image(suffix="T1w"),
        make_image("02", suffix="FLAIR"),
    )
    workflow = build([flair, t1w, other], "lst-ai")
    names = [name for name in workflow.list_node_names() if name.endswith("segment_lstai")]
    own, others = (
        workflow.get_node(next(name for name in names if stem in name)).inputs
        for stem in ("sub_01_FLAIR", "sub_02_FLAIR")
    )
    assert own.companion_file == str(t1w.path)
    assert own.refusal == ""
    assert others.refusal == "lst-ai also needs a T1w image of the same session"
