from __future__ import annotations

import numpy as np
import pytest

from bids_sr.imaging import Acquisition, Volume, degrade, resample
from bids_sr.sr.inference import error_features as module
from bids_sr.sr.inference.error_features import AMPLITUDES, NAMES, error_features

ACQUISITION = Acquisition(spacing=6.0, thickness=5.0, profile="gaussian", slice_axis=2)


def together(
    sr: Volume, lr: Volume, acquisition: Acquisition, deviation: Volume
) -> tuple[np.ndarray, np.ndarray]:
    """Return the features (Z, H, W, F) and the first guess of the whole volume."""
    parts = list(error_features(sr, lr, acquisition, deviation))
    return (
        np.concatenate([part.values for part in parts], axis=1),
        np.concatenate([part.log_scale for part in parts], axis=1),
    )


@pytest.fixture(scope="module")
def head(mni152_2mm: Volume) -> Volume:
    return Volume(100 * mni152_2mm.data[20:60, 25:75, 20:62], mni152_2mm.affine)


@pytest.fixture(scope="module")
def lr(head: Volume) -> Volume:
    return degrade(head, ACQUISITION, noise_fraction=0.01)


@pytest.fixture(scope="module")
def sr(head: Volume, lr: Volume) -> Volume:
    return resample(lr, head.grid)


@pytest.fixture(scope="module")
def deviation(sr: Volume) -> Volume:
    return sr.with_data(0.05 * np.abs(sr.data))


def test_the_unit_of_intensity_changes_only_the_first_guess(
    sr: Volume, lr: Volume, deviation: Volume
) -> None:
    values, scale = together(sr, lr, ACQUISITION, deviation)
    large = [volume.with_data(1000 * volume.data) for volume in (sr, lr, deviation)]
    values_of_large, scale_of_large = together(large[0], large[1], ACQUISITION, large[2])
    np.testing.assert_allclose(values_of_large, values, atol=5e-3)
    np.testing.assert_allclose(scale_of_large, scale + np.log(1000), atol=5e-3)


def test_parts_are_the_whole(
    sr: Volume, lr: Volume, deviation: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = together(sr, lr, ACQUISITION, deviation)
    monkeypatch.setattr(module, "_SLAB_VOXELS", 7 * sr.shape[1] * sr.shape[2])
    assert len(list(error_features(sr, lr, ACQUISITION, deviation))) > 3
    parts, _ = together(sr, lr, ACQUISITION, deviation)
    np.testing.assert_allclose(parts, whole, atol=2e-3)


def test_slices_along_another_axis_tell_the_same(
    sr: Volume, lr: Volume, deviation: Volume
) -> None:
    values, _ = together(sr, lr, ACQUISITION, deviation)
    turned = [_turned(volume) for volume in (sr, lr, deviation)]
    acquisition = Acquisition(spacing=6.0, thickness=5.0, profile="gaussian", slice_axis=0)
    np.testing.assert_allclose(
        together(turned[0], turned[1], acquisition, turned[2])[0], values, atol=2e-3
    )


def test_geometry_is_that_of_the_slices(sr: Volume, lr: Volume, deviation: Volume) -> None:
    values, _ = together(sr, lr, ACQUISITION, deviation)
    distance, scale, thickness = (
        values[:, 0, 0, NAMES.index(name)] for name in ("distance", "scale", "thickness")
    )
    # 3 fine planes a slice: one at its centre, two a third of a slice away.
    np.testing.assert_allclose(np.sort(distance)[: len(distance) // 3], 0, atol=1e-5)
    np.testing.assert_allclose(np.sort(distance)[len(distance) // 3 :], 1 / 3, atol=1e-5)
    np.testing.assert_allclose(scale, np.log2(3), atol=1e-5)
    np.testing.assert_allclose(thickness, 5 / 6, atol=0.02)


def test_what_was_added_is_seen(sr: Volume, lr: Volume, deviation: Volume) -> None:
    data = sr.data.copy()
    data[20, 25, 21] += 500
    values, scale = together(sr.with_data(data), lr, ACQUISITION, deviation)
    added = values[..., AMPLITUDES.index("detail")] + scale
    highest = np.unravel_index(added.argmax(), added.shape)
    np.testing.assert_allclose(highest, (21, 20, 25), atol=1)


def test_an_empty_image_has_finite_features(sr: Volume, lr: Volume) -> None:
    empty = [volume.with_data(np.zeros(volume.shape, np.float32)) for volume in (sr, lr)]
    values, scale = together(empty[0], empty[1], ACQUISITION, empty[0])
    assert np.isfinite(values).all()
    assert np.isfinite(scale).all()


def _turned(volume: Volume) -> Volume:
    """Return the same image with its slice axis first in the array."""
    affine = volume.affine[:, [2, 0, 1, 3]]
    return Volume(np.ascontiguousarray(volume.data.transpose(2, 0, 1)), affine)
