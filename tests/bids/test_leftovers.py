"""Files that an earlier run left of an image, told apart from those of others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bids_sr.bids.derivatives import FIGURES, output_path, output_paths, segmentation_paths
from bids_sr.bids.image import AnatImage
from bids_sr.bids.leftovers import fused_segmentation_patterns, leftover_patterns
from bids_sr.files.writing import remove_others, write_json_atomic

Plan = Callable[..., dict[str, AnatImage]]
FIELDS = ("SuperResolution", "BrainExtraction", "Segmentation", "Sources")


def sidecar_of(path: Path) -> Path:
    return path.with_name(f"{path.name.split('.')[0]}.json")


def write(paths: list[Path]) -> set[Path]:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        if path.name.endswith(".nii.gz"):
            write_json_atomic(sidecar_of(path), {field: ["x"] for field in FIELDS})
    return set(paths)


def every_output(out: Path, image: AnatImage) -> list[Path]:
    paths = output_paths(out, image)
    tools = {"wmh": ([], ["lesion"]), "atropos": (["CSF", "GM"], []), "nnunetmine": ([], [])}
    outputs = [
        *(paths.product, paths.mask, paths.native_mask, paths.denoised, paths.n4),
        *(paths.slice_profile, paths.uncertainty, paths.model),
        *paths.figures.values(),
        output_path(out, image, res="0p5mm", desc="sr"),
    ]
    for tool, (maps, masks) in tools.items():
        outputs += segmentation_paths(out, image, tool, maps=maps, masks=masks).values()
    if paths.preproc is not None:
        outputs.append(paths.preproc)
    return outputs


@pytest.mark.parametrize("suffix", ["T1w", "FLAIR"])
def test_all_that_is_not_made_goes_and_nothing_of_others(
    add_image: Callable[..., Path], plan: Plan, tmp_path: Path, suffix: str
) -> None:
    add_image(f"sub-01_{suffix}")
    add_image(f"sub-01_acq-x_{suffix}")
    images = plan()
    image, other = images[f"sub-01_{suffix}"], images[f"sub-01_acq-x_{suffix}"]
    out = tmp_path / "out"
    ours = write(every_output(out, image))
    anat = out / "sub-01" / "anat"
    foreign = write(every_output(out, other)) | write(
        [
            anat / f"sub-01_desc-manual_{suffix}.nii.gz",
            anat / f"sub-01_desc-preproc_{suffix}.nii.gz.bak",
            out / "sub-01" / "figures" / f"sub-01_desc-mine_{suffix}.svg",
        ]
    )
    manual = anat / f"sub-01_space-{suffix}_label-lesion_desc-manual_mask.nii.gz"
    manual.touch()
    write_json_atomic(sidecar_of(manual), {"Type": "Lesion"})
    paths = output_paths(out, image)
    current = {paths.product, paths.quality, paths.slice_profile, paths.figures["sr"]}
    current |= {paths.preproc} if paths.preproc else set()
    write([paths.quality])
    removed = remove_others(leftover_patterns(out, image), current)
    left = {path for path in out.rglob("*") if path.is_file() and path.suffix != ".json"}
    assert left - {paths.quality} == (current - {paths.quality}) | foreign | {manual}
    assert {path for path in removed if path.suffix != ".json"} == ours - current
    assert not any(sidecar_of(path).exists() for path in removed)
    assert all(sidecar_of(path).exists() for path in left if path.name.endswith(".nii.gz"))
    assert remove_others(leftover_patterns(out, image), current) == []


def test_what_is_handed_on_of_a_former_reference_is_not_touched(
    add_image: Callable[..., Path], plan: Plan, tmp_path: Path
) -> None:
    """It goes when the new reference is written, not before."""
    add_image("sub-01_T1w")
    image = plan()["sub-01_T1w"]
    paths = output_paths(tmp_path, image)
    assert paths.preproc is not None
    handed_on = write([paths.preproc, paths.mask])
    assert remove_others(leftover_patterns(tmp_path, replace(image, is_reference=False)), []) == []
    assert all(path.exists() for path in handed_on)
    assert {*remove_others(leftover_patterns(tmp_path, image), [])} >= handed_on


def test_every_figure_is_known() -> None:
    assert FIGURES == (
        "mask",
        "sr",
        "uncertainty",
        "slices",
        "slicegain",
        "sliceprofile",
        "learningcurve",
    )


def test_segmentations_of_a_fused_volume_are_not_those_of_an_image(
    add_image: Callable[..., Path], plan: Plan, tmp_path: Path
) -> None:
    """An image may have the very entities that the stacks share."""
    add_image("sub-01_T1w")
    image, out = plan()["sub-01_T1w"], tmp_path / "out"
    kinds = {"maps": ["GM"], "masks": ["lesion"]}
    own = write([*segmentation_paths(out, image, "atropos", **kinds).values()])
    fused = write([*segmentation_paths(out, image, "atropos", **kinds, desc="fused").values()])
    assert not own & fused
    gone = remove_others(fused_segmentation_patterns(out, image), [])
    assert {path for path in gone if path.suffix != ".json"} == fused
    assert all(path.exists() for path in own)
    write([*fused])
    remove_others(leftover_patterns(out, image), [])
    assert all(path.exists() for path in fused)
    assert not any(path.exists() for path in own)
