"""Every real scan at hand loads, and keeps its field of view on a finer grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_sr.imaging import Acquisition, Volume, check_input, degrade, lay_out_grid, resample


@pytest.mark.parametrize("dataset", ["clinical-2d", "isotropic-hr"])
def test_headers_are_in_order(shared_data: Path, dataset: str) -> None:
    paths = sorted((shared_data / dataset).rglob("*.nii.gz"))
    assert paths
    for path in paths:
        report = check_input(path)
        assert report.n_volumes == 1
        assert report.warnings == ()
        assert (report.anisotropy > 1.5) == (dataset == "clinical-2d")


def test_slices_with_a_gap(shared_data: Path) -> None:
    name = "sub-gap01_acq-HFS_T1w.nii.gz"
    lr = Volume.load(shared_data / "clinical-2d" / "sub-gap01" / "anat" / name)
    fine = resample(lr, lay_out_grid(lr, slice_axis=lr.slice_axis))
    np.testing.assert_allclose(fine.fov, lr.fov, atol=0.01)
    assert fine.data.min() >= -0.15 * lr.data.max()
    again = lr.canonical().oriented_like(lr)
    assert np.array_equal(again.data, lr.data)


@pytest.mark.slow
def test_degraded_brain_is_not_shifted(shared_data: Path) -> None:
    path = shared_data / "isotropic-hr" / "sub-adult02" / "anat" / "sub-adult02_FLAIR.nii.gz"
    reference = Volume.load(path)
    axis = 2
    thick = degrade(reference, Acquisition(spacing=4.3, thickness=4.0, slice_axis=axis))
    fine = resample(thick, reference.grid)
    inner = slice(10, -10)

    def _error(shift: int) -> float:
        moved = np.roll(fine.data, shift, axis=axis)
        return float(np.mean((moved - reference.data)[..., inner] ** 2))

    assert _error(0) < min(_error(-1), _error(1))
    assert _error(-1) == pytest.approx(_error(1), rel=0.05)
