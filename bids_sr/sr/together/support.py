"""Support: where the acquired slices and the guide, made as thick as they are, tell the same.

A small network predicts each of the two from the other, from what lies around a voxel within its
slice.  What one of them shows and the other does not is left unexplained: a lesion that only one
contrast shows, or an artefact.  There the guide is not believed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor, nn

from bids_sr.seed import DEFAULT_SEED

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_REACH = 3  # voxels within a slice that are looked at
_CONTRAST = 3.0  # differences count for more than values, as they are smaller
_HIDDEN = 48
_STEPS = 500
_BATCH = 4096
_LEARNING_RATE = 4e-3
_OUTLIER = 0.1  # scaled intensity from which errors count linearly
_SMOOTHING = 0.8  # voxels
_LEVELS = 12  # of structure, each with a spread of its own
_LEAST_SPREAD = 0.01
_BELIEVED, _REFUSED = 3.5, 6.0
"""Spreads up to which the guide is believed, and from which on it is not."""


def support(slices: Array, guide: Array, where: Mask, *, seed: int = DEFAULT_SEED) -> Array:
    """Return how far the guide is believed, 0 to 1.

    Parameters
    ----------
    slices, guide : (K, rows, columns) float32 array
        Intensities of about 0 to 1.
    where : (K, rows, columns) bool array
        Where both are known; elsewhere the result is 1.
    seed : int

    Returns
    -------
    (K, rows, columns) float32 array

    Notes
    -----
    What is unexplained is compared with its spread among voxels with as much structure around
    them, since at edges a little misalignment explains much.  What is small or rare hardly
    changes the networks, so that it stays unexplained.
    """
    places = np.array(np.nonzero(where))
    structure = (_slope(slices) + _slope(guide))[tuple(places)]
    most = np.zeros(places.shape[1], np.float32)
    for shown, other in ((slices, guide), (guide, slices)):
        left = np.zeros(where.shape, np.float32)
        left[tuple(places)] = _unexplained(shown[tuple(places)], _around(other, places), seed)
        smooth = ndimage.gaussian_filter(left, (0, _SMOOTHING, _SMOOTHING))[tuple(places)]
        most = np.maximum(most, np.abs(smooth) / _spread(smooth, structure))
    result = np.ones(where.shape, np.float32)
    result[tuple(places)] = np.clip((_REFUSED - most) / (_REFUSED - _BELIEVED), 0, 1)
    return np.asarray(ndimage.minimum_filter(result, (1, 3, 3)))


def across_slices(weights: Array, coordinates: npt.NDArray[np.float64]) -> Array:
    """Return weights (K, rows, columns) of slices at (n,) places in units of slices.

    The less of what lies linearly between two slices and of what the nearest one says.
    """
    last = len(weights) - 1
    below = np.clip(np.floor(coordinates).astype(int), 0, last)
    above, nearest = (
        np.clip(place, 0, last) for place in (below + 1, np.round(coordinates).astype(int))
    )
    share = np.clip(coordinates - below, 0, 1).astype(np.float32)[:, None, None]
    between = weights[below] * (1 - share) + weights[above] * share
    return np.asarray(np.minimum(between, weights[nearest]))


def _slope(values: Array) -> Array:
    rows, columns = np.gradient(ndimage.gaussian_filter(values, (0, 1, 1)), axis=(1, 2))
    return np.asarray(np.hypot(rows, columns), dtype=np.float32)


def _around(values: Array, places: npt.NDArray[np.intp]) -> Array:
    """Return what lies around (3, n) places within their slices: (n, inputs)."""
    padded = np.pad(values, ((0, 0), (_REACH, _REACH), (_REACH, _REACH)), mode="edge")
    plane, row, column = places[0], places[1] + _REACH, places[2] + _REACH
    centre = padded[plane, row, column]
    steps = range(-_REACH, _REACH + 1)
    columns = [
        _CONTRAST * (padded[plane, row + down, column + right] - centre)
        for down in steps
        for right in steps
        if 0 < np.hypot(down, right) <= _REACH + 0.5
    ]
    return np.stack([centre, *columns], axis=1)


def _unexplained(shown: Array, inputs: Array, seed: int) -> Array:
    """Return what a network that learns (n,) values from (n, inputs) leaves of them."""
    rows, values = torch.from_numpy(inputs), torch.from_numpy(shown)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(inputs.shape[1], _HIDDEN),
            nn.SiLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.SiLU(),
            nn.Linear(_HIDDEN, 1),
        )
    optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    for _ in range(_STEPS):
        batch = torch.randint(len(rows), (_BATCH,), generator=generator)
        predicted: Tensor = network(rows[batch])[:, 0]
        loss = nn.functional.huber_loss(predicted, values[batch], delta=_OUTLIER)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    with torch.inference_mode():
        predicted = torch.cat([network(part)[:, 0] for part in torch.split(rows, 200_000)])
    return np.asarray((values - predicted).numpy(), dtype=np.float32)


def _spread(values: Array, structure: Array) -> Array:
    """Return the robust spread of (n,) values among those with as much structure."""
    ends = np.quantile(structure, np.linspace(0, 1, _LEVELS + 1))
    level = np.clip(np.searchsorted(ends, structure) - 1, 0, _LEVELS - 1)
    spreads = [
        1.4826 * np.median(np.abs(values[level == number])) if np.any(level == number) else 0.0
        for number in range(_LEVELS)
    ]
    middles = (ends[1:] + ends[:-1]) / 2
    return np.asarray(np.interp(structure, middles, np.maximum(spreads, _LEAST_SPREAD)))
