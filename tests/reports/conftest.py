"""An output folder as a run leaves it: real anatomy, degraded; one image of each fate."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_sr.bids.dataset import DECISION_COLUMNS
from bids_sr.bids.output_sidecars import as_made
from bids_sr.imaging import Acquisition, Volume, degrade, lay_out_grid, resample
from bids_sr.interfaces.outputs import SaveQuality
from bids_sr.records.learning_curve import (
    GAIN_OVER_CUBIC,
    NO_CURVE,
    CurvePoint,
    LearningCurve,
    Validation,
)
from bids_sr.records.method_record import MethodRecord, Output, SlicesUsed
from bids_sr.reports import figures
from bids_sr.reports.acquired_figure import plot_acquired_and_result
from bids_sr.reports.boilerplate import write_citations

METHODS = """
Results come from *bids_sr* [@gorgolewski2017], based on *Nipype* [@gorgolewski2011].

## Preprocessing

The image was denoised by adaptive non-local means [@manjon2010]. Intensity inhomogeneity was
corrected with `N4BiasFieldCorrection` [@tustison2010; ANTs, @avants2011].

## Super-resolution

Images were reconstructed by self-supervised super-resolution [@zhao2021; @remedios2023]. As
@zhao2021 noted, in-plane slices are the training data.
"""

CRASH = """Node: bids_sr_wf.sub_01_ses_01_T2w_wf.check
Working directory: /scratch/check

Traceback (most recent call last):
  File "interfaces/preprocessing.py", line 40, in _run_interface
bids_sr.exceptions.InputDataError: x_T2w.nii.gz: <gzip> ends after 812 of 9,437,184 bytes
"""


def learning_curve(points: int = 12, validation: Validation = GAIN_OVER_CUBIC) -> LearningCurve:
    """Make a curve that falls, as one of a run does."""
    return LearningCurve(
        points=tuple(
            CurvePoint(
                step=step,
                seconds=round(0.06 * step, 2),
                loss=round(0.004 + 0.03 / (1 + step / 150), 6),
                validation=round(1.6 - 1.9 / (1 + step / 180), 3) if step % 200 == 0 else None,
            )
            for step in range(100, 100 * points + 1, 100)
        ),
        validation=validation,
    )


METHOD = MethodRecord(
    method="self",
    seconds=118.2,
    device="cpu",
    stop_reason="time budget",
    details={"Seed": 20177, "Network": {"Blocks": 8, "Channels": 16}},
    slices=SlicesUsed.of(Acquisition(spacing=6.0, thickness=5.0, slice_axis=2)),
    output=Output(
        shape=(99, 117, 95),
        spacings=(2.0, 2.0, 2.0),
        intensities=(0.0, 1251.2),
        residual_percent=0.8312,
    ),
)


def write_quality(path: Path, image: str, **changes: Any) -> None:
    """Write a QC file by the step of a run that does so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inputs = {
        "image": image,
        "suffix": image.rpartition("_")[2].split(".")[0],
        "action": "super-resolve",
        "check": {"InputRange": [0.0, 1204.5]},
        "denoise": {"Method": "nlm", "Seconds": 20.4, "Software": "antspyx 0.6.3"},
        "bias_correction": {"Method": "n4", "ShrinkFactors": [4, 4, 1], "Seconds": 12.1},
        "slice_gain": {
            "Method": "neighbouring slices",
            "Applied": True,
            "Pattern": ["odd-even"],
            "BeforePercent": 2.95,
            "AfterPercent": 0.31,
            "Gains": [0.985, 1.015, 0.985],
            "Seconds": 0.3,
        },
        "brain_mask": {
            "Method": "template",
            "Reason": "no HD-BET weights",
            "VolumeMl": 1893.4,
            "Seconds": 14.9,
        },
        "super_resolution": METHOD,
        "curve": learning_curve(),
        **changes,
    }
    SaveQuality(out_path=str(path), **inputs).run(cwd=path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_decisions(root: Path, rows: list[dict[str, str]]) -> None:
    """Write the decisions table as the BIDS room does."""
    lines = ["\t".join(DECISION_COLUMNS)]
    lines += ["\t".join(row.get(column) or "n/a" for column in DECISION_COLUMNS) for row in rows]
    (root / "decisions.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def decision(image: str, **cells: str) -> dict[str, str]:
    """Write a row of the decisions table."""
    parts = dict(part.split("-", 1) for part in image.split("/")[-1].split("_") if "-" in part)
    session = f"ses-{parts['ses']}" if "ses" in parts else ""
    return {
        "participant_id": f"sub-{parts['sub']}",
        "session_id": session,
        "image": image,
        **cells,
    }


def acquired(**cells: str) -> dict[str, str]:
    """Write the acquisition of a row."""
    known = {"slice_axis": "2", "spacing": "6", "thickness": "5", "gap": "1"}
    return {**known, "profile": "gaussian", **cells}


def draw_figures(reference: Volume, folder: Path, prefix: str, suffix: str) -> None:
    """Draw the four figures of an image degraded from a reference."""
    acquisition = Acquisition(spacing=6.0, thickness=5.0, slice_axis=2)
    lr = degrade(reference, acquisition, noise_fraction=0.01, seed=1)
    mask = lr.with_data((lr.data > 0.25 * np.percentile(lr.data, 99)).astype(np.uint8))
    grid = lay_out_grid(
        lr, slice_axis=2, output_resolution=float(reference.spacings[0]), output_grid="fov"
    )
    before = resample(lr, grid)
    after = resample(reference, grid)

    def name(kind: str) -> Path:
        return folder / f"{prefix}_desc-{kind}_{suffix}.svg"

    figures.plot_mask(lr, mask, name("mask"))
    plot_acquired_and_result(lr, [("Interpolated", before), ("Super-resolved", after)], name("sr"))
    figures.plot_slice_profile(acquisition.slice_profile, acquisition, name("sliceprofile"))
    figures.plot_learning_curve(learning_curve(), name("learningcurve"))


def build_tree(root: Path, reference: Volume) -> Path:
    """Write the output of a run on two participants."""
    anat = "sub-01/ses-01/anat/sub-01_ses-01"
    good = f"{anat}_FLAIR.nii.gz"
    passed = f"{anat}_acq-iso_T1w.nii.gz"
    broken = f"{anat}_T2w.nii.gz"
    write_decisions(
        root,
        [
            decision(
                good,
                action="super-resolve",
                reason="anisotropy 6 is above 1.5",
                status="done",
                message="N4 <changed> nothing & was kept",
                output="sub-01/ses-01/anat/sub-01_ses-01_res-2mm_desc-sr_FLAIR.nii.gz",
                assumptions="thickness taken from SliceThickness; profile assumed Gaussian",
                **acquired(),
            ),
            decision(
                passed,
                action="pass-through",
                reason="anisotropy 1.1 is below 1.5",
                status="done",
                output="sub-01/ses-01/anat/sub-01_ses-01_acq-iso_res-1mm_desc-sr_T1w.nii.gz",
                **acquired(spacing="1.1", thickness="1.1", gap="0"),
            ),
            decision(
                broken,
                action="super-resolve",
                reason="anisotropy 6 is above 1.5",
                status="failed",
                message="sub-01_ses-01_T2w.nii.gz: <gzip> ends after 812 of 9,437,184 bytes; "
                "copy the file again",
                **acquired(),
            ),
            decision(
                "sub-01/ses-01/anat/sub-01_ses-01_MESE.nii.gz",
                action="skip",
                reason="MESE is not among --modalities",
                status="skipped",
            ),
            decision("sub-02/anat/sub-02_FLAIR.nii.gz", action="super-resolve", status="planned"),
        ],
    )
    folder = root / "sub-01/ses-01/anat"
    write_quality(folder / "sub-01_ses-01_acq-FLAIR_desc-sr_qc.json", good)
    assert METHOD.output is not None
    write_quality(
        folder / "sub-01_ses-01_acq-iso_desc-sr_qc.json",
        passed,
        action="pass-through",
        denoise={},
        bias_correction={},
        slice_gain={},
        super_resolution=MethodRecord(
            method="none",
            output=replace(METHOD.output, residual_percent=None, intensities=(-4.0, 1204.5)),
        ),
        curve=NO_CURVE,
    )
    planned = {"Scale": 3.0, "Assumptions": ["profile"], "Warnings": []}
    plan = {"SkullStripped": False, "Description": "", "SuperResolution": planned}
    write_json(folder / "sub-01_ses-01_res-2mm_desc-sr_FLAIR.json", as_made(plan, METHOD, []))
    for product in ("res-2mm_desc-sr_FLAIR", "acq-iso_res-1mm_desc-sr_T1w"):
        (folder / f"sub-01_ses-01_{product}.nii.gz").touch()
    draw_figures(reference, root / "sub-01/figures", "sub-01_ses-01", "FLAIR")
    for name, command in (
        ("20260101-090000_a", "old"),
        ("20260102-090000_b", "bids_sr /data <out>"),
    ):
        log = root / "sub-01/log" / name
        log.mkdir(parents=True)
        (log / "run.toml").write_text(
            f'[run]\nid = "{name}"\nstarted = 2026-01-02T09:00:00+00:00\ncommand = "{command}"\n'
            '[versions]\nbids_sr = "0.1.0"\ntorch = "2.13.0"\n'
            "[config]\nnprocs = 2\nsloppy = false\nmodalities = ['T1w', 'FLAIR']\n"
        )
    (root / "sub-01/log/20260102-090000_b/crash-20260102-090100-x-check-0.txt").write_text(CRASH)
    write_citations(METHODS, root / "logs")
    return root


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, mni152_2mm: Volume) -> Path:
    """Output folder of a finished run; shared, not to be changed."""
    return build_tree(tmp_path_factory.mktemp("out"), mni152_2mm)


@pytest.fixture
def run_copy(finished_run: Path, tmp_path: Path) -> Path:
    """Output folder of a finished run, of one's own."""
    return shutil.copytree(finished_run, tmp_path / "out")


@pytest.fixture(scope="module")
def finished_phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a dataset and its output folder; shared, not to be changed."""
    root = tmp_path_factory.mktemp("phantom")
    from .viewer_phantom import build

    build(root)
    return root


@pytest.fixture
def run(finished_phantom: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Return a dataset and its output folder, of one's own."""
    root = shutil.copytree(finished_phantom, tmp_path / "run")
    return root / "bids", root / "out"
