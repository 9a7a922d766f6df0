from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bids_sr.exceptions import AcquisitionError, InputDataError
from bids_sr.sr import Stack


def test_only_rigid_transforms_are_taken(planes: list[Stack]) -> None:
    with pytest.raises(InputDataError, match="rigid"):
        replace(planes[0], to_frame=np.diag([1.1, 1, 1, 1]))
    with pytest.raises(InputDataError, match="rigid"):
        replace(planes[0], to_frame=np.eye(3))


def test_there_is_a_weight_for_every_slice(planes: list[Stack]) -> None:
    with pytest.raises(InputDataError, match="2 slice weights"):
        replace(planes[0], slice_weights=np.ones(2))


def test_the_acquisition_is_that_of_the_slices(planes: list[Stack]) -> None:
    with pytest.raises(AcquisitionError):
        replace(planes[0], acquisition=replace(planes[0].acquisition, spacing=5.0))


def test_noise_scales_with_the_intensities(planes: list[Stack]) -> None:
    doubled = planes[0].scaled(np.full((1, 1, 1), 2.0), np.full((1, 1, 1), 2.0))
    assert doubled.noise == pytest.approx(2 * planes[0].noise)
    assert doubled.width == pytest.approx(2 * planes[0].width, rel=1e-4)
