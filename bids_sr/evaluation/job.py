"""A job is one reconstruction to measure: an image, a protocol, a method.

It is plain enough to be sent to a process of its own, where :func:`run` loads, degrades,
reconstructs and scores.  Jobs know nothing of each other.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_sr import __version__
from bids_sr.compute.memory import peak_memory_gb
from bids_sr.evaluation.calibration import calibration
from bids_sr.evaluation.downstream import Segmenter, downstream_scores
from bids_sr.evaluation.external import read_result
from bids_sr.evaluation.guides import WITHOUT_GUIDE, load_guide
from bids_sr.evaluation.protocol import Protocol, TestCase, make_case
from bids_sr.evaluation.scoring import on_grid, score
from bids_sr.evaluation.stacks import Combination, combined, registration_error, rival_volumes
from bids_sr.exceptions import InputDataError
from bids_sr.files import file_digest, text_digest
from bids_sr.imaging import Volume, resample
from bids_sr.plain_values import plain
from bids_sr.seed import DEFAULT_SEED
from bids_sr.sr import Method, Progress, guided, make_method
from bids_sr.sr.registry import acquisition_of

Cost = Callable[[dict[str, Any]], dict[str, Any]]
_PLACE = 0.42
_MARGIN = 4  # voxels
_SEGMENTATION_VERSION = 1  # likewise of the segmentations
_MEASURES_VERSION = 2  # another number makes all rows be measured again


@dataclass(frozen=True, kw_only=True)
class Job:
    """Say what to measure."""

    image: str
    """Name of the image in tables."""
    path: Path
    """The reference, or the stack."""
    protocol: Protocol
    """How the test is made."""
    label: str
    """Name of the method and its settings in tables."""
    method: str
    """Name in :data:`bids_sr.sr.METHODS`."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Hyper-parameters of the method."""
    mask: Path | None = None
    """Where to score; None: everywhere."""
    mask_origin: str = "whole image"
    """Where the mask comes from, in words."""
    lesions: Path | None = None
    """Mask of the lesions."""
    guide: Path | None = None
    """The scan that guides, where the protocol names one."""
    thickness: float | None = None
    """Thickness of the image's own slices, mm; None: not known."""
    seed: int = DEFAULT_SEED
    """Of the noise."""
    measures: tuple[str, ...] = ()
    """Perceptual measures to compute."""
    results: Path | None = None
    """The volume that another program made of the test; None: the method makes it."""
    downstream: bool = False
    """Whether segmentations of reconstruction and reference are compared."""

    @property
    def stem(self) -> str:
        """Name of the job's files: image, protocol and method."""
        return f"{self.test_stem}_{_in_name(self.label)}"

    @property
    def test_stem(self) -> str:
        """Name of the job's test: image and protocol."""
        return f"{_in_name(self.image)}_{_in_name(self.protocol.label)}"

    def rival(self, name: str) -> Job:
        """Return the job under whose name a rival of it stands in the tables."""
        return replace(self, label=f"{self.label}, {name}")

    def settings(self) -> dict[str, Any]:
        """Return everything that the row depends on, as plain values."""
        values = plain(self)
        is_segmented = values.pop("downstream")  # rows without it stay what they are
        guide, results = values.pop("guide"), values.pop("results")
        if self.protocol.told == "all":  # likewise
            del values["protocol"]["told"]
        return {
            **values,
            **({"results": results} if self.results else {}),
            **({"guide": guide} if self.guide else {}),
            **({"downstream": _SEGMENTATION_VERSION} if is_segmented else {}),
            "parameters": make_method(self.method, self.parameters).parameters(),
            "files": {
                str(path): _fingerprint(Path(path))
                for path in (
                    *(self.path, self.mask, self.lesions, self.guide, self.results),
                    *_files(self.parameters),
                )
                if path is not None
            },
            "software": __version__,
            "measures_version": _MEASURES_VERSION,
        }

    def key(self) -> str:
        """Return a digest of the settings: rows with another one are out of date."""
        text = json.dumps(self.settings(), sort_keys=True, default=str)
        return text_digest(text)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Hold the results of a job."""

    row: dict[str, Any]
    """``scores``, ``seconds``, ``cpu_seconds``, ``peak_gb``, ``peak_gpu_gb``, ``record``."""
    estimate: Volume
    """The reconstruction, on the grid of the test."""
    pictures: dict[str, npt.NDArray[np.float16]]
    """Example planes; see :func:`pictures`."""
    rivals: Mapping[str, Outcome] = field(default_factory=dict)
    """Of several stacks or of a guide, by name: what else can be made of the same scans."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedCase:
    """Hold the test of a job, its mask and its lesions, both on the grid of the truth."""

    case: TestCase
    mask: npt.NDArray[np.bool_]
    lesions: npt.NDArray[np.bool_] | None


def load_case(job: Job) -> LoadedCase:
    """Make the test of a job."""
    reference = Volume.load(job.path).canonical()
    suffix = job.protocol.guide
    case = make_case(
        reference,
        job.protocol,
        seed=job.seed,
        thickness=job.thickness,
        guide=load_guide(job.guide, job.path, suffix) if suffix else None,
    )
    mask = _mask(job.mask, reference, case)
    if mask is None:
        mask = np.ones(case.truth.shape, dtype=bool)
    return LoadedCase(case=case, mask=mask, lesions=_mask(job.lesions, reference, case))


def run(
    job: Job, *, progress: Progress | None = None, segment: Segmenter | None = None
) -> Outcome:
    """Do a job in this process, whose peak memory then is the job's.

    Parameters
    ----------
    job : Job
    progress : callable, optional
    segment : callable, optional
        How images are segmented, for a job that compares segmentations.
    """
    test, method = load_case(job), make_method(job.method, job.parameters)
    case = test.case
    wall, cpu = time.perf_counter(), time.process_time()
    if job.results is not None:
        estimate = on_grid(case, read_result(job.results))
        nothing = {"seconds": None, "cpu_seconds": None, "peak_gb": None, "peak_gpu_gb": None}
        return _outcome(job, test, estimate, None, {**nothing, "record": {}})
    case = estimated(case)

    def cost(record: dict[str, Any]) -> dict[str, Any]:
        return {
            "seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
            "peak_gb": peak_memory_gb(),
            "peak_gpu_gb": _peak_gpu_gb(),
            "record": record,
        }

    if case.stacks:
        stacks = combined(case.stacks, case.grid, method, seed=job.seed, progress=progress)
        outcome = _outcome(job, test, stacks.volume, stacks.uncertainty, cost(stacks.record))
        outcome = replace(outcome, rivals=_rivals(job, test, stacks))
        outcome.row["scores"]["registration_error"] = registration_error(
            case.stacks, stacks.fused, case.grid, test.mask & case.region
        )
    else:
        outcome = _of_one_stack(job, replace(test, case=case), method, cost, progress)
    if job.downstream and segment is not None and case.planes is None:
        outcome.row["scores"] |= _downstream(job, test, outcome.estimate, segment)
    return outcome


def _of_one_stack(
    job: Job, test: LoadedCase, method: Method, cost: Cost, progress: Progress | None
) -> Outcome:
    """Reconstruct and score one stack, if there is a guide also with it."""
    case = test.case
    result = method.reconstruct(case.lr, case.acquisition, case.grid, progress=progress)
    spent = cost(result.record.to_dict())
    if case.guide is None:
        return _outcome(job, test, result.volume, result.uncertainty, spent)
    helped = guided(
        result,
        case.lr,
        case.guide,
        seed=job.seed,
        threads=method.parameters().get("threads"),
        progress=progress,
    )
    everything = cost(helped.record.to_dict())
    return replace(
        _outcome(job, test, helped.volume, helped.uncertainty, everything),
        rivals={WITHOUT_GUIDE: _outcome(job, test, result.volume, result.uncertainty, spent)},
    )


def estimated(case: TestCase) -> TestCase:
    """Return a test with what is not told of its slices estimated from them, as in a run."""
    stacks = tuple(
        replace(stack, acquisition=acquisition_of(stack.lr, stack.acquisition, estimate=True))
        for stack in case.stacks
    )
    acquisition = acquisition_of(case.lr, case.acquisition, estimate=True)
    return replace(case, acquisition=acquisition, stacks=stacks)


def _rivals(job: Job, test: LoadedCase, stacks: Combination) -> dict[str, Outcome]:
    """Score what else can be made of several stacks."""
    singles = [score(test.case, volume, mask=test.mask) for volume, _ in stacks.singles]
    return {
        name: _outcome(job, test, volume, None, {"seconds": seconds})
        for name, (volume, seconds) in rival_volumes(stacks, singles).items()
    }


def _outcome(
    job: Job, test: LoadedCase, estimate: Volume, uncertainty: Volume | None, cost: dict[str, Any]
) -> Outcome:
    """Score and draw a reconstruction."""
    scores = score(
        test.case,
        estimate,
        mask=test.mask,
        lesions=test.lesions,
        uncertainty=uncertainty,
        measures=job.measures,
    )
    row = {**cost, "scores": scores}
    if uncertainty is not None:
        row["calibration"] = calibration(test.case, estimate, uncertainty, test.mask)
    return Outcome(
        row=row,
        estimate=estimate,
        pictures=pictures(test.case, estimate, test.mask),
    )


def segment_kept(job: Job, estimate: Volume, segment: Segmenter) -> dict[str, float]:
    """Score the segmentation of a reconstruction that an earlier run kept.

    Parameters
    ----------
    job : Job
    estimate : Volume
        What the job's method made of the job's test.
    segment : callable
        How images are segmented.
    """
    test = load_case(job)
    return {} if test.case.planes is not None else _downstream(job, test, estimate, segment)


def _downstream(
    job: Job, test: LoadedCase, estimate: Volume, segment: Segmenter
) -> dict[str, float]:
    """Segment reconstruction and reference within the same mask, and compare."""
    case, mask, lesions = test.case, test.mask, test.lesions
    with_lesions = lesions is not None
    facts = [_fingerprint(job.path), job.mask and _fingerprint(job.mask), with_lesions]
    key = text_digest(json.dumps([*facts, _SEGMENTATION_VERSION]))[:12]
    reference = segment(case.truth, mask, with_lesions, f"{job.image}_{key}")
    segmented = segment(on_grid(case, estimate), mask, with_lesions, "")
    return downstream_scores(segmented, reference, lesions, mask & case.region)


def pictures(
    case: TestCase, estimate: Volume, mask: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[np.float16]]:
    """Cut example planes out of truth, slices and estimate.

    Returns
    -------
    dict of str to (rows, columns) float16 array
        In display order, intensities scaled by the reference's range in the mask: the two
        views across simulated slices, or a left-out slice.  ``estimate-0`` is the first
        plane of the estimate; ``spacings-0`` the size of its pixels, mm.
    """
    inside = mask & case.region
    truth = case.truth.data
    low, high = np.percentile(truth[inside], (0.1, 99.8))
    if abs(low) < 0.1 * abs(high):  # black is no signal, not the ringing below it
        low = 0.0
    parts = {"truth": truth, "estimate": case.at_truth(estimate.data)}
    axis = case.acquisition.slice_axis
    assert axis is not None
    views = [axis]
    if case.planes is None:
        views = [direction for direction in (1, 0, 2) if direction != axis]
        parts["slices"] = resample(case.lr, case.grid, kernel="nearest").data
    planes = {}
    spans = [
        np.nonzero(inside.any(axis=tuple({0, 1, 2} - {direction})))[0] for direction in range(3)
    ]
    for number, view in enumerate(views):
        # a little beside the middle, where a brain shows more than its fissure
        place = int(spans[view][int(_PLACE * spans[view].size)])
        keep = tuple(
            slice(
                max(0, int(spans[direction].min()) - _MARGIN),
                int(spans[direction].max()) + 1 + _MARGIN,
            )
            for direction in range(3)
            if direction != view
        )
        for name, data in parts.items():
            plane = np.take(data, place, axis=view)[keep]
            scaled = (plane.astype(np.float32) - low) / (high - low)
            planes[f"{name}-{number}"] = np.clip(scaled.T[::-1], -1, 3).astype(np.float16)
        spacings = np.delete(case.truth.spacings, view)[::-1]
        planes[f"spacings-{number}"] = spacings.astype(np.float16)
    return planes


def _peak_gpu_gb() -> float | None:
    import torch

    if not torch.cuda.is_available() or not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return None
    return float(torch.cuda.max_memory_allocated()) / 1e9


def _in_name(words: str) -> str:
    """Return words as a part of a file name."""
    return re.sub(r"[^\w.+-]+", "-", words).strip("-")


def _mask(path: Path | None, reference: Volume, case: TestCase) -> npt.NDArray[np.bool_] | None:
    if path is None:
        return None
    mask = Volume.load(path, dtype=np.int32).canonical()
    if not mask.same_grid(reference, tolerance_mm=0.1):
        raise InputDataError(
            f"{path}: found a mask of shape {mask.shape}; expected the grid of the image, "
            f"{reference.shape} with the same affine. Resample the mask."
        )
    data = mask.data > 0
    if case.planes is None:
        return data
    assert case.acquisition.slice_axis is not None
    axis = case.acquisition.slice_axis
    return np.take(data, 1 + 2 * np.arange(case.truth.shape[axis]), axis=axis)


def _files(parameters: Mapping[str, Any]) -> list[Path]:
    """Return the parameters that are paths of files, such as weights."""
    texts = [value for value in parameters.values() if isinstance(value, str)]
    return [Path(text) for text in texts if os.path.isfile(text)]  # noqa: PTH113, no error for any text


def _fingerprint(path: Path) -> str | None:
    """Return a digest of what a file holds: a copy is the same file, later or elsewhere."""
    return file_digest(path) if path.is_file() else None
