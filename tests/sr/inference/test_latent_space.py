from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_sr.exceptions import WeightsError
from bids_sr.imaging import Grid, Volume, lay_out_grid, resample
from bids_sr.sr.contract.card import WeightsCard
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.inference.latent_space import (
    LatentSpace,
    clamped,
    clamping_scaler,
    in_plane_resampled,
)
from bids_sr.sr.networks.autoencoder import Autoencoder

CPU = torch.device("cpu")


@pytest.fixture
def space() -> LatentSpace:
    torch.manual_seed(0)
    network = Autoencoder(width=2, depth=2, latent_channels=3)
    return LatentSpace(network=network, in_plane_spacing=None)


@pytest.fixture
def lr() -> Volume:
    data = np.random.default_rng(0).random((14, 11, 4), dtype=np.float32) * 300
    return Volume(data, np.diag([2.0, 2.0, 6.0, 1.0]))


def between(space: LatentSpace, lr: Volume, grid: Grid, **more: object) -> np.ndarray:
    volume = space.between(lr, 2, grid, device=CPU, **more)  # type: ignore[arg-type]
    np.testing.assert_array_equal(volume.affine, grid.affine)
    return volume.data


def slowly(space: LatentSpace, lr: Volume, plane: float, keep_detail: bool) -> np.ndarray:
    """Evaluate the formula of the docstring for one plane, at whole in-plane voxels."""
    scaler = clamping_scaler(lr.data)
    seen = torch.from_numpy(clamped(lr.data, scaler)).permute(2, 0, 1)[:, None]
    plane = min(max(plane, 0), lr.shape[2] - 1)
    n = min(int(plane), lr.shape[2] - 2)
    a = plane - n
    network = space.network.eval()
    with torch.inference_mode():
        z0, z1 = network.encode(seen[n : n + 1]), network.encode(seen[n + 1 : n + 2])
        d0, d1, dm = (
            network.decode(z, lr.shape[:2])[0, 0].numpy() for z in (z0, z1, (1 - a) * z0 + a * z1)
        )
    if not keep_detail:
        return scaler.inverse(dm)
    linear = (1 - a) * lr.data[..., n] + a * lr.data[..., n + 1]
    return linear + scaler.width * (dm - (1 - a) * d0 - a * d1)


@pytest.mark.parametrize("keep_detail", [True, False])
def test_planes_are_the_formula(space: LatentSpace, lr: Volume, keep_detail: bool) -> None:
    grid = lay_out_grid(
        lr, slice_axis=2, output_resolution=2.0
    )  # no plane at a slice but one in three
    planes = between(space, lr, grid, keep_detail=keep_detail)
    assert planes.shape == (14, 11, 12)
    for index in (2, 3, 5, 6, 8, 9):
        expected = slowly(space, lr, (index - 1) / 3, keep_detail)
        np.testing.assert_allclose(planes[..., index], expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("keep_detail", [True, False])
def test_acquired_slices_are_kept(space: LatentSpace, lr: Volume, keep_detail: bool) -> None:
    grid = lay_out_grid(lr, slice_axis=2, output_resolution="native", output_grid="slice")
    planes = between(space, lr, grid, keep_detail=keep_detail)
    np.testing.assert_array_equal(planes[..., ::3], lr.data)
    assert not np.array_equal(planes[..., 1], resample(lr, grid, kernel="linear").data[..., 1])


def test_acquired_slices_are_kept_in_plane_resampled(space: LatentSpace, lr: Volume) -> None:
    grid = lay_out_grid(lr, slice_axis=2, output_resolution=1.5, output_grid="slice")
    planes = between(space, lr, grid)
    affine = grid.affine.copy()
    affine[:, 2] = lr.affine[:, 2]
    expected = resample(lr, Grid((*planes.shape[:2], 4), affine)).data
    np.testing.assert_array_equal(planes[..., ::4], expected)


def test_outer_slices_are_continued(space: LatentSpace, lr: Volume) -> None:
    planes = between(space, lr, lay_out_grid(lr, slice_axis=2, output_resolution=2.0))
    for index in (0, 1):
        np.testing.assert_array_equal(planes[..., index], lr.data[..., 0])
        np.testing.assert_array_equal(planes[..., -1 - index], lr.data[..., -1])


def test_near_a_slice_it_is_nearly_that_slice(space: LatentSpace, lr: Volume) -> None:
    """The way between slices is continuous at both ends."""
    affine = lr.affine.copy()
    affine[2, 3] += 0.01 * lr.spacings[2]
    planes = between(space, lr, Grid((14, 11, 3), affine))
    assert np.abs(planes - lr.data[..., :3]).max() < 0.02 * np.ptp(lr.data)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_slice_axis(space: LatentSpace, lr: Volume, axis: int) -> None:
    order = {0: (2, 0, 1), 1: (0, 2, 1), 2: (0, 1, 2)}[axis]
    turned = Volume(lr.data.transpose(order), lr.affine[:, [*order, 3]])
    grids = [
        lay_out_grid(volume, slice_axis=where, output_resolution=2.0)
        for volume, where in ((lr, 2), (turned, axis))
    ]
    straight = between(space, lr, grids[0])
    planes = space.between(turned, axis, grids[1], device=CPU).data
    np.testing.assert_allclose(planes, straight.transpose(order), rtol=1e-5, atol=1e-3)


def test_network_works_on_its_own_voxels(lr: Volume) -> None:
    torch.manual_seed(0)
    network = Autoencoder(width=2, depth=2, latent_channels=3)
    space = LatentSpace(network=network, in_plane_spacing=1.0)
    seen: list[tuple[int, ...]] = []
    network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[2:]))
    planes = between(
        space, lr, lay_out_grid(lr, slice_axis=2, output_resolution="native", output_grid="slice")
    )
    assert set(seen) == {(28, 24)}  # 28 x 22 voxels of 1 mm, continued to whole multiples of 4
    np.testing.assert_array_equal(planes[..., ::3], lr.data)


def test_threads_make_no_difference(space: LatentSpace, lr: Volume) -> None:
    grid = lay_out_grid(lr, slice_axis=2, output_resolution=2.0)
    np.testing.assert_allclose(
        between(space, lr, grid, threads=2), between(space, lr, grid), rtol=1e-5, atol=1e-3
    )


def test_in_plane_resampling_keeps_the_field_of_view(lr: Volume) -> None:
    finer = in_plane_resampled(lr, 2, 1.4)
    np.testing.assert_allclose(finer.fov, lr.fov)
    assert finer.shape == (20, 16, 4)
    assert in_plane_resampled(lr, 2, None) is lr


def test_clamping_is_at_the_percentiles() -> None:
    data = np.arange(1001, dtype=np.float32).reshape(7, 11, 13)
    seen = clamped(data, clamping_scaler(data))
    assert (seen.min(), seen.max()) == (0, 1)
    np.testing.assert_allclose(seen[data == 500], 0.5, atol=2e-3)
    assert (seen == 0).sum() == 11
    assert (seen == 1).sum() == 10


def test_weights_there_and_back(space: LatentSpace, lr: Volume) -> None:
    weights = Weights(space.network.state_dict(), LatentSpace.card(space))
    again = LatentSpace.from_weights(weights, "here")
    grid = lay_out_grid(lr, slice_axis=2, output_resolution=2.0)
    np.testing.assert_array_equal(between(again, lr, grid), between(space, lr, grid))


def test_other_weights_are_refused(space: LatentSpace) -> None:
    card = LatentSpace.card(space)
    wrong = [
        Weights(space.network.state_dict(), WeightsCard()),
        Weights(space.network.state_dict(), replace(card, geometry={})),
        Weights({}, card),
        Weights(
            space.network.state_dict(),
            replace(card, arguments={"colour": 3}),
        ),
    ]
    for weights in wrong:
        with pytest.raises(WeightsError, match="here that are not those of an autoencoder"):
            LatentSpace.from_weights(weights, "here")
