from __future__ import annotations

import numpy as np
import pytest

from bids_sr.evaluation import Protocol, make_case
from bids_sr.evaluation.calibration import GROUPS, calibration
from bids_sr.imaging import Volume
from bids_sr.records.uncertainty import COVERAGE_FACTOR


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_errors_are_as_large_as_stated_or_smaller(mni152_2mm: Volume, factor: float) -> None:
    """Normal errors of a known, varying size lie on the line; half of a size, below it."""
    head = Volume(1000 * mni152_2mm.data[24:68, 28:84, 24:66], mni152_2mm.affine)
    case = make_case(head, Protocol(name="7/8"))
    mask = head.data > 200
    random = np.random.default_rng(0)
    size = random.uniform(5, 50, head.shape).astype(np.float32)
    estimate = head.with_data(head.data + size * random.normal(size=head.shape).astype(np.float32))
    points = np.array(calibration(case, estimate, head.with_data(factor * size), mask))
    assert points.shape == (GROUPS, 2)
    assert (np.diff(points[:, 0]) > 0).all()
    np.testing.assert_allclose(points[:, 0], factor * points[:, 1], rtol=0.08)
    width = COVERAGE_FACTOR * factor * 5 * 100 / float(np.ptp(head.data[mask & case.region]))
    assert points[0, 0] == pytest.approx(1.45 * width, rel=0.1)  # median of the lowest tenth
