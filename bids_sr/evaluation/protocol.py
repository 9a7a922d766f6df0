"""The protocol: degrade a reference, reconstruct it with several methods, score each.

What was acquired finely is made thick by the forward model, so the truth is known.
Everything is scored on the reference's own grid, within a mask, where slices lie.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_sr.evaluation.metrics import psnr, ssim
from bids_sr.imaging import Acquisition, Grid, Volume, axis_coordinates, degrade, resample

LOGGER = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called with the step, the number of steps and what is going on."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """Hold how one method did on one image: a row of the result table."""

    image: str
    """Name of the reference."""
    method: str
    """Name of the method."""
    spacing: float
    """Slice spacing of the simulated acquisition, mm."""
    thickness: float
    """Slice thickness of the simulated acquisition, mm."""
    profile: str
    """Name of the slice profile."""
    psnr_db: float
    """Peak signal-to-noise ratio within the mask, dB."""
    ssim: float
    """Structural similarity within the mask."""
    seconds: float
    """Wall time of the reconstruction, s."""


def evaluate(
    reference: Volume,
    acquisition: Acquisition,
    methods: Mapping[str, Mapping[str, Any]],
    *,
    mask: npt.NDArray[np.bool_],
    image: str = "reference",
    progress: Progress | None = None,
) -> list[Score]:
    """Simulate an acquisition of a reference and score reconstructions of it.

    Parameters
    ----------
    reference : Volume
        The fine image.
    acquisition : Acquisition
        How its slices would have been taken.
    methods : mapping
        Name of a method (:data:`bids_sr.sr.METHODS`) to its parameters.
    mask : (X, Y, Z) bool array
        Where to score, on the reference's grid: the brain.
    image : str
        Name of the reference in the rows.
    progress : callable, optional
        Told about each reconstruction's steps.

    Returns
    -------
    list of Score
        One a method, in the order given.
    """
    from bids_sr.sr import reconstruct

    lr = degrade(reference, acquisition)
    acquisition = acquisition.for_volume(lr)
    scores = []
    for method, parameters in methods.items():
        start = time.perf_counter()
        made = reconstruct(
            lr,
            acquisition,
            method=method,
            grid=reference.grid,
            parameters=parameters,
            progress=progress,
        )
        seconds = time.perf_counter() - start
        quality = compare(made.volume, reference, mask & covered(reference.grid, lr.grid))
        LOGGER.info("%s, %s: %.2f dB, SSIM %.4f", image, method, *quality)
        scores.append(
            Score(
                image=image,
                method=method,
                spacing=acquisition.spacing,
                thickness=acquisition.nominal_thickness,
                profile=acquisition.slice_profile.name,
                psnr_db=quality[0],
                ssim=quality[1],
                seconds=seconds,
            )
        )
    return scores


def compare(
    estimate: Volume, reference: Volume, mask: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """Return PSNR (dB) and SSIM of an estimate within a mask on the reference's grid.

    An estimate on another grid is brought to the reference's by cubic B-splines first.
    """
    if not estimate.same_grid(reference):
        estimate = resample(estimate.oriented_like(reference), reference.grid)
    return psnr(estimate.data, reference.data, mask), ssim(estimate.data, reference.data, mask)


def covered(fine: Grid, acquired: Grid) -> npt.NDArray[np.bool_]:
    """Mark the voxels of a fine grid whose centres lie in the acquired field of view.

    Returns
    -------
    (X, Y, Z) bool array
    """
    inside = np.ones(fine.shape, dtype=bool)
    for axis in range(3):
        index = axis_coordinates(acquired, fine, axis)
        within = (index >= -0.5) & (index <= acquired.shape[axis] - 0.5)
        inside &= np.expand_dims(within, [other for other in range(3) if other != axis])
    return inside


def write_scores(scores: Iterable[Score], path: Path) -> Path:
    """Write a tab-separated table with one row a score, in the order of the fields."""
    rows = ["\t".join(column.name for column in fields(Score))]
    rows += [
        "\t".join(f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row)
        for row in (asdict(score).values() for score in scores)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path
