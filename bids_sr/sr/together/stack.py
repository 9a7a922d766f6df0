"""A stack is one acquisition of slices of a session, beside others of the same contrast.

It knows its slices, its own reconstruction, how noisy and how trustworthy its slices are,
and where it lies relative to the others.  It does not know which stacks belong together.

A placement is a rigid (4, 4) transform ``to_frame`` from the world of a stack, that of its
header, to the world of the frame, that of the stack in which the fused volume lies: what a
stack shows at point p, the frame shows at ``to_frame @ p``.  The two worlds are the same, and
the transform is the identity, where the patient kept still.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Acquisition, RobustScaler, Volume
from bids_sr.imaging.noise import estimate_noise
from bids_sr.sr.contract.results import Reconstruction

LEAST_NOISE = 0.005
"""Least noise that slices are trusted to have, as a share of the robust intensity range: slice
profile and placement are never known better."""
_RIGID_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """Hold the slices of one acquisition and what is known about them.

    Attributes
    ----------
    slices : Volume
        As acquired.
    acquisition : Acquisition
        How they were taken, with the slice axis.
    reconstruction : Volume
        Their own reconstruction, on a fine grid whose axes are parallel to those of the
        slices.
    noise : float
        Standard deviation of the noise of the slices, in units of intensity.
    to_frame : float64 array
        (4, 4) rigid transform from the world of this stack to that of the frame, mm.
    slice_weights : float32 array, optional
        (n,) from 0 (left out) to 1, one a slice; None: all 1.
    uncertainty : Volume, optional
        Standard deviation to expect of the reconstruction, on its grid, where it is known.
    """

    slices: Volume
    acquisition: Acquisition = field(repr=False)
    reconstruction: Volume = field(repr=False)
    noise: float
    to_frame: npt.NDArray[np.float64] = field(default_factory=lambda: np.eye(4), repr=False)
    slice_weights: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    uncertainty: Volume | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check what belongs together and fill in the weights.

        Raises
        ------
        AcquisitionError
            If the acquisition contradicts the slices.
        InputDataError
            If the transform is not rigid, or the number of weights is not that of the slices.
        """
        acquisition = self.acquisition.for_volume(self.slices)
        object.__setattr__(self, "acquisition", acquisition)
        transform = np.array(self.to_frame, dtype=np.float64)
        turn = transform[:3, :3] if transform.shape == (4, 4) else np.zeros((3, 3))
        if not np.allclose(turn @ turn.T, np.eye(3), atol=_RIGID_TOLERANCE):
            raise InputDataError(
                f"Found a transform of shape {transform.shape} with values {transform.tolist()}; "
                "expected a rigid (4, 4) one. Register without scaling and shearing."
            )
        transform.setflags(write=False)
        object.__setattr__(self, "to_frame", transform)
        count = self.slices.shape[self.slice_axis]
        given = self.slice_weights
        weights = np.ones(count, np.float32) if given is None else np.asarray(given, np.float32)
        if weights.shape != (count,):
            raise InputDataError(
                f"Found {weights.size} slice weights; expected {count}, one a slice."
            )
        object.__setattr__(self, "slice_weights", weights)

    @classmethod
    def of(cls, slices: Volume, acquisition: Acquisition, result: Reconstruction) -> Stack:
        """Join slices with what a method made of them."""
        acquisition = (result.acquisition or acquisition).for_volume(slices)
        assert acquisition.slice_axis is not None
        return cls(
            slices=slices,
            acquisition=acquisition,
            reconstruction=result.volume,
            noise=estimate_noise(slices, acquisition.slice_axis),
            uncertainty=result.uncertainty,
        )

    @property
    def slice_axis(self) -> int:
        """Array axis across the slices."""
        axis = self.acquisition.slice_axis
        assert axis is not None
        return axis

    @property
    def from_frame(self) -> npt.NDArray[np.float64]:
        """(4, 4) rigid transform from the world of the frame to that of this stack, mm."""
        return np.asarray(np.linalg.inv(self.to_frame), dtype=np.float64)

    @property
    def weights(self) -> npt.NDArray[np.float32]:
        """(n,) weights of the slices."""
        assert self.slice_weights is not None
        return self.slice_weights

    @property
    def width(self) -> float:
        """Robust intensity range of the slices; 1 where there is none."""
        try:
            return RobustScaler.fit(self.slices.data).width
        except InputDataError:
            return 1.0

    def scaled(self, slices: npt.NDArray[np.float32], fine: npt.NDArray[np.float32]) -> Stack:
        """Return the stack with its intensities multiplied by factors.

        Parameters
        ----------
        slices, fine : arrays that broadcast
            Factors on the grids of the slices and of the reconstruction.
        """
        uncertainty = self.uncertainty
        return replace(
            self,
            slices=self.slices.with_data(self.slices.data * slices),
            reconstruction=self.reconstruction.with_data(self.reconstruction.data * fine),
            noise=self.noise * float(np.median(slices)),
            uncertainty=uncertainty and uncertainty.with_data(uncertainty.data * fine),
        )
