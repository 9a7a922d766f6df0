from __future__ import annotations

from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Series, Volume

AFFINE = np.diag([1.5, 1.5, 8.0, 1.0])


def moving(frames: int = 3) -> Series:
    data = np.random.default_rng(0).random((6, 5, 4, frames), dtype=np.float32)
    return Series(data, AFFINE, 0.04)


def test_file_there_and_back(tmp_path: Path) -> None:
    series = moving()
    again = Series.load(series.save(tmp_path / "cine.nii.gz"))
    np.testing.assert_array_equal(again.data, series.data)
    np.testing.assert_allclose(again.affine, AFFINE)
    assert again.frame_spacing == pytest.approx(0.04)


def test_header_is_a_series(tmp_path: Path) -> None:
    """As nibabel, not this package, reads it."""
    image = nb.load(moving().save(tmp_path / "cine.nii.gz"))
    assert image.shape == (6, 5, 4, 3)
    assert image.header.get_zooms() == pytest.approx((1.5, 1.5, 8.0, 0.04))
    assert image.header.get_xyzt_units() == ("mm", "sec")


def test_milliseconds_are_seconds(tmp_path: Path) -> None:
    image = nb.Nifti1Image(moving().data, AFFINE)
    image.header.set_zooms((1.5, 1.5, 8.0, 40.0))
    image.header.set_xyzt_units("mm", "msec")
    image.to_filename(tmp_path / "cine.nii")
    assert Series.load(tmp_path / "cine.nii").frame_spacing == pytest.approx(0.04)


def test_volume_is_a_series_of_one_frame(tmp_path: Path) -> None:
    frame = next(moving().frames())
    series = Series.load(frame.save(tmp_path / "frame.nii"))
    assert (len(series), series.frame_spacing) == (1, 0.0)
    np.testing.assert_array_equal(next(series.frames()).data, frame.data)


def test_frames_there_and_back() -> None:
    series = moving()
    frames = list(series.frames())
    np.testing.assert_array_equal(frames[1].data, series.data[..., 1])
    again = Series.of(frames, 0.04)
    np.testing.assert_array_equal(again.data, series.data)
    np.testing.assert_array_equal(again.affine, series.affine)


def test_frames_on_other_grids_are_refused() -> None:
    frame = next(moving().frames())
    shifted = frame.affine.copy()
    shifted[0, 3] += 5
    with pytest.raises(InputDataError, match="2 frames"):
        Series.of([frame, Volume(frame.data, shifted)])
    with pytest.raises(InputDataError, match="0 frames"):
        Series.of([])


def test_other_arrays_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="four axes"):
        Series(np.zeros((3, 3, 3), np.float32), AFFINE)
    five = nb.Nifti1Image(np.random.default_rng(0).random((4, 4, 4, 2, 3)), AFFINE)
    five.to_filename(tmp_path / "five.nii")
    with pytest.raises(InputDataError, match="three axes and time"):
        Series.load(tmp_path / "five.nii")


def test_truncated_series_is_refused(tmp_path: Path) -> None:
    path = moving().save(tmp_path / "cine.nii")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputDataError, match="end early"):
        Series.load(path)


def test_slice_spacing_is_mended_as_that_of_each_frame() -> None:
    series = moving()
    mended = series.with_slice_spacing(6.0, 2)
    frame = next(series.frames()).with_slice_spacing(6.0, 2)
    np.testing.assert_array_equal(mended.affine, frame.affine)
    assert mended.frame_spacing == series.frame_spacing
