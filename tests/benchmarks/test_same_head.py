"""Pairs of one head under two names, and of two heads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_sr.imaging import Volume

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY.parent / "shared" / "data" / "isotropic-hr"


@pytest.fixture(scope="module")
def same_head(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("same_head")


def another_scan(brain: Volume, generator: np.random.Generator) -> Volume:
    """Return the brain turned, shifted, of another contrast, noisy, on another grid."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", (12, -6, 9), degrees=True).as_matrix()
    turn[:3, 3] = (14, -9, 20)  # mm
    grid = Volume(np.zeros((80, 96, 84), np.float32), np.diag([2.2, 2.2, 2.4, 1.0]))
    affine = grid.affine.copy()
    affine[:3, 3] = (-88, -120, -80)
    index = np.linalg.inv(brain.affine) @ np.linalg.inv(turn) @ affine
    places = np.indices(grid.shape, dtype=np.float64).reshape(3, -1)
    inside = ndimage.map_coordinates(
        brain.data, index[:3, :3] @ places + index[:3, 3:], order=1
    ).reshape(grid.shape)
    contrast = np.where(inside > 0.1, 1.2 - 0.8 * inside, 0)  # fluid bright, white matter dark
    noise = 0.02 * np.abs(generator.standard_normal(grid.shape))
    affine[:3, 3] += (-400, 0, 400)  # where no other image lies
    return Volume((1000 * (contrast + noise)).astype(np.float32), affine)


def another_head(brain: Volume, generator: np.random.Generator) -> Volume:
    """Return a brain with other folds: moved by some mm, smoothly and at random."""
    moves = ndimage.gaussian_filter(generator.standard_normal((3, *brain.shape)), (0, 5, 5, 5))
    moves *= 3.0 / moves.std()  # voxels of 2 mm
    data = ndimage.map_coordinates(brain.data, np.indices(brain.shape) + moves, order=1)
    return brain.with_data(1000 * data)


def test_a_head_under_two_names_is_found(
    same_head: ModuleType, mni152_2mm: Volume, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(0)
    brain = mni152_2mm.with_data(mni152_2mm.data / np.percentile(mni152_2mm.data, 99.5))
    another_head(brain, generator).save(tmp_path / "data" / "sub-a_T1w.nii.gz")
    another_scan(brain, generator).save(tmp_path / "data" / "sub-b_T2w.nii.gz")
    brain.with_data(1000 * brain.data).save(tmp_path / "data" / "sub-c_T1w.nii.gz")
    words = [str(tmp_path / "data"), "--out", str(tmp_path / "table.tsv")]
    assert same_head.main(words) == 0
    rows = {
        (row["first"], row["second"]): row for row in same_head.read_rows(tmp_path / "table.tsv")
    }
    assert rows["sub-b_T2w", "sub-c_T1w"]["verdict"] == "same head"
    assert rows["sub-a_T1w", "sub-b_T2w"]["verdict"] == "different"
    assert rows["sub-a_T1w", "sub-c_T1w"]["verdict"] == "different"
    table = capsys.readouterr().out
    assert table.splitlines()[2].startswith("| sub-b_T2w | sub-c_T1w |")  # the most alike first


def test_pairs_that_are_there_are_not_done_again(
    same_head: ModuleType, mni152_2mm: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sub-a_T1w", "sub-a_FLAIR", "sub-b_FLAIR", "sub-b_T2w"):
        mni152_2mm.save(tmp_path / "data" / f"{name}.nii.gz")
    done: list[tuple[str, str]] = []

    def compare(first: object, second: object, threads: int) -> dict[str, str]:
        names = (first.name, second.name)  # type: ignore[attr-defined]
        done.append(names)
        return dict(zip(same_head.COLUMNS, (*names, "0.1", "900", "different", "1"), strict=True))

    monkeypatch.setattr(same_head, "compare", compare)
    words = [str(tmp_path / "data"), "--out", str(tmp_path / "table.tsv")]
    assert same_head.main([*words, "--one-per-subject"]) == 0
    assert done == [("sub-a_T1w", "sub-b_T2w")]
    assert same_head.main(words) == 0
    assert len(done) == 6
    assert len(set(done)) == 6


def test_a_score_between_is_to_be_looked_at(same_head: ModuleType) -> None:
    scores = (0.29, 0.33, 0.41)
    verdicts = [same_head.verdict(score, 900.0) for score in scores]
    assert verdicts == ["different", "look", "same head"]


def test_where_too_little_is_common_nothing_is_said(same_head: ModuleType) -> None:
    image = np.zeros((60, 60, 60), np.float32)
    image[:20] = 0.5
    score, common = same_head.fine_detail(image, image[::-1])
    assert (score, common) == (0.0, 0.0)
    assert same_head.verdict(score, common) == "too little in common"


def test_what_cannot_be_compared_is_a_row(
    same_head: ModuleType, mni152_2mm: Volume, tmp_path: Path
) -> None:
    mni152_2mm.save(tmp_path / "sub-a_T1w.nii.gz")
    mni152_2mm.with_data(np.zeros(mni152_2mm.shape, np.float32)).save(
        tmp_path / "sub-b_T1w.nii.gz"
    )
    heads = [same_head.Head(tmp_path / f"sub-{letter}_T1w.nii.gz") for letter in "ab"]
    row = same_head.compare(*heads, threads=1)
    assert row["verdict"].startswith("failed: ")
    assert same_head.table([row]).splitlines()[2].startswith("| sub-a_T1w | sub-b_T1w |")


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="needs the development data")
def test_real_heads(same_head: ModuleType) -> None:
    heads = {
        name: same_head.Head(next(DATA.rglob(f"sub-{name}.nii.gz")))
        for name in ("adult02_FLAIR", "adult07_T1w", "adult09_T1w")
    }
    first, second, repeated = heads.values()
    assert same_head.compare(first, repeated, threads=1)["verdict"] == "same head"
    assert same_head.compare(first, second, threads=1)["verdict"] == "different"
