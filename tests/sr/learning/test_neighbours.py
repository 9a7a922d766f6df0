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
    assert [neighbours.fraction for neighbours in neighbours_in([3, 2])] == [0.5, 0.0]


def test_slice_between_lies_between() -> None:
    inputs, targets = next(patches())
    assert inputs.shape == targets.shape == (6, 3, 8, 8)
    below, above, fraction = inputs.unbind(1)
    torch.testing.assert_close(torch.lerp(below, above, fraction), targets[:, 0])
    torch.testing.assert_close((above - below).abs(), torch.full_like(below, 0.2))
    torch.testing.assert_close(targets[:, 1:], inputs[:, :2])
    assert (above > below).any()
    assert (above < below).any()


def test_patches_are_turned_and_mirrored() -> None:
    inputs, _ = next(patches(batch_size=200))
    corners = 1000 * inputs[:, 0, :2, :2]
    down, right = corners[:, 1, 0] - corners[:, 0, 0], corners[:, 0, 1] - corners[:, 0, 0]
    seen = set(zip(down.round().int().tolist(), right.round().int().tolist(), strict=True))
    assert seen == {(a, b) for a in (-1, 1) for b in (-2, 2)} | {
        (a, b) for a in (-2, 2) for b in (-1, 1)
    }


def test_intensities_change_together() -> None:
    inputs, targets = next(patches(augmentation=Augmentation()))
    torch.testing.assert_close((inputs[:, 0] + inputs[:, 1]) / 2, targets[:, 0])
    contrast = (inputs[:, 0] - inputs[:, 1]).abs().mean((1, 2)) / 0.2
    assert contrast.min() > 0.79
    assert contrast.max() < 1.21
    assert contrast.std() > 0.01


def test_zoom_changes_the_size() -> None:
    """Zoomed in, a ramp is less steep; zoomed out, steeper."""
    inputs, _ = next(patches(batch_size=50, augmentation=Augmentation(intensity=False, zoom=0.5)))
    assert inputs.shape[2:] == (8, 8)
    inner = inputs[:, 0, 2:6, 2:6]
    slopes = (inner[:, 1:, 1:] - inner[:, :-1, :-1]).abs().mean((1, 2)) * 1000
    assert slopes.min() < 0.8
    assert slopes.max() > 3.3


def test_small_slices_are_continued() -> None:
    inputs, _ = next(patches(size=32))
    assert inputs.shape[2:] == (32, 32)
    assert len(inputs[0, 0].unique()) <= 20 * 24


def test_same_seed_same_patches_and_resume() -> None:
    first, second = patches(), patches()
    next(first)
    state = first.state_dict()
    expected = next(first)
    second.load_state_dict(state)
    torch.testing.assert_close(next(second), expected, rtol=0, atol=0)
    assert not torch.equal(next(patches(seed=4))[0], next(patches())[0])


def slowly(network: Autoencoder, inputs: Tensor, keep_detail: bool) -> Tensor:
    """Evaluate the formula of the docstring sample by sample."""
    parts = []
    for below, above, fraction in inputs:
        a = fraction[0, 0]
        x0, x1 = below[None, None], above[None, None]
        z0, z1 = network.encode(x0), network.encode(x1)
        shape = (below.shape[0], below.shape[1])
        d0, d1 = network.decode(z0, shape), network.decode(z1, shape)
        between = network.decode((1 - a) * z0 + a * z1, shape)
        if keep_detail:
            between = (1 - a) * x0 + a * x1 + between - (1 - a) * d0 - a * d1
        parts.append(torch.cat([between, d0, d1], dim=1))
    return torch.cat(parts)


@pytest.mark.parametrize("keep_detail", [True, False])
def test_prediction_is_the_formula(network: Autoencoder, keep_detail: bool) -> None:
    inputs, _ = next(patches())
    inputs[:, 2] = torch.linspace(0, 1, 6)[:, None, None]
    learning = NeighbourLearning(keep_detail=keep_detail)
    torch.testing.assert_close(
        learning.predict(network, inputs), slowly(network, inputs, keep_detail)
    )


def test_slices_themselves_are_exact(network: Autoencoder) -> None:
    inputs, _ = next(patches())
    inputs[:3, 2], inputs[3:, 2] = 0, 1
    predicted = NeighbourLearning().predict(network, inputs)[:, 0]
    torch.testing.assert_close(predicted[:3], inputs[:3, 0])
    torch.testing.assert_close(predicted[3:], inputs[3:, 1])


def test_loss_weighs_the_slice_between(network: Autoencoder) -> None:
    inputs, targets = next(patches())
    predicted = slowly(network, inputs, True)
    errors = (predicted - targets).square().mean((0, 2, 3))
    restored = (errors[1] + errors[2]) / 2
    torch.testing.assert_close(
        NeighbourLearning(synthesis=0.3).loss(predicted, targets), restored + 0.3 * errors[0]
    )
    only = NeighbourLearning(synthesis=0.0)
    assert only.predict(network, inputs).shape[1] == 2
    torch.testing.assert_close(only.loss(only.predict(network, inputs), targets), restored)


def test_gain_is_over_linear(network: Autoencoder) -> None:
    inputs, targets = next(patches())
    targets[:, 0] += 0.1 * torch.randn_like(targets[:, 0])
    learning = NeighbourLearning()
    predicted = learning.predict(network, inputs)[:, 0].detach()
    linear = (inputs[:, 0] + inputs[:, 1]) / 2
    expected = 10 * np.log10(
        float(
            (linear - targets[:, 0]).square().mean() / (predicted - targets[:, 0]).square().mean()
        )
    )
    network.train()
    assert learning.gain(network, (inputs, targets)) == pytest.approx(expected, abs=1e-4)
    assert network.training
