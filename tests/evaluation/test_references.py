"""References: which files are images, and which masks belong to them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bids_sr.evaluation.references import (
    Reference,
    existing_mask,
    find_references,
    lesion_mask,
    not_zero,
    own_derivatives,
)
from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Volume


def _write(path: Path, shape: tuple[int, ...] = (8, 9, 10)) -> Path:
    data = np.random.default_rng(0).uniform(1, 2, shape).astype(np.float32)
    Volume(data, np.diag([1, 1, 2.0, 1])).save(path)
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for label in ("01", "02"):
        _write(root / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz")
    _write(root / "sub-01" / "anat" / "sub-01_label-lesion_mask.nii.gz")
    _write(root / "derivatives" / "pipe" / "sub-01" / "anat" / "sub-01_desc-x_T1w.nii.gz")
    (root / "dataset_description.json").write_text("{}")
    (root / "T1w.json").write_text(json.dumps({"SliceThickness": 1.5}))
    (root / "sub-02" / "anat" / "sub-02_T1w.json").write_text(json.dumps({"BodyPart": "KNEE"}))
    return root


def test_a_dataset_gives_its_images_and_no_masks(dataset: Path) -> None:
    references = find_references(dataset)
    assert [entry.name for entry in references] == ["sub-01_T1w", "sub-02_T1w"]
    assert [entry.is_brain for entry in references] == [True, False]
    assert references[0].thickness() == 1.5  # inherited
    assert [entry.name for entry in own_derivatives(dataset)] == ["pipe"]


def test_patterns(dataset: Path) -> None:
    assert [reference.name for reference in find_references(dataset, ["*02*"])] == ["sub-02_T1w"]
    assert [reference.name for reference in find_references(dataset, (), ["*02*"])] == [
        "sub-01_T1w"
    ]
    with pytest.raises(InputDataError, match="found no NIfTI image"):
        find_references(dataset, ["*03*"])


def test_a_file_and_equal_names(tmp_path: Path) -> None:
    file = _write(tmp_path / "a" / "head.nii.gz")
    _write(tmp_path / "b" / "head.nii")
    assert [reference.name for reference in find_references(file)] == ["head"]
    assert [reference.name for reference in find_references(tmp_path)] == ["a_head", "b_head"]


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    """Their masks and scores would be those of one of them."""
    _write(tmp_path / "head.nii.gz")
    _write(tmp_path / "head.nii")
    with pytest.raises(InputDataError, match="would both be called head in the tables"):
        find_references(tmp_path)


def test_masks_that_are_at_hand(dataset: Path, tmp_path: Path) -> None:
    reference = find_references(dataset)[0]
    brain = dataset / "derivatives" / "pipe" / "sub-01" / "anat" / "sub-01_desc-brain_mask.nii.gz"
    derivatives = own_derivatives(dataset)
    assert existing_mask(reference, None, derivatives) is None
    _write(brain)
    mask = existing_mask(reference, None, derivatives)
    assert mask is not None
    assert mask[0] == brain
    own_mask = _write(tmp_path / "masks" / "sub-01_T1w_mask.nii.gz")
    assert existing_mask(reference, tmp_path / "masks", []) == (
        own_mask,
        f"given: {own_mask.name}",
    )
    assert existing_mask(reference, own_mask, []) == (own_mask, f"given: {own_mask.name}")


def test_lesions_are_on_the_grid_of_the_image(dataset: Path) -> None:
    reference = find_references(dataset)[0]
    folder = dataset / "derivatives" / "lesions"
    assert lesion_mask(reference, [folder]) is None
    path = folder / "sub-01" / "anat" / "sub-01_space-orig_label-lesion_mask.nii.gz"
    _write(path, (8, 9, 11))
    assert lesion_mask(reference, [folder]) is None
    _write(path)
    assert lesion_mask(reference, [folder]) == path
    assert lesion_mask(Reference(name="head", path=reference.path.parent / "head.nii"), []) is None


def _ball(radius: float, size: int = 60) -> np.ndarray:
    axes = np.meshgrid(*(np.arange(size) - size / 2,) * 3, indexing="ij")
    return np.asarray(sum(axis**2 for axis in axes) < radius**2, dtype=np.float32)


def test_ringing_below_zero_is_no_tissue_and_scores_below_zero_are() -> None:
    affine = np.eye(4)
    ball = _ball(20)
    ringing = ball.copy()
    ringing[0, 0, :5] = -0.1
    assert not not_zero(Volume(ringing, affine))[0, 0].any()
    standard = ball * np.random.default_rng(0).normal(0, 1, ball.shape).astype(np.float32)
    np.testing.assert_array_equal(not_zero(Volume(standard, affine)), ball > 0)
