"""A guide beside a reference: its file, its header, and what it adds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bids_sr.evaluation.comparison import Comparison
from bids_sr.evaluation.guides import WITHOUT_GUIDE, guide_file, moved_guide
from bids_sr.evaluation.job import Job, run
from bids_sr.evaluation.masks import Mask
from bids_sr.evaluation.protocol import Protocol
from bids_sr.evaluation.protocol_name import ProtocolName
from bids_sr.evaluation.references import Reference
from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Volume

GUIDED = Protocol(name="6/8+guide=T1w@4mm3deg", noise=0.01)


@pytest.mark.parametrize(
    ("image", "files", "expected"),
    [
        ("sub-1_FLAIR", ["sub-1_T1w", "sub-2_T1w"], "sub-1_T1w"),
        ("sub-1_ses-2_FLAIR", ["sub-1_ses-1_T1w", "sub-1_T1w"], None),
        (
            "sub-1_acq-a_run-1_FLAIR",
            ["sub-1_acq-b_T1w", "sub-1_acq-a_T1w", "sub-1_T1w"],
            "sub-1_acq-a_T1w",
        ),
        ("head_FLAIR", ["knee_T1w", "head_T1w"], "head_T1w"),
        ("sub-1_T1w", ["sub-1_T2w"], None),
    ],
)
def test_the_guide_is_a_scan_of_the_same_session(
    image: str, files: list[str], expected: str | None, tmp_path: Path
) -> None:
    for name in (image, *files):
        (tmp_path / f"{name}.nii.gz").touch()
    found = guide_file(tmp_path / f"{image}.nii.gz", "T1w")
    assert found == (tmp_path / f"{expected}.nii.gz" if expected else None)


def test_only_the_header_of_a_guide_is_moved(mni152_2mm: Volume) -> None:
    moved = moved_guide(mni152_2mm, ProtocolName.read("5/6+guide=T1w@5mm4deg"), seed=3)
    assert moved.data is mni152_2mm.data
    motion = moved.affine @ np.linalg.inv(mni152_2mm.affine)
    angle = np.rad2deg(np.arccos((np.trace(motion[:3, :3]) - 1) / 2))
    assert angle == pytest.approx(4)
    centre = mni152_2mm.affine @ np.append((np.array(mni152_2mm.shape) - 1) / 2, 1)
    assert np.linalg.norm((motion @ centre - centre)[:3]) == pytest.approx(5)
    unmoved = moved_guide(mni152_2mm, ProtocolName.read("5/6+guide=T1w"), seed=3)
    np.testing.assert_allclose(unmoved.affine, mni152_2mm.affine)


@pytest.fixture(scope="module")
def job(mni152_2mm: Volume, tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("guides")
    box = Volume(1000 * mni152_2mm.data[24:64, 30:74, 24:64], mni152_2mm.affine)
    path = box.save(folder / "brain_FLAIR.nii.gz")
    box.with_data(box.data.max() - box.data).save(folder / "brain_T1w.nii.gz")
    return Comparison(out=folder).job(
        Reference(name="brain_FLAIR", path=path),
        GUIDED,
        Mask(),
        label="cubic",
        method="bspline",
        parameters={},
    )


def test_a_refused_guide_changes_nothing_and_says_why(job: Job) -> None:
    """A method without a network cannot learn; the rows then are the same."""
    outcome = run(job)
    rival = outcome.rivals[WITHOUT_GUIDE]
    facts = outcome.row["record"]["Guide"]
    assert not facts["Used"]
    assert "without a network" in facts["Reason"]
    assert "Guide" not in rival.row["record"]
    assert outcome.row["scores"] == rival.row["scores"]


def test_an_image_without_the_guide_fails_alone(job: Job) -> None:
    with pytest.raises(InputDataError, match=r"found no scan \*_T1w"):
        run(replace(job, guide=None))


def test_rows_depend_on_the_guide(job: Job) -> None:
    assert job.guide is not None
    settings = job.settings()
    assert str(job.guide) in settings["files"]
    alone = replace(job, guide=None, protocol=Protocol(name="6/8")).settings()
    assert "guide" not in alone
