"""The paper's inference, written out slowly, and what it is without its faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from bids_sr.exceptions import ConfigError, WeightsError
from bids_sr.imaging import Acquisition, Volume, degrade, lay_out_grid, resample
from bids_sr.sr import Reconstruction, make_method, reconstruct
from bids_sr.sr.contract.card import WeightsCard
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.networks.edsr import EDSR
from bids_sr.sr.networks.rrdb import RRDBNet
from bids_sr.sr.networks.shufflemixer import ShuffleMixer
from bids_sr.sr.networks.triplet_networks import TripletNetwork

KINDS = {
    "edsr": (lambda: EDSR(channels=8, blocks=2), "model_weights"),
    "realesrgan": (lambda: RRDBNet(channels=8, blocks=1, growth=4), "generator_weights"),
    "shufflemixer": (lambda: ShuffleMixer(channels=8, blocks=1, kernel=3), "model_weights"),
}


def released(name: str, folder: Path) -> tuple[TripletNetwork, str]:
    """Write a small network in the released layout."""
    torch.manual_seed(3)
    network, wrapper = KINDS[name][0]().eval(), KINDS[name][1]
    path = folder / f"{name}.pth"
    torch.save({wrapper: network.state_dict()}, path)
    return network, str(path)


@pytest.fixture
def plain(tmp_path: Path) -> str:
    """Write a network that finds no detail: linear interpolation."""
    network = ShuffleMixer(channels=8, blocks=1, kernel=3)
    torch.nn.init.zeros_(network.tail.weight)
    torch.nn.init.zeros_(network.tail.bias)
    torch.save({"model_weights": network.state_dict()}, tmp_path / "plain.pth")
    return str(tmp_path / "plain.pth")


@pytest.fixture(scope="module")
def fine() -> Volume:
    """Blobs everywhere, brightest at the ends: 18 x 20 x 24 voxels of 1 mm."""
    random = np.random.default_rng(0)
    data = resample(
        Volume(random.random((9, 10, 12), np.float32), np.diag([2.0, 2, 2, 1])),
        lay_out_grid(
            Volume(np.zeros((9, 10, 12), np.float32), np.diag([2.0, 2, 2, 1])),
            slice_axis=2,
            output_resolution=1.0,
        ),
    ).data
    return Volume((100 * data.clip(0.05)).astype(np.float32), np.eye(4))


def run(lr: Volume, acquisition: Acquisition, model: str, **more: Any) -> Reconstruction:
    axis = acquisition.for_volume(lr).slice_axis
    assert axis is not None
    spacing = more.pop("spacing", 1.0)
    return reconstruct(
        lr,
        acquisition,
        method="pretrained",
        grid=lay_out_grid(lr, slice_axis=axis, output_resolution=spacing),
        parameters={"model": model, "device": "cpu", "threads": 1, **more},
    )


def slow(lr: Volume, network: TripletNetwork, axis: int, size: int) -> np.ndarray:
    """Infer as the paper does, slice by slice, on an image in RAS; ends continued."""
    width = 1.25 * np.percentile(lr.data, 99.5)
    total = np.zeros(1)
    for across in sorted({0, 1, 2} - {axis}):
        planes = np.moveaxis(lr.data / width, across, 0)  # the other axes in their order
        padded = np.concatenate([planes[:1]] * 2 + [planes] + [planes[-1:]] * 2)
        thick = axis - (axis > across)
        shape = [*planes.shape[1:]]
        shape[thick] = size
        seen = np.zeros((len(padded), *shape))
        for i in range(len(padded) - 2):
            images = torch.from_numpy(padded[i : i + 3][None]).float() * network.input_range
            with torch.inference_mode():
                enlarged = network(images) / network.input_range
            resized = interpolate(enlarged, tuple(shape), mode="bilinear", antialias=True)[0]
            for place, weight in enumerate((0.25, 0.5, 0.25)):
                seen[i + place] += weight * resized[place].numpy()
        total = total + np.moveaxis(seen[2:-2], 0, across) * width / 2
    return total


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_inference_is_the_paper_s(name: str, axis: int, fine: Volume, tmp_path: Path) -> None:
    acquisition = Acquisition(spacing=2.0, slice_axis=axis)
    lr = degrade(fine, acquisition)
    network, path = released(name, tmp_path)
    result = run(lr, acquisition, path)
    expected = np.maximum(slow(lr, network, axis, fine.shape[axis]), 0)
    np.testing.assert_allclose(result.volume.data, expected, rtol=1e-4, atol=2e-3)
    assert result.record.details["Architecture"] == name
    assert result.record.details["IntensityScale"] == pytest.approx(
        1.25 * np.percentile(lr.data, 99.5)
    )


def test_end_slices_are_as_bright_as_the_others(fine: Volume, plain: str) -> None:
    flat = fine.with_data(np.full_like(fine.data, 7.0))
    acquisition = Acquisition(spacing=3.0, slice_axis=2)
    result = run(degrade(flat, acquisition), acquisition, plain)
    np.testing.assert_allclose(result.volume.data, 7.0, rtol=1e-5)


def test_scale_is_not_rounded(fine: Volume, plain: str) -> None:
    """A ramp along the slices keeps its slope and place at 2.6 mm."""
    ramp = fine.with_data(np.broadcast_to(np.arange(24, dtype=np.float32), fine.shape))
    acquisition = Acquisition(spacing=2.6, slice_axis=2)
    lr = degrade(ramp, acquisition)
    result = run(lr, acquisition, plain)
    places = (
        result.volume.affine[2, 3]
        + np.arange(result.volume.shape[2]) * np.diag(result.volume.affine)[2]
    )
    inner = slice(3, -3)
    np.testing.assert_allclose(result.volume.data[9, 9, inner], places[inner], atol=0.15)


def test_slice_axis_is_the_acquisition_s(fine: Volume, plain: str) -> None:
    """Nearly isotropic voxels: the header alone would name another axis."""
    lr = Volume(fine.data, np.diag([1.5, 1.5, 1.6, 1]))
    acquisition = Acquisition(spacing=1.5, slice_axis=0)
    grid = lay_out_grid(lr, slice_axis=0, output_resolution=1.0)
    result = reconstruct(
        lr, acquisition, method="pretrained", grid=grid, parameters={"model": plain}
    )
    error = np.abs(result.volume.data - resample(lr, grid, kernel="linear").data)
    assert error.mean() < 1.5


@pytest.mark.parametrize("spacing", [0.5, 2.0])
def test_other_grids_are_worked_on_as_in_the_training(
    spacing: float, fine: Volume, plain: str
) -> None:
    acquisition = Acquisition(spacing=4.0, slice_axis=2)
    lr = degrade(fine, acquisition)
    result = run(lr, acquisition, plain, spacing=spacing)
    assert result.record.details["WorkingSpacing"] == pytest.approx(1.0)
    linear = resample(lr, result.volume.grid, kernel="linear")
    assert np.corrcoef(result.volume.data.ravel(), linear.data.ravel())[0, 1] > 0.97
    as_it_is = run(lr, acquisition, plain, spacing=spacing, working_spacing=spacing)
    assert as_it_is.record.details["WorkingSpacing"] == pytest.approx(spacing)


def test_coarse_in_plane_voxels(fine: Volume, plain: str) -> None:
    lr = Volume(fine.data[::3, ::3, ::6], np.diag([3.0, 3, 6, 1]))
    result = run(lr, Acquisition(spacing=6.0, slice_axis=2), plain)
    assert result.volume.shape == (18, 21, 24)


def test_flipped_axes_give_the_same(fine: Volume, tmp_path: Path) -> None:
    acquisition = Acquisition(spacing=3.0, slice_axis=2)
    lr = degrade(fine, acquisition)
    _, path = released("realesrgan", tmp_path)
    straight = run(lr, acquisition, path).volume
    affine = lr.affine @ np.diag([-1.0, 1, -1, 1])
    affine[[0, 2], 3] += lr.affine[[0, 2], [0, 2]] * (np.array(lr.shape)[[0, 2]] - 1)
    turned = Volume(np.ascontiguousarray(lr.data[::-1, :, ::-1]), affine)
    back = run(turned, acquisition, path).volume.oriented_like(straight)
    np.testing.assert_allclose(back.data, straight.data, rtol=1e-4, atol=1e-3)


def test_one_voxel_of_garbage_stays_one(fine: Volume, tmp_path: Path) -> None:
    acquisition = Acquisition(spacing=3.0, slice_axis=2)
    lr = degrade(fine, acquisition)
    _, path = released("shufflemixer", tmp_path)
    clean = run(lr, acquisition, path).volume.data
    data = lr.data.copy()
    data[9, 10, 4] = 1e6
    output = run(lr.with_data(data), acquisition, path).volume.data
    assert output.max() > 5e5
    far = np.ones(output.shape, bool)
    far[3:16, 4:17, 3:24] = False
    np.testing.assert_allclose(output[far], clean[far], rtol=0.05, atol=2)


def test_dark_surroundings_stay_dark(tmp_path: Path, fine: Volume) -> None:
    data = np.zeros((18, 80, 24), np.float32)
    data[:, :20] = fine.data
    acquisition = Acquisition(spacing=3.0, slice_axis=2)
    _, path = released("edsr", tmp_path)
    output = run(degrade(Volume(data, np.eye(4)), acquisition), acquisition, path).volume.data
    np.testing.assert_array_equal(output[:, 40:], 0)


@pytest.mark.parametrize(("value", "spacing"), [(0.0, 3.0), (5.0, 1.0)])
def test_nothing_to_do_is_said(value: float, spacing: float, fine: Volume, plain: str) -> None:
    lr = Volume(np.full((10, 10, 8), value, np.float32), np.diag([1, 1, spacing, 1]))
    result = run(lr, Acquisition(spacing=spacing, slice_axis=2), plain)
    assert result.record.fallback == "bspline"
    assert result.record.fallback_reason
    np.testing.assert_allclose(result.volume.data, value)


def test_progress_is_told(fine: Volume, plain: str) -> None:
    reports: list[tuple[int, int, str]] = []
    acquisition = Acquisition(spacing=3.0, slice_axis=2)
    method = make_method("pretrained", {"model": plain, "device": "cpu"})
    lr = degrade(fine, acquisition)
    method.reconstruct(lr, acquisition, fine.grid, progress=lambda *what: reports.append(what))
    steps = [(step, total) for step, total, _ in reports if total]  # the rest has no length
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]


def test_own_weights_say_their_spacing(fine: Volume, tmp_path: Path) -> None:
    network = ShuffleMixer(channels=8, blocks=1, kernel=3)
    card = WeightsCard(
        architecture="shufflemixer",
        arguments=ShuffleMixer.arguments_of(network.state_dict()),
        geometry={"InPlaneVoxel": 2.0},
    )
    path = Weights(tensors=network.state_dict(), card=card).save(tmp_path / "w.safetensors")
    acquisition = Acquisition(spacing=4.0, slice_axis=2)
    record = run(degrade(fine, acquisition), acquisition, str(path)).record
    assert record.details["WorkingSpacing"] == pytest.approx(2.0)


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match="architecture"):
        make_method("pretrained", {"architecture": "unet"})
    with pytest.raises(ConfigError, match="fusion"):
        make_method("pretrained", {"fusion": "magic"})
    with pytest.raises(ConfigError, match="working_spacing"):
        make_method("pretrained", {"working_spacing": 0.0})
    with pytest.raises(ConfigError, match="Found labels"):
        make_method("pretrained").for_labels()


def test_absent_weights(fine: Volume) -> None:
    acquisition = Acquisition(spacing=3.0, slice_axis=2)
    with pytest.raises(WeightsError, match="expected one of edsr"):
        run(degrade(fine, acquisition), acquisition, "/nowhere/w.pth")


def test_uncertainty_is_where_the_directions_disagree(fine: Volume, tmp_path: Path) -> None:
    acquisition = Acquisition(spacing=3.0, slice_axis=2)
    _, path = released("edsr", tmp_path)
    result = run(degrade(fine, acquisition), acquisition, path)
    assert result.uncertainty is not None
    assert result.uncertainty.shape == result.volume.shape
    assert result.uncertainty.data.min() >= 0
    assert result.uncertainty.data.max() > 0


def test_required_file_is_that_of_the_network(tmp_path: Path) -> None:
    _, path = released("edsr", tmp_path)
    assert make_method("pretrained", {"model": path}).required_files() == (Path(path),)
    absent = make_method(
        "pretrained", {"model": "edsr", "weights_dir": str(tmp_path), "offline": True}
    )
    with pytest.raises(WeightsError, match="offline"):
        absent.required_files()
