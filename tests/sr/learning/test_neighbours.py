from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bids_sr.sr.learning.neighbours import (
    Augmentation,
    NeighbourLearning,
    NeighbourPatches,
    Neighbours,
    neighbours_in,
)
from bids_sr.sr.networks.autoencoder import Autoencoder


def ramps(slices: int = 4) -> np.ndarray:
    """Slices that brighten by 0.1 each and along the rows and columns."""
    rows, columns = np.mgrid[:20, :24] / 1000
    return np.stack([0.1 * n + rows + 2 * columns for n in range(slices)]).astype(np.float32)


def patches(**more: object) -> NeighbourPatches:
    stacks = [ramps()]
    settings = {"size": 8, "batch_size": 6, "seed": 3, **more}
    return NeighbourPatches(stacks, neighbours_in([4]), **settings)  # type: ignore[arg-type]


@pytest.fixture
def network() -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(width=2, depth=2, latent_channels=3).eval()


def test_neighbours_of_stacks() -> None:
    assert neighbours_in([4, 2, 1]) == [
        Neighbours(0, 0, 1, 2),
        Neighbours(0, 1, 2, 3),
        Neighbours(1, 0, 0, 1),
    ]
    assert [one.fraction for one in neighbours_in([3, 2])] == [0.5, 0.0]


def test_slice_between_lies_between() -> None:
    given, wanted = next(patches())
    assert given.shape == wanted.shape == (6, 3, 8, 8)
    below, above, fraction = given.unbind(1)
    torch.testing.assert_close(torch.lerp(below, above, fraction), wanted[:, 0])
    torch.testing.assert_close((above - below).abs(), torch.full_like(below, 0.2))
    torch.testing.assert_close(wanted[:, 1:], given[:, :2])
    assert (above > below).any()
    assert (above < below).any()


def test_patches_are_turned_and_mirrored() -> None:
    given, _ = next(patches(batch_size=200))
    corners = 1000 * given[:, 0, :2, :2]
    down, right = corners[:, 1, 0] - corners[:, 0, 0], corners[:, 0, 1] - corners[:, 0, 0]
    seen = set(zip(down.round().int().tolist(), right.round().int().tolist(), strict=True))
    assert seen == {(a, b) for a in (-1, 1) for b in (-2, 2)} | {
        (a, b) for a in (-2, 2) for b in (-1, 1)
    }


def test_intensities_change_together() -> None:
    given, wanted = next(patches(augmentation=Augmentation()))
    torch.testing.assert_close((given[:, 0] + given[:, 1]) / 2, wanted[:, 0])
    contrast = (given[:, 0] - given[:, 1]).abs().mean((1, 2)) / 0.2
    assert contrast.min() > 0.79
    assert contrast.max() < 1.21
    assert contrast.std() > 0.01


def test_zoom_changes_the_size() -> None:
    """Zoomed in, a ramp is less steep; zoomed out, steeper."""
    given, _ = next(patches(batch_size=50, augmentation=Augmentation(intensity=False, zoom=0.5)))
    assert given.shape[2:] == (8, 8)
    inner = given[:, 0, 2:6, 2:6]
    slopes = (inner[:, 1:, 1:] - inner[:, :-1, :-1]).abs().mean((1, 2)) * 1000
    assert slopes.min() < 0.8
    assert slopes.max() > 3.3


def test_small_slices_are_continued() -> None:
    given, _ = next(patches(size=32))
    assert given.shape[2:] == (32, 32)
    assert len(given[0, 0].unique()) <= 20 * 24


def test_same_seed_same_patches_and_resume() -> None:
    first, second = patches(), patches()
    next(first)
    state = first.state_dict()
    expected = next(first)
    second.load_state_dict(state)
    torch.testing.assert_close(next(second), expected, rtol=0, atol=0)
    assert not torch.equal(next(patches(seed=4))[0], next(patches())[0])


def slowly(network: Autoencoder, given: Tensor, keep_detail: bool) -> Tensor:
    """Evaluate the formula of the docstring sample by sample."""
    made = []
    for below, above, fraction in given:
        a = fraction[0, 0]
        x0, x1 = below[None, None], above[None, None]
        z0, z1 = network.encode(x0), network.encode(x1)
        shape = (below.shape[0], below.shape[1])
        d0, d1 = network.decode(z0, shape), network.decode(z1, shape)
        between = network.decode((1 - a) * z0 + a * z1, shape)
        if keep_detail:
            between = (1 - a) * x0 + a * x1 + between - (1 - a) * d0 - a * d1
        made.append(torch.cat([between, d0, d1], dim=1))
    return torch.cat(made)


@pytest.mark.parametrize("keep_detail", [True, False])
def test_prediction_is_the_formula(network: Autoencoder, keep_detail: bool) -> None:
    given, _ = next(patches())
    given[:, 2] = torch.linspace(0, 1, 6)[:, None, None]
    learning = NeighbourLearning(keep_detail=keep_detail)
    torch.testing.assert_close(
        learning.predict(network, given), slowly(network, given, keep_detail)
    )


def test_slices_themselves_are_exact(network: Autoencoder) -> None:
    given, _ = next(patches())
    given[:3, 2], given[3:, 2] = 0, 1
    found = NeighbourLearning().predict(network, given)[:, 0]
    torch.testing.assert_close(found[:3], given[:3, 0])
    torch.testing.assert_close(found[3:], given[3:, 1])


def test_loss_weighs_the_slice_between(network: Autoencoder) -> None:
    given, wanted = next(patches())
    predicted = slowly(network, given, True)
    errors = (predicted - wanted).square().mean((0, 2, 3))
    restored = (errors[1] + errors[2]) / 2
    torch.testing.assert_close(
        NeighbourLearning(synthesis=0.3).loss(predicted, wanted), restored + 0.3 * errors[0]
    )
    only = NeighbourLearning(synthesis=0.0)
    assert only.predict(network, given).shape[1] == 2
    torch.testing.assert_close(only.loss(only.predict(network, given), wanted), restored)


def test_gain_is_over_linear(network: Autoencoder) -> None:
    given, wanted = next(patches())
    wanted[:, 0] += 0.1 * torch.randn_like(wanted[:, 0])
    learning = NeighbourLearning()
    found = learning.predict(network, given)[:, 0].detach()
    linear = (given[:, 0] + given[:, 1]) / 2
    expected = 10 * np.log10(
        float((linear - wanted[:, 0]).square().mean() / (found - wanted[:, 0]).square().mean())
    )
    network.train()
    assert learning.gain(network, (given, wanted)) == pytest.approx(expected, abs=1e-4)
    assert network.training
