from __future__ import annotations

import pytest
import torch
from torch import nn

from bids_sr.exceptions import ConfigError
from bids_sr.sr.networks.autoencoder import Autoencoder


def test_defaults_are_the_papers() -> None:
    """Kernels as section 4 of the paper lists them."""
    network = Autoencoder()
    kernels = {
        name: [part.out_channels for part in half.modules() if isinstance(part, nn.Conv2d)]
        for name, half in (("encoder", network.encoder), ("decoder", network.decoder))
    }
    assert kernels["encoder"] == [32, 32, 64, 64, 128, 128, 256, 256, 256, 16]
    assert kernels["decoder"] == [256, 256, 128, 128, 64, 64, 32, 32, 32, 1]
    every = list(network.modules())
    assert sum(isinstance(part, nn.BatchNorm2d) for part in every) == 8
    assert sum(isinstance(part, nn.AvgPool2d) for part in every) == 4
    # Every convolution but the two final ones has its leaky ReLU.
    assert sum(isinstance(part, nn.LeakyReLU) for part in every) == 18
    assert all(
        part.kernel_size == (3, 3) and part.padding == (1, 1)
        for part in every
        if isinstance(part, nn.Conv2d)
    )


def test_latent_is_coarser_by_the_depth() -> None:
    network = Autoencoder(width=2, depth=2, latent_channels=3)
    assert network.encode(torch.randn(2, 1, 16, 24)).shape == (2, 3, 4, 6)


@pytest.mark.parametrize("shape", [(16, 16), (17, 31), (5, 40)])
def test_any_size(shape: tuple[int, int]) -> None:
    network = Autoencoder(width=2)
    assert network(torch.randn(2, 1, *shape)).shape == (2, 1, *shape)


def test_padding_continues_the_slice() -> None:
    """What is added at the ends is the edge; a slice continued by hand gives the same."""
    torch.manual_seed(0)
    network = Autoencoder(width=2, depth=2).eval()
    slices = torch.randn(1, 1, 6, 8)
    by_hand = torch.cat([slices, slices[:, :, -1:], slices[:, :, -1:]], dim=2)
    torch.testing.assert_close(network(slices), network(by_hand)[:, :, :6])


def test_arguments_make_the_network_again() -> None:
    network = Autoencoder(width=3, depth=2, latent_channels=5)
    Autoencoder(**network.arguments).load_state_dict(network.state_dict())


@pytest.mark.parametrize("name", ["width", "depth", "latent_channels"])
def test_impossible_sizes_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Autoencoder(**{name: 0})
