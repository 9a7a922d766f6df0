"""Stacks in, one volume out: registration, intensities, odd slices, agreement, in this order.

What is not believed on the way is left out and named.  The frame is kept; it is the finest stack
to which another fits.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import nibabel as nb
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.compute.progress import Progress, silent
from bids_sr.exceptions import ConfigError, InputDataError
from bids_sr.imaging import Acquisition, Volume
from bids_sr.imaging.grid import SAME_SPACING
from bids_sr.imaging.volume import Image
from bids_sr.method_facts import DEFAULT_METHOD, METHOD_FACTS
from bids_sr.seed import DEFAULT_SEED
from bids_sr.sr.registry import acquisition_of, grid_of_result, parameters_for, reconstruct
from bids_sr.sr.together.disagreement import OddSlice, weighed
from bids_sr.sr.together.intensities import matched
from bids_sr.sr.together.least_squares import agreed, mean_of
from bids_sr.sr.together.moved_slices import moved_back
from bids_sr.sr.together.registration import register
from bids_sr.sr.together.stack import Stack
from bids_sr.sr.together.uncertainty import uncertainty_of

LOGGER = logging.getLogger(__name__)
_AIR = 0.03  # of the robust range; what lies around it is left as the mean of the stacks
_MARGIN_MM = 10.0


@dataclass(frozen=True, kw_only=True)
class FusedReconstruction:
    """Hold the volume fused from several stacks, and how it was made.

    Attributes
    ----------
    volume : Volume
        float32, on the grid of the reconstruction of the frame.
    uncertainty : Volume, optional
        Standard deviation to expect of every voxel, on the same grid; None where unknown.
    stacks : tuple[Stack, ...]
        All stacks as given, with the transforms and weights of slices that were found.
    frame : int
        Which stack is the frame.
    residuals_percent : tuple[float, optional, ...]
        Root mean square difference of the fused volume to the slices of each stack, percent
        of the robust intensity range; None for those left out.
    warnings : tuple[str, ...]
        What was left out or weighed down, in words.
    record : dict[str, Any]
        What was done, as plain values for a sidecar.
    """

    volume: Volume
    uncertainty: Volume | None = field(repr=False)
    stacks: tuple[Stack, ...] = field(repr=False)
    frame: int
    residuals_percent: tuple[float | None, ...] = field(repr=False)
    warnings: tuple[str, ...] = field(default=(), repr=False)
    record: dict[str, Any] = field(default_factory=dict, repr=False)


def super_resolve_together(
    images: Sequence[Image],
    acquisitions: Sequence[Acquisition | None] | None = None,
    *,
    method: str = DEFAULT_METHOD,
    output_resolution: float | Literal["native"] | None = None,
    seed: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    **parameters: Any,
) -> FusedReconstruction:
    """Super-resolve several stacks of one contrast into one volume.

    Parameters
    ----------
    images : sequence of Volume, nibabel image, or path
        The acquired slices of each stack, of any planes.
    acquisitions : sequence of Acquisition or None, optional
        How each was taken; as for :func:`.super_resolve`.
    method : str
        A name in :data:`.METHODS`; makes each stack's own reconstruction.
    output_resolution : float, mm, or "native", optional
        As for :func:`.super_resolve`.
    seed, threads : int, optional
        Passed to the method, if it has them.
    progress : callable, optional
        Called with (steps done, steps in all, text).
    **parameters
        Hyper-parameters of the method.

    Returns
    -------
    FusedReconstruction
        In the frame of the finest stack to which another fits; ties go to the first.  Of a single
        volume what :func:`.super_resolve` makes.

    Raises
    ------
    InputDataError
        If there is no volume, or the acquisitions are not as many.
    ConfigError
        If the method makes no finer volume.
    TypeError
        If `images` is a single one.
    """
    if isinstance(images, str | os.PathLike | Volume | nb.spatialimages.SpatialImage):
        raise TypeError(
            f"Found one {type(images).__name__} in place of several; expected a list, one image "
            "for each stack."
        )
    volumes = [Volume.of(image) for image in images]
    known = list(acquisitions) if acquisitions is not None else [None] * len(volumes)
    if not volumes or len(known) != len(volumes):
        raise InputDataError(
            f"Found {len(volumes)} volumes and {len(known)} acquisitions; expected at least one "
            "volume and as many acquisitions. Give one for each stack, or none at all."
        )
    chosen = parameters_for(method, {"seed": seed, "threads": threads})
    chosen = {name: value for name, value in chosen.items() if value is not None} | parameters
    if len(volumes) > 1 and METHOD_FACTS[method].keeps_grid:
        raise ConfigError(
            f"Found method {method!r} for {len(volumes)} stacks; expected a method that makes "
            "a finer volume of each. Choose another."
        )
    stacks, results = [], []
    for volume, stated in zip(volumes, known, strict=True):
        acquisition = acquisition_of(volume, stated, estimate=True)
        grid = grid_of_result(
            volume,
            acquisition,
            method=method,
            output_resolution=output_resolution,
            output_grid="fov",
        )
        result = reconstruct(
            volume, acquisition, method=method, grid=grid, parameters=chosen, progress=progress
        )
        results.append(result)
        stacks.append(Stack.of(volume, acquisition, result))
    fused = fuse_stacks(stacks, seed=DEFAULT_SEED if seed is None else seed, progress=progress)
    record = {"Reconstructions": [result.record.to_dict() for result in results], **fused.record}
    return replace(fused, record=record)


def fuse_stacks(
    stacks: Sequence[Stack], *, seed: int = DEFAULT_SEED, progress: Progress | None = None
) -> FusedReconstruction:
    """Fuse stacks that have their own reconstructions already.

    Parameters
    ----------
    stacks : sequence of Stack
        Their transforms say where registration begins.
    seed : int
        Of the points by which stacks are registered.
    progress : callable, optional

    Returns
    -------
    FusedReconstruction

    Raises
    ------
    InputDataError
        If there is no stack.
    """
    if not stacks:
        raise InputDataError("Found no stacks; expected at least one. Give the acquired volumes.")
    start = time.perf_counter()
    tell = progress or silent
    frame, (placed, records, warnings) = _registered_to_fitting(stacks, seed, tell)
    used = [number for number, stack in enumerate(placed) if stack is not None]
    if len(used) == 1:
        return _alone(stacks, frame, records, warnings)
    kept = []
    for number in used:
        stack = placed[number]
        assert stack is not None
        if number != frame:
            stack, scales = matched(stack, stacks[frame].reconstruction)
            records[number].update(scales)
        kept.append(stack)
    tell(0, 0, "comparing the slices of the stacks")
    kept, odd = weighed(kept)
    slices, odd = moved_back(kept, odd)
    for number, names in zip(used, odd, strict=True):
        warnings += [
            f"stack {number + 1}: slice {slice_.number} counts {100 * slice_.weight:.0f} %: "
            f"{slice_.words}"
            for slice_ in names
        ]
    volume, uncertainty, residuals = _joined(kept, slices, kept[used.index(frame)], tell)
    percents: list[float | None] = [None] * len(stacks)
    placed_stacks = list(stacks)
    for number, stack, residual, names in zip(used, kept, residuals, odd, strict=True):
        percents[number] = residual
        placed_stacks[number] = replace(
            stacks[number], to_frame=stack.to_frame, slice_weights=stack.slice_weights
        )
        records[number].update(_facts(stack, residual, names))
    for warning in warnings:
        LOGGER.warning("%s", warning)
    return FusedReconstruction(
        volume=volume,
        uncertainty=uncertainty,
        stacks=tuple(placed_stacks),
        frame=frame,
        residuals_percent=tuple(percents),
        warnings=tuple(warnings),
        record={
            "Frame": frame,
            "Stacks": records,
            "Seconds": round(time.perf_counter() - start, 2),
        },
    )


def finest(stacks: Sequence[Stack]) -> int:
    """Return which stack has the smallest voxels, of nearly equal ones (1 %) the first."""
    cells = np.array([np.prod(stack.slices.spacings) for stack in stacks])
    return int(np.flatnonzero(cells <= cells.min() * (1 + SAME_SPACING))[0])


Registered = tuple[list[Stack | None], list[dict[str, Any]], list[str]]


def _registered_to_fitting(
    stacks: Sequence[Stack], seed: int, tell: Progress
) -> tuple[int, Registered]:
    """Register to the finest stack; where no other fits to it, to the next finest."""
    first = finest(stacks)
    others = [number for number in range(len(stacks)) if number != first]
    others.sort(key=lambda number: float(np.prod(stacks[number].slices.spacings)))
    result = _registered(stacks, first, seed, tell)
    if _fitting(result) > 1 or len(stacks) < 3:
        return first, result
    for frame in others[:-1]:  # the last has been tried with each of the others
        again = _registered(stacks, frame, seed, tell)
        if _fitting(again) > 1:
            return frame, again
    return first, result


def _fitting(registered: Registered) -> int:
    return sum(stack is not None for stack in registered[0])


def _registered(stacks: Sequence[Stack], frame: int, seed: int, tell: Progress) -> Registered:
    """Register each stack to the frame; None for those that are not believed."""
    result: list[Stack | None] = []
    records: list[dict[str, Any]] = []
    warnings = []
    for number, stack in enumerate(stacks):
        if number == frame:
            result.append(replace(stack, to_frame=np.eye(4)))
            records.append({"Used": True, "ToFrame": np.eye(4).tolist()})
            continue
        tell(number, len(stacks), f"registering stack {number + 1} of {len(stacks)}")
        fit = register(
            stacks[frame].reconstruction,
            stack.reconstruction,
            stack.to_frame,
            spacing=max(stack.acquisition.spacing, stacks[frame].acquisition.spacing),
            seed=seed,
        )
        records.append(
            {
                "Used": fit.believed,
                "ToFrame": fit.to_fixed.tolist(),
                "Overlap": round(fit.overlap, 4),
                "RegistrationResidual": round(fit.residual, 4),
                "RegistrationAgreement": round(fit.agreement, 4),
            }
        )
        result.append(replace(stack, to_frame=fit.to_fixed) if fit.believed else None)
        if not fit.believed:
            records[-1]["Reason"] = fit.reason
            warnings.append(f"stack {number + 1} is left out: {fit.reason}")
    return result, records, warnings


def _joined(
    stacks: Sequence[Stack], slices: Sequence[Stack], frame: Stack, tell: Progress
) -> tuple[Volume, Volume, list[float | None]]:
    """Return the fused volume, its uncertainty, and what each stack misses in it, percent.

    `slices` are those that were moved back, each as a stack.
    """
    grid, width = frame.reconstruction.grid, frame.width
    tell(0, 0, "mean of the stacks")
    mean, _, variance = mean_of(stacks, grid, np.eye(4))
    prior = frame.reconstruction.with_data(mean)
    box = _body(prior, width)
    part = prior.part(box)
    data, missing = agreed([*stacks, *slices], part, width, tell)
    mean[box] = data
    if min(float(stack.slices.data.min()) for stack in stacks) >= 0:
        np.maximum(mean, 0, out=mean)
    fused = prior.with_data(mean)
    residuals = [
        None if value is None else round(100 * value / width, 4)
        for value in missing[: len(stacks)]
    ]
    return fused, uncertainty_of(stacks, fused, variance), residuals


def _body(volume: Volume, width: float) -> tuple[slice, slice, slice]:
    """Return the box of what is not air, with a margin; the whole where all is bright."""
    smooth = ndimage.uniform_filter(volume.data, 3)
    bright = smooth > float(smooth.min()) + _AIR * width
    spans = []
    for axis in range(3):
        planes = np.flatnonzero(
            bright.any(axis=tuple(other for other in range(3) if other != axis))
        )
        margin = int(np.ceil(_MARGIN_MM / float(volume.spacings[axis])))
        first, last = (planes[0], planes[-1]) if planes.size else (0, volume.shape[axis] - 1)
        spans.append(slice(max(0, int(first) - margin), int(last) + margin + 1))
    return spans[0], spans[1], spans[2]


def _alone(
    stacks: Sequence[Stack], frame: int, records: list[dict[str, Any]], warnings: list[str]
) -> FusedReconstruction:
    """Return the frame's own reconstruction, which nothing else is fused with."""
    for warning in warnings:
        LOGGER.warning("%s", warning)
    return FusedReconstruction(
        volume=stacks[frame].reconstruction,
        uncertainty=stacks[frame].uncertainty,
        stacks=tuple(stacks),
        frame=frame,
        residuals_percent=(None,) * len(stacks),
        warnings=tuple(warnings),
        record={"Frame": frame, "Stacks": records},
    )


def _facts(stack: Stack, residual: float | None, odd: Sequence[OddSlice]) -> dict[str, Any]:
    weights: npt.NDArray[np.float32] = stack.weights
    return {
        "NoisePercent": round(100 * stack.noise / stack.width, 4),
        "SliceWeights": [round(float(weight), 3) for weight in weights],
        "OddSlices": [{"Slice": slice_.number, "What": slice_.words} for slice_ in odd],
        "ResidualPercent": residual,
    }
