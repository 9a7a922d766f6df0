from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from bids_sr.evaluation.comparison import Comparison
from bids_sr.evaluation.job import Job
from bids_sr.evaluation.protocol import Protocol
from bids_sr.imaging import Volume


def test_only_what_lacks_nothing_else_is_just_segmented(tmp_path: Path) -> None:
    image = Volume(np.ones((4, 4, 4), np.float32), np.eye(4)).save(tmp_path / "a.nii.gz")
    job = Job(
        image="a", path=image, protocol=Protocol(name="5/6"), label="b", method="bspline",
        downstream=True,
    )  # fmt: skip
    plain = replace(job, downstream=False)
    row = {"status": "ok", "key": plain.key(), "scores": {"psnr": 1.0}, "record": {}}
    row |= dict.fromkeys(("seconds", "cpu_seconds", "peak_gb", "peak_gpu_gb"), 1.0)
    only_segmented = Comparison(out=tmp_path, keep_images=True).only_segmented
    assert only_segmented(job, {job.stem: row}) is None  # no image is kept
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / f"{job.stem}.nii.gz").touch()
    outcome = only_segmented(job, {job.stem: row})
    assert outcome is not None
    assert outcome["scores"] == {"psnr": 1.0}
    assert only_segmented(job, {}) is None
    assert only_segmented(plain, {job.stem: row}) is None
    assert only_segmented(job, {job.stem: row | {"key": "other settings"}}) is None
