"""A method turns the slices of an acquisition into a volume on a finer grid.

This is the contract of every method: its fields are its hyper-parameters, its one verb is
:meth:`Method.reconstruct`.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bids_sr.compute.device import or_on_cpu, resolve_device
from bids_sr.compute.progress import Progress, silent
from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Acquisition, Grid, Volume, resample
from bids_sr.records.method_record import HeldOutSlices, MethodRecord, SlicesUsed
from bids_sr.records.uncertainty import RECORD as UNCERTAINTY
from bids_sr.records.uncertainty import UncertaintyRecord
from bids_sr.sr.contract.results import Reconstruction
from bids_sr.sr.contract.settings import require
from bids_sr.sr.contract.side_results import side_result
from bids_sr.sr.slices.consistency import agreement, make_consistent
from bids_sr.sr.slices.held_out import AssumptionCheck, check_assumption
from bids_sr.sr.slices.slice_faults import SliceCheck, check_slices
from bids_sr.sr.slices.slice_spectrum import interpolated_axes

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """Reconstruct volumes; a subclass adds its hyper-parameters as fields.

    Attributes
    ----------
    threads : int, optional
        CPU threads a method may use; None leaves the choice to its libraries.
    data_consistency : bool
        Correct the result to agree with the acquired slices, except for their noise.
    """

    name: ClassVar[str]
    """The name under which the method is registered."""
    checks_slices: ClassVar[bool] = True
    """Whether slices are looked at before: they have a meaning for the method."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Sets of hyper-parameters by name; the defaults are one of them, with nothing in it."""

    threads: int | None = None
    data_consistency: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        require(self.threads is None or self.threads >= 1, "threads", self.threads, "1 or more")

    def reconstruct(
        self,
        lr: Volume,
        acquisition: Acquisition,
        grid: Grid,
        *,
        progress: Progress | None = None,
        judge_slices: bool = True,
    ) -> Reconstruction:
        """Reconstruct an acquired volume on a grid.

        Parameters
        ----------
        lr : Volume
            The acquired slices.
        acquisition : Acquisition
            How they were taken.
        grid : Grid
            Where the voxels of the result shall lie; its axes parallel to those of `lr`.
        progress : callable, optional
            Called with the progress of the work.
        judge_slices : bool
            Look for slices at fault.  Those that moved or lost signal count less: the method
            sees their neighbours in their place, data consistency asks less of them.

        Returns
        -------
        Reconstruction
            Finite, and without negative values where the input has none.

        Raises
        ------
        AcquisitionError
            If `acquisition` contradicts the volume.
        InputDataError
            If values are not finite, there are fewer than 2 slices, or the grid lies
            elsewhere.
        """
        planned = acquisition.for_volume(lr)
        _check_volume(lr, planned, grid)
        tell, start = progress or silent, time.perf_counter()
        judged = judge_slices and self.checks_slices
        slices = _checked_slices(lr, planned, grid) if judged else SliceCheck()
        assert planned.slice_axis is not None
        sound = slices.mended(lr, planned.slice_axis)
        check = self._checked_assumption(sound, planned, grid)
        acquisition = check.acquisition
        if check.interpolate:
            result, reason = interpolated(sound, grid, check.interpolate), ""
        else:
            result, reason = or_on_cpu(
                self.device_name,
                lambda name: self.on(name)._reconstruct(sound, acquisition, grid, tell),
            )
        if not reason and self._left_the_gpu(result.record):
            reason = "the GPU had too little memory even for small tiles"
        data = result.volume.data.astype(np.float32, copy=False)
        if data.shape != grid.shape or not np.isfinite(data).all():
            raise AssertionError(f"{self.name} returned {data.shape} for {grid.shape}, or NaN")
        tell(0, 0, "agreement with the acquired slices")
        # Data consistency with a thickness that is not trusted would sharpen all the same.
        volume, consistency = with_slices(
            Volume(data, grid.affine),
            lr,
            acquisition,
            correct=self.data_consistency and not check.interpolate,
            weights=slices.weights,
        )
        missing = ("data consistency",) if consistency["NoisePercent"] is None else ()
        record = MethodRecord(
            method=self.name,
            parameters=self.parameters(),
            seconds=round(time.perf_counter() - start, 2),
            device_fallback=reason,
            not_measured=missing,
            held_out=check.held_out,
            slices=None if acquisition == planned else SlicesUsed.of(acquisition),
            slice_record=slices.record,
            details={"DataConsistency": consistency},
        )
        record = record.joined(result.record)
        made = replace(result, volume=volume, record=record, acquisition=acquisition)
        tell(0, 0, "uncertainty")
        return self._with_uncertainty(made, lr)

    def _with_uncertainty(self, result: Reconstruction, lr: Volume) -> Reconstruction:
        """Return a reconstruction whose record says what its uncertainty means, if it has one."""
        if result.uncertainty is None:
            return result
        meaning = UncertaintyRecord(reason="the disagreement of views is not calibrated")
        return replace(
            result, record=result.record.with_details(**{UNCERTAINTY: meaning.to_dict()})
        )

    def parameters(self) -> dict[str, Any]:
        """Return the hyper-parameters as plain values."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    def for_labels(self) -> Method:
        """Return the method for memberships of labels: values from 0 to 1, never rescaled.

        Raises
        ------
        ConfigError
            If it cannot.
        """
        return self

    def required_files(self) -> tuple[Path, ...]:
        """Return the files of weights that the result depends on, downloaded if necessary.

        Raises
        ------
        WeightsError
            If one is missing or is not what it should be; the message says how to get it.
        """
        return ()

    def prepared(
        self, frames: Sequence[Volume], acquisition: Acquisition, progress: Progress
    ) -> Method:
        """Return the method for the frames of a series, trained once on all of them.

        Parameters
        ----------
        frames : sequence of Volume
            On one grid.
        acquisition : Acquisition
            How all were taken, with its slice axis.
        progress : callable
        """
        return self

    def tester(self) -> Method | None:
        """Return a fast method that reconstructs slices left out, to test what is assumed.

        It takes seconds and stands in for this one; None if no thickness is used.
        """
        return None

    def _checked_assumption(
        self, lr: Volume, acquisition: Acquisition, grid: Grid
    ) -> AssumptionCheck:
        """Test what is assumed of the slices; an assumption stays where the test fails."""
        tested = side_result(
            "test of what is assumed of the slices",
            lambda: or_on_cpu(
                self.device_name, lambda name: self.on(name)._tested(lr, acquisition, grid)
            ),
        )
        if tested is not None:
            return tested[0]
        failed = HeldOutSlices(assumption="not tested: the test failed")
        return AssumptionCheck(acquisition=acquisition, held_out=failed)

    def _tested(self, lr: Volume, acquisition: Acquisition, grid: Grid) -> AssumptionCheck:
        """Test what is assumed of the slices, if that makes a difference to the result."""
        tester = self.tester()
        if tester is None:
            return AssumptionCheck(acquisition=acquisition)

        def estimate(slices: Volume, stated: Acquisition, between: Grid) -> Volume:
            return tester.reconstruct(slices, stated, between, judge_slices=False).volume

        assert acquisition.slice_axis is not None
        voxel = float(grid.spacings[acquisition.slice_axis])
        return check_assumption(lr, acquisition, voxel, estimate)

    @property
    def device_name(self) -> str:
        """Name of the device that it computes on; ``cpu`` where it has no such parameter."""
        return str(getattr(self, "device", "cpu"))

    def on(self, device: str) -> Method:
        """Return the method with another device."""
        changed: dict[str, Any] = {"device": device}
        return self if device == self.device_name else replace(self, **changed)

    def _left_the_gpu(self, record: MethodRecord) -> bool:
        """Tell whether inference that began on a GPU was ended by the CPU."""
        ended_on_cpu = record.device == "cpu" and not record.fallback
        return ended_on_cpu and resolve_device(self.device_name).type != "cpu"

    @abstractmethod
    def _reconstruct(
        self, lr: Volume, acquisition: Acquisition, grid: Grid, progress: Progress
    ) -> Reconstruction:
        """Do the work of :meth:`reconstruct`; all arguments are checked."""


def _checked_slices(lr: Volume, acquisition: Acquisition, grid: Grid) -> SliceCheck:
    """Look for slices at fault; without a result all slices count in full."""
    check = (
        side_result("check of the slices", lambda: check_slices(lr, acquisition)) or SliceCheck()
    )
    interpolated = side_result(
        "check for interpolated voxels", lambda: interpolated_axes(lr, acquisition, grid)
    )
    record = replace(check.record, interpolated=interpolated or ())
    for sentence in record.sentences:
        LOGGER.warning("%s", sentence)
    return replace(check, record=record)


def with_slices(
    estimate: Volume,
    lr: Volume,
    acquisition: Acquisition,
    *,
    correct: bool,
    weights: Sequence[float] | npt.NDArray[np.float32] | None = None,
) -> tuple[Volume, dict[str, Any]]:
    """Hold a result against the acquired slices: correct it, remove undershoot, measure it.

    Parameters
    ----------
    estimate : Volume
        The result.
    lr : Volume
        The acquired slices.
    acquisition : Acquisition
    correct : bool
        Whether it is corrected until it agrees with them, except for their noise.
    weights : (n,) floats, optional
        What each slice counts, from 0 to 1; None: all in full.

    Returns
    -------
    volume : Volume
        Without negative values where the slices have none.
    facts : dict
        ``DataConsistency`` of the sidecar.
    """
    least = 0.0 if lr.data.min() >= 0 else -np.inf
    before = estimate.with_data(np.maximum(estimate.data, np.float32(least)))
    facts: dict[str, Any] = {"Applied": correct}
    if not correct:
        return before, facts | _measured(before, lr, acquisition, weights)
    after = make_consistent(estimate, lr, acquisition, weights=weights)
    after = estimate.with_data(np.maximum(after.data, np.float32(least)))
    residual = _measured(before, lr, acquisition, weights)["ResidualPercent"]
    facts["ResidualBeforePercent"] = residual
    return after, facts | _measured(after, lr, acquisition, weights)


def interpolated(lr: Volume, grid: Grid, reason: str) -> Reconstruction:
    """Return cubic interpolation where a method cannot be used, and log the reason."""
    LOGGER.warning("Interpolated instead of super-resolved: %s", reason)
    record = MethodRecord(fallback="bspline", fallback_reason=reason, device="cpu")
    return Reconstruction(volume=resample(lr, grid), record=record)


def _measured(
    estimate: Volume,
    lr: Volume,
    acquisition: Acquisition,
    weights: Sequence[float] | npt.NDArray[np.float32] | None,
) -> dict[str, float | None]:
    measured = side_result(
        "data consistency", lambda: agreement(estimate, lr, acquisition, weights)
    )
    return measured or {"ResidualPercent": None, "NoisePercent": None}


def _check_volume(lr: Volume, acquisition: Acquisition, grid: Grid) -> None:
    axis = acquisition.slice_axis
    assert axis is not None
    if lr.shape[axis] < 2:
        raise InputDataError(
            f"Found {lr.shape[axis]} slice along axis {axis}; expected at least 2. A single "
            "slice has no neighbour to be continued to."
        )
    if not np.isfinite(lr.data).all():
        raise InputDataError(
            "Found values that are not finite; expected numbers only. Replace NaN and infinity."
        )
    for current in range(3):
        inside = lr.grid.coordinates_of(grid, current)
        if inside[0] > lr.shape[current] - 0.5 or inside[-1] < -0.5:
            raise InputDataError(
                f"Found a grid that begins {inside[0]:.1f} voxels along axis {current} of an "
                f"image of {lr.shape[current]}; expected both to overlap. Check the affines."
            )
