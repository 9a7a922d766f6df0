from __future__ import annotations

import numpy as np
import pytest

from bids_sr.imaging import (
    Acquisition,
    ForwardModel,
    Grid,
    RobustScaler,
    Volume,
    degrade,
    resample,
)
from bids_sr.sr import data_consistency_residual, reconstruct
from bids_sr.sr.slices.consistency import make_consistent


def test_truth_has_no_residual(reference: Volume, thick: Volume, acquisition: Acquisition) -> None:
    assert data_consistency_residual(reference, thick, acquisition) == pytest.approx(0, abs=1e-4)


def test_blur_leaves_a_residual(
    thick: Volume, acquisition: Acquisition, reference: Volume
) -> None:
    cubic = reconstruct(thick, acquisition, method="bspline", grid=reference.grid).volume
    linear = reconstruct(thick, acquisition, method="linear", grid=reference.grid).volume
    residuals = [data_consistency_residual(v, thick, acquisition) for v in (cubic, linear)]
    assert 0.5 < residuals[0] < residuals[1] < 20


def test_known_offset_is_the_residual(
    reference: Volume, thick: Volume, acquisition: Acquisition
) -> None:
    width = RobustScaler.fit(thick.data).width
    shifted = reference.with_data(reference.data + 0.03 * width)
    assert data_consistency_residual(shifted, thick, acquisition) == pytest.approx(3, abs=1e-3)


def test_coarser_in_plane_grid_is_compared_there(
    reference: Volume, thick: Volume, acquisition: Acquisition
) -> None:
    shape = (24, 28, reference.shape[2])
    affine = reference.affine.copy()
    affine[:3, 3] += reference.affine[:3, :2].sum(axis=1) / 2
    affine[:, :2] *= 2
    coarse = resample(reference, Grid(shape, affine))
    assert data_consistency_residual(coarse, thick, acquisition) == pytest.approx(0, abs=0.05)


def test_slices_outside_do_not_count(
    reference: Volume, thick: Volume, acquisition: Acquisition
) -> None:
    part = Volume(reference.data[:, :, :40], reference.affine)
    residual = data_consistency_residual(part, thick, acquisition)
    assert residual < 1.5  # only the last slice lacks a part of its profile


def test_back_projection_removes_the_residual_and_the_error(
    reference: Volume, thick: Volume, acquisition: Acquisition
) -> None:
    cubic = reconstruct(thick, acquisition, method="bspline", grid=reference.grid).volume
    exact = make_consistent(cubic, thick, acquisition, noise=0.0, damping=0.0)
    damped = make_consistent(cubic, thick, acquisition, noise=0.0, damping=0.1)
    residuals = [data_consistency_residual(v, thick, acquisition) for v in (cubic, damped, exact)]
    assert residuals[2] < 1e-3 < residuals[1] < 0.3 * residuals[0]
    errors = [np.mean((v.data - reference.data) ** 2) for v in (cubic, damped, exact)]
    assert errors[1] < 0.95 * errors[0]
    assert errors[2] < 0.95 * errors[0]


def test_back_projection_is_the_least_change(
    reference: Volume, thick: Volume, acquisition: Acquisition
) -> None:
    """The oracle: the least-squares solution of minimal norm, line by line."""
    cubic = reconstruct(thick, acquisition, method="linear", grid=reference.grid).volume
    exact = make_consistent(cubic, thick, acquisition, noise=0.0, damping=0.0)
    matrix = ForwardModel.between(reference.grid, thick.grid, acquisition).matrix.toarray()
    line = cubic.data[20, 30].astype(np.float64)
    change, *_ = np.linalg.lstsq(matrix, thick.data[20, 30] - matrix @ line, rcond=None)
    np.testing.assert_allclose(exact.data[20, 30], line + change, atol=1e-4 * line.max())


def test_truth_is_left_alone_and_cut_slices_are_not_believed(
    reference: Volume, thick: Volume, acquisition: Acquisition
) -> None:
    same = make_consistent(reference, thick, acquisition)
    np.testing.assert_allclose(same.data, reference.data, atol=2e-3 * reference.data.max())
    part = Volume(reference.data[:, :, 2:], reference.affine @ _moved(2))
    unchanged = make_consistent(part, thick, acquisition)
    np.testing.assert_allclose(unchanged.data, part.data, atol=2e-3 * reference.data.max())


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.02, 0.04])
@pytest.mark.parametrize("thickness", [4.0, 6.0, 8.0, 11.0])
def test_noise_is_not_fitted(reference: Volume, noise: float, thickness: float) -> None:
    """Neither where the reconstruction holds the noise already nor where it has none."""
    acquisition = Acquisition(spacing=8.0, thickness=thickness, slice_axis=2)
    lr, clean = (
        degrade(reference, acquisition, noise_fraction=noise),
        degrade(reference, acquisition),
    )
    brain = reference.data > 0.2 * reference.data.max()
    for slices in (lr, clean):
        cubic = resample(slices, reference.grid)
        change = error(make_consistent(cubic, lr, acquisition), reference, brain)
        assert change < 1.005 * error(cubic, reference, brain)  # 0.02 dB


def test_noise_would_do_harm_if_it_was_fitted(reference: Volume, acquisition: Acquisition) -> None:
    lr, clean = (
        degrade(reference, acquisition, noise_fraction=0.04),
        degrade(reference, acquisition),
    )
    cubic = resample(clean, reference.grid)
    brain = reference.data > 0.2 * reference.data.max()
    fitted = make_consistent(cubic, lr, acquisition, noise=0.0)
    assert error(fitted, reference, brain) > error(
        make_consistent(cubic, lr, acquisition), reference, brain
    )


@pytest.mark.parametrize("factor", [2.0, 0.8])
def test_in_plane_grid_of_its_own(
    reference: Volume, acquisition: Acquisition, factor: float
) -> None:
    """Slices acquired finer or coarser in-plane than the grid of the reconstruction."""
    shape = (round(48 / factor), round(56 / factor), reference.shape[2])
    affine = reference.affine.copy()
    step = np.array([48, 56]) / shape[:2]
    affine[:3, 3] += reference.affine[:3, :2] @ (step - 1) / 2
    affine[:, :2] *= step
    grid = Grid(shape, affine)
    lr = degrade(reference, acquisition, noise_fraction=0.01)
    truth = resample(reference, grid)
    cubic = resample(lr, grid)
    consistent = make_consistent(cubic, lr, acquisition)
    residuals = [data_consistency_residual(v, lr, acquisition) for v in (cubic, consistent)]
    assert residuals[1] < 0.7 * residuals[0]
    everywhere = np.ones(shape, bool)
    assert error(consistent, truth, everywhere) < 0.97 * error(cubic, truth, everywhere)


def test_power_of_noise_after_resampling(thick: Volume, acquisition: Acquisition) -> None:
    """The oracle: noise that is resampled and transformed."""
    from scipy import fft

    from bids_sr.sr.slices.consistency import _Comparison

    affine = thick.affine.copy()
    affine[:, :2] *= 1.5
    grid = Grid((32, 37, 60), affine @ np.diag([1, 1, 0.25 * 8 / 8, 1]))
    noise = np.random.default_rng(0).standard_normal(thick.shape).astype(np.float32)
    comparison = _Comparison.of(grid, thick.with_data(noise), acquisition, np.arange(2, 12))
    waves = fft.dctn(comparison.slices.data, axes=(0, 1), norm="ortho")
    measured = np.mean(waves**2)
    assert np.mean(comparison.noise_power(1.0)) == pytest.approx(measured, rel=0.1)
    low = np.s_[:10, :10]
    expected = np.mean(comparison.noise_power(1.0)[low])
    assert np.mean(waves[low] ** 2) == pytest.approx(expected, rel=0.15)


def test_grid_that_holds_a_part_of_the_slices(
    reference: Volume, thick: Volume, acquisition: Acquisition
) -> None:
    cubic = resample(thick, reference.grid)
    part = Volume(cubic.data[4:40, 6:, 10:37], cubic.affine @ _moved(10, (4, 6)))
    consistent = make_consistent(part, thick, acquisition, noise=0.0)
    truth = reference.data[4:40, 6:, 10:37]
    assert np.mean((consistent.data - truth) ** 2) < np.mean((part.data - truth) ** 2)
    between = Volume(cubic.data[:, :, 4:5], cubic.affine @ _moved(4))  # 1 mm off any centre
    thin = Acquisition(spacing=8.0, thickness=1.0, slice_axis=2)
    np.testing.assert_array_equal(make_consistent(between, thick, thin).data, between.data)


def test_no_slice_on_the_grid_leaves_no_residual(thick: Volume, acquisition: Acquisition) -> None:
    from bids_sr.sr.slices.consistency import agreement

    affine = thick.affine @ np.diag([1, 1, 1 / 8, 1]) @ _moved(3)
    between = Volume(thick.data[:, :, :2], affine)  # 3 and 4 mm from a centre
    assert np.isnan(data_consistency_residual(between, thick, acquisition))
    assert agreement(between, thick, acquisition)["ResidualPercent"] is None


@pytest.mark.parametrize("method", ["linear", "bspline", "lanczos"])
def test_every_method_can_agree(
    method: str, reference: Volume, thick: Volume, acquisition: Acquisition
) -> None:
    plain, agreed = (
        reconstruct(
            thick,
            acquisition,
            method=method,
            grid=reference.grid,
            parameters={"data_consistency": consistency},
        )
        for consistency in (False, True)
    )
    before, after = (
        plain.record.details["DataConsistency"],
        agreed.record.details["DataConsistency"],
    )
    assert before["Applied"] is False
    assert after["Applied"] is True
    assert after["ResidualBeforePercent"] == before["ResidualPercent"]
    assert after["ResidualPercent"] < 0.5 * before["ResidualPercent"]
    everywhere = np.ones(reference.shape, bool)
    gain = error(plain.volume, reference, everywhere) / error(agreed.volume, reference, everywhere)
    assert 10 * np.log10(gain) > 0.25


def error(volume: Volume, reference: Volume, mask: np.ndarray) -> float:
    return float(np.mean((volume.data[mask] - reference.data[mask]) ** 2))


def _moved(voxels: int, in_plane: tuple[int, int] = (0, 0)) -> np.ndarray:
    step = np.eye(4)
    step[:3, 3] = [*in_plane, voxels]
    return step
