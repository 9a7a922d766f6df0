from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bids_sr.exceptions import ConfigError
from bids_sr.imaging import Volume, lay_out_grid
from bids_sr.sr.inference.tiles import InferenceSettings
from bids_sr.sr.inference.views import Views
from bids_sr.sr.inference.workspace import Workspace
from bids_sr.sr.networks.thick_slice import Mirror, Upsampling

SETTINGS = InferenceSettings(device=torch.device("cpu"), halo=0, half=False)


class Bright(nn.Module):
    """Finds as detail what it is shown, nearest slice by nearest slice."""

    factor, halo = 3, 6

    def detail(self, lr: Tensor, upsampling: Upsampling, *, mirrored: Mirror = "") -> Tensor:
        return lr[:, 0].repeat_interleave(self.factor, dim=1)


def added_detail(views: Views, data: np.ndarray) -> np.ndarray:
    """Return what is added to interpolation."""
    volume = Volume(data, np.diag([1.0, 1.0, 3.0, 1.0]))
    work = Workspace.of(volume, 2, lay_out_grid(volume, slice_axis=2, output_resolution=1.0))
    with_detail, without = (
        some.apply(Bright(), data, work, SETTINGS, lambda *_: None)[0]
        for some in (views, Views(detail=1e-9, fusion="mean"))
    )
    return with_detail - without


def stack() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.2, 1, (12, 14, 4)).astype(np.float32)


def test_detail_is_added_as_often_as_it_is_weighed() -> None:
    expected = 1.5 * np.repeat(stack(), 3, axis=2)
    detail = added_detail(Views(fusion="mean", detail=1.5, mirrored="columns"), stack())
    np.testing.assert_allclose(detail, expected, atol=1e-5)


def test_planes_are_averaged_across_the_stack_only() -> None:
    """A line along x, seen along x, stays as it is where planes are averaged along x."""
    line = np.zeros((12, 14, 4), np.float32)
    line[:, 7] = 1
    thick = added_detail(Views(fusion="mean", plane_thickness=3.0), line)
    thin = added_detail(Views(fusion="mean"), line)
    np.testing.assert_allclose(thick.sum(), thin.sum(), rtol=1e-4)
    # Of the two views one averages along the line and sees it whole, the other spreads it.
    assert 0.5 < thick[6, 7, 6] / thin[6, 7, 6] < 0.75
    assert thick[6, 9, 6] > 0.01 > thin[6, 9, 6]


def test_every_tile_of_every_view_is_told() -> None:
    volume = Volume(stack(), np.diag([1.0, 1.0, 3.0, 1.0]))
    work = Workspace.of(volume, 2, lay_out_grid(volume, slice_axis=2, output_resolution=1.0))
    told: list[tuple[int, int, str]] = []
    settings = replace(SETTINGS, batch_pixels=200)
    Views(orientations=2).apply(
        Bright(), volume.data, work, settings, lambda *call: told.append(call)
    )
    percents = [step for step, _, _ in told]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert len(percents) > 8
    views = dict.fromkeys(message for _, _, message in told)
    assert list(views) == [f"applying the network, view {number} of 4" for number in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    "wrong", [{"plane_thickness": -1.0}, {"detail": 0.0}, {"orientations": 0}, {"fusion": "max"}]
)
def test_impossible_views_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Views(**wrong)  # type: ignore[arg-type]
