from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bids_sr.bids.image import AnatImage
from bids_sr.bids.sidecar import AcquisitionOverrides

AddImage = Callable[..., Path]
Plan = Callable[..., dict[str, AnatImage]]


@pytest.fixture
def add_mask(tmp_path: Path, write_nifti: Callable[..., Path]) -> Callable[..., Path]:
    """Add a mask to the derivative dataset ``other``, on the grid of ``add_image``."""

    def add(relpath: str, **image: object) -> Path:
        return write_nifti(tmp_path / "other" / relpath, **image)

    return add


def test_mask_on_the_same_grid_is_used(
    add_image: AddImage, add_mask: AddImage, plan: Plan, tmp_path: Path
) -> None:
    add_image("sub-01_T1w")
    mask = add_mask("sub-01/anat/sub-01_desc-brain_mask.nii.gz")
    image = plan(derivatives={"tool": tmp_path / "other"})["sub-01_T1w"]
    assert image.existing_mask == mask
    assert image.existing_mask_uri == "bids:tool:sub-01/anat/sub-01_desc-brain_mask.nii.gz"
    assert image.mask_note == "brain mask of tool: sub-01/anat/sub-01_desc-brain_mask.nii.gz"


@pytest.mark.parametrize(
    "image", [{"shape": (9, 8, 6)}, {"spacings": (1.0, 1.0, 4.1)}, {"origin": (-4.0, -3.0, -8.5)}]
)
def test_mask_on_another_grid_is_not(
    add_image: AddImage, add_mask: AddImage, plan: Plan, tmp_path: Path, image: dict[str, object]
) -> None:
    add_image("sub-01_T1w")
    add_mask("sub-01/anat/sub-01_desc-brain_mask.nii.gz", **image)
    planned = plan(derivatives={"tool": tmp_path / "other"})["sub-01_T1w"]
    assert planned.existing_mask is None
    assert planned.existing_mask_uri == ""
    assert "no brain mask of tool is used: sub-01_desc-brain_mask.nii.gz" in planned.mask_note
    assert "another grid" in planned.mask_note


def test_entities_decide_between_masks_of_one_grid(
    add_image: AddImage, add_mask: AddImage, plan: Plan, tmp_path: Path
) -> None:
    for stem in ("acq-2D_T1w", "acq-2D_FLAIR", "run-2_T1w", "T2w"):
        add_image(f"sub-01_ses-a_{stem}")
    add_mask("sub-01/ses-b/anat/sub-01_ses-b_desc-brain_mask.nii.gz")
    add_mask("sub-01/anat/sub-01_desc-brain_mask.nii.gz")
    folder = "sub-01/ses-a/anat/sub-01_ses-a"
    for name in (
        "acq-2D_space-orig",
        "acq-2DFLAIR_space-orig",
        "run-2",
        "space-T2w",
        "space-FLAIR",
    ):
        add_mask(f"{folder}_{name}_desc-brain_mask.nii.gz")
    images = plan(derivatives={"tool": tmp_path / "other"})
    chosen = {
        stem.removeprefix("sub-01_ses-a_"): image.existing_mask.name.removeprefix("sub-01_ses-a_")
        for stem, image in images.items()
        if image.existing_mask
    }
    assert chosen == {
        "acq-2D_T1w": "acq-2D_space-orig_desc-brain_mask.nii.gz",
        "acq-2D_FLAIR": "acq-2DFLAIR_space-orig_desc-brain_mask.nii.gz",
        "run-2_T1w": "run-2_desc-brain_mask.nii.gz",
        "T2w": "space-T2w_desc-brain_mask.nii.gz",
    }


def test_what_was_looked_at_is_told(
    add_image: AddImage, add_mask: AddImage, plan: Plan, tmp_path: Path
) -> None:
    add_image("sub-01_ses-a_T1w")
    add_mask("sub-01/ses-b/anat/sub-01_ses-b_desc-brain_mask.nii.gz")
    broken = add_mask("sub-01/ses-a/anat/sub-01_ses-a_desc-brain_mask.nii")
    broken.write_bytes(b"")
    derivatives = {"one": tmp_path / "other", "two": tmp_path / "absent"}
    note = plan(derivatives=derivatives)["sub-01_ses-a_T1w"].mask_note
    assert "no brain mask of one is used: " in note
    assert "the file is empty" in note
    assert note.endswith("; two has no brain mask of this subject and session")


def test_no_mask_is_looked_for_in_a_knee_or_on_a_changed_grid(
    add_image: AddImage, add_mask: AddImage, plan: Plan, tmp_path: Path
) -> None:
    add_image("sub-01_T1w", {"BodyPart": "KNEE"})
    add_image("sub-02_T1w")
    for subject in ("01", "02"):
        add_mask(f"sub-{subject}/anat/sub-{subject}_desc-brain_mask.nii.gz")
    images = plan(
        derivatives={"tool": tmp_path / "other"}, overrides=AcquisitionOverrides(slice_spacing=5.0)
    )
    assert images["sub-01_T1w"].existing_mask is None
    assert images["sub-01_T1w"].mask_note == ""
    assert images["sub-02_T1w"].existing_mask is None
    assert "another grid" in images["sub-02_T1w"].mask_note


def test_a_mask_of_another_label_is_not_used(
    add_image: AddImage, add_mask: AddImage, plan: Plan, tmp_path: Path
) -> None:
    add_image("sub-01_T1w")
    add_mask("sub-01/anat/sub-02_desc-brain_mask.nii.gz")
    image = plan(derivatives={"tool": tmp_path / "other"})["sub-01_T1w"]
    assert image.existing_mask is None
    assert "tool has no brain mask" in image.mask_note
