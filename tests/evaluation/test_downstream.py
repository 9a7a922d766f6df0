from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bids_sr.evaluation import downstream
from bids_sr.evaluation.downstream import Segmented, dice, downstream_scores
from bids_sr.evaluation.job import Job, run, segment_kept
from bids_sr.evaluation.protocol import Protocol
from bids_sr.imaging import Volume
from bids_sr.plain_values import plain, structured

SHAPE = (6, 6, 6)


def halves(cut: int) -> np.ndarray:
    tissues = np.full(SHAPE, 2)
    tissues[cut:] = 3
    tissues[:, 0] = 1
    return tissues


def test_dice_by_hand() -> None:
    first, second = np.zeros(8, bool), np.zeros(8, bool)
    assert dice(first, second) == 1
    first[:4], second[2:8] = True, True
    assert dice(first, second) == pytest.approx(2 * 2 / 10)


def test_scores_by_hand() -> None:
    drawn, detected = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    drawn[0, 1:5, 0] = True  # 4 voxels
    detected[0, 3:6, 0:2] = True  # 6 voxels, 2 of them drawn
    scores = downstream_scores(
        Segmented(tissues=halves(3), lesions=detected),
        Segmented(tissues=halves(4), lesions=drawn),
        drawn,
        np.ones(SHAPE, bool),
    )
    assert scores["dice_csf"] == 1
    assert scores["dice_gm"] == pytest.approx(2 * 3 / 7)  # 3 of 4 layers, of equal size
    assert scores["dice_wm"] == pytest.approx(2 * 2 / 5)
    assert scores["lesion_dice"] == pytest.approx(2 * 2 / 10)
    assert scores["lesion_sensitivity"] == 0.5
    assert scores["lesion_precision"] == pytest.approx(1 / 3)
    assert scores["lesion_volume_error"] == pytest.approx(50)
    assert scores["reference_lesion_dice"] == 1


def test_lost_lesions_by_hand() -> None:
    """Of the reference's lesions that people drew too, those without a voxel in the other."""
    drawn, seen, detected = (np.zeros(SHAPE, bool) for _ in range(3))
    drawn[0, 0, 0] = drawn[3, 3, 0] = drawn[4, 0, 0] = True
    seen[0, 0, 0:2] = True  # drawn, and found again
    seen[2:4, 3, 0] = True  # drawn, touched at a corner, and lost
    seen[5, 5, 1] = True  # not drawn
    detected[0, 0, 1] = True
    tissues = halves(3)
    scores = downstream_scores(
        Segmented(tissues=tissues, lesions=detected),
        Segmented(tissues=tissues, lesions=seen),
        drawn,
        np.ones(SHAPE, bool),
    )
    assert (scores["reference_lesions"], scores["lost_lesions"]) == (2, 1)


def test_nothing_found_and_nothing_drawn() -> None:
    nothing = np.zeros(SHAPE, bool)
    drawn = nothing.copy()
    drawn[2, 2, 2] = True
    plain = Segmented(tissues=halves(3), lesions=nothing)
    scores = downstream_scores(plain, plain, drawn, np.ones(SHAPE, bool))
    assert (scores["lesion_dice"], scores["lesion_volume_error"]) == (0, -100)
    assert "lesion_precision" not in scores
    scores = downstream_scores(plain, plain, None, np.ones(SHAPE, bool))
    assert set(scores) == {"dice_csf", "dice_gm", "dice_wm"}
    outside = downstream_scores(plain, plain, drawn, nothing)
    assert "lesion_dice" not in outside


@pytest.fixture
def job(mni152_2mm: Volume, tmp_path: Path) -> Job:
    brain = Volume(1000 * mni152_2mm.data[24:60, 28:70, 24:60], mni152_2mm.affine)
    brain.save(tmp_path / "brain.nii.gz")
    brain.with_data((brain.data > 200).astype(np.uint8)).save(tmp_path / "mask.nii.gz")
    return Job(
        image="brain",
        path=tmp_path / "brain.nii.gz",
        protocol=Protocol(name="7/8"),
        label="cubic",
        method="bspline",
        mask=tmp_path / "mask.nii.gz",
    )


def test_a_job_segments_both_within_the_same_mask(job: Job) -> None:
    calls = []

    def by_threshold(volume: Volume, mask: np.ndarray, lesions: bool, name: str) -> Segmented:
        calls.append((np.count_nonzero(mask), lesions, name))
        return Segmented(tissues=np.where(mask, 1 + (volume.data > 700), 0), lesions=None)

    plain = run(job, segment=by_threshold)
    assert not calls
    assert "dice_gm" not in plain.row["scores"]
    scores = run(replace(job, downstream=True), segment=by_threshold).row["scores"]
    assert 0.3 < scores["dice_gm"] < 1
    (voxels, lesions, name), second = calls
    assert name.startswith("brain_")
    assert second == (voxels, lesions, "")


def test_rows_without_it_stay_what_they_are(job: Job) -> None:
    assert "downstream" not in job.settings()
    segmented = replace(job, downstream=True)
    assert segmented.key() != job.key()
    assert structured(json.loads(json.dumps(plain(segmented))), Job) == segmented


def test_a_kept_reconstruction_gets_the_scores_it_would_have_had(job: Job, tmp_path: Path) -> None:
    def by_threshold(volume: Volume, mask: np.ndarray, *_: object) -> Segmented:
        return Segmented(tissues=np.where(mask, 1 + (volume.data > 700), 0), lesions=None)

    segmented = replace(job, downstream=True)
    outcome = run(segmented, segment=by_threshold)
    estimate = Volume.load(outcome.estimate.save(tmp_path / "kept.nii.gz"))
    scores = segment_kept(segmented, estimate, by_threshold)
    assert scores == {name: outcome.row["scores"][name] for name in scores}
    assert set(scores) == {"dice_csf", "dice_gm", "dice_wm"}


def test_what_has_a_name_is_segmented_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted(volume: Volume, mask: np.ndarray, lesions: bool, *_: int) -> Segmented:
        calls.append(lesions)
        return Segmented(tissues=mask.astype(np.uint8), lesions=mask if lesions else None)

    monkeypatch.setattr(downstream, "_segment", counted)
    segment = downstream.segmenter(tmp_path / "kept", threads=1, seed=0)
    image = Volume(np.zeros((3, 3, 3), np.float32), np.eye(4))
    mask = np.eye(3, dtype=bool)[None].repeat(3, axis=0)
    first = segment(image, mask, True, "reference")
    second = segment(image, mask, True, "reference")
    assert calls == [True]
    np.testing.assert_array_equal(first.tissues, second.tissues)
    np.testing.assert_array_equal(first.lesions, second.lesions)
    assert segment(image, mask, False, "").lesions is None
    assert calls == [True, False]
