"""Real stacks: three planes of one knee, and heads that are not the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_sr.imaging import Acquisition, Volume, degrade, lay_out_grid
from bids_sr.sr import reconstruct, super_resolve_together
from bids_sr.sr.together.registration import register

pytestmark = pytest.mark.slow


def test_a_knee_in_three_planes_becomes_one_volume(shared_data: Path) -> None:
    files = sorted((shared_data / "clinical-2d" / "sub-knee02").rglob("*_acq-*_PDw.nii.gz"))
    if len(files) != 3:
        pytest.skip("no knee in three planes; get sub-knee02 of the shared data")
    fused = super_resolve_together([Volume.load(file) for file in files], method="bspline")
    assert fused.warnings == ()
    assert max(value for value in fused.residuals_percent if value is not None) < 5
    for stack in fused.stacks:
        assert np.linalg.norm(stack.to_frame[:3, 3]) < 3  # the patient kept still
    own = fused.stacks[fused.frame].reconstruction
    across = fused.stacks[fused.frame].slice_axis
    details = [np.abs(np.diff(v.data, 2, axis=across)).mean() for v in (own, fused.volume)]
    assert details[1] > 1.5 * details[0]


def scanned(volume: Volume, axis: int) -> Volume:
    """Return the reconstruction of 5 mm slices every 6 mm."""
    acquisition = Acquisition(spacing=6.0, thickness=5.0, profile="gaussian", slice_axis=axis)
    slices = degrade(volume, acquisition, noise_fraction=0.01, seed=axis)
    grid = lay_out_grid(slices, slice_axis=axis)
    return reconstruct(slices, acquisition, method="bspline", grid=grid).volume


def test_neither_another_head_nor_a_mirrored_one_is_believed(shared_data: Path) -> None:
    heads = [
        Volume.load(file).canonical()
        for subject in ("msCS07", "msCS26")
        for file in (shared_data / "isotropic-hr" / f"sub-{subject}").rglob("*_FLAIR.nii.gz")
    ]
    if len(heads) != 2:
        pytest.skip("no two FLAIR heads; get sub-msCS07 and sub-msCS26 of the shared data")
    fixed, own, other = scanned(heads[0], 2), scanned(heads[0], 0), scanned(heads[1], 0)
    assert register(fixed, own).believed
    assert not register(fixed, own.with_data(own.data[::-1].copy())).believed
    assert not register(fixed, other).believed
