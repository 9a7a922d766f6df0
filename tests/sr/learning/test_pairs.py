from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_sr.exceptions import ConfigError
from bids_sr.imaging import Acquisition, Volume
from bids_sr.sr.learning.noise import smoothed_in_plane
from bids_sr.sr.learning.pairs import Pairs, PatchSize, Rows, Slices
from bids_sr.sr.learning.plans import PlanTable
from bids_sr.sr.learning.protocols import Protocols
from bids_sr.sr.learning.training_volumes import TrainingVolume
from bids_sr.sr.networks.backbone import condition_of

QUIET = Protocols(noise_fraction=0.0)
SIZE = PatchSize(slices=4, width=16, batch=3)


@pytest.fixture(scope="module")
def volume(reference: Volume) -> TrainingVolume:
    scaled = (reference.data / reference.data.max()).astype(np.float32)
    return TrainingVolume.of("one", scaled, reference.spacings)


def test_an_isotropic_image_is_cut_in_all_directions(volume: TrainingVolume) -> None:
    assert len(set(volume.orders)) == 6
    assert volume.voxel == pytest.approx(2)


def test_thick_slices_are_cut_in_plane_only(thick: Volume) -> None:
    volume = TrainingVolume.of("thick", thick.data, thick.spacings)
    assert set(volume.orders) == {(2, 0, 1), (2, 1, 0)}


def test_slices_are_the_rows_seen_through_the_profile(volume: TrainingVolume) -> None:
    """Slices as thick as they are apart, a box: plain means of whole voxels."""
    pairs = Pairs([volume], QUIET, SIZE, factor=4, seed=0, varied=False)
    slices, rows = pairs.draw(volume, Acquisition(spacing=8, thickness=8, profile="rect"))
    assert slices.lr.shape == (3, 1, 4, 16)
    assert rows.hr.shape == (3, 16, 16)
    means = rows.hr.reshape(3, 4, 4, 16).mean(2)
    torch.testing.assert_close(slices.lr[:, 0], means, atol=1e-5, rtol=0)
    in_loss = rows.weights > 0
    assert in_loss[:, 4:-4, 2:-2].all()
    assert int(in_loss.sum()) == 3 * 8 * 12
    assert rows.weights.sum((1, 2)).tolist() == pytest.approx([1, 1, 1])


def test_neighbouring_planes_are_cut_together(volume: TrainingVolume, thick: Volume) -> None:
    """Of images with thin ones: each is what it is by itself, and next to its like."""
    size = PatchSize(slices=4, width=16, batch=3, planes=7, volume_batch=2)
    box = Acquisition(spacing=8, thickness=8, profile="rect")
    ramps = np.stack(np.meshgrid(*[np.arange(40.0)] * 3, indexing="ij")) / 40
    for orders in ((0, 1, 2), (2, 0, 1)):
        image = ramps[orders[0]].astype(np.float32)  # differs from plane to plane alone
        cut = TrainingVolume.of("ramp", image, np.full(3, 2.0), orders=(orders,))
        pairs = Pairs([cut], QUIET, size, factor=4, seed=0, varied=False)
        slices, rows = pairs.draw(cut, box)
        assert slices.lr.shape == (2, 1, 7, 4, 16)
        assert rows.hr.shape == (2, 7, 16, 16)
        steps = rows.hr.diff(dim=1).abs()
        torch.testing.assert_close(steps, torch.full_like(steps, 1 / 40))
    pairs = Pairs([volume], QUIET, size, factor=4, seed=0, varied=False)
    slices, rows = pairs.draw(volume, box)
    means = rows.hr.reshape(2, 7, 4, 4, 16).mean(3)
    torch.testing.assert_close(slices.lr[:, 0], means, atol=1e-5, rtol=0)
    assert int((rows.weights > 0).sum()) == 2 * 3 * 8 * 12
    assert rows.weights.sum((1, 2, 3)).tolist() == pytest.approx([1, 1])
    assert slices.cubic().shape == rows.hr.shape

    stack = TrainingVolume.of("thick", thick.data, thick.spacings)
    slices, _ = next(Pairs([stack], QUIET, size, factor=8, seed=0))
    assert slices.lr.shape[:2] == (3, 1)
    assert slices.lr.ndim == 4


def test_patches_differ_in_acquisition_and_are_the_same_for_a_seed(volume: TrainingVolume) -> None:
    def drawn() -> tuple[Slices, Rows]:
        size = PatchSize(slices=4, width=16, batch=8)
        return next(Pairs([volume], Protocols(spacings=(4, 12)), size, factor=8, seed=4))

    first, second = drawn(), drawn()
    lengths = first[1].weights.any(2).sum(1)
    assert len(set(lengths.tolist())) > 4
    assert len({tuple(condition.tolist()) for condition in first[0].conditions}) == 8
    torch.testing.assert_close(first, second, atol=0, rtol=0)


def test_a_batch_is_what_its_patches_are_one_by_one(volume: TrainingVolume) -> None:
    """Rows beyond those of a patch neither count nor change anything."""
    pairs = Pairs([volume], QUIET, SIZE, factor=8, seed=0)
    slices, rows = next(pairs)
    upsampled = slices.cubic()
    for patch in range(3):
        length = int(rows.weights[patch].any(1).nonzero().max()) + 1
        alone = slices.skip[patch, :length] @ slices.lr[patch, 0]
        torch.testing.assert_close(upsampled[patch, :length], alone)
    beyond = ~slices.skip.any(2)
    assert beyond.any()
    assert not rows.hr[beyond].any()
    assert not rows.weights[beyond].any()
    assert not slices.phases[beyond].any()
    shifted = upsampled + 0.25
    exact = Rows(upsampled, rows.weights)
    assert float(exact.absolute_error(shifted)) == pytest.approx(0.25, abs=1e-5)
    assert float(exact.squared_error(shifted)) == pytest.approx(0.0625, abs=1e-5)


def test_batches_hold_patches_of_several_images(volume: TrainingVolume) -> None:
    dark, bright = (
        replace(volume, name=name, data=np.full_like(volume.data, value))
        for name, value in (("dark", 0.25), ("bright", 0.75))
    )
    size = PatchSize(slices=4, width=16, batch=16)

    def seen(volumes: list[TrainingVolume]) -> set[tuple[float, float]]:
        pairs = Pairs(volumes, QUIET, size, factor=8, seed=0, varied=False)
        slices, rows = next(pairs)
        means = (rows.hr * rows.weights).sum((1, 2))
        return {
            (round(float(mean), 3), round(float(condition[0]), 3))
            for mean, condition in zip(means, slices.conditions, strict=True)
        }

    assert {mean for mean, _ in seen([dark, bright])} == {0.25, 0.75}
    of_its_own = replace(bright, acquisition=Acquisition(spacing=8))
    scales = {scale for mean, scale in seen([dark, of_its_own]) if mean == 0.75}
    assert scales == {0.0}  # log2 of 4 voxels, less 2


def test_planes_are_told_to_be_as_thick_as_they_are(volume: TrainingVolume, thick: Volume) -> None:
    """Some of the patches of an isotropic image are of planes as thick as the slices."""
    size = PatchSize(slices=4, width=16, batch=24)
    slices, _ = next(Pairs([volume], Protocols(spacings=(8, 8)), size, factor=8, seed=0))
    assert {bool(is_thick) for is_thick in slices.conditions[:, 5] > 0} == {False, True}

    stack = TrainingVolume.of("thick", thick.data, thick.spacings)
    slices, _ = next(Pairs([stack], QUIET, SIZE, factor=8, seed=0))
    planes = np.log2(thick.spacings[2] / stack.voxel) / 2
    assert slices.conditions[:, 5].tolist() == pytest.approx([planes] * 3)


def test_thick_planes_are_averages_over_the_profile(volume: TrainingVolume) -> None:
    noise = np.random.default_rng(0).normal(size=(40, 40, 40)).astype(np.float32)
    noisy = TrainingVolume.of("noise", noise, np.ones(3))
    pairs = Pairs([noisy], QUIET, PatchSize(batch=64), factor=8, seed=0, varied=False)
    box = Acquisition(spacing=4, thickness=4, profile="rect")
    _, thin = pairs.draw(noisy, box)
    _, averaged = pairs.draw(noisy, box, averaged=True)
    taps = box.slice_profile.kernel(1.0)
    ratio = float(averaged.hr.std() / thin.hr.std())
    assert ratio == pytest.approx((taps**2).sum() ** 0.5, rel=0.05)


def test_images_with_more_planes_are_drawn_more_often(volume: TrainingVolume) -> None:
    one_way = replace(volume, data=np.zeros_like(volume.data), orders=volume.orders[:2])
    full = replace(volume, data=np.ones_like(volume.data))
    size = PatchSize(slices=4, width=16, batch=400)
    _, rows = next(Pairs([one_way, full], QUIET, size, factor=8, seed=0, varied=False))
    share = full.planes / (full.planes + one_way.planes)
    assert share > 0.7
    mean = float((rows.hr * rows.weights).sum() / 400)
    assert mean == pytest.approx(share, abs=0.08)


def test_drawing_goes_on_where_it_stood(volume: TrainingVolume) -> None:
    pairs = Pairs([volume], QUIET, SIZE, factor=8, seed=4)
    next(pairs)
    state = pairs.state_dict()
    expected = next(pairs)
    other = Pairs([volume], QUIET, SIZE, factor=8, seed=4)
    other.load_state_dict(state)
    torch.testing.assert_close(next(other), expected, atol=0, rtol=0)


def test_noise_is_in_the_slices_only(volume: TrainingVolume) -> None:
    acquisition = Acquisition(spacing=8, thickness=8, profile="rect")
    noisy = Pairs([volume], Protocols(noise_fraction=0.5), SIZE, factor=4, seed=0, varied=False)
    slices, rows = noisy.draw(volume, acquisition)
    clean = rows.hr.reshape(3, 4, 4, 16).mean(2)
    assert (slices.lr[:, 0] - clean).std() > 0.01
    assert set(rows.hr.unique().tolist()) <= set(np.unique(volume.data).tolist())


def test_small_images_are_continued(thick: Volume) -> None:
    data = (thick.data / thick.data.max())[:20, :24].astype(np.float32)
    volume = TrainingVolume.of("small", data, thick.spacings, Acquisition(spacing=8, thickness=6))
    pairs = Pairs([volume], QUIET, PatchSize(), factor=4, seed=0)
    slices, rows = next(pairs)
    assert slices.lr.shape == (16, 1, 5, 20)
    assert torch.isfinite(slices.lr).all()
    assert rows.hr.shape[1] == 20


@pytest.mark.parametrize("wrong", [{"slices": 3}, {"width": 7}, {"batch": 0}])
def test_impossible_sizes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PatchSize(**wrong)


def test_pairs_are_of_the_truth_and_conditions_of_what_is_stated(volume: TrainingVolume) -> None:
    protocols = Protocols(spacings=(8, 8), noise_fraction=0.0, misstated_fraction=1.0)
    pairs = Pairs([volume], protocols, SIZE, factor=4, seed=0)
    wrong = [plan for plan in pairs._plans if plan.stated != plan.acquisition]
    assert len(wrong) > 0.5 * len(pairs._plans)  # a profile drawn anew may be the true one
    for plan in wrong:
        assert plan.stated is not None
        if plan.averaged:
            assert plan.plane_thickness == plan.stated.slice_profile.fwhm
    table = PlanTable(wrong[:4], torch.device("cpu"))
    told = table.lines(np.arange(4), torch.arange(4)).conditions
    for plan, condition in zip(wrong[:4], told, strict=True):
        assert plan.stated is not None
        assert torch.equal(condition, condition_of(plan.stated, plan.voxel, plan.plane_thickness))


def test_half_of_the_noise_is_correlated_within_slices(volume: TrainingVolume) -> None:
    noisy = Protocols(spacings=(8, 8), noise_fraction=0.1)
    pairs = Pairs([volume], noisy, PatchSize(slices=4, width=32, batch=64), factor=4, seed=0)
    table = pairs._table(pairs._plans[0].shape)
    choices = pairs._choices(table, np.zeros(64, int))
    assert 0.2 < choices.smooth.mean() < 0.8
    noise = torch.randn(2, 400, 5, 6, 32, generator=torch.Generator().manual_seed(0))
    smooth = smoothed_in_plane(noise)
    assert abs(float(smooth.var()) - 1) < 0.02
    for axis, expected in ((-1, 2 / 3), (-3, 2 / 3), (-2, 0.0)):
        assert abs(float((smooth * smooth.roll(1, axis)).mean()) - expected) < 0.02


def test_rare_images_are_drawn_more_often(volume: TrainingVolume) -> None:
    rare = replace(volume, name="rare", repeats=9)
    assert rare.planes == 9 * volume.planes
    size = PatchSize(slices=4, width=16, batch=400)
    pairs = Pairs([volume, rare], QUIET, size, factor=4, seed=0)
    table = pairs._table(pairs._plans[0].shape)
    drawn = pairs._choices(table, np.zeros(400, int)).images
    assert 0.85 < drawn.mean() < 0.95
