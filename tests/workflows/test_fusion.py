"""The graph of stacks that are fused: built, not run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bids_sr.bids.image import AnatImage
from bids_sr.config import RunConfig
from bids_sr.run.memory import participant_memory_gb
from bids_sr.workflows.base import ended_groups, init_bids_sr_wf, methods_text

MakeImage = Callable[..., AnatImage]
NAME = "sub-01_desc-fused_T2w"


def config(tmp_path: Path, *segmentation: str) -> RunConfig:
    return RunConfig(
        segmentation=segmentation,
        bids_dir=tmp_path / "bids",
        output_dir=tmp_path / "out",
        work_dir=tmp_path / "work",
        sr_method="bspline",
        skull_strip_method="none",
    )


def member(make_image: MakeImage, plane: str, *, fused: bool = True) -> AnatImage:
    stem = f"sub-01_acq-{plane}_T2w"
    return make_image(
        suffix="T2w",
        path=Path(f"/data/{stem}.nii.gz"),
        relpath=f"sub-01/anat/{stem}.nii.gz",
        entities={"subject": "01", "acquisition": plane},
        fused_into=NAME if fused else "",
        is_reference=False,
    )


def test_a_group_has_a_graph_that_waits_for_its_stacks(
    make_image: MakeImage, tmp_path: Path
) -> None:
    images = [member(make_image, plane) for plane in ("ax", "sag")]
    workflow = init_bids_sr_wf(config(tmp_path), images)
    subject_wf = workflow.get_node("sub_01_wf")
    fusion_wf = subject_wf.get_node("sub_01_desc_fused_T2w_wf")
    befores = [node.name for node in subject_wf._graph.predecessors(fusion_wf)]
    assert sorted(befores) == ["sub_01_acq_ax_T2w_wf", "sub_01_acq_sag_T2w_wf"]
    fuse = fusion_wf.get_node("fuse_stacks")
    assert fuse.inputs.images == [image.relpath for image in images]
    assert fuse.inputs.random_seed == config(tmp_path).random_seed
    assert "regularised least squares" in methods_text(workflow)


def test_images_alone_have_the_graph_that_they_had(make_image: MakeImage, tmp_path: Path) -> None:
    alone = [member(make_image, plane, fused=False) for plane in ("ax", "sag")]
    left = [member(make_image, "ax"), member(make_image, "sag", fused=False)]
    for images in (alone, left):
        names = init_bids_sr_wf(config(tmp_path), images).list_node_names()
        assert not [name for name in names if "fuse" in name]


def test_the_memory_of_a_participant_counts_fusing(make_image: MakeImage, tmp_path: Path) -> None:
    stacks = [member(make_image, plane) for plane in ("ax", "sag")]
    alone = [member(make_image, plane, fused=False) for plane in ("ax", "sag")]
    wide = RunConfig(
        bids_dir=tmp_path / "bids",
        output_dir=tmp_path / "out",
        work_dir=tmp_path / "work",
        sr_method="bspline",
        skull_strip_method="none",
        nprocs=9,
    )
    assert participant_memory_gb(wide, stacks) > participant_memory_gb(wide, alone)


def test_a_fused_volume_is_segmented_and_its_stacks_too(
    make_image: MakeImage, tmp_path: Path
) -> None:
    images = [member(make_image, plane) for plane in ("ax", "sag")]
    workflow = init_bids_sr_wf(config(tmp_path, "atropos"), images)
    names = workflow.list_node_names()
    assert len([name for name in names if name.endswith("segment_atropos")]) == 3
    fusion_wf = workflow.get_node("sub_01_wf").get_node("sub_01_desc_fused_T2w_wf")
    save = fusion_wf.get_node("segmentation_wf").get_node("save_atropos")
    files = {Path(path).name for path in save.inputs.out_paths.values()}
    assert "sub-01_acq-T2w_seg-atropos_desc-fused_dseg.nii.gz" in files
    assert "sub-01_space-T2w_label-GM_desc-fusedatropos_probseg.nii.gz" in files
    metadata = save.inputs.metadata["labels"]
    assert metadata["SpatialReference"].endswith("sub-01_res-1mm_desc-fused_T2w.nii.gz")
    wfs = [
        workflow.get_node("sub_01_wf").get_node(f"sub_01_acq_{p}_T2w_wf") for p in ("ax", "sag")
    ]
    for image_wf in wfs:
        own = image_wf.get_node("segmentation_wf").get_node("save_atropos")
        assert not files & {Path(path).name for path in own.inputs.out_paths.values()}


def test_the_volume_waits_for_nothing_that_is_made_of_it(
    make_image: MakeImage, tmp_path: Path
) -> None:
    images = [member(make_image, plane) for plane in ("ax", "sag")]
    workflow = init_bids_sr_wf(config(tmp_path, "atropos"), images)
    graph = workflow.get_node("sub_01_wf").get_node("sub_01_desc_fused_T2w_wf")._graph
    (save,) = (node for node in graph if node.name == "save_fused")
    assert {node.name for node in graph.predecessors(save)} == {"fuse_stacks", "fuse_masks"}


def test_a_group_has_ended_when_its_files_are_written(make_image: MakeImage) -> None:
    images = [member(make_image, plane) for plane in ("ax", "sag")]
    folder = "bids_sr_wf.sub_01_wf.sub_01_desc_fused_T2w_wf"
    assert ended_groups(images, [f"{folder}.fuse_stacks"]) == []
    assert ended_groups(images, [f"{folder}.save_fused"]) == [NAME]
