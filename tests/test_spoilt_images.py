"""Spoilt copies through the whole command: each place says which check fails, and why."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bids_sr.evaluation.spoilt import Scan, clipped, motion, noisy
from bids_sr.imaging import Acquisition, Volume, degrade

Command = Callable[..., "subprocess.CompletedProcess[str]"]
SLICES = Acquisition(spacing=4.0, thickness=4.0, profile="slr", slice_axis=2)
COPIES = {
    "good": (None, 0.0, set[str]()),
    "noisy": (noisy, 12.0, {"noise"}),
    "clipped": (clipped, 2.0, {"clipped"}),
    "moved": (motion, 4.0, {"slices"}),
}
OPTIONS = [
    *("--sr-method", "bspline", "--skull-strip-method", "none", "--denoise-method", "none"),
    *("--anat-biascorrect", "none", "--output-resolution", "2", "--skip-bids-validation"),
    *("--nprocs", "1", "--omp-nthreads", "1"),
]


def write_copies(dataset: Path, head: Volume) -> None:
    scan = Scan(
        volume=degrade(head, SLICES, noise_fraction=0.01, seed=1), mask=None, acquisition=SLICES
    )
    for label, (spoil, strength, _) in COPIES.items():
        spoilt = spoil(scan, strength) if spoil else scan
        folder = dataset / f"sub-{label}" / "anat"
        folder.mkdir(parents=True)
        data = np.round(spoilt.volume.data * 1000).astype(np.float32)
        spoilt.volume.with_data(data).save(folder / f"sub-{label}_T1w.nii.gz")
        sidecar = folder / f"sub-{label}_T1w.json"
        sidecar.write_text(json.dumps({"SliceThickness": 4.0}))


def test_all_places_agree_on_what_is_wrong(
    command: Command, empty_dataset: Path, mni152_2mm: Volume, tmp_path: Path
) -> None:
    write_copies(empty_dataset, mni152_2mm)
    out = tmp_path / "out"
    words = [empty_dataset, out, "participant", "-w", tmp_path / "work", *OPTIONS, "--strict"]
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "4 done, 0 failed" in done.stdout
    last = done.stdout.partition("4 done, 0 failed")[2]
    assert 'verdict "look": 3 of 4 images; exit code 1, because of --strict' in last
    assert command(empty_dataset, out, "group", cwd=tmp_path).returncode == 0

    with (out / "decisions.tsv").open(newline="") as stream:
        decisions = {row["image"]: row for row in csv.DictReader(stream, delimiter="\t")}
    with (out / "group_T1w.tsv").open(newline="") as stream:
        group = {row["participant_id"]: row for row in csv.DictReader(stream, delimiter="\t")}
    for label, (_, _, names) in COPIES.items():
        quality = json.loads((out / f"sub-{label}/anat/sub-{label}_desc-sr_qc.json").read_text())
        looks = [check for check in quality["Checks"] if check["Verdict"] == "look"]
        assert names <= {check["Name"] for check in looks}
        assert quality["Verdict"] == ("look" if names else "ok")
        status = quality["Verdict"]
        cell = ", ".join(check["Name"] for check in looks)
        assert f"sub-{label}_T1w: done, verdict {status}" in last
        row = group[f"sub-{label}"]
        assert (row["verdict"], row["look_at"]) == (status, cell or "n/a")
        decision = decisions[f"sub-{label}/anat/sub-{label}_T1w.nii.gz"]
        assert decision["verdict"] == (f"look: {cell}" if cell else "ok")
        page = (out / f"sub-{label}.html").read_text()
        assert f'class="verdict verdict-{status}"' in page
        if "slices" in names:
            assert "Counted from 0: slice 14: moved by about" in str(looks)
        for check in looks:
            assert check["Title"].lower() in last
            assert check["Reason"] in page
