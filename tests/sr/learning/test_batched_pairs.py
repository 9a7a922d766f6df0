"""Batches on a device against the slow, obvious way: one patch after the other, in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bids_sr.imaging import Acquisition, Volume
from bids_sr.sr.learning.pairs import Pairs, PatchSize
from bids_sr.sr.learning.patches import PatchGeometry
from bids_sr.sr.learning.plans import Plan
from bids_sr.sr.learning.protocols import Protocols
from bids_sr.sr.learning.training_volumes import TrainingVolume
from bids_sr.sr.networks.backbone import condition_of
from bids_sr.sr.networks.thick_slice import Upsampling


@pytest.fixture(scope="module")
def volumes(reference: Volume, thick: Volume) -> list[TrainingVolume]:
    scaled = (reference.data / reference.data.max()).astype(np.float32)
    slices = (thick.data / thick.data.max()).astype(np.float32)
    known = Acquisition(spacing=9, thickness=7)
    short = Acquisition(spacing=8, thickness=6)
    return [
        TrainingVolume.of("fine", scaled, reference.spacings),
        TrainingVolume.of("signed", scaled[4:, ::2][:, :40] - np.float32(0.2), reference.spacings),
        TrainingVolume.of("slices", slices, thick.spacings),
        TrainingVolume.of("known", scaled[:44], reference.spacings, known),
        TrainingVolume.of("short", slices[:20, :24], thick.spacings, short),
    ]


def window_of(
    volume: TrainingVolume, plan: Plan, axes: Any, starts: Any, signs: Any
) -> npt.NDArray[np.float32]:
    """Cut one (D, window, W) patch, voxel positions continued by the edge."""
    planes, slices, width = plan.shape
    geometry = PatchGeometry.of(plan.acquisition, plan.voxel, slices=slices, width=width)
    lengths = (planes, geometry.rows + 2 * geometry.margin, width)
    chosen = [
        np.clip(start + sign * np.arange(length), 0, volume.data.shape[axis] - 1)
        for start, sign, length, axis in zip(starts, signs, lengths, axes, strict=True)
    ]
    turned = volume.data.transpose(axes)
    if not plan.averaged:
        return turned[np.ix_(*chosen)]
    taps = plan.taps.astype(np.float32)
    around = np.clip(starts[0] + np.arange(taps.size) - taps.size // 2, 0, len(turned) - 1)
    return np.tensordot(taps, turned[np.ix_(around, *chosen[1:])], axes=1)[None]


@pytest.mark.parametrize("size", [PatchSize(batch=24), PatchSize(planes=9, volume_batch=9)])
def test_a_batch_is_what_one_patch_after_the_other_is(
    volumes: list[TrainingVolume], size: PatchSize
) -> None:
    pairs = Pairs(volumes, Protocols(spacings=(4, 14), noise_fraction=0.0), size, factor=4, seed=3)
    seen: set[tuple[int, bool]] = set()
    for shape in sorted({plan.shape for plan in pairs._plans}):
        table = pairs._table(shape)
        number = size.batch if shape[0] == 1 else size.volume_batch
        choices = pairs._choices(table, pairs._random.integers(len(table.plans), size=number))
        slices, rows = pairs._batch(table, choices)
        for place in range(number):
            plan = table.plans[choices.plans[place]]
            volume = volumes[choices.images[place]]
            assert volume is plan.volume or (plan.volume is None and volume.is_interchangeable)
            assert tuple(choices.axes[place]) in volume.orders
            patch = window_of(
                volume, plan, choices.axes[place], choices.starts[place], choices.signs[place]
            )
            varied = np.abs(patch) ** choices.powers[place] * choices.factors[place]
            fine = torch.from_numpy((np.sign(patch) * varied).astype(np.float32))
            geometry = PatchGeometry.of(
                plan.acquisition, plan.voxel, slices=shape[1], width=shape[2]
            )
            upsampling = Upsampling.at(geometry.coordinates(), geometry.slices, 4)
            lr = slices.lr[place] if shape[0] == 1 else slices.lr[place, 0]
            torch.testing.assert_close(lr, torch.from_numpy(geometry.matrix) @ fine)
            target = fine[:, geometry.margin : geometry.margin + geometry.rows]
            hr, weights = rows.hr[place], rows.weights[place]
            hr, weights = (hr[None], weights[None]) if shape[0] == 1 else (hr, weights)
            torch.testing.assert_close(hr[:, : geometry.rows], target)
            assert not hr[:, geometry.rows :].any()
            edge, beside = int(choices.edges[place]), 0 if shape[0] == 1 else 2
            in_loss = torch.zeros_like(weights)
            in_loss[
                beside : shape[0] - beside,
                edge : geometry.rows - edge,
                2 : shape[2] - 2,
            ] = 1
            torch.testing.assert_close(weights, in_loss / in_loss.sum())
            assert edge in (0, int(np.ceil(geometry.scale)))
            torch.testing.assert_close(slices.skip[place, : geometry.rows], upsampling.skip)
            phases = upsampling.phases
            phases = torch.eye(geometry.rows) if phases is None else phases
            torch.testing.assert_close(slices.phases[place, : geometry.rows], phases)
            assert not slices.phases[place, geometry.rows :].any()
            condition = condition_of(plan.acquisition, plan.voxel, plan.plane_thickness)
            torch.testing.assert_close(slices.conditions[place], condition)
            seen.add((int(choices.images[place]), plan.averaged))
    assert {image for image, _ in seen} == {0, 1, 2, 3, 4}
    assert {averaged for image, averaged in seen if image < 2} == {False, True}


def test_windows_lie_inside_where_there_is_room_and_around_their_places(
    volumes: list[TrainingVolume],
) -> None:
    pairs = Pairs(volumes[:1], Protocols(spacings=(4, 6)), PatchSize(slices=4), factor=4, seed=1)
    table = pairs._table(pairs._plans[0].shape)
    choices = pairs._choices(table, np.arange(200) % len(table.plans))
    windows = table.rows[choices.plans] + 2 * table.margins[choices.plans]
    lengths = np.array(volumes[0].data.shape)[choices.axes[:, 1]]
    ends = choices.starts[:, 1] + choices.signs[:, 1] * (windows - 1)
    low, high = np.minimum(choices.starts[:, 1], ends), np.maximum(choices.starts[:, 1], ends)
    room = windows <= lengths
    assert room.any()
    assert (low[room] >= 0).all()
    assert (high[room] < lengths[room]).all()
    assert {1, -1} == set(choices.signs.ravel().tolist())


def test_noise_is_rician_and_of_the_size_drawn(volumes: list[TrainingVolume]) -> None:
    flat = TrainingVolume.of("flat", np.full((40, 40, 40), 0.5, np.float32), np.ones(3))
    noisy = Protocols(spacings=(4, 4), noise_fraction=0.1)
    size = PatchSize(slices=4, width=16, batch=64)
    pairs = Pairs([flat], noisy, size, factor=4, seed=0, varied=False)
    table = pairs._table(pairs._plans[0].shape)
    choices = pairs._choices(table, np.zeros(64, int))
    slices, _ = pairs._batch(table, choices)
    measured = (slices.lr - 0.5).flatten(1).std(1)
    torch.testing.assert_close(
        measured, torch.from_numpy(choices.sigmas).float(), rtol=0.3, atol=1e-3
    )
    black = TrainingVolume.of("black", np.zeros((40, 40, 40), np.float32), np.ones(3))
    slices, _ = Pairs([black], noisy, size, factor=4, seed=0).draw(black, Acquisition(spacing=4))
    assert float(slices.lr.min()) >= 0  # a magnitude
