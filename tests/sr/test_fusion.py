from __future__ import annotations

import numpy as np

from bids_sr.sr.fusion import fuse_mean


def test_mean_leaves_the_views_alone() -> None:
    views = [np.full((2, 3, 4), value, np.float32) for value in (1.0, 2.0, 6.0)]
    np.testing.assert_array_equal(fuse_mean(views), np.full((2, 3, 4), 3.0, np.float32))
    assert views[0].max() == 1
