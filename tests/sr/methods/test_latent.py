from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_sr.exceptions import ConfigError
from bids_sr.imaging import Acquisition, Grid, Volume, lay_out_grid, resample
from bids_sr.records.learning_curve import GAIN_OVER_LINEAR
from bids_sr.seed import DEFAULT_SEED
from bids_sr.sr import Reconstruction, make_method, reconstruct
from bids_sr.sr.methods.latent import Latent

ACQUISITION = Acquisition(spacing=8.0, slice_axis=2)
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


@pytest.fixture(scope="module")
def lr() -> Volume:
    rows, columns, slices = np.mgrid[:20, :24, :6]
    inside = (rows - 8 - slices) ** 2 + (columns - 12) ** 2 < (4 + slices / 2) ** 2
    data = np.random.default_rng(0).normal(20, 2, inside.shape) + 100 * inside
    return Volume(data.astype(np.float32), np.diag([2.0, 2.0, 8.0, 1.0]))


def slice_grid(lr: Volume) -> Grid:
    return lay_out_grid(lr, slice_axis=2, output_resolution="native", output_grid="slice")


def run(lr: Volume, grid: Grid | None = None, **more: Any) -> Reconstruction:
    return reconstruct(
        lr, ACQUISITION, method="latent", grid=grid or slice_grid(lr), parameters={**QUICK, **more}
    )


@pytest.fixture(scope="module")
def learnt(lr: Volume) -> Reconstruction:
    return run(lr)


def test_acquired_slices_are_bit_equal(lr: Volume, learnt: Reconstruction) -> None:
    np.testing.assert_array_equal(learnt.volume.data[..., ::4], lr.data)
    linear = resample(lr, slice_grid(lr), kernel="linear")
    assert np.abs(learnt.volume.data - linear.data).max() > 0


def test_record_and_curve(learnt: Reconstruction) -> None:
    record = learnt.record
    assert (record.details["Steps"], record.stop_reason, record.details["Seed"]) == (
        3,
        "steps",
        DEFAULT_SEED,
    )
    assert record.details["ValidationGainDecibel"] >= learnt.curve.last_score
    assert learnt.curve.validation == GAIN_OVER_LINEAR
    assert record.details["NetworkParameters"] > 0
    assert "weights" not in record.parameters


def test_what_was_learnt_can_be_used_again(
    lr: Volume, learnt: Reconstruction, tmp_path: Path
) -> None:
    assert learnt.learned is not None
    path = learnt.learned.save(tmp_path / "learnt.safetensors")
    for again in (run(lr, model=str(path)), run(lr, weights=learnt.learned)):
        np.testing.assert_array_equal(again.volume.data, learnt.volume.data)
        assert again.record.details["ModelSHA256"] == learnt.learned.digest
        assert "Steps" not in again.record.details


def test_trained_weights_are_adapted(lr: Volume, learnt: Reconstruction) -> None:
    adapted = run(lr, weights=learnt.learned, adapt="image", steps=2, synthesis=0.0)
    assert adapted.learned is not None
    assert learnt.learned is not None
    assert adapted.learned.card.to_dict()["Start"]["SHA256"] == learnt.learned.digest
    assert adapted.learned.digest != learnt.learned.digest
    assert adapted.record.details["Steps"] == 2


def test_weights_bring_their_voxel_size(lr: Volume) -> None:
    first = run(lr, in_plane_spacing=4.0)
    again = run(lr, weights=first.learned)
    assert again.record.details["NetworkInPlaneSpacing"] == 4.0
    np.testing.assert_array_equal(again.volume.data, first.volume.data)


def test_decoded_as_in_the_paper(lr: Volume, learnt: Reconstruction) -> None:
    plain = run(lr, weights=learnt.learned, keep_detail=False).volume.data
    np.testing.assert_array_equal(plain[..., ::4], lr.data)
    # This network has hardly learnt: its slices are far from those between neighbours.
    detailed = learnt.volume.data
    assert np.abs(plain - detailed)[..., 1].mean() > 0.05 * np.ptp(lr.data)


def test_paper_is_a_preset() -> None:
    method = make_method("latent", {"preset": "paper"})
    assert isinstance(method, Latent)
    assert (method.width, method.depth, method.latent_channels) == (32, 4, 16)
    assert (method.learning_rate, method.synthesis, method.keep_detail) == (1e-5, 0.0, False)


def test_two_slices_are_enough(lr: Volume) -> None:
    two = Volume(lr.data[..., :2], lr.affine)
    result = run(two)
    np.testing.assert_array_equal(result.volume.data[..., ::4], two.data)
    assert result.record.details["ValidationGainDecibel"] is None


def test_constant_image_is_interpolated(lr: Volume) -> None:
    result = run(lr.with_data(np.full_like(lr.data, 7)))
    assert result.record.fallback_reason == "the image is constant"
    assert (result.volume.data == 7).all()


def test_diverged_training_is_interpolated(lr: Volume) -> None:
    result = run(lr, learning_rate=1e30, steps=20, ema_decay=0.0)
    assert result.record.fallback_reason == "the training diverged"
    np.testing.assert_array_equal(
        result.volume.data, resample(lr, slice_grid(lr), kernel="linear").data
    )


def test_labels_are_refused() -> None:
    with pytest.raises(ConfigError, match="linear for label maps"):
        Latent().for_labels()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("adapt", "both"),
        ("adapt", "none"),
        ("in_plane_spacing", -1.0),
        ("steps", 0),
        ("width", 0),
        ("patch_size", 2),
        ("synthesis", -1.0),
    ],
)
def test_impossible_settings_are_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        make_method("latent", {name: value})
