"""Plans: how a patch of an image becomes a pair, for every acquisition that is imitated.

The matrices of a plan (the weights of its slices, the interpolations of its rows) are computed
when it is first drawn and stored in a table on the device; a batch is a selection of its
lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bids_sr.imaging import Acquisition
from bids_sr.sr.learning.patches import PatchExtent, PatchGeometry
from bids_sr.sr.learning.training_volumes import TrainingVolume
from bids_sr.sr.networks.backbone import CONDITIONS, condition_of
from bids_sr.sr.networks.thick_slice import Upsampling


@dataclass(frozen=True, eq=False)
class Plan:
    """State how a patch becomes a pair."""

    acquisition: Acquisition
    voxel: float
    """Voxel size along rows and columns, mm."""
    shape: tuple[int, int, int]
    """Planes, slices and columns; one plane stands for itself."""
    factor: int
    """Rows that the network makes of a slice."""
    plane_thickness: float | None
    """Thickness of its planes as the network is told it, mm."""
    volume: TrainingVolume | None = None
    """The image it is cut from; None: any interchangeable one."""
    averaged: bool = False
    """Whether planes are yet to be averaged."""
    stated: Acquisition | None = None
    """What the network is told of the acquisition; None: the truth."""

    @cached_property
    def extent(self) -> PatchExtent:
        """Sizes of the pair."""
        return PatchExtent.of(self.acquisition, self.voxel, self.shape[1])

    @cached_property
    def taps(self) -> npt.NDArray[np.float64]:
        """Weights of the planes that are averaged, an odd number of them."""
        profile = self.acquisition.slice_profile
        return profile.kernel(self.voxel) if self.averaged else np.ones(1)


class Lines(NamedTuple):
    """Hold the matrices of N patches of a batch, padded to one size."""

    matrices: Tensor
    """(N, K, window) weights of the rows of the window in every slice."""
    skips: Tensor
    """(N, n, K) interpolations of the slices."""
    phases: Tensor
    """(N, n, K factor) interpolations of the network's rows."""
    conditions: Tensor
    """(N, 6) conditions of the network."""
    taps: Tensor
    """(N, most) weights of the planes that are averaged, the middle one in the middle."""


class PlanTable:
    """Hold plans of one shape, padded to the longest, as tensors on a device.

    Every window has `before` rows ahead of the target, whatever the plan's own margin;
    those beyond the margin have no weight.
    """

    def __init__(self, plans: Sequence[Plan], device: torch.device) -> None:
        """Lay out the table.

        Parameters
        ----------
        plans : sequence of Plan
            Of one shape and factor.
        device : torch.device
            Where the table shall lie.
        """
        self.plans = list(plans)
        self.planes, self.slices, self.width = plans[0].shape
        self.margins = np.array([plan.extent.margin for plan in plans])
        self.rows = np.array([plan.extent.rows for plan in plans])
        self.edges = np.array([int(np.ceil(plan.extent.scale)) for plan in plans])
        self.averaged = np.array([plan.averaged for plan in plans])
        self.before, self.longest = int(self.margins.max()), int(self.rows.max())
        self.window = self.longest + 2 * self.before
        self._filled = np.zeros(len(plans), dtype=bool)
        number, most = len(plans), max(plan.taps.size for plan in plans)
        self._matrices = torch.zeros(number, self.slices, self.window, device=device)
        self._skips = torch.zeros(number, self.longest, self.slices, device=device)
        columns = self.slices * plans[0].factor
        self._phases = torch.zeros(number, self.longest, columns, device=device)
        self._conditions = torch.zeros(number, CONDITIONS, device=device)
        self._taps = torch.zeros(number, most, device=device)

    @property
    def reach(self) -> int:
        """Planes on either side that averages look at."""
        return self._taps.shape[1] // 2

    def lines(self, chosen: npt.NDArray[np.integer], places: Tensor) -> Lines:
        """Return the lines of N plans.

        Parameters
        ----------
        chosen : (N,) int array
            Their places in the table.
        places : (N,) int tensor
            The same on the device.
        """
        for place in np.unique(chosen[~self._filled[chosen]]):
            self._fill(int(place))
        return Lines(
            self._matrices[places],
            self._skips[places],
            self._phases[places],
            self._conditions[places],
            self._taps[places],
        )

    def _fill(self, place: int) -> None:
        plan = self.plans[place]
        geometry = PatchGeometry.of(
            plan.acquisition, plan.voxel, slices=self.slices, width=self.width
        )
        rows, first = geometry.rows, self.before - geometry.margin
        columns = slice(first, first + geometry.matrix.shape[1])
        self._matrices[place, :, columns] = torch.from_numpy(geometry.matrix)
        upsampling = Upsampling.at(geometry.coordinates(), self.slices, plan.factor)
        phases = upsampling.phases
        self._skips[place, :rows] = upsampling.skip
        self._phases[place, :rows] = torch.eye(rows) if phases is None else phases
        stated = plan.stated or plan.acquisition
        self._conditions[place] = condition_of(stated, plan.voxel, plan.plane_thickness)
        taps = plan.taps
        begin = (self._taps.shape[1] - taps.size) // 2
        self._taps[place, begin : begin + taps.size] = torch.from_numpy(taps)
        self._filled[place] = True
