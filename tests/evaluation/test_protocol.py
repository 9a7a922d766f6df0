"""Protocols: how a test is made of an image, and where the truth lies in it."""

from __future__ import annotations

import numpy as np
import pytest

from bids_sr.evaluation import Protocol, covered, make_case
from bids_sr.exceptions import ConfigError, InputDataError
from bids_sr.imaging import Acquisition, Volume, degrade, lr_grid, resample


@pytest.fixture(scope="module")
def brain(mni152_2mm: Volume) -> Volume:
    return Volume(mni152_2mm.data[20:70, 20:90, 20:66], mni152_2mm.affine)


@pytest.mark.parametrize(
    ("name", "thickness", "spacing", "profile"),
    [("5/6", 5, 6, "gaussian"), ("4", 4, 4, "gaussian"), ("3/4.3/rect", 3, 4.3, "rect")],
)
def test_a_name_is_an_acquisition(
    name: str, thickness: float, spacing: float, profile: str
) -> None:
    acquisition = Protocol(name=name, slices="sagittal").acquisition()
    assert acquisition == Acquisition(
        thickness=thickness, spacing=spacing, profile=profile, slice_axis=0
    )


@pytest.mark.parametrize("name", ["", "six", "5/", "0/6", "5/6/round", "leave-slices"])
def test_what_is_no_protocol_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="expected thickness/spacing"):
        Protocol(name=name)


def test_bad_orientation_and_noise_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected sagittal, coronal, axial"):
        Protocol(name="5/6", slices="z")
    with pytest.raises(ConfigError, match="expected a fraction"):
        Protocol(name="5/6", noise=-0.1)


def test_labels() -> None:
    assert Protocol(name="5/6", slices="coronal", noise=0.02).label == "5/6 coronal, noise 2 %"
    left_out = Protocol(name="leave-slices-out", slices="sagittal", noise=0.1)
    assert left_out == Protocol(name="leave-slices-out")
    assert left_out.label == "leave-slices-out"


def test_simulated_slices_are_those_of_the_forward_model(brain: Volume) -> None:
    protocol = Protocol(name="7/8.5/rect", slices="coronal", noise=0.02)
    case = make_case(brain, protocol, seed=3)
    expected = degrade(brain, protocol.acquisition(), noise_fraction=0.02, seed=3)
    np.testing.assert_array_equal(case.lr.data, expected.data)
    assert case.acquisition.slice_axis == 1
    assert case.truth is brain
    assert case.grid.same(brain.grid)
    np.testing.assert_array_equal(case.region, covered(brain.grid, expected.grid))
    assert case.at_truth(brain.data) is brain.data


def test_a_coarse_reference_is_refused(brain: Volume) -> None:
    with pytest.raises(InputDataError, match=r"voxels of 2 mm across axial slices"):
        make_case(brain, Protocol(name="2/6"))


@pytest.mark.parametrize("count", [9, 10])
@pytest.mark.parametrize("axis", [0, 2])
def test_left_out_slices_lie_on_planes_of_the_grid(brain: Volume, count: int, axis: int) -> None:
    """A linear ramp is interpolated exactly: any shift of a plane would show."""
    spacings = np.full(3, 1.9)
    spacings[axis] = 8.0
    shape = [24, 26, 22]
    shape[axis] = count
    affine = np.diag([*spacings, 1.0])
    affine[:3, 3] = (5, -7, 11)
    ramp = np.arange(count, dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    stack = Volume(np.broadcast_to(ramp + 1, shape).copy(), affine)

    case = make_case(stack, Protocol(name="leave-slices-out"), thickness=6.0)

    slices = (count + 1) // 2
    assert case.lr.shape[axis] == slices
    assert (case.acquisition.spacing, case.acquisition.thickness) == (16.0, 6.0)
    assert case.truth.shape[axis] == slices - 1
    estimate = resample(case.lr, case.grid, kernel="linear")
    np.testing.assert_allclose(case.at_truth(estimate.data), case.truth.data, rtol=1e-6)
    # in the world too: the planes are where the left-out slices are
    assert case.planes is not None
    index = np.zeros(4)
    index[axis], index[3] = case.planes[1], 1
    plane = case.grid.affine @ index
    index[axis] = 3
    np.testing.assert_allclose(plane, stack.affine @ index, atol=1e-9)
    # nothing is interpolated in-plane
    assert np.delete(case.grid.shape, axis).tolist() == np.delete(shape, axis).tolist()


def test_too_few_slices_to_leave_out(brain: Volume) -> None:
    stack = Volume(brain.data[..., :4], brain.affine @ np.diag([1, 1, 4.0, 1]))
    with pytest.raises(InputDataError, match="at least 5"):
        make_case(stack, Protocol(name="leave-slices-out"))


def test_covered_leaves_out_what_no_slice_holds(brain: Volume) -> None:
    lr = lr_grid(brain.grid, Acquisition(spacing=12.0, slice_axis=2))
    inside = covered(brain.grid, lr)
    assert lr.shape[2] == 7  # 84 of 92 mm
    assert inside[..., :42].all()
    assert not inside[..., 42:].any()
    assert covered(lr, brain.grid).all()
