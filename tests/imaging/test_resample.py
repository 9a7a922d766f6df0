"""Resampling against scipy and by hand; output grids; edges; orientation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from bids_sr.exceptions import AcquisitionError, InputDataError
from bids_sr.imaging import KERNELS, Grid, Volume, lay_out_grid, resample
from bids_sr.imaging.resample import Kernel, interpolation_matrix

SMOOTH_KERNELS: tuple[Kernel, ...] = ("linear", "bspline", "lanczos")


def _oblique(spacings: tuple[float, float, float] = (0.9, 1.1, 5.0)) -> npt.NDArray[np.float64]:
    cosine, sine = np.cos(0.4), np.sin(0.4)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) @ np.diag(
        spacings
    )
    affine[:3, 3] = (-40.2, 33.3, 7.1)
    return affine


def _volume(shape: tuple[int, int, int] = (9, 10, 7), dtype: str = "float32") -> Volume:
    data = np.random.default_rng(3).uniform(0, 100, shape).astype(dtype)
    return Volume(data, _oblique())


def _placed(volume: Volume, shape: tuple[int, int, int], scale: Any, offset: Any) -> Grid:
    """Return a grid of parallel axes: steps and origin in voxels of `volume`."""
    step = np.diag([*scale, 1.0])
    step[:3, 3] = offset
    return Grid(shape, volume.affine @ step)


GRIDS = [
    ((9, 10, 31), (1, 1, 0.22), (0, 0, -0.4)),
    ((13, 12, 20), (0.71, 0.81, 0.37), (0.3, -0.6, 0.11)),
    ((5, 6, 4), (0.5, 0.5, 0.5), (20.0, -30.0, 2.0)),  # outside
]


@pytest.mark.parametrize(("shape", "scale", "offset"), GRIDS)
@pytest.mark.parametrize(("kernel", "order"), [("nearest", 0), ("linear", 1), ("bspline", 3)])
def test_agrees_with_scipy(
    kernel: Kernel, order: int, shape: tuple[int, int, int], scale: Any, offset: Any
) -> None:
    volume = _volume()
    index = np.meshgrid(
        *[offset[axis] + scale[axis] * np.arange(shape[axis]) for axis in range(3)], indexing="ij"
    )
    ends = np.array(volume.shape).reshape(3, 1, 1, 1) - 1  # scipy's splines swing outside
    oracle = ndimage.map_coordinates(
        volume.data.astype(np.float64), np.clip(index, 0, ends), order=order, mode="nearest"
    )
    result = resample(volume, _placed(volume, shape, scale, offset), kernel=kernel)
    np.testing.assert_allclose(result.data, oracle, atol=2e-4)


def test_lanczos_by_hand() -> None:
    samples = np.random.default_rng(0).uniform(size=12)
    coordinates = np.array([-0.5, 0.0, 0.3, 4.75, 6.0, 10.9, 11.4])
    expected = []
    for coordinate in np.clip(coordinates, 0, 11):
        total = weight_sum = 0.0
        for tap in range(int(np.floor(coordinate)) - 2, int(np.floor(coordinate)) + 4):
            distance = coordinate - tap
            weight = np.sinc(distance) * np.sinc(distance / 3) if abs(distance) < 3 else 0.0
            total += weight * samples[min(max(tap, 0), 11)]
            weight_sum += weight
        expected.append(total / weight_sum)
    np.testing.assert_allclose(
        interpolation_matrix(coordinates, 12, "lanczos") @ samples, expected
    )


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [2, 3, 10, 25])
def test_matrix_rows_sum_to_one_and_samples_are_kept(kernel: Kernel, size: int) -> None:
    coordinates = np.linspace(-2, size + 1, 57)
    rows = np.asarray(interpolation_matrix(coordinates, size, kernel).sum(axis=1))
    np.testing.assert_allclose(rows, 1.0, atol=1e-9)
    at_samples = interpolation_matrix(np.arange(size, dtype=float), size, kernel)
    np.testing.assert_allclose(at_samples.toarray(), np.eye(size), atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_own_grid_gives_the_same_values(kernel: Kernel) -> None:
    volume = _volume()
    assert np.array_equal(resample(volume, volume.grid, kernel=kernel).data, volume.data)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("spacing", [0.61, 1.0, 2.7])
def test_constants_stay_and_edges_are_not_dimmed(kernel: Kernel, spacing: float) -> None:
    volume = Volume(np.full((9, 10, 7), 50, np.float32), _oblique())
    finer = resample(
        volume, lay_out_grid(volume, slice_axis=2, output_resolution=spacing), kernel=kernel
    )
    np.testing.assert_allclose(finer.data, 50, rtol=1e-5)


@pytest.mark.parametrize("kernel", SMOOTH_KERNELS)
def test_values_do_not_move(kernel: Kernel) -> None:
    """A ramp in the world is the same ramp on any grid, away from the edges."""
    volume = Volume(np.zeros((20, 20, 20), np.float64), _oblique())
    index = np.indices(volume.shape).reshape(3, -1)
    direction = np.array([0.3, -0.5, 0.8])
    ramp = direction @ (volume.affine[:3, :3] @ index + volume.affine[:3, 3:])
    volume = volume.with_data(ramp.reshape(volume.shape))
    grid = lay_out_grid(volume, slice_axis=2, output_resolution=1.37)
    resampled = resample(volume, grid, kernel=kernel).data
    index = np.indices(grid.shape).reshape(3, -1)
    expected = direction @ (grid.affine[:3, :3] @ index + grid.affine[:3, 3:])
    inner = tuple(slice(size // 3, -size // 3) for size in grid.shape)
    # One voxel along the slices is a step of 4: Lanczos keeps ramps only nearly, and splines
    # remember the edges.
    tolerance = {"linear": 1e-9, "bspline": 1e-3, "lanczos": 0.15}[kernel]
    np.testing.assert_allclose(
        resampled[inner], expected.reshape(grid.shape)[inner], atol=tolerance
    )


def test_empty_background_stays_empty() -> None:
    data = np.zeros((30, 30, 40), np.float32)
    data[10:20, 10:20, 25:35] = 100
    volume = Volume(data, _oblique())
    finer = resample(volume, lay_out_grid(volume, slice_axis=2, output_resolution=1.0))
    assert not finer.data[:, :, : finer.shape[2] // 8].any()


@pytest.mark.parametrize("kernel", KERNELS)
def test_orientation_does_not_matter(kernel: Kernel) -> None:
    volume = _volume()
    flipped = Volume(
        np.ascontiguousarray(volume.data.transpose(2, 0, 1)[::-1]),
        volume.affine @ np.array([[0, 1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, 6], [0, 0, 0, 1.0]]),
    )
    straight = resample(
        volume, lay_out_grid(volume, slice_axis=2, output_resolution=1.3), kernel=kernel
    )
    turned = resample(
        flipped, lay_out_grid(flipped, slice_axis=0, output_resolution=1.3), kernel=kernel
    )
    back = turned.oriented_like(straight)
    assert back.same_grid(straight, tolerance_mm=1e-9)
    np.testing.assert_allclose(back.data, straight.data, rtol=1e-4, atol=1e-3)


def test_nearest_keeps_labels_and_their_type() -> None:
    labels = Volume(np.random.default_rng(0).integers(0, 5, (6, 6, 6), dtype=np.uint8), _oblique())
    result = resample(
        labels, lay_out_grid(labels, slice_axis=2, output_resolution=1.0), kernel="nearest"
    )
    assert result.data.dtype == np.uint8
    assert set(np.unique(result.data)) <= set(np.unique(labels.data))


def test_nearest_breaks_ties_the_same_way_everywhere() -> None:
    labels = Volume(np.arange(40, dtype=np.int16).reshape(40, 1, 1), np.diag([0.7, 1, 1, 1.0]))
    grid = _placed(labels, (20, 1, 1), (2, 1, 1), (0.5, 0, 0))
    codes = resample(labels, grid, kernel="nearest").data[:, 0, 0]
    np.testing.assert_array_equal(codes, np.arange(1, 40, 2))


def test_types() -> None:
    grid = lay_out_grid(_volume(), slice_axis=2, output_resolution=1.0)
    assert resample(_volume(dtype="int16"), grid).data.dtype == np.float32
    assert resample(_volume(dtype="float64"), grid).data.dtype == np.float64
    assert resample(_volume(dtype="int16"), _volume().grid).data.dtype == np.float32


@pytest.mark.parametrize("ratio", [1.2, 2.0, 3.7])
def test_antialias_blurs_by_the_difference_of_the_widths(ratio: float) -> None:
    """The response to an impulse has the variance of the coarse minus the fine voxel's PSF."""
    size = 61
    data = np.zeros((size, 4, 4))
    data[size // 2] = 1
    volume = Volume(data, np.eye(4))
    # Sampled finely the coarse grid would not be coarse: take many shifted coarse grids instead.
    positions, values = [], []
    for shift in np.arange(0, ratio, ratio / 40):
        count = int((size - 1 - shift) / ratio)
        grid = _placed(volume, (count, 4, 4), (ratio, 1, 1), (shift, 0, 0))
        positions.append(shift + ratio * np.arange(count))
        values.append(resample(volume, grid, kernel="linear").data[:, 0, 0])
    where, weight = np.concatenate(positions), np.concatenate(values)
    centre = np.average(where, weights=weight)
    variance = np.average((where - centre) ** 2, weights=weight)
    linear_variance = 1 / 6  # of the triangle that interpolates
    expected = (ratio**2 - 1) / (8 * np.log(2)) + linear_variance
    assert centre == pytest.approx(size // 2, abs=0.05)
    assert variance == pytest.approx(expected, rel=0.03)


def test_without_antialias_samples_are_picked() -> None:
    volume = _volume((9, 10, 7))
    grid = _placed(volume, (5, 10, 7), (2, 1, 1), (0, 0, 0))
    picked = resample(volume, grid, antialias=False)
    np.testing.assert_allclose(picked.data, volume.data[::2], rtol=1e-5, atol=1e-4)
    assert not np.allclose(resample(volume, grid).data, volume.data[::2], rtol=0.01)


def test_axis_coordinates() -> None:
    volume = _volume()
    grid = _placed(volume, (4, 5, 6), (0.5, 1.5, 2.0), (1.0, -2.0, 0.25))
    np.testing.assert_allclose(volume.grid.coordinates_of(grid, 0), [1, 1.5, 2, 2.5])
    np.testing.assert_allclose(volume.grid.coordinates_of(grid, 1), [-2, -0.5, 1, 2.5, 4])


@pytest.mark.parametrize(
    "step",
    [
        np.diag([-1.0, 1, 1, 1]),
        np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        np.array([[1.0, 0.01, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    ],
    ids=["flipped", "permuted", "turned"],
)
def test_grids_that_are_not_parallel_are_refused(step: np.ndarray) -> None:
    volume = _volume()
    with pytest.raises(InputDataError, match="not parallel"):
        resample(volume, Grid(volume.shape, volume.affine @ step))


def test_unknown_kernel_is_refused() -> None:
    with pytest.raises(InputDataError, match="'sinc'; expected one of nearest"):
        interpolation_matrix(np.zeros(1), 4, "sinc")  # type: ignore[arg-type]


# --- output grids ----------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", [0.5, 0.8, 1.0, 1.37, 2.7, None])
def test_fov_mode_keeps_the_field_of_view(spacing: float | None) -> None:
    volume = Volume(np.zeros((256, 256, 35), np.int16), _oblique((1.016, 1.016, 4.8)))
    grid = lay_out_grid(volume, slice_axis=2, output_resolution=spacing)
    np.testing.assert_allclose(grid.fov, volume.fov, atol=1e-9)
    expected = 1.016 if spacing is None else spacing
    np.testing.assert_allclose(grid.spacings, expected, rtol=0.01)
    for index in ((-0.5, -0.5, -0.5), tuple(size - 0.5 for size in grid.shape)):
        corner = (-0.5, -0.5, -0.5) if index[0] < 0 else tuple(s - 0.5 for s in volume.shape)
        np.testing.assert_allclose(
            grid.affine @ [*index, 1], volume.affine @ [*corner, 1], atol=1e-9
        )


def test_default_spacing_is_the_finer_in_plane_but_at_least_1_mm() -> None:
    fine = Volume(np.zeros((100, 100, 20), np.int16), np.diag([0.7, 0.72, 5.0, 1]))
    np.testing.assert_allclose(lay_out_grid(fine, slice_axis=2).spacings, 1.0)
    coarse = Volume(np.zeros((100, 100, 20), np.int16), np.diag([1.3, 1.25, 5.0, 1]))
    assert lay_out_grid(coarse, slice_axis=2).spacings[1] == pytest.approx(1.25)


def test_native_keeps_the_in_plane_grid_to_the_bit() -> None:
    volume = Volume(np.zeros((35, 256, 256), np.int16), _oblique((4.8, 0.9, 1.016)))
    grid = lay_out_grid(volume, slice_axis=0, output_resolution="native")
    assert np.array_equal(grid.affine[:, 1:3], volume.affine[:, 1:3])
    assert grid.shape[1:] == (256, 256)
    assert grid.spacings[0] == pytest.approx(168 / 187)
    assert grid.fov[0] == pytest.approx(168)


def test_slice_mode_keeps_the_acquired_slices_on_the_grid() -> None:
    volume = Volume(np.zeros((20, 20, 12), np.int16), _oblique((1.0, 1.0, 4.4)))
    grid = lay_out_grid(volume, slice_axis=2, output_resolution=1.0, output_grid="slice")
    assert grid.shape == (20, 20, 11 * 4 + 1)
    assert grid.spacings[2] == pytest.approx(1.1)
    for index in range(12):
        np.testing.assert_allclose(
            grid.affine @ [3, 4, 4 * index, 1], volume.affine @ [3, 4, index, 1], atol=1e-9
        )


def test_scale_one_keeps_the_grid_to_the_bit() -> None:
    volume = Volume(np.zeros((20, 21, 22), np.int16), _oblique((1.0, 1.0, 1.0)))
    assert np.array_equal(
        lay_out_grid(volume, slice_axis=2, output_resolution=1.0).affine, volume.affine
    )


@pytest.mark.parametrize("spacing", [0.0, -1.0, np.nan, np.inf])
def test_impossible_output_resolutions_are_refused(spacing: float) -> None:
    with pytest.raises(AcquisitionError, match="target spacing"):
        lay_out_grid(_volume(), slice_axis=2, output_resolution=spacing)


def test_unknown_layouts_and_axes_are_refused() -> None:
    with pytest.raises(AcquisitionError, match="output grid 'centre'"):
        lay_out_grid(_volume(), slice_axis=2, output_grid="centre")  # type: ignore[arg-type]
    with pytest.raises(AcquisitionError, match="slice axis 3"):
        lay_out_grid(_volume(), slice_axis=3)


@pytest.mark.parametrize("spacing", [0.001, 1e-300, 5e-324])
def test_a_grid_that_no_file_holds_is_refused_with_the_numbers(spacing: float) -> None:
    grid = Grid((100, 100, 20), np.diag([1.0, 1.0, 5.0, 1.0]))
    with pytest.raises(AcquisitionError, match="a NIfTI file holds up to 32767 along an axis"):
        lay_out_grid(grid, slice_axis=2, output_resolution=spacing)
