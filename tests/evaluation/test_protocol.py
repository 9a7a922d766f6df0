"""The protocol: rows, coverage, grids, tables."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bids_sr.evaluation import Score, compare, covered, evaluate, psnr, ssim, write_scores
from bids_sr.exceptions import AcquisitionError
from bids_sr.imaging import Acquisition, Volume, degrade, lr_grid, output_grid, resample


@pytest.fixture(scope="module")
def brain(mni152_2mm: Volume) -> Volume:
    return Volume(mni152_2mm.data[20:70, 20:90, 20:66], mni152_2mm.affine)


@pytest.fixture(scope="module")
def mask(brain: Volume) -> npt.NDArray[np.bool_]:
    return np.asarray(brain.data > 0.2)


def test_rows_hold_what_a_direct_computation_gives(
    brain: Volume, mask: npt.NDArray[np.bool_]
) -> None:
    acquisition = Acquisition(spacing=8.5, thickness=7.0, slice_axis=1, profile="rect")
    methods = {"linear": {}, "bspline": {}}
    scores = evaluate(brain, acquisition, methods, mask=mask, image="template")
    assert [score.method for score in scores] == ["linear", "bspline"]
    assert scores[1].psnr_db > scores[0].psnr_db > 10
    lr = degrade(brain, acquisition)
    direct = resample(lr, brain.grid, kernel="linear")
    inside = mask & covered(brain.grid, lr.grid)
    assert scores[0] == Score(
        image="template",
        method="linear",
        spacing=8.5,
        thickness=7.0,
        profile="rect",
        psnr_db=pytest.approx(psnr(direct.data, brain.data, inside), abs=1e-3),
        ssim=pytest.approx(ssim(direct.data, brain.data, inside), abs=1e-4),
        seconds=scores[0].seconds,
    )
    assert scores[0].seconds > 0


def test_bad_acquisitions_are_refused(brain: Volume, mask: npt.NDArray[np.bool_]) -> None:
    with pytest.raises(AcquisitionError):
        evaluate(brain, Acquisition(spacing=-1.0), {"linear": {}}, mask=mask)


def test_covered_leaves_out_what_no_slice_holds(brain: Volume) -> None:
    lr = lr_grid(brain.grid, Acquisition(spacing=12.0, slice_axis=2))
    inside = covered(brain.grid, lr)
    assert lr.shape[2] == 7  # 84 of 92 mm
    assert inside[..., :42].all()
    assert not inside[..., 42:].any()
    assert covered(lr, brain.grid).all()


def test_compare_brings_the_estimate_to_the_reference(
    brain: Volume, mask: npt.NDArray[np.bool_]
) -> None:
    assert compare(brain, brain, mask) == (np.inf, pytest.approx(1.0))
    finer = resample(brain, output_grid(brain, slice_axis=2, spacing=1.3))
    quality = compare(finer, brain, mask)
    assert quality[0] > 30
    turned = Volume(finer.data[::-1], finer.affine @ _flip(finer.shape[0]))
    np.testing.assert_allclose(compare(turned, brain, mask), quality, rtol=1e-3)


def _flip(size: int) -> npt.NDArray[np.float64]:
    step = np.diag([-1.0, 1, 1, 1])
    step[0, 3] = size - 1
    return step


def test_table(tmp_path: Path) -> None:
    score = Score(
        image="sub-01",
        method="self",
        spacing=6.0,
        thickness=5.0,
        profile="gaussian",
        psnr_db=28.12346,
        ssim=0.91234,
        seconds=61.5,
    )
    path = write_scores([score, score], tmp_path / "new" / "scores.tsv")
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert len(rows) == 2
    assert rows[0] == {
        "image": "sub-01",
        "method": "self",
        "spacing": "6.0000",
        "thickness": "5.0000",
        "profile": "gaussian",
        "psnr_db": "28.1235",
        "ssim": "0.9123",
        "seconds": "61.5000",
    }
