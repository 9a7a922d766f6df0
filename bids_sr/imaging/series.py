"""Series: one stack of slices imaged repeatedly, as 3-D frames over time.

Frames share a grid.  Nothing here corrects motion, interpolates in time, or uses cardiac phases.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_sr.exceptions import InputDataError
from bids_sr.imaging.grid import Grid
from bids_sr.imaging.nifti import read_series, write_nifti
from bids_sr.imaging.volume import Volume


@dataclass(frozen=True, eq=False, repr=False)
class Series:
    """Hold a 4-D image: frames, their affine and the time between them.

    Attributes
    ----------
    data : array
        (X, Y, Z, T) array of real numbers.
    affine : float64 array
        (4, 4) voxel index to world, RAS+, mm.
    frame_spacing : float
        Time between frames, s; 0: not stated.
    """

    data: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]
    frame_spacing: float = 0.0

    def __post_init__(self) -> None:
        """Check the array and the affine (InputDataError)."""
        if self.data.ndim != 4 or self.data.shape[3] < 1 or self.data.dtype.kind not in "biuf":
            raise InputDataError(
                f"Found an array of shape {self.data.shape} and type {self.data.dtype}; expected "
                "four axes, the last of which is time, and real numbers."
            )
        object.__setattr__(self, "affine", Grid(self.data.shape[:3], self.affine).affine)

    def __repr__(self) -> str:
        grid = Grid(self.data.shape[:3], self.affine)
        return f"Series({len(self)} frames of {grid.words}, {self.data.dtype})"

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Series:
        """Read a NIfTI file as float32; a 3-D image is a series of one frame.

        Raises
        ------
        InputDataError
            As :func:`.read_nifti`, and for images with more than four axes.
        """
        return cls(*read_series(path))

    @classmethod
    def of(cls, frames: Sequence[Volume], frame_spacing: float = 0.0) -> Series:
        """Stack volumes on the same grid.

        Raises
        ------
        InputDataError
            If there are none, or their grids differ.
        """
        if not frames or not all(frame.same_grid(frames[0]) for frame in frames):
            raise InputDataError(
                f"Found {len(frames)} frames, not all on one grid; expected at least one, all "
                "with the same voxels."
            )
        data = np.stack([frame.data for frame in frames], axis=3)
        return cls(data, frames[0].affine, frame_spacing)

    def save(self, path: str | os.PathLike[str], *, dtype: npt.DTypeLike | None = None) -> Path:
        """Write a NIfTI file, whole or not at all; see :func:`.write_nifti`."""
        return write_nifti(path, self.data, self.affine, dtype, frame_spacing=self.frame_spacing)

    def with_slice_spacing(self, spacing: float, slice_axis: int) -> Series:
        """Return the same frames on a corrected grid; see :meth:`.Volume.with_slice_spacing`."""
        first, second, third, _ = self.data.shape
        grid = Grid((first, second, third), self.affine).with_spacing(slice_axis, spacing)
        return replace(self, affine=grid.affine)

    def __len__(self) -> int:
        """Return the number of frames."""
        return int(self.data.shape[3])

    def frames(self) -> Iterator[Volume]:
        """Yield one volume after the other."""
        for index in range(len(self)):
            yield Volume(np.ascontiguousarray(self.data[..., index]), self.affine)
