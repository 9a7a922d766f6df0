"""The images of a training in one tensor on its device, and patches cut from many at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bids_sr.sr.learning.training_volumes import TrainingVolume

Integers = npt.NDArray[np.int64]


class VolumeStore:
    """Hold images of any shapes and cut patches of one shape from them.

    A voxel is an index into one long tensor.  Each of the three axes of a patch adds its
    own part to the index, so a patch costs as many numbers as it has planes, rows and
    columns; mirroring, orientation and continued edges are in them.
    """

    def __init__(self, volumes: Sequence[TrainingVolume], device: torch.device) -> None:
        """Copy the images to a device.

        Parameters
        ----------
        volumes : sequence of TrainingVolume
        device : torch.device
        """
        sizes = [volume.data.size for volume in volumes]
        self.offsets = np.concatenate([[0], np.cumsum(sizes)])[:-1]
        self.shapes = np.array([volume.data.shape for volume in volumes])
        self.strides = np.stack(
            [self.shapes[:, 1] * self.shapes[:, 2], self.shapes[:, 2], np.ones(len(sizes), int)], 1
        )
        self.orders = [np.array(volume.orders) for volume in volumes]
        self.places = [volume.places for volume in volumes]
        self.voxels = torch.empty(sum(sizes), device=device)
        for volume, first, size in zip(volumes, self.offsets, sizes, strict=True):
            flat = np.ascontiguousarray(volume.data, dtype=np.float32).reshape(-1)
            self.voxels[first : first + size] = torch.from_numpy(flat)

    def axis_indices(
        self, images: Integers, axes: Integers, positions: npt.NDArray[np.integer]
    ) -> Integers:
        """Return what positions along an axis add to the index.

        Parameters
        ----------
        images : (N,) int array
            Which images.
        axes : (N,) int array
            Array axis of each.
        positions : (N, L) int array
            Voxels along it; those beyond the ends are continued by the edge.

        Returns
        -------
        (N, L) int array
        """
        last = self.shapes[images, axes][:, None] - 1
        inside = np.clip(positions, 0, last)
        return np.asarray(inside * self.strides[images, axes][:, None], dtype=np.int64)

    def cut(self, across: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return patches.

        Parameters
        ----------
        across : (N, D) int tensor
            Parts of the index along the planes, including the offset of the image.
        rows : (N, H) int tensor
        columns : (N, W) int tensor

        Returns
        -------
        (N, D, H, W) tensor
        """
        lines = (across[:, :, None] + rows[:, None, :])[..., None]  # (N, D, H, 1)
        return self.voxels[lines + columns[:, None, None, :]]
