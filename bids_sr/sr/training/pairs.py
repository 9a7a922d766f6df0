"""Pairs of thick slices and what was there, from many images and acquisitions.

Every patch of a batch may be of another image and another acquisition: steps that agree
with many are steadier.  What a method learns from one image by itself is :mod:`.patches`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bids_sr.imaging import Acquisition
from bids_sr.sr.methods.base import require
from bids_sr.sr.networks.backbone import condition_of
from bids_sr.sr.networks.thick_slice import Upsampling, to_rows
from bids_sr.sr.training.patches import PatchGeometry
from bids_sr.sr.training.protocols import Draws
from bids_sr.sr.training.teachers import Teacher, choose

_EDGE = 2  # columns, and planes
_PLANS = 1024  # as many acquisitions are imitated
_WITH_THICK_PLANES = 0.25  # share of the patches of images that have thin ones
_WITH_ENDS = 0.25  # share of the patches judged to their ends: volumes have ends too


class Slices(NamedTuple):
    """What a network is given, of N patches with K slices each."""

    lr: Tensor
    """(N, 1, K, W) thick slices, or (N, 1, D, K, W): neighbouring planes of them."""
    conditions: Tensor
    """(N, 6) descriptions of the acquisitions."""
    skip: Tensor
    """(N, n, K) interpolation to the rows of each, zero beyond them."""
    phases: Tensor
    """(N, n, K factor) interpolation of a network's rows, the same."""

    @property
    def upsampling(self) -> Upsampling:
        """Return the two interpolations."""
        return Upsampling(self.skip, self.phases)

    def cubic(self) -> Tensor:
        """Return cubic interpolation, (N, n, W) or (N, D, n, W)."""
        return to_rows(self.skip, self.lr[:, 0])


class Rows(NamedTuple):
    """What a network is to find."""

    hr: Tensor
    """(N, n, W) or (N, D, n, W) rows, zero beyond those of a patch."""
    weights: Tensor
    """Of the same shape: share of every pixel in the judgement of its patch; 0 where it lacks
    neighbours."""

    def absolute_error(self, predicted: Tensor) -> Tensor:
        """Return the mean absolute difference."""
        return ((predicted - self.hr).abs() * self.weights).sum() / len(self.hr)

    def squared_error(self, predicted: Tensor) -> Tensor:
        """Return the mean squared difference."""
        return ((predicted - self.hr).square() * self.weights).sum() / len(self.hr)


@dataclass(frozen=True, eq=False)
class _Plan:
    """Say how a patch is made."""

    acquisition: Acquisition
    voxel: float
    """Voxel size along rows and columns, mm."""
    shape: tuple[int, int, int]
    """Planes, slices and columns; one plane stands for itself."""
    factor: int
    plane_thickness: float | None
    """What its planes are averages over, mm."""
    teacher: Teacher | None = None
    """The image it is cut from; None: any that has companions."""
    averaged: bool = False
    """Whether planes are yet to be averaged."""

    @cached_property
    def geometry(self) -> PatchGeometry:
        _, slices, width = self.shape
        return PatchGeometry.of(self.acquisition, self.voxel, slices=slices, width=width)

    @cached_property
    def condition(self) -> Tensor:
        return condition_of(self.acquisition, self.voxel, self.plane_thickness)

    @cached_property
    def taps(self) -> npt.NDArray[np.float64]:
        profile = self.acquisition.slice_profile
        return profile.kernel(self.voxel) if self.averaged else np.ones(1)

    @cached_property
    def interpolations(self) -> tuple[Tensor, Tensor]:
        """Return those of the slices and of the network's rows."""
        geometry = self.geometry
        upsampling = Upsampling.at(geometry.coordinates(), geometry.slices, self.factor)
        phases = upsampling.phases
        return upsampling.skip, torch.eye(geometry.rows) if phases is None else phases


@dataclass(frozen=True, kw_only=True)
class PatchSize:
    """State the size of patches and batches."""

    slices: int = 12
    """Thick slices a patch."""
    width: int = 48
    """In-plane voxels a patch."""
    batch: int = 16
    """Patches a batch."""
    planes: int = 1
    """Neighbouring planes a patch, of images that have thin ones."""
    volume_batch: int = 6
    """Patches a batch where they have more than one plane."""

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        require(self.slices >= 4, "patch_slices", self.slices, "4 or more")
        require(self.width >= 8, "patch_width", self.width, "8 or more")
        require(self.batch >= 1, "batch_size", self.batch, "1 or more")
        planes = self.planes
        require(planes == 1 or planes > 2 * _EDGE, "patch_planes", planes, "1, or 5 or more")
        require(self.volume_batch >= 1, "volume_batch", self.volume_batch, "1 or more")


class Pairs:
    """Draw batches of pairs, for ever; a checkpoint can hold where it stands."""

    def __init__(
        self,
        teachers: Sequence[Teacher],
        protocols: Draws,
        size: PatchSize,
        *,
        factor: int,
        seed: int,
        varied: bool = True,
    ) -> None:
        """Take the images.

        Parameters
        ----------
        teachers : sequence of Teacher
        protocols : Draws
            What is imitated where an image does not say.
        size : PatchSize
        factor : int
            Rows that the network makes of a slice.
        seed : int
            The same seed draws the same batches.
        varied : bool
            Change contrast and brightness at random.
        """
        self.teachers, self.protocols, self.size = teachers, protocols, size
        self.factor, self.varied = factor, varied
        self._random = np.random.default_rng(seed)
        self._companions = [teacher for teacher in teachers if teacher.has_companions]
        random = np.random.default_rng((seed, _PLANS))
        self._plans = [self._any_plan(random) for _ in range(_PLANS)]

    def __iter__(self) -> Pairs:
        """Return the same: it is an iterator."""
        return self

    def __next__(self) -> tuple[Slices, Rows]:
        """Return a batch.

        An image of thick slices, or of a known acquisition, teaches by itself.  Others
        stand in for one another, voxel for voxel.  Some of their planes are averaged to be
        as thick as the slices, which is what the image to be super-resolved offers to learn
        from.
        """
        shape = self._plans[int(self._random.integers(_PLANS))].shape
        alike = self._alike[shape]
        chosen = self._random.integers(len(alike), size=self._number(shape))
        return self._made([alike[int(one)] for one in chosen])

    def draw(
        self, teacher: Teacher, acquisition: Acquisition, *, averaged: bool = False
    ) -> tuple[Slices, Rows]:
        """Return a batch of one image and one acquisition.

        Parameters
        ----------
        teacher : Teacher
        acquisition : Acquisition
        averaged : bool
            Average planes over the slice profile before patches are cut.
        """
        plan = self._plan(teacher, acquisition, averaged=averaged)
        return self._made([plan] * self._number(plan.shape))

    def _number(self, shape: tuple[int, int, int]) -> int:
        return self.size.batch if shape[0] == 1 else self.size.volume_batch

    @cached_property
    def _alike(self) -> dict[tuple[int, int, int], list[_Plan]]:
        """Group the plans: patches of a batch have one shape."""
        found: dict[tuple[int, int, int], list[_Plan]] = {}
        for plan in self._plans:
            found.setdefault(plan.shape, []).append(plan)
        return found

    def _any_plan(self, random: np.random.Generator) -> _Plan:
        teacher = choose(self.teachers, random)
        acquisition = teacher.acquisition or self.protocols.draw(teacher.voxel, random)
        if not teacher.has_companions:
            return self._plan(teacher, acquisition)
        averaged = self.varied and random.random() < _WITH_THICK_PLANES
        return replace(self._plan(teacher, acquisition, averaged=averaged), teacher=None)

    def _plan(
        self, teacher: Teacher, acquisition: Acquisition, *, averaged: bool = False
    ) -> _Plan:
        rows, columns = (
            min(teacher.data.shape[order[place]] for order in teacher.orders) for place in (1, 2)
        )
        longest = int(rows / acquisition.scale(teacher.voxel))
        thickness = acquisition.slice_profile.fwhm if averaged else teacher.plane_thickness
        planes = 1 if thickness else min(self.size.planes, *teacher.data.shape)
        return _Plan(
            acquisition,
            teacher.voxel,
            (planes, max(4, min(self.size.slices, longest)), min(self.size.width, columns)),
            self.factor,
            thickness,
            teacher,
            averaged,
        )

    def _made(self, plans: Sequence[_Plan]) -> tuple[Slices, Rows]:
        (planes, slices, width), number = plans[0].shape, len(plans)
        most = max(plan.geometry.rows for plan in plans)
        lr = torch.zeros(number, planes, slices, width)
        skip = torch.zeros(number, most, slices)
        phases = torch.zeros(number, most, slices * self.factor)
        hr, weights = torch.zeros(2, number, planes, most, width)
        beside = _EDGE if planes > 1 else 0
        for place, plan in enumerate(plans):
            rows = plan.geometry.rows
            lr[place], hr[place, :, :rows] = self._pair(plan)
            skip[place, :rows], phases[place, :rows] = plan.interpolations
            edge = int(np.ceil(plan.geometry.scale))
            if self.varied and self._random.random() < _WITH_ENDS:
                edge = 0
            judged = weights[
                place, beside : planes - beside, edge : rows - edge, _EDGE : width - _EDGE
            ]
            judged[...] = 1 / judged.numel()
        conditions = torch.stack([plan.condition for plan in plans])
        if planes == 1:
            hr, weights = hr[:, 0], weights[:, 0]
        else:
            lr = lr[:, None]
        return Slices(lr, conditions, skip, phases), Rows(hr, weights)

    def _pair(self, plan: _Plan) -> tuple[Tensor, Tensor]:
        """Return (D, K, W) slices and (D, n, W) rows."""
        geometry = plan.geometry
        source = plan.teacher or choose(self._companions, self._random)
        patch = self._patch(source, plan)
        if self.varied:
            self._vary(patch)
        fine = torch.from_numpy(patch)
        lr = torch.from_numpy(geometry.matrix) @ fine
        sigma = self.protocols.draw_noise(self._random)
        if sigma > 0:
            real, other = self._random.normal(0, sigma, (2, *lr.shape)).astype(np.float32)
            noisy = torch.hypot(lr + torch.from_numpy(real), torch.from_numpy(other))
            lr = torch.where(lr < 0, lr, noisy)
        return lr, fine[:, geometry.margin : geometry.margin + geometry.rows]

    def state_dict(self) -> dict[str, Any]:
        """Return where the drawing stands."""
        return {"random": self._random.bit_generator.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._random.bit_generator.state = state_dict["random"]

    def _patch(self, teacher: Teacher, plan: _Plan) -> npt.NDArray[np.float32]:
        """Return (D, window, W) intensities: rows of the target and those beyond its ends."""
        across, rows, columns = teacher.orders[int(self._random.integers(len(teacher.orders)))]
        place = teacher.places[int(self._random.integers(len(teacher.places)))]
        planes, geometry, taps = plan.shape[0], plan.geometry, plan.taps
        window = geometry.rows + 2 * geometry.margin
        sizes = [(across, planes), (rows, window), (columns, geometry.width)]
        chosen = []
        for axis, size in sizes if planes > 1 else sizes[1:]:
            length = teacher.data.shape[axis]
            first = int(place[axis]) - int(self._random.integers(size))
            # Inside where the image is large enough; else its edge is continued.
            first = min(max(first, 0), length - size) if size <= length else (length - size) // 2
            indices = np.clip(np.arange(first, first + size), 0, length - 1)
            chosen.append(indices[:: 1 if self._random.random() < 0.5 else -1])
        if planes == 1:  # one, or the mean over as many as the profile is thick
            around = place[across] + np.arange(taps.size) - taps.size // 2
            chosen.insert(0, around.clip(0, teacher.data.shape[across] - 1))
        patch: npt.NDArray[np.float32] = teacher.data.transpose(across, rows, columns)[
            np.ix_(*chosen)
        ]
        if planes > 1:
            return patch
        return np.tensordot(taps.astype(np.float32), patch, axes=1)[None]

    def _vary(self, patch: npt.NDArray[np.float32]) -> None:
        """Change contrast by a power and brightness by a factor, of one patch in two."""
        if self._random.random() < 0.5:
            return
        power, factor = np.exp(self._random.uniform((-0.4, -0.2), (0.4, 0.2)))
        signs = np.sign(patch)
        np.power(np.abs(patch), np.float32(power), out=patch)
        patch *= np.float32(factor) * signs
