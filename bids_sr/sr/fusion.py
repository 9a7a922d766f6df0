"""Fusion combines the reconstructions of several views into one volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def fuse_mean(views: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Return the voxelwise mean of equally shaped volumes.

    The views see the same slices, so their errors differ mainly in what each network
    pass invents; the mean halves the variance of the part that is independent.
    """
    total = views[0].astype(np.float32, copy=True)
    for view in views[1:]:
        total += view
    return total / np.float32(len(views))
