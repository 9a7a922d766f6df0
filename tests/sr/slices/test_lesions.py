from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from bids_sr.imaging import Acquisition, Volume
from bids_sr.imaging.degrade import degrade
from bids_sr.sr.slices.lesions import lesions_tsv, measure_lesions

SHAPE = (40, 44, 60)
ACQUISITION = Acquisition(thickness=5.0, spacing=6.0, slice_axis=2)


def ball(centre: tuple[int, int, int], radius: float) -> npt.NDArray[np.bool_]:
    grids = np.ogrid[tuple(slice(0, size) for size in SHAPE)]
    squares = ((axis - place) ** 2 for axis, place in zip(grids, centre, strict=True))  # mm2
    return np.asarray(sum(squares) <= radius**2)


@pytest.fixture
def tissue() -> npt.NDArray[np.float32]:
    return np.full(SHAPE, 100, np.float32)


def slices_of(data: npt.NDArray[np.float32], noise: float = 0.01) -> Volume:
    return degrade(Volume(data, np.eye(4)), ACQUISITION, noise_fraction=noise)


def test_a_lesion_of_the_slices_rests_on_them_and_one_of_the_result_does_not(
    tissue: npt.NDArray[np.float32],
) -> None:
    seen, invented = ball((12, 12, 20), 5), ball((28, 30, 40), 3)
    acquired = tissue + 60 * seen
    result = acquired + 60 * invented
    lesions = measure_lesions(
        seen | invented, Volume(result, np.eye(4)), slices_of(acquired), ACQUISITION
    )
    assert [lesion.measured for lesion in lesions] == [True, False]
    true, false = lesions
    assert true.volume_mm3 == np.count_nonzero(seen)
    assert true.centre_mm == pytest.approx((12, 12, 20), abs=0.1)
    assert true.slice_number == 3  # centre at 20 mm; slice 3 is centred on 20.5 mm
    assert true.contrast_result == pytest.approx(60, abs=1)
    assert true.measured_share == pytest.approx(1, abs=0.1)
    assert 20 < true.contrast_acquired < 60
    assert abs(false.contrast_acquired) < 2
    assert false.measured_share == pytest.approx(0, abs=0.1)


def test_a_faint_lesion_in_noisy_slices_does_not_rest_on_them(
    tissue: npt.NDArray[np.float32],
) -> None:
    small = ball((20, 20, 30), 1.5)
    acquired = tissue + 3 * small
    noisy = slices_of(acquired, noise=0.1)
    (lesion,) = measure_lesions(small, Volume(acquired, np.eye(4)), noisy, ACQUISITION)
    assert not lesion.measured


def test_dark_lesions_are_lesions_too(tissue: npt.NDArray[np.float32]) -> None:
    dark = ball((20, 20, 30), 4)
    acquired = tissue - 50 * dark
    result = Volume(acquired, np.eye(4))
    (lesion,) = measure_lesions(dark, result, slices_of(acquired), ACQUISITION)
    assert lesion.contrast_result < 0
    assert lesion.measured


def test_no_lesions_give_a_table_of_its_header(tissue: npt.NDArray[np.float32]) -> None:
    none = np.zeros(SHAPE, bool)
    result = Volume(tissue, np.eye(4))
    lesions = measure_lesions(none, result, slices_of(tissue), ACQUISITION)
    assert lesions == []
    assert lesions_tsv(lesions).startswith("index\tvolume_mm3\t")
    assert lesions_tsv(lesions).count("\n") == 1


def test_the_table_says_what_each_rests_on(tissue: npt.NDArray[np.float32]) -> None:
    seen = ball((12, 12, 20), 5)
    acquired = tissue + 60 * seen
    lesions = measure_lesions(seen, Volume(acquired, np.eye(4)), slices_of(acquired), ACQUISITION)
    header, row = lesions_tsv(lesions).splitlines()
    values = dict(zip(header.split("\t"), row.split("\t"), strict=True))
    assert values["rests_on"] == "measurement"
    assert values["slice"] == "3"


def test_a_lesion_that_fills_the_image_has_no_surroundings() -> None:
    data = np.full(SHAPE, 100, np.float32)
    everything = np.ones(SHAPE, bool)
    result = Volume(data, np.eye(4))
    (lesion,) = measure_lesions(everything, result, slices_of(data), ACQUISITION)
    assert np.isnan(lesion.contrast_result)
    assert not lesion.measured
