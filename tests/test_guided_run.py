"""Sessions with a thin scan through the command: one that helps, a wrong, a broken, a far one."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import pytest

from bids_sr.bids import check_output_tree
from bids_sr.imaging import Acquisition, Volume, degrade
from bids_sr.sr.together.placement import rigid_motion

CROP = ((16, 166), (60, 202), (40, 130))
OPTIONS = [
    *("--sr-adapt", "none", "--skull-strip-method", "none", "--denoise-method", "none"),
    *("--anat-biascorrect", "none", "--nprocs", "1", "--omp-nthreads", "1"),
    "--skip-bids-validation",
]
WriteImage = Callable[..., Path]


def cropped(path: Path) -> Volume:
    whole = Volume.load(path)
    affine = whole.affine.copy()
    affine[:3, 3] = (affine @ [*(first for first, _ in CROP), 1])[:3]
    parts = tuple(slice(*bounds) for bounds in CROP)
    return Volume(np.ascontiguousarray(whole.data[parts]), affine)


def moved(guide: Volume) -> Volume:
    """Return a guide after the patient moved, which its header does not know."""
    centre = guide.affine @ [*((np.array(guide.shape) - 1) / 2), 1]
    motion = rigid_motion(np.deg2rad([2, -2, 1]), [2, -3, 1], centre[:3])
    return Volume(guide.data, motion @ guide.affine)


@pytest.fixture(scope="module")
def reference(shared_data: Path) -> Volume:
    return cropped(shared_data / "isotropic-hr/sub-msCS07/anat/sub-msCS07_FLAIR.nii.gz")


@pytest.fixture
def sessions(
    empty_dataset: Path, shared_data: Path, reference: Volume, write_image: WriteImage
) -> Path:
    root, heads = empty_dataset, shared_data / "isotropic-hr"
    own, other = (
        cropped(heads / f"sub-{name}/anat/sub-{name}_T1w.nii.gz") for name in ("msCS07", "msCS26")
    )
    acquisition = Acquisition(spacing=6.0, thickness=5.0, slice_axis=0)
    slices = degrade(reference, acquisition, noise_fraction=0.01, seed=1)
    for subject, guide in (("right", moved(own)), ("wrong", other)):
        folder = root / f"sub-{subject}/anat"
        folder.mkdir(parents=True)
        slices.save(folder / f"sub-{subject}_FLAIR.nii.gz")
        (folder / f"sub-{subject}_FLAIR.json").write_text('{"SliceThickness": 5.0}')
        guide.save(folder / f"sub-{subject}_T1w.nii.gz")
    thin = np.random.default_rng(0).uniform(0, 900, (24, 24, 24)).astype(np.float32)
    write_image(root, "sub-broken_FLAIR")
    path = root / "sub-broken/anat/sub-broken_T1w.nii.gz"
    Volume(thin, np.eye(4)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for name, volume in {
        "ses-a/anat/sub-apart_ses-a_FLAIR": Volume(thin[..., ::6], np.diag([1.0, 1.0, 6.0, 1.0])),
        "ses-b/anat/sub-apart_ses-b_T1w": Volume(thin, np.eye(4)),
    }.items():
        path = root / f"sub-apart/{name}.nii.gz"
        path.parent.mkdir(parents=True)
        volume.save(path)
    return root


def run(bids: Path, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    words = ["bids_sr", bids, folder / "out", "participant", "-w", folder / "work", *OPTIONS]
    return subprocess.run(
        [sys.executable, "-m", *map(str, words), *more],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=1800,
    )


def product(folder: Path, subject: str) -> Path:
    return folder / f"out/sub-{subject}/anat/sub-{subject}_res-1mm_desc-sr_FLAIR.nii.gz"


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nb.load(path).dataobj)  # type: ignore[attr-defined]


def record(path: Path) -> dict[str, Any]:
    sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    return dict(sidecar)


def error(path: Path, reference: Volume) -> float:
    inside = reference.data > 0
    size = voxels(path).shape
    inside = inside[tuple(map(slice, size))]
    data = reference.data[tuple(map(slice, size))]
    return float(np.sqrt(np.mean((voxels(path) - data)[inside] ** 2)))


@pytest.mark.slow
def test_sessions_with_a_thin_scan(sessions: Path, reference: Volume, tmp_path: Path) -> None:
    plan = run(sessions, tmp_path, "--guide", "auto", "--dry-run").stdout
    assert "sub-right_FLAIR: guide: guided by sub-right_T1w (1 mm)" in plan

    done = run(sessions, tmp_path, "--guide", "auto")
    assert done.returncode == 1, done.stderr  # the broken guide has no result of its own
    assert "7 done, 1 failed" in done.stdout
    right, wrong = (product(tmp_path, subject) for subject in ("right", "wrong"))
    source = "bids:raw:sub-right/anat/sub-right_T1w.nii.gz"
    sidecar = record(right)
    assert sidecar["Sources"] == ["bids:raw:sub-right/anat/sub-right_FLAIR.nii.gz", source]
    guide = sidecar["SuperResolution"]["Guide"]
    assert (guide["Used"], guide["Source"]) == (True, source)
    assert guide["HeldOutGainDecibel"] > guide["HeldOutGainWithoutGuideDecibel"] + 0.2
    assert guide["ShiftMm"] == pytest.approx(14**0.5, abs=0.5)
    assert guide["RotationDegrees"] == pytest.approx(3.0, abs=0.5)
    for subject, why in (
        ("wrong", ""),
        ("broken", "its own image has failed"),
    ):
        told = json.loads(
            next((tmp_path / f"out/sub-{subject}").rglob("*FLAIR*_qc.json")).read_text()
        )
        assert told["SuperResolution"]["Guide"]["Used"] is False
        assert why in told["SuperResolution"]["Guide"]["Reason"]
        assert any("the guide is not used" in warning for warning in told["Warnings"])
        assert not list((tmp_path / f"out/sub-{subject}/figures").glob("*_desc-guide_*"))
    apart = next((tmp_path / "out/sub-apart").rglob("*desc-sr_FLAIR.json"))
    assert "Guide" not in json.loads(apart.read_text())["SuperResolution"]
    page = (tmp_path / "out/sub-right.html").read_text()
    assert "Without the guide" in page
    assert "On slices that were held out" in page
    assert "Registration of the guide" in page
    assert "registered rigidly" in page
    with (tmp_path / "out/decisions.tsv").open(newline="") as stream:
        rows = {row["image"]: row for row in csv.DictReader(stream, delimiter="\t")}
    assert "guided by" in rows["sub-right/anat/sub-right_FLAIR.nii.gz"]["reason"]
    assert "not used" in rows["sub-wrong/anat/sub-wrong_FLAIR.nii.gz"]["message"]
    assert check_output_tree(tmp_path / "out") == []
    guided, unused, better = voxels(right), voxels(wrong), error(right, reference)

    again = run(sessions, tmp_path, "--guide", "auto")
    assert "sub-right_FLAIR: guide unchanged" in again.stderr
    assert np.array_equal(voxels(right), guided)

    alone = run(sessions, tmp_path, "--guide", "none", "--participant-label", "right", "wrong")
    assert alone.returncode == 0, alone.stderr
    assert "FLAIR: super-resolution unchanged" in alone.stderr
    assert np.array_equal(voxels(wrong), unused)
    assert not np.array_equal(voxels(right), guided)
    assert error(right, reference) > 1.08 * better
    assert "Guide" not in record(right)["SuperResolution"]
    assert len(record(right)["Sources"]) == 1
    assert not list((tmp_path / "out/sub-right/figures").glob("*guide*"))
