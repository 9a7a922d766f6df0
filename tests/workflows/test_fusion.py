"""The graph of stacks that are fused: built, not run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bids_sr.bids.image import AnatImage
from bids_sr.config import RunConfig
from bids_sr.run.memory import participant_memory_gb
from bids_sr.workflows.base import init_bids_sr_wf, methods_text

MakeImage = Callable[..., AnatImage]
NAME = "sub-01_desc-fused_T2w"


def config(tmp_path: Path) -> RunConfig:
    return RunConfig(
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
