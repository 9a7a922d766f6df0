"""The forward model against a slow one, its adjoint, its limits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from bids_sr.exceptions import AcquisitionError, InputDataError
from bids_sr.imaging import (
    Acquisition,
    ForwardModel,
    Grid,
    SliceProfile,
    Volume,
    degrade,
    lay_out_grid,
    lr_grid,
)


def _volume(shape: tuple[int, int, int] = (7, 8, 61), spacing: float = 1.0) -> Volume:
    data = np.random.default_rng(5).uniform(0, 100, shape)
    affine = np.diag([1.2, 0.8, spacing, 1.0])
    affine[:3, 3] = (5, -6, 7)
    return Volume(data, affine)


def _slowly_degraded(volume: Volume, acquisition: Acquisition) -> npt.NDArray[np.float64]:
    """Integrate a finely drawn profile over each voxel for each slice, axis 2 only."""
    profile, spacing = acquisition.slice_profile, float(volume.spacings[2])
    edge = -0.5 * spacing  # mm along the axis from the first voxel's centre
    count = int(volume.fov[2] / acquisition.spacing + 1e-6)
    result = np.zeros((*volume.shape[:2], count))
    fine = np.linspace(-0.5, 0.5, 2001)
    for slice_index in range(count):
        centre = edge + (slice_index + 0.5) * acquisition.spacing
        weights = [
            np.interp(
                (voxel + fine) * spacing - centre,
                profile.positions,
                profile.weights,
                left=0,
                right=0,
            ).mean()
            for voxel in range(volume.shape[2])
        ]
        result[..., slice_index] = volume.data @ np.array(weights) / np.sum(weights)
    return result


@pytest.mark.parametrize("profile", ["gaussian", "rect", "slr"])
@pytest.mark.parametrize(
    ("spacing", "thickness"), [(6, 5), (4, 4), (2.7, 2.7), (3.0, 4.5), (5.5, 1.3)]
)
def test_agrees_with_the_slow_model(profile: str, spacing: float, thickness: float) -> None:
    volume = _volume(spacing=0.9)
    acquisition = Acquisition(spacing=spacing, thickness=thickness, profile=profile, slice_axis=2)
    result = degrade(volume, acquisition)
    np.testing.assert_allclose(result.data, _slowly_degraded(volume, acquisition), atol=0.05)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(30, 31, 32), (31, 30, 29)])
def test_adjoint(axis: int, shape: tuple[int, int, int]) -> None:
    hr = _volume(shape).grid
    acquisition = Acquisition(spacing=4.3, thickness=5.1, slice_axis=axis, profile="slr")
    model = ForwardModel.between(hr, lr_grid(hr, acquisition), acquisition)
    rng = np.random.default_rng(2)
    fine = rng.normal(size=shape)
    thick = rng.normal(size=model.apply(fine).shape)
    assert np.vdot(model.apply(fine), thick) == pytest.approx(np.vdot(fine, model.adjoint(thick)))
    assert model.adjoint(thick).shape == shape


def test_types_are_kept() -> None:
    volume = _volume()
    acquisition = Acquisition(spacing=6, slice_axis=2)
    model = ForwardModel.between(volume.grid, lr_grid(volume.grid, acquisition), acquisition)
    assert model.apply(volume.data).dtype == np.float64
    assert model.apply(volume.data.astype(np.float32)).dtype == np.float32
    assert model.apply(volume.data.astype(np.int16)).dtype == np.float32
    assert degrade(volume, acquisition).data.dtype == np.float32


def test_a_box_of_whole_voxels_is_their_mean() -> None:
    volume = _volume((7, 8, 60))
    acquisition = Acquisition(spacing=5, thickness=5, profile="rect", slice_axis=2)
    means = volume.data.reshape(7, 8, 12, 5).mean(axis=3)
    np.testing.assert_allclose(degrade(volume, acquisition).data, means, rtol=1e-5)


def test_scale_one_is_the_identity() -> None:
    volume = _volume(spacing=1.1)
    acquisition = Acquisition(spacing=1.1, thickness=1.1, profile="rect", slice_axis=2)
    same = degrade(volume, acquisition)
    assert same.same_grid(volume)
    np.testing.assert_allclose(same.data, volume.data, atol=1e-3)


@pytest.mark.parametrize("profile", ["gaussian", "rect", "slr"])
@pytest.mark.parametrize("size", [60, 61])
def test_keeps_the_mean(profile: str, size: int) -> None:
    """What lies away from the ends is collected wholly: the sum stays."""
    volume = _volume((7, 8, size))
    data = volume.data.copy()
    data[..., :15] = data[..., -15:] = 0
    acquisition = Acquisition(spacing=3, thickness=3, profile=profile, slice_axis=2)
    thick = degrade(volume.with_data(data), acquisition)
    assert thick.data.sum() * 3 == pytest.approx(data.sum(), rel=0.02)


@pytest.mark.parametrize("thickness", [1.0, 5.0, 9.0])
def test_constants_stay_to_the_ends(thickness: float) -> None:
    volume = Volume(np.full((5, 6, 50), 7.0), np.eye(4))
    acquisition = Acquisition(spacing=4.3, thickness=thickness, slice_axis=2)
    np.testing.assert_allclose(degrade(volume, acquisition).data, 7.0, rtol=1e-6)


def test_lr_grid_begins_at_the_lower_edge_and_holds_whole_slices() -> None:
    volume = _volume()
    grid = lr_grid(volume.grid, Acquisition(spacing=6, slice_axis=2))
    assert grid.shape == (7, 8, 10)  # 61 mm hold ten slices of 6 mm
    assert grid.spacings[2] == pytest.approx(6)
    np.testing.assert_allclose(
        grid.affine @ [0, 0, -0.5, 1], volume.affine @ [0, 0, -0.5, 1], atol=1e-12
    )
    assert lr_grid(_volume((7, 8, 60)).grid, Acquisition(spacing=6, slice_axis=2)).shape[2] == 10


def test_lr_grid_takes_the_coarsest_axis_unless_told() -> None:
    hr = Grid((40, 40, 40), np.diag([1.0, 2.0, 1.0, 1.0]))
    assert lr_grid(hr, Acquisition(spacing=8)).shape == (40, 10, 40)
    assert degrade(Volume(np.ones(hr.shape), hr.affine), Acquisition(spacing=8)).shape[1] == 10


def test_lr_grid_refuses_too_small_fields_of_view() -> None:
    with pytest.raises(InputDataError, match="room for at least 2 slices"):
        lr_grid(_volume((7, 8, 9)).grid, Acquisition(spacing=6, slice_axis=2))


def test_between_takes_any_grid_of_the_same_field_of_view() -> None:
    """From the grids of reconstructions, tiled or centred on slices, back to the slices."""
    lr = Volume(np.zeros((20, 20, 11), np.float32), np.diag([1.0, 1.0, 4.4, 1.0]))
    acquisition = Acquisition.from_volume(lr, thickness=4.0)
    for mode in ("fov", "slice"):
        hr = lay_out_grid(lr, slice_axis=2, output_resolution=1.0, output_grid=mode)  # type: ignore[arg-type]
        model = ForwardModel.between(hr, lr.grid, acquisition)
        assert model.matrix.shape == (11, hr.shape[2])
        np.testing.assert_allclose(model.matrix.sum(axis=1), 1.0)
        ramp = np.broadcast_to(np.arange(hr.shape[2], dtype=float), hr.shape)
        centres = model.apply(ramp)[0, 0] * hr.spacings[2] + hr.affine[2, 3]
        inner = slice(2, -2)  # at the ends half of a profile is cut off
        np.testing.assert_allclose(centres[inner], 4.4 * np.arange(11)[inner], atol=1e-3)


def test_between_refuses_slices_outside() -> None:
    hr = _volume().grid
    shifted = lr_grid(hr, Acquisition(spacing=6, slice_axis=2)).affine.copy()
    shifted[2, 3] += 30
    with pytest.raises(InputDataError, match="outside the fine grid"):
        ForwardModel.between(hr, Grid((7, 8, 10), shifted), Acquisition(spacing=6, slice_axis=2))


def test_narrowed_profile_can_be_used() -> None:
    volume = _volume()
    narrowed = SliceProfile.gaussian(5.0).narrowed(1.0)
    sharper = degrade(volume, Acquisition(spacing=6, thickness=5, profile=narrowed, slice_axis=2))
    gaussian = Acquisition(spacing=6, thickness=5, profile="gaussian", slice_axis=2)
    softer = degrade(volume, gaussian)
    assert sharper.data.std() > softer.data.std()


def test_noise_is_rician_and_seeded() -> None:
    data = np.zeros((40, 40, 60))
    data[20:] = 100.0
    volume = Volume(data, np.eye(4))
    acquisition = Acquisition(spacing=3, slice_axis=2)
    noisy = degrade(volume, acquisition, noise_fraction=0.05, seed=1)
    background, signal = noisy.data[:20], noisy.data[20:]
    # Without signal the magnitude has a Rayleigh distribution.
    assert background.mean() == pytest.approx(5 * np.sqrt(np.pi / 2), rel=0.02)
    assert signal.std() == pytest.approx(5, rel=0.02)
    again = degrade(volume, acquisition, noise_fraction=0.05, seed=1)
    assert np.array_equal(noisy.data, again.data)
    assert not np.array_equal(
        noisy.data, degrade(volume, acquisition, noise_fraction=0.05, seed=2).data
    )


@pytest.mark.parametrize("noise", [-0.1, np.nan])
def test_impossible_noise_is_refused(noise: float) -> None:
    with pytest.raises(AcquisitionError, match="noise level"):
        degrade(_volume(), Acquisition(spacing=6, slice_axis=2), noise_fraction=noise)
