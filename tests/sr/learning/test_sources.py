from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Acquisition, Volume
from bids_sr.sr.learning.sources import leave_out, read_images


def test_images_are_scaled_and_keep_their_axes(thick: Volume, tmp_path: Path) -> None:
    path = thick.save(tmp_path / "thick.nii.gz")
    (image,) = read_images([path])
    assert image.volume.shape == thick.shape
    assert np.percentile(image.volume.data, 99.5) == pytest.approx(1, abs=0.2)
    assert (image.slice_axis, image.acquisition.thickness) == (2, 0.85 * 8.0)
    stack = image.stack(2)
    assert stack.data.shape == (15, 48, 56)
    assert stack.spacings == pytest.approx((8, 2, 2))
    np.testing.assert_array_equal(stack.data[3], image.volume.data[:, :, 3])
    sideways = image.stack(0)
    assert sideways.data.shape == (48, 56, 15)
    assert sideways.spacings == pytest.approx((2, 2, 8))


def test_what_is_known_of_an_image_counts(thick: Volume, tmp_path: Path) -> None:
    path = thick.save(tmp_path / "thick.nii.gz")
    known = Acquisition(spacing=8, thickness=6, profile="rect")
    (image,) = read_images([path], {path: known})
    assert (image.acquisition.thickness, image.acquisition.profile) == (6, "rect")
    assert image.slice_axis == 2


def test_bad_files_are_left_out_aloud(
    thick: Volume, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = thick.save(tmp_path / "good.nii.gz")
    text = tmp_path / "text.nii.gz"
    text.write_text("no image")
    other = Acquisition(spacing=5)
    twice = thick.save(tmp_path / "twice.nii.gz")
    with caplog.at_level(logging.WARNING):
        images = read_images([text, good, twice, tmp_path / "none.nii"], {twice: other})
    assert [image.path for image in images] == [good]
    messages = [record.message for record in caplog.records]
    assert len(messages) == 3
    assert "text.nii.gz" in messages[0]
    assert "5 mm" in messages[1]
    with pytest.raises(InputDataError, match="no image that can be learnt from"):
        read_images([text])


def test_subjects_are_left_out_whole() -> None:
    files = [Path(f"/d/sub-{n}_{suffix}.nii") for n in "abcde" for suffix in ("T1w", "FLAIR")]
    training, validation = leave_out(files, 0.2, seed=1)
    assert sorted([*training, *validation]) == sorted(files)
    assert len(validation) == 2
    assert validation[0].name[:5] == validation[1].name[:5]
    assert leave_out(files, 0.2, seed=1) == (training, validation)
    assert leave_out(files, 0.0, seed=1)[1] == ()
    assert leave_out(files[:2], 0.5, seed=1) == (tuple(sorted(files[:2])), ())
