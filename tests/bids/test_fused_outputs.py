"""Names and sidecars of fused volumes, and those that go when they are out of date."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from bids_sr.bids.fused_outputs import (
    fused_metadata,
    fused_paths,
    fused_sources,
    read_fusion,
    settle_fused,
)
from bids_sr.bids.image import AnatImage
from bids_sr.bids.layout import open_layout, plan_images
from bids_sr.bids.selection import Selection
from bids_sr.bids.stacks import StackGroup, stack_groups
from bids_sr.records.fusion_record import FusedStack, FusionRecord

AddImage = Callable[..., Path]


def planned(dataset: Path, **options: bool) -> tuple[list[AnatImage], list[StackGroup]]:
    images = plan_images(open_layout(dataset), Selection(sr_method="bspline", **options))
    return images, stack_groups(images)


def write_fused(output: Path, group: StackGroup) -> Path:
    """Write all files of a fused volume, empty but for what says how it was made."""
    paths = fused_paths(output, group)
    frame = group.finest.relpath
    record = FusionRecord(
        status="done",
        product=group.name,
        frame=frame,
        stacks=tuple(FusedStack(image=image.relpath, used=True) for image in group.members),
    )
    for path in (paths.products[frame], *paths.beside, *paths.transforms.values()):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    sidecar = paths.products[frame].with_name(
        paths.products[frame].name.replace(".nii.gz", ".json")
    )
    sidecar.write_text(json.dumps({"Fusion": record.to_dict()}))
    paths.quality.write_text(json.dumps(record.to_dict()))
    return paths.products[frame]


def test_names_and_sidecar(dataset: Path, add_image: AddImage) -> None:
    shared = {"EchoTime": 0.08, "SliceThickness": 3.5}
    add_image("sub-01_acq-ax_T2w", {**shared, "RepetitionTime": 4.0})
    add_image("sub-01_acq-sag_T2w", {**shared, "RepetitionTime": 4.5}, spacings=(4, 1, 1))
    _, (group,) = planned(dataset)
    paths = fused_paths(Path("out"), group)
    names = [*(path.name for path in paths.products.values()), paths.mask.name]
    assert names == [
        "sub-01_res-1mm_desc-fused_T2w.nii.gz",
        "sub-01_res-1mm_desc-fused_T2w.nii.gz",
        "sub-01_space-T2w_label-brain_desc-fused_mask.nii.gz",
    ]
    assert [path.name for path in paths.transforms.values()] == [
        "sub-01_acq-ax_from-T2w_to-fused_mode-image_xfm.txt",
        "sub-01_acq-sag_from-T2w_to-fused_mode-image_xfm.txt",
    ]
    sidecar = fused_metadata(group, group.finest)
    assert sidecar["EchoTime"] == 0.08
    assert "RepetitionTime" not in sidecar
    assert sidecar["SliceThickness"] == 1.0
    sources = fused_sources(Path("out"), group)["sub-01/anat/sub-01_acq-ax_T2w.nii.gz"]
    assert sources == [
        "bids::sub-01/anat/sub-01_acq-ax_res-1mm_desc-sr_T2w.nii.gz",
        "bids:raw:sub-01/anat/sub-01_acq-ax_T2w.nii.gz",
    ]


def test_a_fused_volume_goes_when_its_stacks_are_made_anew_and_not_fused(
    dataset: Path, add_image: AddImage, tmp_path: Path
) -> None:
    add_image("sub-01_acq-ax_T2w")
    add_image("sub-01_acq-sag_T2w", spacings=(4, 1, 1))
    output = tmp_path / "out"
    images, (group,) = planned(dataset)
    every = [image.relpath for image in images]
    product = write_fused(output, group)
    assert settle_fused(output, images, every) == []
    alone, _ = planned(dataset, fuse_stacks=False)
    assert settle_fused(output, alone, every[:1]) == []
    assert product.exists()
    assert read_fusion(output, group).used == tuple(every)
    assert settle_fused(output, alone, every) == [
        f"removed {product.name}: its stacks were made anew and not fused"
    ]
    assert not [path for path in output.rglob("*") if path.is_file()]


def test_another_resolution_takes_the_place_of_the_former(
    dataset: Path, add_image: AddImage, tmp_path: Path
) -> None:
    add_image("sub-01_acq-ax_T2w")
    add_image("sub-01_acq-sag_T2w", spacings=(4, 1, 1))
    output = tmp_path / "out"
    images, (group,) = planned(dataset)
    product = write_fused(output, group)
    coarse = plan_images(
        open_layout(dataset), Selection(sr_method="bspline", output_resolution=2.0)
    )
    again = write_fused(output, *stack_groups(coarse))
    assert len(settle_fused(output, coarse, [image.relpath for image in images])) == 1
    assert again.exists()
    assert not product.exists()
    assert all(path.exists() for path in fused_paths(output, group).transforms.values())


def test_a_fused_volume_goes_when_stacks_are_removed(
    dataset: Path, add_image: AddImage, tmp_path: Path
) -> None:
    removed = add_image("sub-01_acq-ax_T2w")
    add_image("sub-01_acq-sag_T2w", spacings=(4, 1, 1))
    output = tmp_path / "out"
    _, (group,) = planned(dataset)
    product = write_fused(output, group)
    others = output / "sub-01/anat/sub-01_acq-ax_res-1mm_desc-sr_T2w.nii.gz"
    others.write_text("x")
    removed.unlink()
    images, _ = planned(dataset)
    assert settle_fused(output, images, []) == []
    assert settle_fused(output, images, [image.relpath for image in images]) == [
        f"removed {product.name}: some of its stacks are gone and not fused"
    ]
    assert [path for path in output.rglob("*") if path.is_file()] == [others]


def test_a_transform_to_a_former_frame_goes(
    dataset: Path, add_image: AddImage, tmp_path: Path
) -> None:
    removed = add_image("sub-01_acq-ax_T2w")
    add_image("sub-01_acq-cor_T2w", spacings=(1, 4, 1))
    add_image("sub-01_acq-sag_T2w", spacings=(4, 1, 1))
    output = tmp_path / "out"
    _, (group,) = planned(dataset)
    former = fused_paths(output, group).transforms[removed.relative_to(dataset).as_posix()]
    write_fused(output, group)
    assert former.exists()
    removed.unlink()
    images, (pair,) = planned(dataset)
    product = write_fused(output, pair)
    assert settle_fused(output, images, [image.relpath for image in images]) == []
    assert product.exists()
    assert not former.exists()
    assert all(path.exists() for path in fused_paths(output, pair).transforms.values())
