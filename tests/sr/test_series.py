from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_sr.exceptions import ConfigError
from bids_sr.imaging import Acquisition, Series, Volume, lay_out_grid, resample
from bids_sr.sr.series import reconstruct_series

QUICK: dict[str, Any] = {
    "steps": 3,
    "width": 2,
    "depth": 2,
    "latent_channels": 3,
    "batch_size": 2,
    "patch_size": 16,
    "device": "cpu",
    "threads": 1,
}


def beating(frames: int = 3) -> Series:
    rows, columns, slices, times = np.mgrid[:20, :24, :5, :frames]
    inside = (rows - 8 - slices) ** 2 + (columns - 12) ** 2 < (4 + times) ** 2
    data = np.random.default_rng(0).normal(20, 2, inside.shape) + 100 * inside
    return Series(data.astype(np.float32), np.diag([2.0, 2.0, 8.0, 1.0]), 0.04)


def test_interpolation_is_frame_by_frame() -> None:
    series = beating()
    grid = lay_out_grid(next(series.frames()), slice_axis=2)
    result = reconstruct_series(series, Acquisition(spacing=8.0), method="bspline", grid=grid)
    assert result.series.frame_spacing == 0.04
    np.testing.assert_array_equal(result.series.affine, grid.affine)
    for frame, expected in zip(result.series.frames(), series.frames(), strict=True):
        np.testing.assert_array_equal(frame.data, np.maximum(resample(expected, grid).data, 0))
    assert result.learned is None
    assert len(result.frames) == 3


def test_one_training_for_all_frames() -> None:
    series = beating()
    grid = lay_out_grid(
        next(series.frames()), slice_axis=2, output_resolution="native", output_grid="slice"
    )
    messages: list[str] = []
    result = reconstruct_series(
        series,
        Acquisition(spacing=8.0),
        method="latent",
        grid=grid,
        parameters=QUICK,
        progress=lambda step, total, message: messages.append(message),
    )
    np.testing.assert_array_equal(result.series.data[:, :, ::4], series.data)
    assert sum(message.startswith("training") for message in messages) == 3
    assert result.learned is not None
    assert result.learned.card.data == "3 frames of one image"
    used = {record.details["ModelSHA256"] for record in result.frames}
    assert used == {result.learned.digest}
    assert len(result.curve.points) == 1


def test_empty_frame_does_not_stop_the_others() -> None:
    series = beating()
    series.data[..., 1] = 0
    grid = lay_out_grid(next(series.frames()), slice_axis=2, output_grid="slice")
    result = reconstruct_series(
        series, Acquisition(spacing=8.0), method="latent", grid=grid, parameters=QUICK
    )
    assert (result.series.data[..., 1] == 0).all()
    assert [frame.fallback for frame in result.frames] == ["", "linear", ""]
    interpolated = "interpolated instead of super-resolved: the image is constant"
    assert interpolated in result.record.warnings


def test_methods_that_take_no_series() -> None:
    series = beating(2)
    grid = lay_out_grid(next(series.frames()), slice_axis=2)
    with pytest.raises(ConfigError, match=r"2 frames .* one of latent, .*linear"):
        reconstruct_series(series, Acquisition(spacing=8.0), method="self", grid=grid)


def test_real_cine(shared_data: Path, tmp_path: Path) -> None:
    """Both phases of a real heart as a 4-D image."""
    folder = shared_data / "cardiac-cine" / "sub-chla09" / "cmr"
    phases = [Volume.load(path) for path in sorted(folder.glob("*.nii.gz"))]
    number = min(phase.shape[2] for phase in phases)
    cut = [Volume(phase.data[32:96, 32:96, :number], phases[0].affine) for phase in phases]
    series = Series.load(Series.of(cut, 0.3).save(tmp_path / "cine.nii.gz"))
    assert series.data.shape == (64, 64, number, 2)
    grid = lay_out_grid(cut[0], slice_axis=2, output_resolution="native", output_grid="slice")
    result = reconstruct_series(
        series, Acquisition(spacing=5.0), method="latent", grid=grid, parameters=QUICK
    )
    parts = (grid.shape[2] - 1) // (number - 1)
    np.testing.assert_array_equal(result.series.data[:, :, ::parts], series.data)
    assert result.series.frame_spacing == pytest.approx(0.3)
