"""A session of three stacks through the command: one volume more, whatever becomes of a stack."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from scipy import ndimage

from bids_sr.bids import check_output_tree
from bids_sr.imaging import Acquisition, Volume, degrade

Command = Callable[..., "subprocess.CompletedProcess[str]"]
PLANES = {"sag": 0, "cor": 1, "ax": 2}
OPTIONS = [
    *("--sr-method", "bspline", "--skull-strip-method", "none", "--denoise-method", "none"),
    *("--anat-biascorrect", "none", "--nprocs", "2", "--omp-nthreads", "1"),
    *("--output-resolution", "2"),
]


@pytest.fixture(scope="module")
def head() -> Volume:
    """Return a bright ball with blobs in it, 2 mm voxels."""
    shape = (48, 48, 48)
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    blobs = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=shape), 2.0)
    data = 500 * (1 + 6 * blobs) * (sum(axis**2 for axis in axes) < 0.7)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -47.0
    return Volume(np.maximum(data, 0).astype(np.float32), affine)


@pytest.fixture
def session(empty_dataset: Path, head: Volume) -> Path:
    folder = empty_dataset / "sub-01" / "anat"
    folder.mkdir(parents=True)
    for seed, (plane, axis) in enumerate(PLANES.items()):
        acquisition = Acquisition(spacing=6.0, thickness=5.0, slice_axis=axis)
        stack = degrade(head, acquisition, noise_fraction=0.01, seed=seed)
        stack.save(folder / f"sub-01_acq-{plane}_T2w.nii.gz")
        sidecar = {"SliceThickness": 5.0, "EchoTime": 0.1}
        (folder / f"sub-01_acq-{plane}_T2w.json").write_text(json.dumps(sidecar))
    return empty_dataset


def run(command: Command, bids: Path, root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    words = [bids, root / "out", "participant", "-w", root / "work", *OPTIONS, *more]
    return command(*words, "--skip-bids-validation", cwd=root)


def error_of(path: Path, head: Volume) -> float:
    data = nb.load(path).get_fdata()  # type: ignore[attr-defined]
    inside = head.data > 0
    return float(np.sqrt(np.mean((data - head.data)[inside] ** 2)))


def test_three_stacks_become_one_volume(
    command: Command, session: Path, head: Volume, tmp_path: Path
) -> None:
    done = run(command, session, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "sub-01_desc-fused_T2w: fusing stacks done" in done.stderr
    anat = tmp_path / "out/sub-01/anat"
    fused = anat / "sub-01_res-2mm_desc-fused_T2w.nii.gz"
    alone = [anat / f"sub-01_acq-{plane}_res-2mm_desc-sr_T2w.nii.gz" for plane in PLANES]
    assert error_of(fused, head) < 0.8 * min(error_of(path, head) for path in alone)
    sidecar = json.loads(fused.with_name("sub-01_res-2mm_desc-fused_T2w.json").read_text())
    assert len(sidecar["Sources"]) == 6
    assert sidecar["EchoTime"] == 0.1
    assert [stack["Used"] for stack in sidecar["Fusion"]["Stacks"]] == [True] * 3
    assert all("ResidualPercent" in stack for stack in sidecar["Fusion"]["Stacks"])
    quality = json.loads((anat / "sub-01_acq-T2w_desc-fused_qc.json").read_text())
    assert quality["Verdict"] == "ok"
    assert "sub-01_desc-fused_T2w: fused, verdict ok" in done.stdout
    assert len(list(anat.glob("*_from-T2w_to-fused_mode-image_xfm.txt"))) == 3
    with (tmp_path / "out/decisions.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert all("fused into sub-01_desc-fused_T2w" in row["reason"] for row in rows)
    page = (tmp_path / "out/sub-01.html").read_text()
    assert "The stacks, their mean, and the fused volume" in page
    assert "How much each slice counts" in page
    section = page[page.index('<section id="fused-') :]
    assert section.count('class="layer') == 5  # three stacks, their mean, the volume
    assert "res-2mm_desc-fused_T2w.nii.gz" in page[: page.index("What happened to each image")]
    assert "the frame: not moved" in page
    assert check_output_tree(tmp_path / "out") == []
    validator = Path(sys.executable).with_name("bids-validator-deno")
    words = [str(validator), str(tmp_path / "out"), "--format", "json"]
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    issues = json.loads(answer.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []

    done = run(command, session, tmp_path, "--fuse-stacks", "none")
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "out").rglob("*fused*"))
    assert all(path.exists() for path in alone)


def test_a_stack_that_fails_is_left_out(command: Command, session: Path, tmp_path: Path) -> None:
    path = session / "sub-01/anat/sub-01_acq-ax_T2w.nii.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = run(command, session, tmp_path)
    assert done.returncode == 1
    assert "2 done, 1 failed" in done.stdout
    assert "sub-01_desc-fused_T2w: fused, verdict look\n  look: stacks left out 1" in done.stdout
    assert "1 of 1 fused volumes" in done.stdout
    quality = tmp_path / "out/sub-01/anat/sub-01_acq-T2w_desc-fused_qc.json"
    record = json.loads(quality.read_text())
    assert record["Status"] == "done"
    used = {Path(stack["Image"]).name: stack["Used"] for stack in record["Stacks"]}
    assert used["sub-01_acq-ax_T2w.nii.gz"] is False
    assert list(used.values()).count(True) == 2
    assert record["Verdict"] == "look"
    page = (tmp_path / "out/sub-01.html").read_text()
    assert "at 1 fused volume<" in page
    assert "All stacks are in the fused volume." not in page
    assert "it has no result of its own" in (tmp_path / "out/sub-01.html").read_text()


def test_a_single_stack_that_is_left_is_not_fused(
    command: Command, session: Path, tmp_path: Path
) -> None:
    for plane in ("ax", "cor"):
        path = session / f"sub-01/anat/sub-01_acq-{plane}_T2w.nii.gz"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = run(command, session, tmp_path)
    assert done.returncode == 1
    assert "sub-01_desc-fused_T2w: not fused: 1 of 3 stacks have a result" in done.stderr
    assert not list((tmp_path / "out").rglob("*_desc-fused_T2w*"))
    assert (tmp_path / "out/sub-01/anat/sub-01_acq-sag_res-2mm_desc-sr_T2w.nii.gz").exists()


COLLECT = """
import json, sys
from smriprep.utils.bids import collect_derivatives
print(json.dumps(collect_derivatives(sys.argv[1], "01", ["MNI152NLin2009cAsym"])))
"""


def collected(out: Path) -> dict[str, object]:
    """Return what sMRIPrep's own code takes from the output folder."""
    pytest.importorskip("smriprep", reason="pip install smriprep, or bids_sr[test]")
    done = subprocess.run(
        [sys.executable, "-c", COLLECT, str(out)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TEMPLATEFLOW_HOME": str(out.parent), "NO_ET": "1"},
    )
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_other_tools_take_the_fused_volume(
    command: Command, session: Path, head: Volume, tmp_path: Path
) -> None:
    masks, anat = tmp_path / "masks/sub-01/anat", session / "sub-01/anat"
    masks.mkdir(parents=True)
    (tmp_path / "masks/dataset_description.json").write_text(
        json.dumps({"Name": "masks", "BIDSVersion": "1.9.0", "DatasetType": "derivative"})
    )
    for plane in PLANES:
        for end in (".nii.gz", ".json"):
            path = anat / f"sub-01_acq-{plane}_T2w{end}"
            path.rename(path.with_name(path.name.replace("T2w", "T1w")))
        slices = Volume.load(anat / f"sub-01_acq-{plane}_T1w.nii.gz")
        inside = slices.with_data((slices.data > 100).astype(np.uint8))
        inside.save(masks / f"sub-01_acq-{plane}_desc-brain_mask.nii.gz", dtype=np.uint8)
    words = ("-d", f"masks={tmp_path / 'masks'}", "--raw-like-dir", str(tmp_path / "view"))
    done = run(command, session, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out/sub-01/anat"
    found = collected(tmp_path / "out")
    assert found["t1w_preproc"] == str(out / "sub-01_desc-preproc_T1w.nii.gz")
    assert found["t1w_mask"] == str(out / "sub-01_desc-brain_mask.nii.gz")
    fused = out / "sub-01_res-2mm_desc-fused_T1w.nii.gz"
    view = tmp_path / "view/sub-01/anat"
    assert [path.name for path in view.glob("*.nii.gz")] == ["sub-01_rec-fusedSR_T1w.nii.gz"]
    assert Path(str(found["t1w_preproc"])).read_bytes() == fused.read_bytes()
    assert check_output_tree(tmp_path / "out") == []
    mask = Volume.load(Path(str(found["t1w_mask"])), dtype=np.uint8)
    assert mask.same_grid(Volume.load(fused))
    assert np.mean(head.data[mask.data > 0] > 0) > 0.9

    done = run(command, session, tmp_path, *words, "--fuse-stacks", "none")
    assert done.returncode == 0, done.stderr
    found = collected(tmp_path / "out")
    assert found["t1w_preproc"] == str(out / "sub-01_acq-ax_desc-preproc_T1w.nii.gz")
    assert found["t1w_mask"] == str(out / "sub-01_acq-ax_desc-brain_mask.nii.gz")
    assert not (out / "sub-01_desc-preproc_T1w.json").exists()
    names = {path.name for path in view.glob("*.nii.gz")}
    assert names == {f"sub-01_acq-{plane}_rec-SR_T1w.nii.gz" for plane in PLANES}
