"""The command as a user types it, on a small dataset of real anatomy with bad scans in it.

One run serves most tests: two subjects degraded from the template (sub-01 axial T1w and
FLAIR, sub-02 sagittal T1w with a gap), one image that is isotropic already, and one subject
with four files that cannot be processed.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import pytest
from golden_files import Golden
from golden_texts import folder_lines

from bids_sr.bids import check_output_tree
from bids_sr.imaging import Acquisition, Volume, degrade

EXPECTED_TREE = Path(__file__).parent / "data" / "output_tree.txt"
OPTIONS = [
    *("--sloppy", "--level", "full", "--skull-strip-method", "template"),
    *("--nprocs", "2", "--omp-nthreads", "1"),
]


@dataclass(frozen=True)
class Run:
    """Folders of a run and what the command answered."""

    bids: Path
    out: Path
    work: Path
    done: subprocess.CompletedProcess[str]
    lines: tuple[str, ...]
    """Of all that was written, as soon as the command had ended."""


def bids_sr(*arguments: Any, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bids_sr", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=cwd)


def write_image(bids: Path, relpath: str, volume: Volume, **sidecar: Any) -> Path:
    path = bids / relpath
    path.parent.mkdir(parents=True, exist_ok=True)
    volume.save(path)
    if sidecar:
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
    return path


def write_dataset(bids: Path, template: Volume) -> None:
    bids.mkdir()
    (bids / "README").write_text("Thick-slice images degraded from the MNI152 template.\n")
    (bids / "dataset_description.json").write_text(
        json.dumps({"Name": "end to end", "BIDSVersion": "1.9.0", "DatasetType": "raw"})
    )
    head = template.with_data(1000 * template.data)
    axial = Acquisition(spacing=6.0, thickness=5.0, slice_axis=2)
    facts = {"SliceThickness": 5.0, "SpacingBetweenSlices": 6.0}
    thick = degrade(head, axial, noise_fraction=0.01, seed=1)
    write_image(bids, "sub-01/anat/sub-01_T1w.nii.gz", thick, **facts)
    inverted = thick.with_data(np.where(thick.data > 20, 1000 - thick.data, thick.data))
    write_image(bids, "sub-01/anat/sub-01_FLAIR.nii.gz", inverted, **facts)
    sagittal = Acquisition(spacing=5.2, thickness=4.0, slice_axis=0)
    gap = degrade(head, sagittal, noise_fraction=0.01, seed=2)
    facts = {"SliceThickness": 4.0, "SpacingBetweenSlices": 5.2}
    write_image(bids, "sub-02/ses-pre/anat/sub-02_ses-pre_T1w.nii.gz", gap, **facts)
    write_image(bids, "sub-02/ses-pre/anat/sub-02_ses-pre_T2w.nii.gz", head)


def write_bad_subject(bids: Path) -> None:
    anat = bids / "sub-bad" / "anat"
    good = Volume.load(bids / "sub-01/anat/sub-01_T1w.nii.gz")
    path = write_image(bids, "sub-bad/anat/sub-bad_acq-cut_T1w.nii.gz", good)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with_nan = good.data.copy()
    with_nan[10:12] = np.nan
    Volume(with_nan, good.affine).save(anat / "sub-bad_acq-nan_T1w.nii.gz")
    series = np.stack([good.data, good.data], axis=-1)
    nb.save(nb.Nifti1Image(series, good.affine), anat / "sub-bad_acq-series_T1w.nii.gz")
    Volume(np.full_like(good.data, 7), good.affine).save(anat / "sub-bad_acq-flat_T1w.nii.gz")


@pytest.fixture(scope="module")
def run(mni152_2mm: Volume, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    root = tmp_path_factory.mktemp("run")
    bids, out, work = root / "bids", root / "out", root / "work"
    write_dataset(bids, mni152_2mm)
    write_bad_subject(bids)
    done = bids_sr(bids, out, "participant", "-w", work, *OPTIONS, "--skip-bids-validation")
    yield Run(bids, out, work, done, tuple(folder_lines(out, {root: "<tmp>"})))
    shutil.rmtree(root)


def decisions(out: Path) -> dict[str, dict[str, str]]:
    with (out / "decisions.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    return {Path(row["image"]).name.removesuffix(".nii.gz"): row for row in rows}


def test_bad_images_fail_alone_with_a_clear_line(run: Run) -> None:
    assert run.done.returncode == 1, run.done.stderr
    rows = decisions(run.out)
    status = {name: row["status"] for name, row in rows.items()}
    assert status == {
        "sub-01_T1w": "done",
        "sub-01_FLAIR": "done",
        "sub-02_ses-pre_T1w": "done",
        "sub-02_ses-pre_T2w": "done",
        "sub-bad_acq-cut_T1w": "failed",
        "sub-bad_acq-nan_T1w": "failed",
        "sub-bad_acq-series_T1w": "skipped",
        "sub-bad_acq-flat_T1w": "failed",
    }
    said = run.done.stdout + run.done.stderr
    for name in ("cut", "nan", "flat"):
        line = re.search(rf"sub-bad_acq-{name}_T1w: failed at check_input: .*", said)
        assert line, said
        assert "expected" in line[0]
        assert rows[f"sub-bad_acq-{name}_T1w"]["message"] != "n/a"
    assert "4" in rows["sub-bad_acq-series_T1w"]["reason"]
    assert "Traceback" not in said


def test_the_output_tree_is_as_stored(run: Run) -> None:
    files = sorted(
        path.relative_to(run.out).as_posix()
        for path in run.out.rglob("*")
        if path.is_file() and "log/" not in path.as_posix() and "logs/" not in path.as_posix()
    )
    assert files == EXPECTED_TREE.read_text().split()


def test_all_that_is_written_is_as_frozen(run: Run, golden: Golden) -> None:
    golden("end_to_end", run.lines)


def test_the_output_is_valid_bids_and_safe_for_smriprep(run: Run) -> None:
    validator = Path(sys.executable).with_name("bids-validator-deno")
    command = [str(validator), str(run.out), "--format", "json"]
    answer = subprocess.run(command, capture_output=True, text=True)
    issues = json.loads(answer.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert check_output_tree(run.out) == []


@pytest.mark.parametrize(
    ("source", "product"),
    [
        ("sub-01/anat/sub-01_T1w", "sub-01/anat/sub-01_res-2mm_desc-sr_T1w"),
        ("sub-01/anat/sub-01_FLAIR", "sub-01/anat/sub-01_res-2mm_desc-sr_FLAIR"),
        (
            "sub-02/ses-pre/anat/sub-02_ses-pre_T1w",
            "sub-02/ses-pre/anat/sub-02_ses-pre_res-2mm_desc-sr_T1w",
        ),
    ],
)
def test_headers_keep_the_field_of_view(run: Run, source: str, product: str) -> None:
    raw = Volume.load(run.bids / f"{source}.nii.gz")
    image = nb.load(run.out / f"{product}.nii.gz")
    sr = Volume.load(run.out / f"{product}.nii.gz")
    np.testing.assert_allclose(sr.fov, raw.fov, atol=0.01)
    corner = np.array([-0.5, -0.5, -0.5, 1])
    np.testing.assert_allclose(sr.affine @ corner, raw.affine @ corner, atol=0.01)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)
    assert int(image.header["qform_code"]) == int(image.header["sform_code"]) > 0
    assert image.get_data_dtype() == np.float32
    assert sr.data.min() >= 0
    assert np.isfinite(sr.data).all()


def test_sidecars_carry_the_provenance(run: Run) -> None:
    path = run.out / "sub-02/ses-pre/anat/sub-02_ses-pre_res-2mm_desc-sr_T1w.json"
    sidecar = json.loads(path.read_text())
    record = sidecar["SuperResolution"]
    assert sidecar["Sources"] == ["bids:raw:sub-02/ses-pre/anat/sub-02_ses-pre_T1w.nii.gz"]
    assert record["SpacingBetweenSlices"] == pytest.approx(5.2, abs=1e-4)
    assert record["SliceThickness"] == 4.0
    assert record["SliceGap"] == pytest.approx(1.2, abs=1e-4)
    assert record["SliceAxis"] == 0
    assert record["Method"] == "finetuned"
    assert {"Seed", "Device", "Software", "Scale", "SliceProfile"} <= set(record)
    passed = run.out / "sub-02/ses-pre/anat/sub-02_ses-pre_res-2mm_desc-sr_T2w.json"
    assert json.loads(passed.read_text())["SuperResolution"]["Action"] == "pass-through"


def test_reports_name_every_image_and_load_nothing_from_the_web(run: Run) -> None:
    for subject in ("01", "02", "bad"):
        page = (run.out / f"sub-{subject}.html").read_text()
        rows = decisions(run.out).items()
        names = [name for name, row in rows if row["participant_id"] == f"sub-{subject}"]
        assert names
        assert all(name in page for name in names)
        loaded = re.findall(r"""(?:src=|<link[^>]*href=|url\()["']?(https?:[^"')>]*)""", page)
        assert loaded == []
    assert "the data end early" in (run.out / "sub-bad.html").read_text()


def test_a_second_run_does_nothing_twice(run: Run) -> None:
    before = {
        path: path.stat().st_mtime_ns
        for path in run.out.rglob("*")
        if path.is_file() and "anat" in path.parts
    }
    heavy = ("denoise", "correct_bias", "extract_brain", "super_resolve")
    results = {
        path: path.stat().st_mtime_ns
        for path in run.work.rglob("result_*.pklz")
        if path.parent.name in heavy
    }
    assert {path.parent.name for path in results} == set(heavy)
    done = bids_sr(
        run.bids, run.out, "participant", "--participant-label", "01", "02",
        "-w", run.work, *OPTIONS, "--skip-bids-validation",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert results == {path: path.stat().st_mtime_ns for path in results}


def test_a_lost_output_comes_back_without_new_work(run: Run, tmp_path: Path) -> None:
    lost = run.out / "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    content = lost.read_bytes()
    lost.unlink()
    done = bids_sr(
        run.bids, run.out, "participant", "--participant-label", "01",
        "-w", run.work, *OPTIONS, "--skip-bids-validation", "--resource-monitor", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert lost.read_bytes() == content
    assert list((run.out / "logs").glob("*_resources.json"))
    assert not list(tmp_path.iterdir())  # nothing is left where the command was called


def test_group_level_gathers_all_subjects(run: Run) -> None:
    done = bids_sr(run.bids, run.out, "group", "-w", run.work)
    assert done.returncode == 0, done.stderr
    with (run.out / "group_T1w.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert {row["participant_id"] for row in rows} == {"sub-01", "sub-02", "sub-bad"}
    assert "sub-01" in (run.out / "group_T1w.html").read_text()


def test_dry_run_tells_the_plan_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    done = bids_sr(
        run.bids, tmp_path / "out", "participant", "--dry-run", "--skip-bids-validation"
    )
    assert done.returncode == 0, done.stderr
    for name in decisions(run.out):
        assert name in done.stdout
    assert "pass" in done.stdout
    assert not list(tmp_path.iterdir())
