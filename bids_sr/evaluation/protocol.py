"""A protocol turns an image into a test: slices to reconstruct from, and the truth.

Either a fine reference is made thick by the forward model, once or as several stacks or with
a guide beside it, or every other slice of a stack that has no fine reference is left out.
How a reconstruction is scored is in :mod:`bids_sr.evaluation.scoring`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from bids_sr.evaluation.guides import moved_guide
from bids_sr.evaluation.protocol_name import LEAVE_OUT, SLICES, ProtocolName
from bids_sr.evaluation.stacks import SimulatedStack, covered_by_all, simulated_stacks
from bids_sr.exceptions import ConfigError, InputDataError
from bids_sr.imaging import Acquisition, Grid, Volume, degrade
from bids_sr.seed import DEFAULT_SEED

Told = Literal["all", "thickness", "nothing"]
TOLD: tuple[Told, ...] = ("all", "thickness", "nothing")
"""What a method is told of simulated slices: all, all but the profile, or their spacing alone.

The rest is estimated from the slices, as in a run."""
TOLD_WORDS = {"all": "", "thickness": ", profile not told", "nothing": ", nothing told"}
_PROFILE = "gaussian"  # of slices that were left out
_LEAST_SCALE = 1.2
_LEAST_SLICES = 5


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """State how a test is made from an image."""

    name: str
    """``thickness/spacing`` in mm, optionally with a plane and ``/profile`` (else a Gaussian);
    several joined by ``+``, or one and ``+guide=SUFFIX``, with motion between them at the end
    (``@2mm2deg``); or ``leave-slices-out``."""
    slices: str = "axial"
    """``axial``, ``sagittal`` or ``coronal``, of the stacks whose plane the name does not say;
    ``own`` where it says all, or where slices are left out."""
    noise: float = 0.0
    """Rician noise of the slices, as a fraction of their 99th percentile."""
    told: Told = "all"
    """What a method is told of the slices: a name in :data:`TOLD`."""

    def __post_init__(self) -> None:
        """Refuse invalid settings (ConfigError)."""
        if self.leaves_out:
            object.__setattr__(self, "slices", "own")
            object.__setattr__(self, "noise", 0.0)
            object.__setattr__(self, "told", "all")
            return
        named = ProtocolName.read(self.name)
        if all(stack.slice_axis is not None for stack in named.stacks):
            object.__setattr__(self, "slices", "own")
        elif self.slices not in SLICES:
            raise ConfigError(f"Found slices {self.slices!r}; expected {', '.join(SLICES)}.")
        if not (math.isfinite(self.noise) and 0 <= self.noise < 1):
            raise ConfigError(f"Found noise {self.noise}; expected a fraction, 0 to 1.")
        if self.told not in TOLD:
            raise ConfigError(f"Found told = {self.told!r}; expected {', '.join(TOLD)}.")

    @property
    def leaves_out(self) -> bool:
        """Whether slices are left out, instead of simulated."""
        return self.name == LEAVE_OUT

    @property
    def label(self) -> str:
        """Words for tables: ``5/6 axial``, ``5/6 axial, noise 2 %``, ``leave-slices-out``."""
        noise = f", noise {100 * self.noise:g} %" if self.noise else ""
        slices = "" if self.slices == "own" else f" {self.slices}"
        return self.name + slices + noise + TOLD_WORDS[self.told]

    @property
    def guide(self) -> str:
        """Suffix of the scan that guides; empty where there is none."""
        return "" if self.leaves_out else ProtocolName.read(self.name).guide

    def named(self) -> ProtocolName:
        """Return what the name says, with the plane of every stack."""
        named = ProtocolName.read(self.name)
        stacks = tuple(
            replace(stack, slice_axis=SLICES[self.slices]) if stack.slice_axis is None else stack
            for stack in named.stacks
        )
        return replace(named, stacks=stacks)

    def acquisition(self) -> Acquisition:
        """Return the simulated acquisition, of several stacks the first."""
        return self.named().stacks[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class TestCase:
    """Hold the slices to reconstruct from, where to reconstruct, and what to compare with."""

    __test__ = False  # no test, whatever pytest thinks of the name

    lr: Volume
    """The slices that a method gets."""
    acquisition: Acquisition
    """How they were taken, or would have been, as a method is told."""
    grid: Grid
    """Where the voxels of the reconstruction shall lie."""
    truth: Volume
    """The reference, or the slices that were left out."""
    region: npt.NDArray[np.bool_]
    """Voxels of `truth` that the slices cover."""
    planes: npt.NDArray[np.int_] | None = None
    """Where slices were left out, the planes of `grid` at their places; else None."""
    stacks: tuple[SimulatedStack, ...] = ()
    """Where there are several, all of them; the first has the slices of `lr`."""
    guide: Volume | None = None
    """Where there is one, with the header that registration begins at."""

    def at_truth(self, estimate: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Return the voxels of a reconstruction on `grid` that `truth` has a value for."""
        if self.planes is None:
            return estimate
        assert self.acquisition.slice_axis is not None
        return np.take(estimate, self.planes, axis=self.acquisition.slice_axis)


def make_case(
    reference: Volume,
    protocol: Protocol,
    *,
    seed: int = DEFAULT_SEED,
    thickness: float | None = None,
    guide: Volume | None = None,
) -> TestCase:
    """Make a test of an image.

    Parameters
    ----------
    reference : Volume
        In canonical orientation.
    protocol : Protocol
    seed : int
        Of noise and motion.
    thickness : float, mm, optional
        Thickness of the image's own slices, where slices are left out; default: their spacing.
    guide : Volume, optional
        The scan that the protocol names as guide, where it truly lies.

    Raises
    ------
    InputDataError
        If the image is too coarse to be a reference, or has too few slices to leave some out.
    """
    if protocol.leaves_out:
        return _leave_out(reference, thickness)
    named = protocol.named()
    for acquisition in named.stacks:
        _refuse_coarse(reference, acquisition, protocol)
    if len(named.stacks) > 1:
        stacks = tuple(
            replace(stack, acquisition=as_told(stack.lr, stack.acquisition, protocol.told))
            for stack in simulated_stacks(reference, named, noise=protocol.noise, seed=seed)
        )
        lr, acquisition = stacks[0].lr, stacks[0].acquisition
        region = covered_by_all(stacks, reference.grid)
    else:
        stacks, acquisition = (), named.stacks[0]
        lr = degrade(reference, acquisition, noise_fraction=protocol.noise, seed=seed)
        region = covered(reference.grid, lr.grid)
    return TestCase(
        lr=lr,
        acquisition=as_told(lr, acquisition, protocol.told),
        grid=reference.grid,
        truth=reference,
        region=region,
        stacks=stacks,
        guide=guide and moved_guide(guide, named, seed),
    )


def as_told(lr: Volume, acquisition: Acquisition, told: Told) -> Acquisition:
    """Return what a method is told of an acquisition; what it is not is assumed."""
    if told != "all":
        thickness = acquisition.thickness if told == "thickness" else None
        acquisition = Acquisition(thickness=thickness, slice_axis=acquisition.slice_axis)
    return acquisition.for_volume(lr)


def _refuse_coarse(reference: Volume, acquisition: Acquisition, protocol: Protocol) -> None:
    """Refuse a reference that is no finer than the slices (InputDataError)."""
    axis = acquisition.slice_axis
    assert axis is not None
    fine = float(reference.spacings[axis])
    if min(acquisition.spacing, acquisition.nominal_thickness) < _LEAST_SCALE * fine:
        plane = next(name for name, number in SLICES.items() if number == axis)
        raise InputDataError(
            f"Found a reference with voxels of {fine:.3g} mm across {plane} slices; "
            f"expected finer ones for slices {protocol.name}. Take a finer reference or thicker "
            f"slices; for stacks of thick slices use {LEAVE_OUT}."
        )


def covered(fine: Grid, acquired: Grid) -> npt.NDArray[np.bool_]:
    """Mark the voxels of a fine grid whose centres lie in the acquired field of view.

    Returns
    -------
    (X, Y, Z) bool array
    """
    inside = np.ones(fine.shape, dtype=bool)
    for axis in range(3):
        index = acquired.coordinates_of(fine, axis)
        within = (index >= -0.5) & (index <= acquired.shape[axis] - 0.5)
        inside &= np.expand_dims(within, [across for across in range(3) if across != axis])
    return inside


def _leave_out(stack: Volume, thickness: float | None) -> TestCase:
    """Keep the slices 0, 2, 4, ... of a stack; those between them are the truth.

    The grid has an even number of steps between two kept slices, as near to the in-plane
    spacing as that allows, so a plane lies at the very place of every slice left out.  In-plane
    it is the acquired grid: nothing is interpolated before the comparison.
    """
    axis = stack.slice_axis
    count = (stack.shape[axis] + 1) // 2
    if stack.shape[axis] < _LEAST_SLICES:
        raise InputDataError(
            f"Found {stack.shape[axis]} slices; expected at least {_LEAST_SLICES} to leave "
            "every other one out."
        )
    spacing = 2 * float(stack.spacings[axis])
    lr = stack.planes(axis, slice(0, None, 2))
    truth = stack.planes(axis, slice(1, 2 * count - 2, 2))
    in_plane = float(np.delete(stack.spacings, axis).min())
    steps = max(2, 2 * round(spacing / in_plane / 2))
    acquisition = Acquisition(
        spacing=spacing, thickness=thickness or spacing / 2, profile=_PROFILE, slice_axis=axis
    ).for_volume(lr)
    return TestCase(
        lr=lr,
        acquisition=acquisition,
        grid=lr.grid.subdivided(axis, steps),
        truth=truth,
        region=np.ones(truth.shape, dtype=bool),
        planes=np.arange(count - 1) * steps + steps // 2,
    )
