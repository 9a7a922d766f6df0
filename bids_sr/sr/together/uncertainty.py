"""How uncertain a fused volume is: what the stacks leave open.

Where the stacks' own reconstructions disagree, each of them guessed; agreement with all
slices removes a part of that, evenly.  What no stack saw is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from bids_sr.imaging import Volume
from bids_sr.sr.together.placement import Array, covered, placed
from bids_sr.sr.together.stack import Stack

DISAGREEMENT = 1.6
"""Standard deviation to expect where the reconstructions of the stacks differ by 1; measured
(benchmarks/RESULTS.md)."""
_REACH = 1.5  # voxels: a difference of one voxel says little


def uncertainty_of(stacks: Sequence[Stack], fused: Volume, variance: Array) -> Volume:
    """Return the standard deviation to expect of every voxel.

    Parameters
    ----------
    stacks : sequence of Stack
        Those that were fused.
    fused : Volume
        In the frame.
    variance : array
        Mean square difference of their reconstructions from the mean of these.

    Returns
    -------
    Volume
        Where a single stack covers a voxel, what is known of that stack's own reconstruction,
        or else what is typical of the volume.
    """
    seen = np.zeros(fused.shape, np.float32)
    alone = np.zeros(fused.shape, np.float32)
    noise = np.zeros(fused.shape, np.float32)
    typical = float(np.sqrt(variance[variance > 0].mean())) if (variance > 0).any() else 0.0
    for stack in stacks:
        to_stack = stack.from_frame
        here = covered(stack.reconstruction.grid, fused.grid, to_stack).astype(np.float32)
        own = stack.uncertainty
        seen += here
        noise += here / np.float32(max(stack.noise, 1e-6 * stack.width) ** 2)
        alone += here * (
            np.float32(typical) if own is None else placed(own, fused.grid, to_stack, order=1)
        )
    between = ndimage.gaussian_filter(variance * seen / np.maximum(seen - 1, 1), _REACH)
    shared = DISAGREEMENT**2 * between / np.maximum(seen, 1)
    squared = np.where(seen > 1.5, shared, alone**2) + 1 / np.maximum(noise, 1e-30) * (seen > 0)
    return fused.with_data(np.sqrt(np.maximum(squared, 0)).astype(np.float32))
