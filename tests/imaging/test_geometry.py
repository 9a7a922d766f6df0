"""Any shape, spacing, orientation, obliquity, type and gap: what must always hold."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Literal

import nibabel as nb
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bids_sr.imaging import (
    Acquisition,
    ForwardModel,
    Volume,
    check_input,
    degrade,
    lay_out_grid,
    lr_grid,
    resample,
)

ORIENTATIONS = [
    np.array(list(zip(axes, flips, strict=True)), dtype=float)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]
SETTINGS = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
spacing = st.floats(0.3, 8.0)


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    """Draw a volume in any of the 48 orientations, turned by any angle, of any type."""
    shape = draw(st.tuples(*[st.integers(2, 24)] * 3))
    dtype = draw(st.sampled_from(["uint8", "int16", "uint16", "float32", "float64"]))
    data = np.random.default_rng(draw(st.integers(0, 99))).uniform(0, 250, shape).astype(dtype)
    data.flat[0], data.flat[-1] = 0, 250
    affine = np.eye(4)
    angles = draw(st.tuples(*[st.floats(-60, 60)] * 3))
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.diag(draw(st.tuples(spacing, spacing, spacing)))
    affine[:3, 3] = draw(st.tuples(*[st.floats(-300, 300)] * 3))
    orientation = ORIENTATIONS[draw(st.integers(0, 47))]
    turned = nb.orientations.apply_orientation(data, orientation)
    step = nb.orientations.inv_ornt_aff(orientation, shape)
    return Volume(np.ascontiguousarray(turned), affine @ step)


@SETTINGS
@given(volumes())
def test_canonical_there_and_back(volume: Volume) -> None:
    back = volume.canonical().oriented_like(volume)
    assert np.array_equal(back.data, volume.data)
    assert np.array_equal(back.affine, volume.affine)
    assert back.data.dtype == volume.data.dtype


@SETTINGS
@given(volumes(), st.sampled_from([".nii", ".nii.gz"]))
def test_files_keep_values_type_and_place(volume: Volume, ending: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = volume.save(Path(folder) / f"image{ending}")
        loaded, report = Volume.load(path), check_input(path)
    np.testing.assert_array_equal(loaded.data, volume.data.astype(np.float32))
    assert loaded.same_grid(volume)
    assert report.warnings == ()
    stored = "float32" if volume.data.dtype == np.float64 else str(volume.data.dtype)
    assert report.dtype == stored


@SETTINGS
@given(volumes(), st.integers(0, 2), st.floats(0.7, 5.0))
def test_fov_grids_tile_the_field_of_view(volume: Volume, axis: int, spacing: float) -> None:
    grid = lay_out_grid(volume, slice_axis=axis, output_resolution=spacing)
    np.testing.assert_allclose(grid.fov, volume.fov, rtol=1e-12)
    for fraction in itertools.product((0.0, 1.0), repeat=3):
        ours = np.array(fraction) * grid.shape - 0.5
        theirs = np.array(fraction) * volume.shape - 0.5
        np.testing.assert_allclose(
            grid.affine @ [*ours, 1], volume.affine @ [*theirs, 1], atol=1e-9
        )
    result = resample(volume, grid, kernel="linear")
    # Averages of the values, so never beyond them
    assert result.data.min() >= volume.data.min() - 1e-3
    assert result.data.max() <= volume.data.max() + 1e-3


@SETTINGS
@given(
    volumes(),
    st.integers(0, 2),
    st.floats(1.0, 4.0),
    st.floats(-0.5, 0.5),
    st.sampled_from(["gaussian", "rect", "slr"]),
)
def test_forward_model_on_any_geometry(
    volume: Volume, axis: int, scale: float, gap: float, profile: Literal["gaussian"]
) -> None:
    spacing_mm = min(scale * volume.spacings[axis], volume.fov[axis] / 2)
    acquisition = Acquisition(
        spacing=spacing_mm, thickness=spacing_mm * (1 - gap), profile=profile, slice_axis=axis
    )
    grid = lr_grid(volume.grid, acquisition)
    model = ForwardModel.between(volume.grid, grid, acquisition)
    np.testing.assert_allclose(model.matrix.sum(axis=1), 1.0)
    rng = np.random.default_rng(0)
    fine, thick = rng.normal(size=volume.shape), rng.normal(size=grid.shape)
    np.testing.assert_allclose(
        np.vdot(model.apply(fine), thick),
        np.vdot(fine, model.adjoint(thick)),
        rtol=1e-9,
        atol=1e-9,
    )
    assert 0 <= volume.fov[axis] - grid.fov[axis] < spacing_mm + 1e-6


@SETTINGS
@given(volumes(), st.integers(0, 47))
def test_degrade_does_not_depend_on_the_orientation(volume: Volume, code: int) -> None:
    axis = volume.slice_axis
    spacing_mm = volume.fov[axis] / 2  # two slices fill the field of view from either end
    acquisition = Acquisition(spacing=spacing_mm, thickness=0.8 * spacing_mm, slice_axis=axis)
    thick = degrade(volume, acquisition)
    orientation = ORIENTATIONS[code]
    turned = Volume(
        nb.orientations.apply_orientation(volume.data, orientation),
        volume.affine @ nb.orientations.inv_ornt_aff(orientation, volume.shape),
    )
    turned_axis = int(orientation[axis, 0])
    turned_thick = degrade(
        turned,
        Acquisition(spacing=spacing_mm, thickness=0.8 * spacing_mm, slice_axis=turned_axis),
    )
    back = turned_thick.oriented_like(thick)
    assert back.same_grid(thick, tolerance_mm=1e-6)
    np.testing.assert_allclose(back.data, thick.data, rtol=1e-4, atol=1e-3)
