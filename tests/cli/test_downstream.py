"""What is handed to the comparison: real tools, and the reference segmented once."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bids_sr.cli.evaluate import _only_segmented
from bids_sr.evaluation import downstream_tools as downstream
from bids_sr.evaluation.downstream import Segmented
from bids_sr.evaluation.job import Job
from bids_sr.evaluation.protocol import Protocol
from bids_sr.imaging import Volume


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


def test_only_what_lacks_nothing_else_is_just_segmented(tmp_path: Path) -> None:
    image = Volume(np.ones((4, 4, 4), np.float32), np.eye(4)).save(tmp_path / "a.nii.gz")
    job = Job(
        image="a", path=image, protocol=Protocol(name="5/6"), label="b", method="bspline",
        downstream=True,
    )  # fmt: skip
    plain = replace(job, downstream=False)
    row = {"status": "ok", "key": plain.key(), "scores": {"psnr": 1.0}, "record": {}}
    row |= dict.fromkeys(("seconds", "cpu_seconds", "peak_gb", "peak_gpu_gb"), 1.0)
    options = argparse.Namespace(out=tmp_path, keep_images=True)
    assert _only_segmented(job, {job.stem: row}, options) is None  # no image is kept
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / f"{job.stem}.nii.gz").touch()
    found = _only_segmented(job, {job.stem: row}, options)
    assert found is not None
    assert found["scores"] == {"psnr": 1.0}
    assert _only_segmented(job, {}, options) is None
    assert _only_segmented(plain, {job.stem: row}, options) is None
    assert _only_segmented(job, {job.stem: row | {"key": "other settings"}}, options) is None
