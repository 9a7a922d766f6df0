"""Calibration: whether errors are as large as a method says, where it says so.

Voxels are grouped by the stated half-width of their interval; in each group the error that
90 % of the voxels stay below should be that half-width.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bids_sr.evaluation.metrics import peak_range
from bids_sr.evaluation.protocol import TestCase
from bids_sr.evaluation.scoring import on_grid
from bids_sr.imaging import Volume
from bids_sr.records.uncertainty import COVERAGE, COVERAGE_FACTOR

GROUPS = 10


def calibration(
    case: TestCase, estimate: Volume, uncertainty: Volume, mask: npt.NDArray[np.bool_]
) -> list[list[float]]:
    """Return stated half-widths and errors in ten groups of equally many voxels.

    Parameters
    ----------
    case : TestCase
    estimate : Volume
        The reconstruction.
    uncertainty : Volume
        What its method states, on the grid of the case.
    mask : (X, Y, Z) bool array
        On the grid of ``case.truth``.

    Returns
    -------
    list of [stated, found]
        Median half-width of the interval in a group, and the quantile of the absolute errors that
        it should be; percent of the range of the reference in the mask.
    """
    inside = mask & case.region
    truth = case.truth.data
    percent = 100 / peak_range(truth, inside)
    errors = np.abs(case.at_truth(on_grid(case, estimate).data)[inside] - truth[inside])
    stated = COVERAGE_FACTOR * case.at_truth(uncertainty.data)[inside]
    order = np.argsort(stated, kind="stable")
    return [
        [
            round(percent * float(np.median(stated[group])), 4),
            round(percent * float(np.quantile(errors[group], COVERAGE)), 4),
        ]
        for group in np.array_split(order, GROUPS)
        if group.size
    ]
