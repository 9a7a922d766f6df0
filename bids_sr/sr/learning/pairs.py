"""Pairs of thick slices and their high-resolution rows, of many images and acquisitions.

The patches of a batch differ in image and acquisition, which makes training steadier.  Pairs
of a single image are in :mod:`.patches`.

Patches are drawn on the host, as a few numbers each, the same for every device; cutting,
degrading and augmenting are batched operations on the device that holds the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bids_sr.imaging import Acquisition
from bids_sr.sr.contract.settings import require
from bids_sr.sr.learning.noise import with_rician_noise
from bids_sr.sr.learning.plans import Plan, PlanTable
from bids_sr.sr.learning.protocols import Draws
from bids_sr.sr.learning.training_volumes import TrainingVolume, choose
from bids_sr.sr.learning.volumes import Integers, VolumeStore
from bids_sr.sr.networks.thick_slice import Upsampling, to_rows

Floats = npt.NDArray[np.float64]

_EDGE = 2  # columns, and planes
_PLANS = 1024  # as many acquisitions are imitated
_WITH_THICK_PLANES = 0.25  # share of the patches of images that have thin ones
_WITH_ENDS = 0.25  # share of the patches whose loss includes their ends: volumes have ends too
_WITH_SMOOTH_NOISE = 0.5  # share of the patches: scanners interpolate, and denoising leaves it


class Slices(NamedTuple):
    """The inputs of a network, of N patches with K slices each."""

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
    """The targets of a network."""

    hr: Tensor
    """(N, n, W) or (N, D, n, W) rows, zero beyond those of a patch."""
    weights: Tensor
    """Of the same shape: weight of every pixel in the loss of its patch; 0 where it lacks
    neighbours."""

    def absolute_error(self, predicted: Tensor) -> Tensor:
        """Return the mean absolute difference."""
        return ((predicted - self.hr).abs() * self.weights).sum() / len(self.hr)

    def squared_error(self, predicted: Tensor) -> Tensor:
        """Return the mean squared difference."""
        return ((predicted - self.hr).square() * self.weights).sum() / len(self.hr)


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


class _Choices(NamedTuple):
    """Hold what is drawn of N patches."""

    plans: Integers
    images: Integers
    axes: Integers
    """(N, 3) array axes that are planes, rows and columns."""
    starts: Integers
    """(N, 3) first voxel along each; of mirrored ones the last."""
    signs: Integers
    """(N, 3) 1, or -1 where it is mirrored."""
    edges: Integers
    """Rows at either end that the loss leaves out."""
    powers: Floats
    """Of the intensities."""
    factors: Floats
    """On them."""
    sigmas: Floats
    """Standard deviations of the noise."""
    smooth: npt.NDArray[np.bool_]
    """Whether it is correlated within slices."""


class Pairs:
    """Draw batches of pairs without end; a checkpoint can hold the state."""

    def __init__(
        self,
        volumes: Sequence[TrainingVolume],
        protocols: Draws,
        size: PatchSize,
        *,
        factor: int,
        seed: int,
        varied: bool = True,
        device: torch.device | None = None,
    ) -> None:
        """Take the images.

        Parameters
        ----------
        volumes : sequence of TrainingVolume
        protocols : Draws
            Acquisitions to imitate, unless a volume has its own.
        size : PatchSize
        factor : int
            Rows that the network makes of a slice.
        seed : int
            The same seed draws the same batches, their noise on devices of one kind.
        varied : bool
            Change contrast and brightness at random.
        device : torch.device, optional
            Where images lie and batches are made; None: the CPU.
        """
        self.volumes, self.protocols, self.size = tuple(volumes), protocols, size
        self.factor, self.varied = factor, varied
        self.device = torch.device("cpu") if device is None else device
        self._random = np.random.default_rng(seed)
        self._noise = torch.Generator(self.device).manual_seed(seed)
        self._store = VolumeStore(self.volumes, self.device)
        self._index = {id(volume): place for place, volume in enumerate(self.volumes)}
        interchangeable = [volume for volume in self.volumes if volume.is_interchangeable]
        self._interchangeable = np.array(
            [self._index[id(volume)] for volume in interchangeable], int
        )
        self._ends = np.cumsum([volume.planes for volume in interchangeable])
        random = np.random.default_rng((seed, _PLANS))
        self._plans = [self._any_plan(random) for _ in range(_PLANS)]
        self._tables: dict[tuple[int, int, int], PlanTable] = {}

    def __iter__(self) -> Pairs:
        """Return the same: it is an iterator."""
        return self

    def __next__(self) -> tuple[Slices, Rows]:
        """Return a batch.

        The plan of an image of thick slices, or of a known acquisition, applies to that image
        only.  The other images share their plans.  Some of their planes are averaged to the
        thickness of the slices, as only such planes of an image to be super-resolved can be
        trained on.
        """
        table = self._table(self._plans[int(self._random.integers(_PLANS))].shape)
        chosen = self._random.integers(len(table.plans), size=self._number(table.planes))
        return self._batch(table, self._choices(table, chosen))

    def draw(
        self, volume: TrainingVolume, acquisition: Acquisition, *, averaged: bool = False
    ) -> tuple[Slices, Rows]:
        """Return a batch of one image and one acquisition.

        Parameters
        ----------
        volume : TrainingVolume
            One of the volumes of these pairs.
        acquisition : Acquisition
        averaged : bool
            Average planes over the slice profile before patches are cut.
        """
        table = PlanTable([self._plan(volume, acquisition, averaged=averaged)], self.device)
        chosen = np.zeros(self._number(table.planes), int)
        return self._batch(table, self._choices(table, chosen))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the random generators."""
        state = self._random.bit_generator.state
        return {"random": state, "noise": self._noise.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._random.bit_generator.state = state_dict["random"]
        self._noise.set_state(state_dict["noise"])

    def _number(self, planes: int) -> int:
        return self.size.batch if planes == 1 else self.size.volume_batch

    def _table(self, shape: tuple[int, int, int]) -> PlanTable:
        """Return the plans of a shape: patches of a batch have one."""
        if shape not in self._tables:
            plans = [plan for plan in self._plans if plan.shape == shape]
            self._tables[shape] = PlanTable(plans, self.device)
        return self._tables[shape]

    def _any_plan(self, random: np.random.Generator) -> Plan:
        volume = choose(self.volumes, random)
        acquisition = volume.acquisition or self.protocols.draw(volume.voxel, random)
        stated = volume.acquisition or self.protocols.state(acquisition, random)
        if not volume.is_interchangeable:
            return self._plan(volume, acquisition, stated=stated)
        averaged = self.varied and random.random() < _WITH_THICK_PLANES
        plan = self._plan(volume, acquisition, averaged=averaged, stated=stated)
        return replace(plan, volume=None)

    def _plan(
        self,
        volume: TrainingVolume,
        acquisition: Acquisition,
        *,
        averaged: bool = False,
        stated: Acquisition | None = None,
    ) -> Plan:
        rows, columns = (
            min(volume.data.shape[order[place]] for order in volume.orders) for place in (1, 2)
        )
        longest = int(rows / acquisition.scale(volume.voxel))
        known = stated or acquisition
        thickness = known.slice_profile.fwhm if averaged else volume.plane_thickness
        planes = 1 if thickness else min(self.size.planes, *volume.data.shape)
        return Plan(
            acquisition,
            volume.voxel,
            (planes, max(4, min(self.size.slices, longest)), min(self.size.width, columns)),
            self.factor,
            thickness,
            volume,
            averaged,
            stated,
        )

    def _choices(self, table: PlanTable, chosen: Integers) -> _Choices:
        """Draw where N patches are cut and how they are varied."""
        random, number = self._random, len(chosen)
        images = np.array([self._image(table.plans[int(place)]) for place in chosen])
        if (is_free := images < 0).any():
            drawn = random.integers(self._ends[-1], size=number)
            substitutes = self._interchangeable[np.searchsorted(self._ends, drawn, "right")]
            images = np.where(is_free, substitutes, images)
        share = random.random((3, number))
        places = np.empty((number, 3), int)
        axes = np.empty((number, 3), int)
        for patch, image in enumerate(images):
            orders, known = self._store.orders[image], self._store.places[image]
            axes[patch] = orders[int(share[0, patch] * len(orders))]
            places[patch] = known[int(share[1, patch] * len(known))][axes[patch]]
        starts, signs = self._windows(table, chosen, images, axes, places)
        edges = np.where(self.varied & (share[2] < _WITH_ENDS), 0, table.edges[chosen])
        changed = self.varied & (random.random(number) < 0.5)
        power, factor = np.exp(random.uniform([[-0.4], [-0.2]], [[0.4], [0.2]], (2, number)))
        sigmas = np.array([self.protocols.draw_noise(random) for _ in range(number)])
        return _Choices(
            chosen,
            images,
            axes,
            starts,
            signs,
            edges,
            np.where(changed, power, 1.0),
            np.where(changed, factor, 1.0),
            sigmas,
            random.random(number) < _WITH_SMOOTH_NOISE,
        )

    def _image(self, plan: Plan) -> int:
        return -1 if plan.volume is None else self._index[id(plan.volume)]

    def _windows(
        self,
        table: PlanTable,
        chosen: Integers,
        images: Integers,
        axes: Integers,
        places: Integers,
    ) -> tuple[Integers, Integers]:
        """Return first voxels and directions of windows around places, (N, 3) each."""
        windows = table.rows[chosen] + 2 * table.margins[chosen]
        sizes = np.stack([np.full_like(windows, table.planes), windows], 1)
        sizes = np.concatenate([sizes, np.full((len(chosen), 1), table.width)], 1)
        lengths = np.take_along_axis(self._store.shapes[images], axes, 1)
        first = places - (self._random.random(sizes.shape) * sizes).astype(int)
        # Inside where the image is large enough; else its edge is continued.
        room = lengths - sizes
        first = np.where(room >= 0, np.clip(first, 0, np.maximum(room, 0)), room // 2)
        if table.planes == 1:  # the plane itself, also of images of one
            first[:, 0] = places[:, 0]
        signs = np.where(self._random.random(sizes.shape) < 0.5, 1, -1)
        return np.where(signs > 0, first, first + sizes - 1), signs

    def _batch(self, table: PlanTable, choices: _Choices) -> tuple[Slices, Rows]:
        """Cut, augment and degrade, on the device."""
        lines = table.lines(choices.plans, self._moved(choices.plans))
        fine = self._patches(table, choices, lines.taps)  # (N, D, window, W)
        power, factor, sigma = self._moved(
            np.stack([choices.powers, choices.factors, choices.sigmas]).astype(np.float32)
        )[..., None, None, None]
        if self.varied:
            fine = fine.sign() * fine.abs().pow(power) * factor
        lr = lines.matrices[:, None] @ fine
        if bool((choices.sigmas > 0).any()):
            smooth = self._moved(choices.smooth)[:, None, None, None]
            lr = with_rician_noise(lr, sigma, smooth, self._noise)
        lr = lr if table.planes == 1 else lr[:, None]
        slices = Slices(lr, lines.conditions, lines.skips, lines.phases)
        return slices, self._rows(table, choices, fine)

    def _patches(self, table: PlanTable, choices: _Choices, taps: Tensor) -> Tensor:
        """Return (N, D, window, W) intensities: rows of the target and those beyond its ends."""
        store, signs, starts = self._store, choices.signs, choices.starts
        shift = table.before - table.margins[choices.plans]
        steps = [
            np.broadcast_to(np.arange(table.planes), (len(shift), table.planes)),
            np.arange(table.window) - shift[:, None],
            np.broadcast_to(np.arange(table.width), (len(shift), table.width)),
        ]
        parts = [
            store.axis_indices(
                choices.images,
                choices.axes[:, axis],
                starts[:, axis, None] + signs[:, axis, None] * steps[axis],
            )
            for axis in range(3)
        ]
        parts[0] = parts[0] + store.offsets[choices.images][:, None]
        sizes = [table.planes, table.window, table.width]
        across, rows, columns = torch.split(self._moved(np.concatenate(parts, 1)), sizes, 1)
        patches = store.cut(across, rows, columns)
        averaged = np.flatnonzero(table.averaged[choices.plans])
        if averaged.size:
            chosen = self._moved(averaged)
            neighbours = self._around(table, choices, averaged)
            thick = store.cut(self._moved(neighbours), rows[chosen], columns[chosen])
            patches[chosen] = (taps[chosen][:, :, None, None] * thick).sum(1, keepdim=True)
        return patches

    def _around(self, table: PlanTable, choices: _Choices, which: Integers) -> Integers:
        """Return the (M, taps) parts of the index of planes that are averaged."""
        images = choices.images[which]
        planes = choices.starts[which, :1] + np.arange(-table.reach, table.reach + 1)
        parts = self._store.axis_indices(images, choices.axes[which, 0], planes)
        return np.asarray(parts + self._store.offsets[images][:, None])

    def _rows(self, table: PlanTable, choices: _Choices, fine: Tensor) -> Rows:
        """Return the target and its weights in the loss."""
        lengths, edges = self._moved(np.stack([table.rows[choices.plans], choices.edges]))
        row = torch.arange(table.longest, device=self.device)
        hr = fine[:, :, table.before : table.before + table.longest]
        hr = hr * (row < lengths[:, None])[:, None, :, None]
        in_loss = (row >= edges[:, None]) & (row < (lengths - edges)[:, None])  # (N, n)
        margin = _EDGE if table.planes > 1 else 0
        weights = torch.zeros_like(hr)
        weights[:, margin : table.planes - margin, :, _EDGE : table.width - _EDGE] = in_loss[
            :, None, :, None
        ].to(hr.dtype)
        weights /= weights.sum((1, 2, 3), keepdim=True)
        return Rows(hr[:, 0], weights[:, 0]) if table.planes == 1 else Rows(hr, weights)

    def _moved(self, values: npt.NDArray[Any]) -> Tensor:
        """Copy numbers to the device, without waiting for it."""
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)
