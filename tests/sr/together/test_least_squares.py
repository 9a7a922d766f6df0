from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bids_sr.compute.progress import silent
from bids_sr.imaging import Volume
from bids_sr.sr import Stack
from bids_sr.sr.together.least_squares import _Equations, agreed, mean_of, trust
from bids_sr.sr.together.placement import rigid_motion


def test_the_adjoint_of_the_slices_has_the_same_inner_product(
    planes: list[Stack], reference: Volume
) -> None:
    motion = rigid_motion([0.1, -0.1, 0.2], [3, -2, 1], [0, 0, 0])
    equations = _Equations(replace(planes[1], to_frame=motion), reference.grid, 100.0)
    generator = np.random.default_rng(0)
    x = generator.normal(size=reference.shape).astype(np.float32)
    y = generator.normal(size=planes[1].slices.shape).astype(np.float32)
    left = np.sum(equations.weights * y * equations.apply(x), dtype=np.float64)
    assert left == pytest.approx(np.sum(x * equations.adjoint(y), dtype=np.float64), rel=1e-4)
    assert 0 < np.count_nonzero(equations.weights) < equations.weights.size


def test_all_slices_together_tell_more_than_the_mean(
    planes: list[Stack], reference: Volume, decibels: Callable[[np.ndarray], float]
) -> None:
    mean, coverage, _ = mean_of(planes, reference.grid, np.eye(4))
    data, residuals = agreed(planes, reference.with_data(mean), planes[0].width, silent)
    single = max(decibels(stack.reconstruction.data) for stack in planes)
    assert coverage.min() == 3
    assert decibels(mean) > single + 0.3
    assert decibels(data) > decibels(mean) + 1.5
    assert max(value for value in residuals if value is not None) < 0.03 * planes[0].width


def test_the_gap_beside_a_distrusted_slice_is_distrusted(planes: list[Stack]) -> None:
    weights = np.ones(planes[0].slices.shape[2])
    weights[3] = 0
    planes_weights = trust(replace(planes[0], slice_weights=weights)).ravel()
    centres = np.arange(planes_weights.size) * 2.0 + 1.0  # mm from the edge
    beside = np.abs(centres - 3.5 * 8) < 8
    assert (planes_weights[beside] == 0).all()
    assert (planes_weights[~beside] == 1).all()


def test_a_voxel_uses_what_covers_it(planes: list[Stack], reference: Volume) -> None:
    lower = planes[1].reconstruction.part([slice(None), slice(None), slice(0, 30)])
    slices = planes[1].slices.part([slice(None), slice(None), slice(0, 30)])
    part = replace(planes[1], slices=slices, reconstruction=lower)
    mean, coverage, _ = mean_of([planes[0], part], reference.grid, np.eye(4))
    assert set(np.unique(coverage[:, :, :30])) == {2}
    assert set(np.unique(coverage[:, :, 30:])) == {1}
    np.testing.assert_allclose(
        mean[:, :, 30:], planes[0].reconstruction.data[:, :, 30:], rtol=1e-5, atol=1e-3
    )
