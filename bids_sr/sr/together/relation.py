"""The relation: what a guide tells of what a reconstruction lacks, learnt from one patient.

The thick slices are fine in their plane.  Degraded once more along a direction in it and put
back by the network of the method, they show what the method misses; beside them lies the
guide, made as thick as they are.  A small network learns the one from the other, and is then
applied across the slices.  Where the guide lies is known here already.

References
----------
Roche et al. 1998, The correlation ratio as a new similarity measure for multimodal image
registration, MICCAI, doi:10.1007/BFb0056301 (one contrast as a function of the other).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bids_sr.compute.progress import Progress

Array = npt.NDArray[np.float32]
Places = npt.NDArray[np.intp]

STEPS = 1500
"""Training steps of a network."""
_NETWORKS = 2  # of other seeds, whose mean errs less
_RECONSTRUCTION_REACH = (4, 3)  # voxels, across the slices and within them
_GUIDE_REACH = (5, 4)
_MARGIN = 5  # the farthest of these
_CONTRAST = 3.0  # differences count for more than values, as they are smaller
_PHASE = 2.0
_HIDDEN = 64
_BATCH = 8192
_LEARNING_RATE = 3e-3
_BLIND = 0.25  # share of the examples that are shown no guide
_VOXELS = 200_000  # at once


def _neighbours(reach: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Return the steps along and across to all voxels of an ellipse but its centre."""
    along, across = (np.arange(-steps, steps + 1) for steps in reach)
    radii = np.hypot(along[:, None] / (reach[0] + 0.5), across / (reach[1] + 0.5))
    inside = np.argwhere((radii <= 1) & (radii > 0)) - reach
    return tuple((int(row), int(column)) for row, column in inside)


_RECONSTRUCTION_STEPS = _neighbours(_RECONSTRUCTION_REACH)
_GUIDE_STEPS = _neighbours(_GUIDE_REACH)
_GUIDE_INPUTS = len(_GUIDE_STEPS) + 2


@dataclass(frozen=True, eq=False)
class Scene:
    """Hold a reconstruction and what is known beside it, on one grid."""

    reconstruction: Array
    """(X, Y, Z), intensities of about 0 to 1."""
    guide: Array
    """(X, Y, Z), likewise."""
    phase: Array
    """(n,) distance of each voxel along `along` to the nearest slice centre, in spacings."""
    along: int
    """Array axis along which the reconstruction was degraded."""
    across: int
    """Another one, in which it is as fine as ever."""

    def inputs(self, places: Places) -> Array:
        """Return what the network sees of (3, n) voxels: (n, inputs) values."""
        before, steps = self._around(self._padded_reconstruction, places, _RECONSTRUCTION_STEPS)
        guide, guide_steps = self._around(self._padded_guide, places, _GUIDE_STEPS)
        phase = _PHASE * self.phase[places[self.along]]
        columns = [*steps, before, phase, *guide_steps, guide, np.ones_like(guide)]
        return np.stack(columns, axis=1)

    @cached_property
    def _padded_reconstruction(self) -> Array:
        return self._padded(self.reconstruction)

    @cached_property
    def _padded_guide(self) -> Array:
        return self._padded(self.guide)

    def _padded(self, values: Array) -> Array:
        """Return a copy whose edges go on as far as the network sees."""
        widths = [(_MARGIN * (axis in (self.along, self.across)),) * 2 for axis in range(3)]
        return np.pad(values, widths, mode="edge")

    def _around(
        self, padded: Array, places: Places, steps: tuple[tuple[int, int], ...]
    ) -> tuple[Array, Iterator[Array]]:
        """Return the values of places, and how those some steps away differ from them."""
        moved = [
            index + _MARGIN * (axis in (self.along, self.across))
            for axis, index in enumerate(places)
        ]
        flat = np.ravel_multi_index(moved, padded.shape)
        strides = np.array(padded.strides) // padded.itemsize
        values = padded.ravel()
        centre = values[flat]

        def differences() -> Iterator[Array]:
            for along, across in steps:
                step = along * strides[self.along] + across * strides[self.across]
                yield _CONTRAST * (values[flat + step] - centre)

        return centre, differences()


@dataclass(frozen=True, eq=False)
class Examples:
    """Hold what a relation is learnt from, a row a voxel."""

    inputs: Array
    """(n, inputs), as of :meth:`Scene.inputs`."""
    missing: Array
    """(n,) what the reconstruction lacks there."""

    @classmethod
    def joined(cls, parts: list[Examples]) -> Examples:
        """Return the rows of all parts."""
        return cls(
            np.concatenate([part.inputs for part in parts]),
            np.concatenate([part.missing for part in parts]),
        )


class Relation:
    """Predict what a reconstruction lacks, with or without the guide: the mean of networks."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.networks = tuple(networks)

    @classmethod
    def learnt(
        cls, examples: Examples, *, seed: int, progress: Progress, steps: int | None = None
    ) -> Relation:
        """Learn from examples, a part of which is shown no guide."""
        steps = STEPS if steps is None else steps
        inputs, missing = torch.from_numpy(examples.inputs), torch.from_numpy(examples.missing)
        networks = []
        for number in range(_NETWORKS):
            tell = _from(progress, number * steps, _NETWORKS * steps)
            networks.append(_trained(inputs, missing, seed + number, steps, tell))
        return cls(networks)

    @torch.inference_mode()
    def missing(self, inputs: Array, *, blind: bool = False) -> Array:
        """Return (n,) predictions for (n, inputs) values; `blind` ones see no guide."""
        rows = torch.from_numpy(inputs)
        if blind:
            rows = rows.clone()
            rows[:, -_GUIDE_INPUTS:] = 0
        parts: list[Tensor] = []
        for part in torch.split(rows, _VOXELS):
            predicted = [network(part)[:, 0] for network in self.networks]
            parts.append(torch.stack(predicted).mean(0))
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)

    def gain(self, examples: Examples, *, blind: bool = False) -> float:
        """Return how much closer to the truth examples get, dB."""
        left = examples.missing - self.missing(examples.inputs, blind=blind)
        return float(10 * np.log10(np.mean(examples.missing**2) / max(np.mean(left**2), 1e-20)))

    def correction(self, scene: Scene, wanted: npt.NDArray[np.bool_]) -> Array:
        """Return what the reconstruction of a scene lacks, where that is wanted; else 0.

        The mean of both directions within the slices.
        """
        result = np.zeros(scene.reconstruction.shape, np.float32)
        places = np.array(np.nonzero(wanted))
        views = [replace(scene, across=axis) for axis in range(3) if axis != scene.along]
        for first in range(0, places.shape[1], _VOXELS):
            part = places[:, first : first + _VOXELS]
            missing = [self.missing(view.inputs(part)) for view in views]
            result[tuple(part)] = np.mean(missing, axis=0)
        return result


def _trained(
    inputs: Tensor, missing: Tensor, seed: int, steps: int, tell: Callable[[int], None]
) -> nn.Module:
    """Train a network that predicts (n,) missing values from (n, inputs) values."""
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
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        rows = torch.randint(len(inputs), (_BATCH,), generator=generator)
        batch = inputs[rows]
        batch[: int(_BLIND * _BATCH), -_GUIDE_INPUTS:] = 0
        loss = ((network(batch)[:, 0] - missing[rows]) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            tell(step)
    return network


def _from(progress: Progress, first: int, total: int) -> Callable[[int], None]:
    """Return how a network tells its steps, as part of all steps."""
    return lambda step: progress(
        first + step, total, "learning the relation of the guide to the image"
    )
