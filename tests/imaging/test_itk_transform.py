"""Transform files as ANTs reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bids_sr.imaging.itk_transform import write_itk_transform


@pytest.mark.engine
def test_ants_takes_points_of_the_new_grid_to_the_moved_image(tmp_path: Path) -> None:
    import ants

    to_moving = np.eye(4)
    to_moving[:3, :3] = Rotation.from_rotvec([0.1, -0.2, 0.3]).as_matrix()
    to_moving[:3, 3] = [4.0, -7.0, 2.5]
    transform = ants.read_transform(str(write_itk_transform(to_moving, tmp_path / "xfm.txt")))
    lps = np.array([-1.0, -1.0, 1.0])
    for point in ([0.0, 0.0, 0.0], [10.0, -20.0, 30.0]):
        moved = np.array(transform.apply_to_point(tuple(lps * point)))
        expected = to_moving[:3, :3] @ point + to_moving[:3, 3]
        np.testing.assert_allclose(lps * moved, expected, atol=1e-4)
