from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Acquisition, Volume, degrade
from bids_sr.sr.learning.triplet_pairs import FineImage, TripletPairs, fine_volume

ACQUISITION = Acquisition(spacing=6.0, thickness=5.0)


def pairs(data: np.ndarray, **more: int) -> TripletPairs:
    image = FineImage.of("one", data.astype(np.float32), seed=0)
    settings = {"slices": 4, "batch": 3, "seed": 0, **more}
    return TripletPairs([image], ACQUISITION, spacing=1.0, **settings)  # type: ignore[arg-type]


def test_shapes() -> None:
    drawn = pairs(np.random.default_rng(0).random((40, 50, 60)) + 0.1)
    lr, hr = next(drawn)
    assert lr.shape == (3, 3, 4, 24)
    assert hr.shape == (3, 3, 24, 24)
    torch.testing.assert_close(lr.mean(), hr.mean(), rtol=0.05, atol=0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_thick_slices_are_those_of_the_forward_model(axis: int) -> None:
    """An image that changes along one axis only shows which axis was thick."""
    profile = np.random.default_rng(1).random(72) + 0.1
    data = np.broadcast_to(
        profile.reshape([-1 if actual == axis else 1 for actual in range(3)]), (72, 72, 72)
    )
    thick = degrade(
        Volume(data.astype(np.float32), np.eye(4)),
        Acquisition(spacing=6.0, thickness=5.0, slice_axis=axis),
    )
    known = thick.data.mean(axis=tuple(actual for actual in range(3) if actual != axis))
    drawn = pairs(data, slices=4, batch=8)
    seen = 0
    for _ in range(12):
        lr, hr = next(drawn)
        across = (hr[:, 1].std(dim=1) > 1e-3).all() and hr[:, 1].std(dim=2).max() < 1e-5
        if not across:
            continue
        for low, high in zip(lr[:, 1], hr[:, 1], strict=True):
            first = int(np.abs(profile[None, :49] - float(high[0, 0])).argmin())
            if first % 6 == 0 and 0 < first < 48:
                np.testing.assert_allclose(low[:, 0], known[first // 6 :][:4], rtol=1e-4)
                seen += 1
    assert seen


def test_channels_are_neighbours_and_all_orientations_come() -> None:
    places = np.stack(np.meshgrid(*[np.arange(48)] * 3, indexing="ij"))
    data = 1.0 + places[0] + 100 * places[1] + 10_000 * places[2]
    drawn = pairs(data, batch=1)
    seen = set()
    for _ in range(60):
        _, hr = next(drawn)
        steps = [hr[0, 1, 0, 0] - hr[0, 0, 0, 0], hr[0, 0, 1, 0] - hr[0, 0, 0, 0]]
        steps.append(hr[0, 0, 0, 1] - hr[0, 0, 0, 0])
        stack, rows, columns = (round(np.log10(float(step)) / 2) for step in steps)
        assert drawn.upright == (rows < columns)
        seen.add((stack, rows, columns))
    assert len(seen) == 6


def test_small_images_are_continued() -> None:
    lr, hr = next(pairs(np.full((10, 9, 12), 0.5)))
    torch.testing.assert_close(lr, torch.full_like(lr, 0.5))
    torch.testing.assert_close(hr, torch.full_like(hr, 0.5))


def test_patches_lie_where_there_is_something() -> None:
    data = np.zeros((90, 90, 90))
    data[60:, 60:, 60:] = 1
    drawn = pairs(data, batch=20)
    _, hr = next(drawn)
    assert (hr.amax(dim=(1, 2, 3)) > 0).all()
    with pytest.raises(InputDataError, match="only background in the images"):
        pairs(np.zeros((20, 20, 20)))


def test_drawing_goes_on_from_its_state() -> None:
    data = np.random.default_rng(0).random((40, 40, 40)) + 0.1
    first, second = pairs(data), pairs(data, seed=5)
    next(first)
    second.load_state_dict(first.state_dict())
    for expected, actual in zip(next(first), next(second), strict=True):
        torch.testing.assert_close(expected, actual, rtol=0, atol=0)


def test_images_are_brought_to_the_training_s_voxels() -> None:
    data = np.random.default_rng(0).random((20, 24, 22), np.float32)
    volume = Volume(data * 300, np.diag([-0.8, 0.9, 1.0, 1]))
    fine = fine_volume(volume, 1.0)
    np.testing.assert_allclose(fine.spacings, 1.0, atol=0.05)
    assert np.diag(fine.affine)[0] > 0
    assert np.percentile(fine.data, 99.5) == pytest.approx(0.8, abs=0.01)
    with pytest.raises(InputDataError, match="thick slices cannot teach"):
        fine_volume(Volume(data, np.diag([1.0, 1, 3, 1])), 1.0)
    with pytest.raises(InputDataError, match=r"99\.5th percentile"):
        fine_volume(Volume(np.zeros((9, 9, 9), np.float32), np.eye(4)), 1.0)
