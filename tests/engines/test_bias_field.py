from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bids_sr.engines import bias_field
from bids_sr.engines.bias_field import n4, shrink_factors
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest) -> tuple[Volume, np.ndarray]:
    """Return a 6 mm stack of the template under a known field of a factor of two."""
    template = request.getfixturevalue("mni152_2mm")
    thick = template.data[:, :, 18:72].reshape(*template.shape[:2], 18, 3).mean(-1)
    affine = template.affine @ np.diag([1.0, 1.0, 3.0, 1.0])
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in thick.shape), indexing="ij")
    field = np.exp(0.35 * x + 0.2 * y**2).astype(np.float32)
    return Volume((thick * field).astype(np.float32), affine), field


def test_field_is_found(case: tuple[Volume, np.ndarray]) -> None:
    volume, field = case
    corrected, _, record = n4(volume)
    inside = volume.data > 0.3 * np.percentile(volume.data, 99)
    ratio = volume.data[inside] / corrected.data[inside] / field[inside]
    before = np.std(field[inside]) / np.mean(field[inside])
    assert np.std(ratio) / np.mean(ratio) < 0.5 * before
    assert record["Status"] == "corrected"
    low, high = record["FieldRange"]
    assert low < 0.97 < 1.03 < high
    assert record["ShrinkFactors"] == [3, 3, 1]
    np.testing.assert_array_equal(corrected.affine, volume.affine)
    assert corrected.data.dtype == np.float32


def test_the_field_of_a_tilted_stack_is_found(case: tuple[Volume, np.ndarray]) -> None:
    volume, field = case
    affine = volume.affine.copy()
    affine[1, 2] += 2.2  # 20 degrees
    corrected, _, record = n4(Volume(volume.data, affine), sloppy=True)
    inside = volume.data > 0.3 * np.percentile(volume.data, 99)
    ratio = volume.data[inside] / corrected.data[inside] / field[inside]
    assert np.std(ratio) / np.mean(ratio) < np.std(field[inside]) / np.mean(field[inside])
    assert record["Status"] == "corrected"
    np.testing.assert_array_equal(corrected.affine, affine)


def test_mean_within_the_mask_is_kept(case: tuple[Volume, np.ndarray]) -> None:
    volume, _ = case
    mask = volume.with_data((volume.data > 0.3 * volume.data.max()).astype(np.uint8))
    corrected, _, record = n4(volume, mask=mask, sloppy=True)
    inside = mask.data > 0
    assert corrected.data[inside].mean() == pytest.approx(volume.data[inside].mean(), rel=1e-4)
    assert record["Mask"] == "given"
    assert record["Iterations"] == [5, 5]


def test_repeats_exactly(case: tuple[Volume, np.ndarray]) -> None:
    # A mask of the wrong voxel type once made N4 read foreign memory.
    volume, _ = case
    first = n4(volume, sloppy=True).volume
    second = n4(volume, sloppy=True).volume
    np.testing.assert_array_equal(first.data, second.data)


def test_two_slices(case: tuple[Volume, np.ndarray]) -> None:
    volume, _ = case
    thin = Volume(volume.data[:, :, 8:10], volume.affine)
    record = n4(thin, sloppy=True).record
    assert record["Status"] == "corrected"
    assert record["ShrinkFactors"][2] == 1


def test_field_that_is_never_found(
    case: tuple[Volume, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, _ = case
    tried = []

    def flat(ants: Any, image: Volume, inside: Any, factors: Any, iterations: Any) -> np.ndarray:
        tried.append(factors)
        return np.ones((3, 3, 3))

    monkeypatch.setattr(bias_field, "_coarse_field", flat)
    corrected, _, record = n4(volume)
    assert record["Status"] == "unchanged"
    assert record["FieldRange"] == [1.0, 1.0]
    assert tried == [(3, 3, 1), (1, 1, 1)]
    np.testing.assert_array_equal(corrected.data, volume.data)


@pytest.mark.parametrize("bad", [np.nan, 0.0, -1.0])
def test_impossible_field_is_tried_again(
    case: tuple[Volume, np.ndarray], monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    volume, _ = case
    real = bias_field._coarse_field
    count = []

    def once(*arguments: Any) -> np.ndarray:
        field = real(*arguments[:4], (1,))
        if not count:
            field[0, 0, 0] = bad
        count.append(1)
        return field

    monkeypatch.setattr(bias_field, "_coarse_field", once)
    record = n4(volume, sloppy=True).record
    assert record["Status"] == "corrected"
    assert record["ShrinkFactors"] == [1, 1, 1]


def test_mask_of_another_grid(case: tuple[Volume, np.ndarray]) -> None:
    volume, _ = case
    other = Volume(np.ones((4, 4, 4), np.uint8), np.eye(4))
    with pytest.raises(EngineError, match="on another grid"):
        n4(volume, mask=other)


def test_empty_mask(case: tuple[Volume, np.ndarray]) -> None:
    volume, _ = case
    with pytest.raises(EngineError, match="no positive voxel"):
        n4(volume, mask=volume.with_data(np.zeros(volume.shape, np.uint8)))


@pytest.mark.parametrize(
    ("shape", "spacings", "expected"),
    [
        ((320, 320, 48), (0.72, 0.72, 3.0), (8, 8, 2)),
        ((256, 256, 256), (1.0, 1.0, 1.0), (6, 6, 6)),
        ((35, 256, 256), (4.8, 1.0, 1.0), (1, 6, 6)),
        ((64, 64, 12), (1.0, 1.0, 1.0), (6, 6, 1)),
    ],
)
def test_factors(
    shape: tuple[int, ...], spacings: tuple[float, ...], expected: tuple[int, ...]
) -> None:
    volume = Volume(np.zeros(shape, np.uint8), np.diag([*spacings, 1.0]))
    assert shrink_factors(volume) == expected


def test_block_means_and_their_place() -> None:
    data = np.arange(7.0)[:, None, None] * np.ones((1, 4, 3))
    coarse = bias_field._block_mean(data, (3, 2, 1))
    np.testing.assert_allclose(coarse[:, 0, 0], [1, 4, 6])
    # A field linear in its logarithm comes back exactly between the first and last cell.
    field = np.exp(0.1 * bias_field._block_mean(np.arange(12.0)[:, None, None], (3, 1, 1)))
    fine = bias_field._evaluate(field, (3, 1, 1), (12, 1, 1))
    np.testing.assert_allclose(np.log(fine[1:11, 0, 0]), 0.1 * np.arange(1, 11), rtol=1e-4)
