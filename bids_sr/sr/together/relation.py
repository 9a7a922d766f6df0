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

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bids_sr.compute.progress import Progress

Array = npt.NDArray[np.float32]
Places = npt.NDArray[np.intp]

STEPS = 1500
"""Training steps."""
_ALONG = (-4, -3, -2, -1, 1, 2, 3, 4)  # voxels across the slices
_RECONSTRUCTION_BESIDE = (-2, -1, 1, 2)  # voxels within the slices
_GUIDE_BESIDE = (-3, -2, -1, 1, 2, 3)
_CONTRAST = 3.0  # differences count for more than values, as they are smaller
_PHASE = 2.0
_HIDDEN = 64
_BATCH = 8192
_LEARNING_RATE = 3e-3
_BLIND = 0.25  # share of the examples that are shown no guide
_VOXELS = 200_000  # at once
_GUIDE_INPUTS = len(_ALONG) + len(_GUIDE_BESIDE) + 2


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
        """Return what the network sees of (3, n) voxels: (n, 30) values."""
        along, across = self.along, self.across
        before, guide = self._at(self.reconstruction, places), self._at(self.guide, places)
        columns = [
            *self._differences(self.reconstruction, before, places, along, _ALONG),
            *self._differences(
                self.reconstruction, before, places, across, _RECONSTRUCTION_BESIDE
            ),
            before,
            _PHASE * self.phase[places[along]],
            *self._differences(self.guide, guide, places, along, _ALONG),
            *self._differences(self.guide, guide, places, across, _GUIDE_BESIDE),
            guide,
            np.ones_like(guide),
        ]
        return np.stack(columns, axis=1)

    @staticmethod
    def _at(values: Array, places: Places) -> Array:
        return np.asarray(values[places[0], places[1], places[2]])

    def _differences(
        self, values: Array, centre: Array, places: Places, axis: int, steps: tuple[int, ...]
    ) -> Iterator[Array]:
        for step in steps:
            moved = list(places)
            moved[axis] = np.clip(places[axis] + step, 0, values.shape[axis] - 1)
            yield _CONTRAST * (values[moved[0], moved[1], moved[2]] - centre)


@dataclass(frozen=True, eq=False)
class Examples:
    """Hold what a relation is learnt from, a row a voxel."""

    inputs: Array
    """(n, 30)."""
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
    """Predict what a reconstruction lacks, with or without the guide."""

    def __init__(self, inputs: int, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = nn.Sequential(
                nn.Linear(inputs, _HIDDEN),
                nn.SiLU(),
                nn.Linear(_HIDDEN, _HIDDEN),
                nn.SiLU(),
                nn.Linear(_HIDDEN, 1),
            )

    @classmethod
    def learnt(
        cls, examples: Examples, *, seed: int, progress: Progress, steps: int | None = None
    ) -> Relation:
        """Learn from examples, a part of which is shown no guide."""
        steps = STEPS if steps is None else steps
        relation = cls(examples.inputs.shape[1], seed)
        inputs, missing = torch.from_numpy(examples.inputs), torch.from_numpy(examples.missing)
        optimizer = torch.optim.Adam(relation.network.parameters(), lr=_LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        generator = torch.Generator().manual_seed(seed)
        for step in range(steps):
            rows = torch.randint(len(inputs), (_BATCH,), generator=generator)
            batch = inputs[rows]
            batch[: int(_BLIND * _BATCH), -_GUIDE_INPUTS:] = 0
            loss = ((relation.network(batch)[:, 0] - missing[rows]) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if step % 50 == 0:
                progress(step, steps, "learning the relation of the guide to the image")
        return relation

    @torch.inference_mode()
    def missing(self, inputs: Array, *, blind: bool = False) -> Array:
        """Return (n,) predictions for (n, 30) inputs; `blind` ones see no guide."""
        rows = torch.from_numpy(inputs)
        if blind:
            rows = rows.clone()
            rows[:, -_GUIDE_INPUTS:] = 0
        parts: list[Tensor] = [self.network(part)[:, 0] for part in torch.split(rows, _VOXELS)]
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
        others = [axis for axis in range(3) if axis != scene.along]
        for first in range(0, places.shape[1], _VOXELS):
            part = places[:, first : first + _VOXELS]
            views = [replace(scene, across=across).inputs(part) for across in others]
            result[tuple(part)] = np.mean([self.missing(view) for view in views], axis=0)
        return result
