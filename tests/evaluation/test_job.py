"""A job: the row it makes, and which changes make it out of date."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bids_sr.evaluation.job import Job, run
from bids_sr.evaluation.protocol import Protocol
from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Volume
from bids_sr.plain_values import plain, structured


@pytest.fixture
def job(mni152_2mm: Volume, tmp_path: Path) -> Job:
    brain = Volume(1000 * mni152_2mm.data[24:60, 28:70, 24:60], mni152_2mm.affine)
    brain.save(tmp_path / "brain.nii.gz")
    mask = brain.with_data((brain.data > 200).astype(np.uint8))
    mask.save(tmp_path / "mask.nii.gz")
    return Job(
        image="brain",
        path=tmp_path / "brain.nii.gz",
        protocol=Protocol(name="7/8", noise=0.01),
        label="cubic",
        method="bspline",
        mask=tmp_path / "mask.nii.gz",
        seed=4,
    )


def test_a_job_travels_as_json(job: Job) -> None:
    assert structured(json.loads(json.dumps(plain(job))), Job) == job
    assert job.stem == "brain_7-8-axial-noise-1_cubic"


def test_the_row_and_its_pictures(job: Job) -> None:
    outcome = run(job)
    assert 10 < outcome.row["scores"]["psnr"] < 40
    assert outcome.row["seconds"] > 0
    assert 0.05 < outcome.row["peak_gb"] < 20
    assert outcome.row["record"]["Method"] == "bspline"
    assert outcome.estimate.same_grid(Volume.load(job.path).canonical())
    pictures = outcome.pictures
    assert set(pictures) == {
        f"{name}-{plane}"
        for name in ("truth", "estimate", "slices", "spacings")
        for plane in (0, 1)
    }
    assert pictures["truth-0"].shape == pictures["estimate-0"].shape
    assert pictures["spacings-0"].tolist() == [2, 2]
    assert 0.5 < np.percentile(pictures["truth-0"].astype(float), 99) < 1.5


def test_seed_and_noise_decide_the_row(job: Job) -> None:
    first = run(job).row["scores"]
    assert run(job).row["scores"] == first
    assert run(replace(job, seed=5)).row["scores"] != first


def test_left_out_slices_have_one_picture(job: Job, mni152_2mm: Volume) -> None:
    stack = Volume(mni152_2mm.data[20:60, 20:60, 10:66:6], np.diag([2, 2, 12.0, 1]))
    stack.save(job.path)
    protocol = Protocol(name="leave-slices-out")
    outcome = run(replace(job, protocol=protocol, mask=None))
    assert "sharpness" not in outcome.row["scores"]
    assert set(outcome.pictures) == {"truth-0", "estimate-0", "spacings-0"}


def test_a_key_changes_with_what_the_row_depends_on(job: Job, tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"one")
    key = job.key()
    assert job.key() == key
    changed = [
        replace(job, protocol=Protocol(name="7/9")),
        replace(job, method="linear"),
        replace(job, seed=5),
        replace(job, measures=("vif",)),
        replace(job, mask=None),
    ]
    keys = {variant.key() for variant in changed}
    assert len(keys) == len(changed)
    assert key not in keys
    learnt = replace(job, method="self", parameters={"steps": 100})
    assert learnt.key() != replace(learnt, parameters={"steps": 101}).key()
    # a default that is written out changes nothing
    assert (
        replace(job, parameters={"threads": None}).settings()["parameters"]
        == (job.settings()["parameters"])
    )
    assert job.path.is_file()
    os.utime(job.path, ns=(1, 1))  # as a copy has
    assert job.key() == key
    Volume.load(job.path).with_data(np.zeros_like(Volume.load(job.path).data)).save(job.path)
    assert job.key() != key


def test_a_mask_on_another_grid_is_refused(job: Job) -> None:
    assert job.mask is not None
    mask = Volume.load(job.mask, dtype=np.uint8)
    Volume(mask.data[1:], mask.affine).save(job.mask)
    with pytest.raises(InputDataError, match="expected the grid of the image"):
        run(job)
