"""Training volumes: images that pairs are cut from, and where patches are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bids_sr.imaging import Acquisition
from bids_sr.seed import DEFAULT_SEED
from bids_sr.sr.learning.saliency import saliency
from bids_sr.sr.networks.thick_slice import BRIGHTEST

_PLACES = 50_000  # an image, to draw patches from
_SAME = 0.1  # spacings that differ by less may change places


@dataclass(frozen=True, eq=False)
class TrainingVolume:
    """Hold an image that pairs are cut from, and the allowed orientations."""

    name: str
    data: npt.NDArray[np.float32]
    """(X, Y, Z) intensities, the bulk of them 0 to 1."""
    places: npt.NDArray[np.int32]
    """(n, 3) voxels around which patches are cut, drawn by :func:`.saliency`."""
    orders: tuple[tuple[int, int, int], ...]
    """Array axes that may become the stack, the rows and the columns of a patch."""
    voxel: float
    """Voxel size along rows and columns, mm."""
    acquisition: Acquisition | None = None
    """The acquisition that its pairs imitate; None: drawn from the protocols."""
    plane_thickness: float | None = None
    """Thickness of its planes, mm; None: one voxel, and planes may be averaged."""
    repeats: int = 1
    """How many times its planes count when patches are drawn."""

    @classmethod
    def of(
        cls,
        name: str,
        data: npt.NDArray[np.float32],
        spacings: npt.NDArray[np.float64],
        acquisition: Acquisition | None = None,
        *,
        orders: tuple[tuple[int, int, int], ...] = (),
        seed: int = DEFAULT_SEED,
    ) -> TrainingVolume:
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
        return int(self.repeats * sum(self.data.shape[across] for across, _, _ in self.orders))

    @property
    def is_interchangeable(self) -> bool:
        """Whether its pairs may be cut from other such images too."""
        return self.acquisition is None and self.plane_thickness is None


def choose(volumes: Sequence[TrainingVolume], random: np.random.Generator) -> TrainingVolume:
    """Draw a volume with probability proportional to its number of planes."""
    ends = np.cumsum([volume.planes for volume in volumes])
    place = random.integers(ends[-1])
    return volumes[int(np.searchsorted(ends, place, "right"))]
