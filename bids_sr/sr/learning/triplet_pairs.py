"""Pairs of triplets: three neighbouring planes, and the same planes seen in thick slices.

The thick slices are simulated by the forward model, in three orientations of every image.  A
batch has one orientation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Acquisition, Volume, lay_out_grid, resample
from bids_sr.sr.inference.triplets import TripletScaling
from bids_sr.sr.learning.patches import PatchGeometry

ORIENTATIONS = ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1))
"""Axis across the thick slices, and axis of the columns; planes lie along the third."""
_DARK = 0.05  # where there is nothing to learn
_PLACES = 50_000  # an image
_THICKEST = 1.5  # of the voxels that an image may have, for one voxel of the training


@dataclass(frozen=True, eq=False)
class FineImage:
    """Hold an image to learn from, in voxels of the training."""

    name: str
    data: npt.NDArray[np.float32]
    """(X, Y, Z) towards right, anterior, superior; scaled as for inference."""
    places: npt.NDArray[np.int32]
    """(n, 3) voxels that are not dark."""

    @classmethod
    def of(cls, name: str, data: npt.NDArray[np.float32], *, seed: int) -> FineImage:
        """Draw the places of a scaled image."""
        places = np.argwhere(data > _DARK).astype(np.int32)
        if len(places) > _PLACES:
            random = np.random.default_rng(seed)
            places = places[random.choice(len(places), _PLACES, replace=False)]
        return cls(name, data, places)


def fine_volume(volume: Volume, spacing: float) -> Volume:
    """Bring an image to isotropic voxels and scale it, as networks will see it.

    Raises
    ------
    InputDataError
        If it is not fine along all axes, or empty.
    """
    canonical = volume.canonical()
    coarsest = float(canonical.spacings.max())
    if coarsest > _THICKEST * spacing:
        raise InputDataError(
            f"Found voxels of {coarsest:.3g} mm; expected at most {_THICKEST * spacing:.3g} mm "
            "along every axis: thick slices cannot teach how fine ones look."
        )
    grid = lay_out_grid(canonical, slice_axis=canonical.slice_axis, output_resolution=spacing)
    resampled = resample(canonical, grid)
    scaling = TripletScaling.of(resampled.data)
    if not scaling.width > 0:
        raise InputDataError("Found an image whose 99.5th percentile is 0; expected intensities.")
    return resampled.with_data(scaling.apply(resampled.data.astype(np.float32, copy=False)))


class TripletPairs:
    """Draw pairs of thick and fine triplets without end."""

    def __init__(
        self,
        images: Sequence[FineImage],
        acquisition: Acquisition,
        *,
        spacing: float,
        slices: int,
        batch: int,
        seed: int,
    ) -> None:
        """Prepare the forward model.

        Parameters
        ----------
        images : sequence of FineImage
        acquisition : Acquisition
            The acquisition that is simulated.
        spacing : float, mm
            Voxel size of the images.
        slices : int
            Thick slices a patch; as many columns as rows of the fine patch belong to it.
        batch : int
            Patches a batch.
        seed : int
        """
        rows = int(slices * acquisition.scale(spacing) + 1e-6)
        self.geometry = PatchGeometry.of(acquisition, spacing, slices=slices, width=rows)
        self.batch = batch
        self.upright = True
        """Whether the network gets the rows of the last batch as rows; else as columns."""
        self._images = [image for image in images if len(image.places)]
        if not self._images:
            raise InputDataError("Found only background in the images; expected anatomy.")
        self._operator = torch.from_numpy(self.geometry.matrix)
        self._random = np.random.default_rng(seed)

    def __iter__(self) -> TripletPairs:
        """Return itself."""
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        """Return the next batch: (N, 3, K, W) thick and (N, 3, n, W) fine triplets."""
        across, columns = ORIENTATIONS[self._random.integers(len(ORIENTATIONS))]
        self.upright = across < columns
        geometry = self.geometry
        window = geometry.rows + 2 * geometry.margin
        fine = np.empty((self.batch, 3, window, geometry.width), np.float32)
        for patch in fine:
            image = self._images[self._random.integers(len(self._images))]
            place = image.places[self._random.integers(len(image.places))]
            patch[...] = self._cut(image.data, place, across, columns)
        whole = torch.from_numpy(fine)
        lr = self._operator @ whole
        return lr, whole[:, :, geometry.margin : geometry.margin + geometry.rows].contiguous()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the random generator."""
        return {"random": self._random.bit_generator.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._random.bit_generator.state = state_dict["random"]

    def _cut(
        self,
        data: npt.NDArray[np.float32],
        place: npt.NDArray[np.int32],
        across: int,
        columns: int,
    ) -> npt.NDArray[np.float32]:
        """Cut a (3, window, W) piece around a place; edges are continued."""
        stack = 3 - across - columns
        geometry = self.geometry
        lengths = {
            stack: (3, 0),
            across: (geometry.rows, geometry.margin),
            columns: (geometry.width, 0),
        }
        indices: list[npt.NDArray[np.int_]] = [np.empty(0, int)] * 3
        for axis, (length, margin) in lengths.items():
            size = data.shape[axis]
            first = int(place[axis]) - int(self._random.integers(length) if length > 3 else 1)
            first = min(max(first, 0), max(size - length, 0))  # inside, where it fits
            indices[axis] = np.clip(
                np.arange(first - margin, first + length + margin), 0, size - 1
            )
        cut = data[np.ix_(*indices)]
        return cut.transpose(stack, across, columns)
