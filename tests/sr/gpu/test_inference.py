"""The shipped network on a device: planes together, half precision, tiles."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bids_sr.compute.device import half_precision
from bids_sr.imaging import Acquisition
from bids_sr.sr.contract.weights import Weights, locate
from bids_sr.sr.inference.tiles import InferenceSettings, run_over_slices
from bids_sr.sr.networks.backbone import Backbone
from bids_sr.sr.networks.thick_slice import ThickSliceUpsampler

pytestmark = pytest.mark.gpu

SINGLE, HALF = 0.01, 0.05  # shares of the detail, root mean square
MODEL = "brain-5"


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone.from_weights(Weights.load(locate(MODEL, None, offline=True)))


@pytest.fixture
def network(backbone: Backbone, acquisition: Acquisition) -> ThickSliceUpsampler:
    return backbone.cpu().for_acquisition(acquisition, 1.0)


@pytest.fixture(scope="module")
def stack(thick_head: Any) -> Tensor:
    """(D, K, W) planes across the slices, values of about 0 to 1."""
    return torch.from_numpy(thick_head.data[12:52] / 120).permute(0, 2, 1).contiguous()


def detail(network: nn.Module, planes: Tensor) -> Tensor:
    """Return the rows that the network makes of the slices, (N, n, W) or (1, D, n, W)."""
    rows: Tensor = network.body(planes)  # type: ignore[operator]
    return rows.movedim(1, -2).flatten(-3, -2)


def settings(device: str, **more: Any) -> InferenceSettings:
    return InferenceSettings(device=torch.device(device), **more)


def share(output: Tensor, expected: Tensor) -> float:
    return float(torch.linalg.norm(output - expected) / torch.linalg.norm(expected))


@pytest.fixture(scope="module")
def expected(backbone: Backbone, acquisition: Acquisition, stack: Tensor) -> Tensor:
    """Return what the network finds on the CPU in float32, all planes at once."""
    network = backbone.cpu().for_acquisition(acquisition, 1.0)
    with torch.inference_mode():
        return detail(network, stack[None, None])[0]


def test_the_network_sees_neighbouring_planes(backbone: Backbone) -> None:
    assert backbone.planes == 3


@pytest.mark.parametrize("half", [False, True], ids=["single", "half"])
def test_planes_together(
    half: bool, device: str, network: Any, stack: Tensor, expected: Tensor, measure: Any
) -> None:
    options = settings(device, halo=network.halo, plane_halo=network.plane_halo, half=half)
    output, used = run_over_slices(network, detail, stack, options)
    assert used == device
    assert output.dtype == torch.float32
    apart = share(output, expected)
    measure(difference=apart, tolerance=HALF if half else SINGLE)
    assert apart <= (HALF if half else SINGLE)


@pytest.mark.parametrize("half", [False, True], ids=["single", "half"])
def test_planes_one_by_one(
    half: bool, device: str, backbone: Backbone, acquisition: Acquisition, stack: Any, measure: Any
) -> None:
    network = backbone.cpu().of_one_plane().for_acquisition(acquisition, 1.0)
    with torch.inference_mode():
        expected = detail(network, stack[:, None])
    output, _ = run_over_slices(
        network, detail, stack, settings(device, halo=network.halo, half=half)
    )
    apart = share(output, expected)
    measure(difference=apart, tolerance=HALF if half else SINGLE)
    assert apart <= (HALF if half else SINGLE)


@pytest.mark.parametrize("half", [False, True], ids=["single", "half"])
def test_tiles_make_no_difference(
    half: bool, device: str, network: Any, stack: Tensor, measure: Any
) -> None:
    options = {"halo": network.halo, "plane_halo": network.plane_halo, "half": half}
    counts: list[int] = []
    whole, _ = run_over_slices(network, detail, stack, settings(device, **options))
    tiled, used = run_over_slices(
        network,
        detail,
        stack,
        settings(
            device, **options, batch_pixels=1 << 14, report=lambda _, total: counts.append(total)
        ),
    )
    assert used == device
    assert counts[-1] > 1
    apart = share(tiled, whole)
    measure(difference=apart, tolerance=HALF if half else SINGLE, tiles=counts[-1])
    assert apart <= (HALF if half else SINGLE)


def test_half_precision_of_the_device(cuda: torch.device, measure: Any) -> None:
    newer = torch.cuda.get_device_capability(cuda) >= (8, 0)
    measure(name=torch.cuda.get_device_name(cuda), half=str(half_precision(cuda)))
    assert half_precision(cuda) == (torch.bfloat16 if newer else torch.float16)
