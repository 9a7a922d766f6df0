"""A run in which every step fails that an image is good without: the product arrives."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import pytest

CODE = """
import os, signal, sys
from bids_sr.cli.run import main
from bids_sr.engines import ants
from bids_sr.engines.segmentation.atropos import Atropos
from bids_sr.reports import acquired_figure, figures
import bids_sr.sr, bids_sr.sr.methods.base

def failing(how):
    def fail(*_, **__):
        if isinstance(how, int):
            os.kill(os.getpid(), how)
        raise how
    return fail

ants.denoise = failing(signal.SIGKILL)
ants.n4 = failing(MemoryError("Unable to allocate 148. GiB"))
ants.template_brain_mask = failing(signal.SIGSEGV)
Atropos.segment, Atropos.needs_mask = failing(TimeoutError("no answer")), False
acquired_figure.plot_acquired_and_result = failing(
    ValueError("Surface level must be within volume data range.")
)
figures.plot_slice_profile = failing(signal.SIGKILL)
bids_sr.sr.data_consistency_residual = failing(MemoryError("no room"))
bids_sr.sr.methods.base.agreement = failing(KeyError("x"))
sys.exit(main(sys.argv[1:]))
"""
EXPECTED = (
    "the image was not denoised: the process of this step was killed twice",
    "the bias field was not corrected: out of memory (MemoryError: Unable to allocate 148. GiB)",
    "no brain mask: the process of this step crashed twice (SIGSEGV)",
    "the data consistency was not measured",
    "no segmentation by atropos: TimeoutError: no answer",
    "no figure of the acquired and the super-resolved image: ValueError: Surface level must",
    "no figure of the slice profile: the process of this step was killed twice",
)


@pytest.mark.slow
@pytest.mark.engine
def test_the_product_arrives_whatever_else_fails(
    empty_dataset: Path, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    write_image(empty_dataset, "sub-01_T1w")
    output = tmp_path / "out"
    words = [empty_dataset, output, "participant", "-w", tmp_path / "work"]
    options = ["--sr-method=bspline", "--segmentation=atropos", "--skip-bids-validation"]
    options += ["--skull-strip-method=template", "--skull-strip-anat=force", "--nprocs=2"]
    ended = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, words), *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert ended.returncode == 1, ended.stderr  # the segmentation was asked for
    assert "sub-01_T1w: done, but incomplete" in ended.stdout
    (product,) = output.glob("sub-01/anat/*_desc-sr_T1w.nii.gz")
    assert nb.load(product).shape[2] == 18  # type: ignore[attr-defined]
    rows = csv.DictReader((output / "decisions.tsv").read_text().splitlines(), delimiter="\t")
    (row,) = rows
    assert row["status"] == "done"
    page = (output / "sub-01.html").read_text()
    sidecar = json.loads(product.with_name(product.name[:-7] + ".json").read_text())
    quality = json.loads((output / "sub-01/anat/sub-01_desc-sr_qc.json").read_text())
    for sentence in EXPECTED:
        assert sentence in row["message"]
        assert sentence in page
        assert any(warning.startswith(sentence) for warning in quality["Warnings"])
    warnings = " ".join(sidecar["SuperResolution"]["Warnings"])
    assert all(sentence in warnings for sentence in EXPECTED[:3])
    assert quality["DataConsistencyResidualPercent"] is None
    assert not list(output.glob("sub-01/log/*/crash*"))
    (methods,) = output.glob("sub-01/log/*/CITATION.md")
    assert "left out in 1 of 1 images: the image was not denoised (1)" in methods.read_text()
