"""Pairs of thick slices and what was there, from many images and acquisitions.

A batch is of one acquisition, the next one may be of another.  What a method learns
from one image by itself is :mod:`.patches`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bids_sr.imaging import Acquisition
from bids_sr.sr.methods.base import require
from bids_sr.sr.networks.backbone import condition_of
from bids_sr.sr.networks.thick_slice import BRIGHTEST, Upsampling
from bids_sr.sr.training.patches import PatchGeometry
from bids_sr.sr.training.protocols import Draws
from bids_sr.sr.training.saliency import saliency

_PLACES = 50_000  # an image, to draw patches from
_SAME = 0.1  # spacings that differ by less may change places
_EDGE_COLUMNS = 2
_WITH_THICK_PLANES = 0.25  # share of the batches of images that have thin ones
_WITH_ENDS = 0.25  # share of the batches judged to their ends: volumes have ends too


@dataclass(frozen=True, eq=False)
class Teacher:
    """Hold an image that pairs are cut from, and in which directions it may be cut."""

    name: str
    data: npt.NDArray[np.float32]
    """(X, Y, Z) intensities, the bulk of them 0 to 1."""
    places: npt.NDArray[np.int32]
    """(n, 3) voxels around which patches are taken, more where there is more to learn."""
    orders: tuple[tuple[int, int, int], ...]
    """Array axes that may become the stack, the rows and the columns of a patch."""
    voxel: float
    """Voxel size along rows and columns, mm."""
    acquisition: Acquisition | None = None
    """What its pairs imitate; None: whatever the protocols say."""
    plane_thickness: float | None = None
    """What its planes are averages over, mm; None: one voxel, and they may be averaged."""

    @classmethod
    def of(
        cls,
        name: str,
        data: npt.NDArray[np.float32],
        spacings: npt.NDArray[np.float64],
        acquisition: Acquisition | None = None,
        *,
        orders: tuple[tuple[int, int, int], ...] = (),
        seed: int = 0,
    ) -> Teacher:
        """Prepare an image.

        Without `orders` all pairs of array axes whose spacings are the finest, to 10 %,
        serve as rows and columns: three orientations in an isotropic image, the acquired
        slices in others.
        """
        finest = float(spacings.min())
        fine = [axis for axis in range(3) if spacings[axis] <= finest * (1 + _SAME)]
        if len(fine) < 2:  # as fine as this image has them
            fine = [int(axis) for axis in np.argsort(spacings)[:2]]
        orders = orders or tuple(
            (3 - rows - columns, rows, columns)
            for rows in fine
            for columns in fine
            if rows != columns
        )
        thick: float | None = None
        if len(fine) == 2:
            slices = float(spacings[orders[0][0]])
            thick = slices if acquisition is None else acquisition.slice_profile.fwhm
        weights = saliency(data, spacings, int(np.argmax(spacings))).ravel()
        cumulative = np.cumsum(weights, dtype=np.float64)
        random = np.random.default_rng(seed)
        drawn = np.searchsorted(cumulative, random.random(_PLACES) * cumulative[-1], "right")
        places = np.stack(np.unravel_index(np.minimum(drawn, data.size - 1), data.shape), axis=1)
        return cls(
            name,
            data.clip(-BRIGHTEST, BRIGHTEST),
            places.astype(np.int32),
            orders,
            float(np.mean([spacings[axis] for axis in fine])),
            acquisition,
            thick,
        )

    @property
    def planes(self) -> int:
        """Number of planes to cut patches from, each in as many ways as it may be."""
        return sum(self.data.shape[across] for across, _, _ in self.orders)

    @property
    def shares_batches(self) -> bool:
        """Tell whether its patches go with those of other images."""
        return self.acquisition is None and self.plane_thickness is None


@dataclass(frozen=True, eq=False)
class Setting:
    """Hold what the pairs of a batch have in common."""

    condition: Tensor
    """(6,) description of the acquisition."""
    upsampling: Upsampling
    judged: tuple[slice, slice, slice]
    """The part of a patch that has all of its neighbours."""

    def to(self, device: torch.device) -> Setting:
        """Return the same on a device."""
        return Setting(self.condition.to(device), self.upsampling.to(device), self.judged)


@dataclass(frozen=True, kw_only=True)
class PatchSize:
    """State the size of patches and batches."""

    slices: int = 12
    """Thick slices a patch."""
    width: int = 48
    """In-plane voxels a patch."""
    batch: int = 16
    """Patches a batch."""

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        require(self.slices >= 4, "patch_slices", self.slices, "4 or more")
        require(self.width >= 8, "patch_width", self.width, "8 or more")
        require(self.batch >= 1, "batch_size", self.batch, "1 or more")


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
        self.setting: Setting | None = None
        """Of the batch that was drawn last."""
        self._companions = [teacher for teacher in teachers if teacher.shares_batches]

    def __iter__(self) -> Pairs:
        """Return the same: it is an iterator."""
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        """Return (batch, 1, K, width) slices and (batch, n, width) rows.

        An image of thick slices, or of a known acquisition, has batches of its own.  Others
        share them, voxel for voxel: steps are steadier when every batch has all contrasts.
        Some of these are of planes as thick as the slices, which is what the image to be
        super-resolved offers to learn from.
        """
        teacher = self._choose(self.teachers)
        acquisition = teacher.acquisition or self.protocols.draw(teacher.voxel, self._random)
        if not teacher.shares_batches:
            return self.draw(teacher, acquisition)
        thick = self.varied and self._random.random() < _WITH_THICK_PLANES
        return self.draw(teacher, acquisition, self._companions, thick_planes=thick)

    def draw(
        self,
        teacher: Teacher,
        acquisition: Acquisition,
        companions: Sequence[Teacher] = (),
        *,
        thick_planes: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Return a batch of one acquisition.

        Parameters
        ----------
        teacher : Teacher
            The image that it is for.
        acquisition : Acquisition
        companions : sequence of Teacher
            Patches are cut from these instead, as if their voxels were of the same size.
        thick_planes : bool
            Average planes over the slice profile before they are cut.
        """
        geometry = self._geometry(teacher, acquisition)
        window = geometry.rows + 2 * geometry.margin
        profile = acquisition.slice_profile
        taps = profile.kernel(teacher.voxel) if thick_planes else np.ones(1)
        patches = np.empty((self.size.batch, window, geometry.width), np.float32)
        for patch in patches:
            source = self._choose(companions) if companions else teacher
            patch[...] = self._patch(source, window, geometry.width, taps)
            if self.varied:
                self._vary(patch)
        fine = torch.from_numpy(patches)
        lr = (torch.from_numpy(geometry.matrix) @ fine)[:, None]
        sigma = self.protocols.draw_noise(self._random)
        if sigma > 0:
            real, other = self._random.normal(0, sigma, (2, *lr.shape)).astype(np.float32)
            noisy = torch.hypot(lr + torch.from_numpy(real), torch.from_numpy(other))
            lr = torch.where(lr < 0, lr, noisy)
        edge = int(np.ceil(geometry.scale))
        if self.varied and self._random.random() < _WITH_ENDS:
            edge = 0
        judged = (
            slice(None),
            slice(edge, geometry.rows - edge),
            slice(_EDGE_COLUMNS, geometry.width - _EDGE_COLUMNS),
        )
        self.setting = Setting(
            condition_of(
                acquisition,
                teacher.voxel,
                profile.fwhm if thick_planes else teacher.plane_thickness,
            ),
            Upsampling.at(geometry.coordinates(), geometry.slices, self.factor),
            judged,
        )
        return lr, fine[:, geometry.margin : geometry.margin + geometry.rows]

    def _choose(self, teachers: Sequence[Teacher]) -> Teacher:
        """Draw an image; one that has more planes has more to teach."""
        ends = np.cumsum([teacher.planes for teacher in teachers])
        place = self._random.integers(ends[-1])
        return teachers[int(np.searchsorted(ends, place, "right"))]

    def state_dict(self) -> dict[str, Any]:
        """Return where the drawing stands."""
        return {"random": self._random.bit_generator.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._random.bit_generator.state = state_dict["random"]

    def _geometry(self, teacher: Teacher, acquisition: Acquisition) -> PatchGeometry:
        rows, columns = (
            min(teacher.data.shape[order[place]] for order in teacher.orders) for place in (1, 2)
        )
        longest = int(rows / acquisition.scale(teacher.voxel))
        return PatchGeometry.of(
            acquisition,
            teacher.voxel,
            slices=max(4, min(self.size.slices, longest)),
            width=min(self.size.width, columns),
        )

    def _patch(
        self, teacher: Teacher, window: int, width: int, taps: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float32]:
        across, rows, columns = teacher.orders[int(self._random.integers(len(teacher.orders)))]
        place = teacher.places[int(self._random.integers(len(teacher.places)))]
        chosen = [place[across] + np.arange(taps.size) - taps.size // 2]
        chosen[0] = chosen[0].clip(0, teacher.data.shape[across] - 1)
        for axis, size in ((rows, window), (columns, width)):
            length = teacher.data.shape[axis]
            first = int(place[axis]) - int(self._random.integers(size))
            # Inside where the image is large enough; else its edge is continued.
            first = min(max(first, 0), length - size) if size <= length else (length - size) // 2
            indices = np.clip(np.arange(first, first + size), 0, length - 1)
            chosen.append(indices[:: 1 if self._random.random() < 0.5 else -1])
        planes = teacher.data.transpose(across, rows, columns)[np.ix_(*chosen)]
        patch: npt.NDArray[np.float32] = np.tensordot(taps.astype(np.float32), planes, axes=1)
        return patch

    def _vary(self, patch: npt.NDArray[np.float32]) -> None:
        """Change contrast by a power and brightness by a factor, of one patch in two."""
        if self._random.random() < 0.5:
            return
        power, factor = np.exp(self._random.uniform((-0.4, -0.2), (0.4, 0.2)))
        signs = np.sign(patch)
        np.power(np.abs(patch), np.float32(power), out=patch)
        patch *= np.float32(factor) * signs
