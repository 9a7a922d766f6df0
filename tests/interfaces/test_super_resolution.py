from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_sr.imaging import Acquisition, Volume, resample
from bids_sr.interfaces.super_resolution import SuperResolve

ACQUISITION: dict[str, Any] = {
    "spacing": 6.0,
    "thickness": 5.0,
    "profile": "gaussian",
    "slice_axis": 2,
}


def test_interpolation_goes_to_the_asked_grid(
    thick: Volume, thick_file: Path, tmp_path: Path
) -> None:
    done = SuperResolve(
        in_file=thick_file, acquisition=ACQUISITION, method="bspline", spacing=2.0
    ).run(cwd=tmp_path)
    out = Volume.load(done.outputs.out_file)
    np.testing.assert_allclose(out.fov, thick.fov, atol=0.01)
    np.testing.assert_allclose(out.spacings, [2, 2, 2], atol=1e-5)
    np.testing.assert_allclose(
        out.data, np.maximum(resample(thick, out.grid).data, 0), atol=1e-3 * thick.data.max()
    )
    record = done.outputs.record
    assert record["OutputShape"] == list(out.shape)
    assert 0 < record["DataConsistencyResidualPercent"] < 20
    assert done.outputs.curve == []
    assert Path(done.outputs.out_profile).read_text().startswith("position_mm")


def test_none_keeps_the_image(thick: Volume, thick_file: Path, tmp_path: Path) -> None:
    done = SuperResolve(in_file=thick_file, acquisition=ACQUISITION, method="none").run(
        cwd=tmp_path
    )
    out = Volume.load(done.outputs.out_file)
    np.testing.assert_array_equal(out.data, thick.data)
    np.testing.assert_array_equal(out.affine, thick.affine)


def test_a_learner_hands_on_its_curve(thick_file: Path, tmp_path: Path) -> None:
    done = SuperResolve(
        in_file=thick_file,
        acquisition=ACQUISITION,
        method="self",
        spacing=2.0,
        parameters={"steps": 5, "seed": 3, "device": "cpu"},
    ).run(cwd=tmp_path)
    assert {"step", "seconds", "loss", "validation"} <= set(done.outputs.curve[-1])
    assert done.outputs.record["Seed"] == 3


def test_a_fallback_is_a_warning(thick: Volume, tmp_path: Path) -> None:
    few = Volume(thick.data[50:58, 50:58, 12:16], thick.affine).save(tmp_path / "few.nii.gz")
    done = SuperResolve(
        in_file=few, acquisition=ACQUISITION, method="self", spacing=2.0, parameters={"steps": 1}
    ).run(cwd=tmp_path)
    assert done.outputs.record["Fallback"] == "bspline"
    assert done.outputs.record["Warning"].startswith("interpolated instead of super-resolved: ")


def test_the_residual_of_the_truth_is_zero(
    mni152_2mm: Volume, thick: Volume, tmp_path: Path
) -> None:
    from bids_sr.sr import data_consistency_residual

    acquisition = Acquisition(**ACQUISITION)
    assert data_consistency_residual(mni152_2mm, thick, acquisition) == pytest.approx(0, abs=1e-3)
