"""Several stacks of one reference: where they lie, and what is made of them together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bids_sr.evaluation.comparison import Comparison
from bids_sr.evaluation.job import Job, Outcome, run
from bids_sr.evaluation.pool import Ended
from bids_sr.evaluation.protocol import Protocol, TestCase, make_case
from bids_sr.evaluation.stacks import BEST_STACK, MEAN
from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Volume, degrade
from bids_sr.sr.together.placement import placed

THREE = Protocol(name="6/8+6/8sagittal+6/8coronal@2mm2deg", noise=0.01)


@pytest.fixture(scope="module")
def brain(mni152_2mm: Volume) -> Volume:
    return Volume(1000 * mni152_2mm.data[24:64, 30:74, 24:64], mni152_2mm.affine)


@pytest.fixture(scope="module")
def case(brain: Volume) -> TestCase:
    return make_case(brain, THREE, seed=5)


def test_stacks_show_the_anatomy_where_they_say(case: TestCase, brain: Volume) -> None:
    assert [stack.acquisition.slice_axis for stack in case.stacks] == [2, 0, 1]
    first = degrade(brain, case.acquisition, noise_fraction=0.01, seed=5)
    np.testing.assert_array_equal(case.lr.data, first.data)
    np.testing.assert_array_equal(case.stacks[0].to_truth, np.eye(4))
    centre = brain.affine @ np.append((np.array(brain.shape) - 1) / 2, 1)
    for stack in case.stacks[1:]:
        moved = (stack.to_truth @ centre - centre)[:3]
        assert np.linalg.norm(moved) == pytest.approx(2)
        angle = np.rad2deg(np.arccos((np.trace(stack.to_truth[:3, :3]) - 1) / 2))
        assert angle == pytest.approx(2)
        truth = brain.with_data(placed(brain, brain.grid, stack.to_truth))
        expected = degrade(truth, stack.acquisition)
        difference = np.abs(stack.lr.data - expected.data)
        assert difference.mean() < 0.02 * brain.data.max()  # noise of 1 % in each
    assert 0.7 < case.region.mean() < 1


def test_stacks_of_one_plane_are_interleaved(brain: Volume) -> None:
    first, second = make_case(brain, Protocol(name="6/8+6/8")).stacks
    assert second.lr.affine[2, 3] - first.lr.affine[2, 3] == 4
    assert second.grid.shape[2] == 36  # of the 40 planes, what whole slices cover
    np.testing.assert_array_equal(second.to_truth, np.eye(4))


def test_every_stack_needs_a_finer_reference(brain: Volume) -> None:
    with pytest.raises(InputDataError, match="across coronal slices"):
        make_case(brain, Protocol(name="6/8+2/2coronal"))


@pytest.fixture(scope="module")
def job(brain: Volume, tmp_path_factory: pytest.TempPathFactory) -> Job:
    path = brain.save(tmp_path_factory.mktemp("stacks") / "brain.nii.gz")
    return Job(image="brain", path=path, protocol=THREE, label="cubic", method="bspline", seed=5)


@pytest.fixture(scope="module")
def outcome(job: Job) -> Outcome:
    return run(job)


def test_the_fused_volume_and_its_rivals_are_scored(job: Job, outcome: Outcome) -> None:
    rivals = {name: rival.row["scores"] for name, rival in outcome.rivals.items()}
    scores = outcome.row["scores"]
    assert scores["psnr"] > rivals[MEAN]["psnr"] + 0.5
    assert rivals[MEAN]["psnr"] > rivals[BEST_STACK]["psnr"]
    assert scores["registration_error"] < 0.3
    assert "uncertainty_ratio" in scores
    single = run(replace(job, protocol=Protocol(name="6/8", noise=0.01))).row["scores"]
    assert rivals[BEST_STACK]["psnr"] > single["psnr"] - 0.3
    assert "registration_error" not in single
    fusion = outcome.row["record"]["Fusion"]
    assert [stack["Used"] for stack in fusion["Stacks"]] == [True] * 3


def test_rivals_get_rows_of_their_own(
    job: Job, outcome: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals = {name: rival.row for name, rival in outcome.rivals.items()}

    class Pool:
        def run(self, tasks: object) -> list[Ended]:
            return [Ended(number=0, row={**outcome.row, "rivals": rivals})]

    comparison = Comparison(out=tmp_path)
    monkeypatch.setattr(Comparison, "pool", lambda self, on_line: Pool())
    assert [ended.row is None for _, ended in comparison.run([job], print)] == [False]
    rows = {row["method"]: row for row in comparison.rows()}
    assert set(rows) == {"cubic", f"cubic, {BEST_STACK}", f"cubic, {MEAN}"}
    assert rows[f"cubic, {MEAN}"]["scores"] == rivals[MEAN]["scores"]
    assert comparison.to_do([job]) == []
