"""Hyperintensities: put into a brain of known tissues, and found again."""

from __future__ import annotations

import numpy as np
import pytest

from bids_sr.engines.segmentation import wmh
from bids_sr.engines.segmentation.tissue_priors import TissuePriors
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume

GREY, WHITE, SD = 100.0, 80.0, 6.0
Tissues = tuple[Volume, TissuePriors]


def ball(volume: Volume, centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """Mark what is within `radius` (mm) of a place in MNI coordinates."""
    index = np.indices(volume.shape).reshape(3, -1)
    world = volume.affine[:3, :3] @ index + volume.affine[:3, 3:]
    distance = np.linalg.norm(world - np.asarray(centre)[:, None], axis=0)
    return (distance < radius).reshape(volume.shape)


@pytest.fixture
def flair(tissues: Tissues) -> Volume:
    mask, priors = tissues
    noise = np.random.default_rng(5).normal(0, SD, mask.shape)
    values = 20 * priors.csf + GREY * priors.grey + WHITE * priors.white + noise
    return mask.with_data(np.where(mask.data > 0, values, 0).astype(np.float32))


def find(flair: Volume, tissues: Tissues, **rules: float) -> tuple[np.ndarray, dict]:
    return wmh.find_hyperintensities(flair, tissues[0], tissues[1], wmh.Rules(**rules))


def test_a_lesion_in_white_matter_is_found_in_its_extent(flair: Volume, tissues: Tissues) -> None:
    lesion = ball(flair, (27, -15, 30), 8)
    assert tissues[1].white[lesion].mean() > 0.8
    data = np.where(lesion, GREY + 6 * SD, flair.data)
    detected, record = find(flair.with_data(data.astype(np.float32)), tissues)
    overlap = 2 * np.count_nonzero(detected & lesion) / (detected.sum() + lesion.sum())
    assert overlap > 0.9
    assert record["Count"] == 1
    assert record["VolumeMl"] == pytest.approx(detected.sum() * 64 / 1000)


def test_grey_matter_is_measured_though_lesions_are_in_it(flair: Volume, tissues: Tissues) -> None:
    data = flair.data.copy()
    data[ball(flair, (0, -70, 10), 14)] = GREY + 8 * SD
    _, record = find(flair.with_data(data), tissues)
    assert record["GreyMatterMean"] == pytest.approx(GREY - 4, abs=5)  # partial volume is darker
    assert record["GreyMatterSD"] == pytest.approx(SD, rel=0.5)


@pytest.mark.parametrize(
    ("place", "radius", "excess"),
    [
        ((0, -85, 5), 7, 6),  # cortex
        ((27, -15, 30), 8, 1.8),  # faint: nowhere far above grey matter
        ((27, -15, 30), 3.0, 8),  # too small with the rule below
    ],
)
def test_what_breaks_a_rule_is_no_lesion(
    flair: Volume,
    tissues: Tissues,
    place: tuple[float, float, float],
    radius: float,
    excess: float,
) -> None:
    spot = ball(flair, place, radius)
    assert spot.any()
    data = np.where(spot, GREY + excess * SD, flair.data).astype(np.float32)
    detected, _ = find(flair.with_data(data), tissues, least_volume=150.0)
    assert np.count_nonzero(detected & spot) == 0


def test_no_lesion_is_an_answer(flair: Volume, tissues: Tissues) -> None:
    detected, record = find(flair, tissues, least_volume=150.0)
    assert not detected.any()
    assert (record["Count"], record["VolumeMl"]) == (0, 0.0)


def test_intensity_scale_does_not_matter(flair: Volume, tissues: Tissues) -> None:
    lesion = ball(flair, (-27, -15, 30), 7)
    data = np.where(lesion, GREY + 5 * SD, flair.data).astype(np.float32)
    first, _ = find(flair.with_data(data), tissues)
    second, _ = find(flair.with_data(data * 0.013), tissues)
    np.testing.assert_array_equal(first, second)


def test_the_statistics_are_those_of_the_peak() -> None:
    draw = np.random.default_rng(0)
    peak, outliers = draw.normal(90, 7, 200_000), draw.uniform(0, 220, 20_000)
    mean, spread = wmh.grey_statistics(np.concatenate([peak, outliers]))
    assert mean == pytest.approx(90, abs=1.5)
    assert spread == pytest.approx(7, rel=0.12)


@pytest.mark.parametrize("values", [np.zeros(0), np.ones(5000), np.arange(10.0)])
def test_too_little_grey_matter_is_refused(values: np.ndarray) -> None:
    with pytest.raises(EngineError, match="voxels of grey matter"):
        wmh.grey_statistics(values)
