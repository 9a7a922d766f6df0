from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bids_sr.exceptions import EngineError
from bids_sr.sr.inference.tiles import InferenceSettings, run_over_slices
from bids_sr.sr.inference.triplets import Enlarging, Resizing
from bids_sr.sr.networks.edsr import EDSR

CPU = torch.device("cpu")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 1, 3, padding=1))


def predict(network: nn.Module, tile: Tensor) -> Tensor:
    rows: Tensor = network(tile)[:, 0].repeat_interleave(2, dim=1)
    return rows


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("pixels", [10, 64, 150, 1 << 20], ids=["columns", "tile", "two", "all"])
def test_batches_and_tiles_make_no_difference(pixels: int, threads: int) -> None:
    stack = torch.randn(5, 4, 17)
    net = network()
    whole = predict(net, stack[:, None]).detach()
    settings = InferenceSettings(
        device=CPU, halo=2, half=False, batch_pixels=pixels, threads=threads
    )
    result, device = run_over_slices(net, predict, stack, settings)
    torch.testing.assert_close(result, whole, atol=1e-6, rtol=1e-5)
    assert device == "cpu"


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("pixels", [10, 64, 150, 1 << 20], ids=["columns", "tile", "two", "all"])
def test_planes_that_are_seen_together_may_be_cut_apart(pixels: int, threads: int) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv3d(3, 1, 3, padding=1))

    def predict(network: nn.Module, tile: Tensor) -> Tensor:
        rows: Tensor = network(tile)[:, 0].repeat_interleave(2, dim=2)
        return rows

    stack = torch.randn(11, 4, 17)
    whole = predict(net, stack[None, None]).detach()[0]
    settings = InferenceSettings(
        device=CPU, halo=2, plane_halo=2, half=False, batch_pixels=pixels, threads=threads
    )
    result, _ = run_over_slices(net, predict, stack, settings)
    torch.testing.assert_close(result, whole, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "refusal",
    [
        torch.OutOfMemoryError("fake"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
    ids=["torch", "cuDNN"],
)
def test_out_of_memory_leads_to_smaller_pieces(refusal: RuntimeError) -> None:
    """A predictor that refuses large inputs stands for a full GPU."""
    stack = torch.randn(6, 8, 400)
    net = network()
    sizes: list[int] = []

    def greedy(network: nn.Module, tile: Tensor) -> Tensor:
        sizes.append(tile.numel())
        if tile.numel() > 2000:
            raise refusal
        return predict(network, tile)

    settings = InferenceSettings(device=CPU, halo=2, half=False, batch_pixels=20000)
    result, _ = run_over_slices(net, greedy, stack, settings)
    torch.testing.assert_close(result, predict(net, stack[:, None]).detach(), atol=1e-6, rtol=1e-5)
    assert max(sizes) > 2000 >= sizes[-1]


def test_another_error_is_raised() -> None:
    def broken(network: nn.Module, tile: Tensor) -> Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    settings = InferenceSettings(device=CPU, halo=2, half=False)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        run_over_slices(network(), broken, torch.randn(2, 4, 10), settings)


def test_cpu_takes_over_from_a_full_device(caplog: pytest.LogCaptureFixture) -> None:
    """The device ``meta`` holds no data: a GPU on which nothing can be made."""
    stack = torch.randn(2, 4, 10)
    settings = InferenceSettings(device=torch.device("meta"), halo=2, half=False)
    with caplog.at_level(logging.WARNING):
        result, device = run_over_slices(nn.Identity(), _zeros_on_cpu, stack, settings)
    assert device == "cpu"
    assert result.shape == (2, 8, 10)
    assert "using the CPU" in caplog.text


def _zeros_on_cpu(network: nn.Module, tile: Tensor) -> Tensor:
    if tile.device.type != "cpu":
        raise torch.OutOfMemoryError("fake")
    return tile[:, 0].repeat_interleave(2, dim=1)


def test_an_explicit_device_fails_instead() -> None:
    settings = InferenceSettings(device=torch.device("meta"), halo=2, half=False, allow_cpu=False)
    with pytest.raises(EngineError, match="too little memory on meta"):
        run_over_slices(nn.Identity(), _zeros_on_cpu, torch.randn(2, 4, 10), settings)


@pytest.mark.parametrize("pixels", [40, 200, 1 << 20], ids=["columns", "one", "all"])
def test_channels_and_resized_columns(pixels: int) -> None:
    """A network over triplets that enlarges both axes, and columns brought back."""
    torch.manual_seed(0)
    net = EDSR(channels=6, blocks=2).eval()
    stack = torch.rand(4, 3, 5, 40)
    enlarging = Enlarging(Resizing((np.arange(15) + 0.5) / 3 - 0.5, 5, 4), net.input_range, True)
    reports: list[tuple[int, int]] = []
    settings = InferenceSettings(
        device=CPU,
        halo=net.halo + 1,
        half=False,
        batch_pixels=pixels,
        report=lambda done, total: reports.append((done, total)),
    )
    result, _ = run_over_slices(net, enlarging, stack, settings)
    assert result.shape == (4, 3, 15, 40)
    torch.testing.assert_close(result, enlarging(net, stack).detach(), atol=1e-5, rtol=1e-4)
    assert reports == [(number, len(reports)) for number in range(1, len(reports) + 1)]
