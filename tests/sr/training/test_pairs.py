from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_sr.exceptions import ConfigError
from bids_sr.imaging import Acquisition, Volume
from bids_sr.sr.training.pairs import Pairs, PatchSize, Teacher
from bids_sr.sr.training.protocols import Protocols

QUIET = Protocols(noise=0.0)
SIZE = PatchSize(slices=4, width=16, batch=3)


@pytest.fixture(scope="module")
def teacher(reference: Volume) -> Teacher:
    scaled = (reference.data / reference.data.max()).astype(np.float32)
    return Teacher.of("one", scaled, reference.spacings)


def test_an_isotropic_image_is_cut_in_all_directions(teacher: Teacher) -> None:
    assert len(set(teacher.orders)) == 6
    assert teacher.voxel == pytest.approx(2)


def test_thick_slices_are_cut_in_plane_only(thick: Volume) -> None:
    teacher = Teacher.of("thick", thick.data, thick.spacings)
    assert set(teacher.orders) == {(2, 0, 1), (2, 1, 0)}


def test_slices_are_the_rows_seen_through_the_profile(teacher: Teacher) -> None:
    """Slices as thick as they are apart, a box: plain means of whole voxels."""
    pairs = Pairs([teacher], QUIET, SIZE, factor=4, seed=0, varied=False)
    lr, hr = pairs.draw(teacher, Acquisition(spacing=8, profile="rect"))
    assert lr.shape == (3, 1, 4, 16)
    assert hr.shape == (3, 16, 16)
    torch.testing.assert_close(lr[:, 0], hr.reshape(3, 4, 4, 16).mean(2), atol=1e-5, rtol=0)
    assert pairs.setting is not None
    assert hr[pairs.setting.judged].shape == (3, 8, 12)


def test_batches_differ_in_acquisition_and_are_the_same_for_a_seed(teacher: Teacher) -> None:
    def drawn() -> list[tuple[torch.Tensor, torch.Tensor]]:
        pairs = Pairs([teacher], Protocols(spacings=(4, 12)), SIZE, factor=8, seed=4)
        return [next(pairs) for _ in range(6)]

    first, second = drawn(), drawn()
    assert len({hr.shape[1] for _, hr in first}) > 1
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


def test_batches_hold_patches_of_several_images_but_of_one_acquisition(teacher: Teacher) -> None:
    dark, bright = (
        replace(teacher, name=name, data=np.full_like(teacher.data, value))
        for name, value in (("dark", 0.25), ("bright", 0.75))
    )
    size = PatchSize(slices=4, width=16, batch=16)
    _, hr = next(Pairs([dark, bright], QUIET, size, factor=8, seed=0, varied=False))
    assert {round(float(patch.mean()), 3) for patch in hr} == {0.25, 0.75}

    own = replace(bright, acquisition=Acquisition(spacing=8))
    pairs = Pairs([dark, own], QUIET, size, factor=8, seed=0, varied=False)
    means = [{round(float(patch.mean()), 3) for patch in next(pairs)[1]} for _ in range(12)]
    assert {0.25} in means
    assert {0.75} in means
    assert all(len(batch) == 1 for batch in means)


def test_planes_are_told_to_be_as_thick_as_they_are(teacher: Teacher, thick: Volume) -> None:
    """Some of the batches of an isotropic image are of planes as thick as the slices."""
    pairs = Pairs([teacher], Protocols(spacings=(8, 8)), SIZE, factor=8, seed=0)
    told = set()
    for _ in range(24):
        next(pairs)
        assert pairs.setting is not None
        told.add(float(pairs.setting.condition[5]) > 0)
    assert told == {False, True}

    stack = Teacher.of("thick", thick.data, thick.spacings)
    next(pairs := Pairs([stack], QUIET, SIZE, factor=8, seed=0))
    assert pairs.setting is not None
    planes = np.log2(thick.spacings[2] / stack.voxel) / 2
    assert float(pairs.setting.condition[5]) == pytest.approx(planes)


def test_thick_planes_are_averages_over_the_profile(teacher: Teacher) -> None:
    noise = np.random.default_rng(0).normal(size=(40, 40, 40)).astype(np.float32)
    noisy = Teacher.of("noise", noise, np.ones(3))
    pairs = Pairs([noisy], QUIET, PatchSize(batch=64), factor=8, seed=0, varied=False)
    box = Acquisition(spacing=4, thickness=4, profile="rect")
    _, thin = pairs.draw(noisy, box)
    _, averaged = pairs.draw(noisy, box, thick_planes=True)
    taps = box.slice_profile.kernel(1.0)
    assert float(averaged.std() / thin.std()) == pytest.approx((taps**2).sum() ** 0.5, rel=0.05)


def test_images_with_more_planes_are_drawn_more_often(teacher: Teacher) -> None:
    one_way = replace(teacher, data=np.zeros_like(teacher.data), orders=teacher.orders[:2])
    full = replace(teacher, data=np.ones_like(teacher.data))
    size = PatchSize(slices=4, width=16, batch=400)
    _, hr = next(Pairs([one_way, full], QUIET, size, factor=8, seed=0, varied=False))
    share = full.planes / (full.planes + one_way.planes)
    assert share > 0.7
    assert float(hr.mean()) == pytest.approx(share, abs=0.08)


def test_drawing_goes_on_where_it_stood(teacher: Teacher) -> None:
    pairs = Pairs([teacher], QUIET, SIZE, factor=8, seed=4)
    next(pairs)
    state = pairs.state_dict()
    expected = next(pairs)
    other = Pairs([teacher], QUIET, SIZE, factor=8, seed=5)
    other.load_state_dict(state)
    torch.testing.assert_close(next(other), expected, atol=0, rtol=0)


def test_noise_is_in_the_slices_only(teacher: Teacher) -> None:
    acquisition = Acquisition(spacing=8, profile="rect")
    noisy = Pairs([teacher], Protocols(noise=0.5), SIZE, factor=4, seed=0, varied=False)
    lr, hr = noisy.draw(teacher, acquisition)
    clean = hr.reshape(3, 4, 4, 16).mean(2)
    assert (lr[:, 0] - clean).std() > 0.01
    quiet = Pairs([teacher], QUIET, SIZE, factor=4, seed=0, varied=False)
    torch.testing.assert_close(quiet.draw(teacher, acquisition)[1], hr, atol=0, rtol=0)


def test_small_images_are_continued(thick: Volume) -> None:
    data = (thick.data / thick.data.max())[:20, :24].astype(np.float32)
    teacher = Teacher.of("small", data, thick.spacings, Acquisition(spacing=8, thickness=6))
    pairs = Pairs([teacher], QUIET, PatchSize(), factor=4, seed=0)
    lr, hr = next(pairs)
    assert lr.shape == (16, 1, 5, 20)
    assert torch.isfinite(lr).all()
    assert hr.shape[1] == 20


@pytest.mark.parametrize("wrong", [{"slices": 3}, {"width": 7}, {"batch": 0}])
def test_impossible_sizes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PatchSize(**wrong)
