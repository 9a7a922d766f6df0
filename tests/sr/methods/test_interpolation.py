from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_sr.imaging import Acquisition, Volume
from bids_sr.sr import reconstruct


@pytest.mark.parametrize(("method", "order"), [("linear", 1), ("bspline", 3)])
def test_against_scipy(
    method: str, order: int, thick: Volume, reference: Volume, acquisition: Acquisition
) -> None:
    interpolated = reconstruct(thick, acquisition, method=method, grid=reference.grid).volume.data
    rows = (np.arange(reference.shape[2]) + 0.5) / 4 - 0.5
    column = thick.data[20, 30]
    oracle = ndimage.map_coordinates(
        column.astype(np.float64), [np.clip(rows, 0, column.size - 1)], order=order, mode="mirror"
    )
    # Near the ends the splines differ in what they assume beyond.
    np.testing.assert_allclose(
        interpolated[20, 30, 16:44], oracle[16:44], atol=2e-3 * column.max()
    )


def test_lanczos_reproduces_a_constant(acquisition: Acquisition, thick: Volume) -> None:
    flat = thick.with_data(np.full_like(thick.data, 7.0))
    interpolated = reconstruct(flat, acquisition, method="lanczos", grid=thick.grid).volume
    np.testing.assert_allclose(interpolated.data, 7.0, rtol=1e-5)
