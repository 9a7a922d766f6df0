from __future__ import annotations

import numpy as np
import pytest

from bids_sr.engines.foreground import foreground, largest_component
from bids_sr.imaging import Volume


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_foreground_of_a_hollow_body(axis: int) -> None:
    index = np.indices((40, 40, 40)) - 19.5
    radius = np.sqrt((index**2).sum(0))
    rng = np.random.default_rng(0)
    data = 100.0 * ((radius < 15) & (radius > 5)) + np.abs(rng.normal(0, 4, radius.shape))
    data[0, 0, 0] = 1e5  # a spike must not move the threshold
    spacings = np.ones(3)
    spacings[axis] = 1.2
    mask = foreground(Volume(data.astype(np.float32), np.diag([*spacings, 1.0])))
    body = radius < 15
    assert 2 * (mask & body).sum() / (mask.sum() + body.sum()) > 0.9
    assert mask[19, 19, 19]


def test_largest_component() -> None:
    mask = np.zeros((6, 6, 6), bool)
    mask[0, 0, 0] = mask[3:5, 3:5, 3:5] = True
    assert largest_component(mask).sum() == 8
    assert largest_component(np.zeros_like(mask)).sum() == 0
