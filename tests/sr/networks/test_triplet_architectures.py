"""The three published architectures against their papers, written out by parameter name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from bids_sr.sr.networks.edsr import EDSR
from bids_sr.sr.networks.rrdb import RRDBNet
from bids_sr.sr.networks.shufflemixer import ShuffleMixer

State = dict[str, Tensor]


def conv(state: State, name: str, x: Tensor, **more: Any) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state.get(f"{name}.bias"), padding=weight.shape[-1] // 2, **more)


def edsr(state: State, x: Tensor) -> Tensor:
    head = y = conv(state, "head.0", x)
    blocks = max(int(key.split(".")[1]) for key in state if key.startswith("body."))
    for i in range(blocks):
        inner = F.relu(conv(state, f"body.{i}.body.0", y))
        y = y + 0.1 * conv(state, f"body.{i}.body.2", inner)
    y = conv(state, f"body.{blocks}", y) + head
    for i in (0, 2):
        y = F.pixel_shuffle(conv(state, f"tail.0.{i}", y), 2)
    return conv(state, "tail.1", y)


def rrdb(state: State, x: Tensor) -> Tensor:
    def rectified(y: Tensor) -> Tensor:
        return torch.where(y > 0, y, 0.2 * y)

    first = y = conv(state, "conv_first", x)
    for i in range(max(int(key.split(".")[1]) for key in state if key.startswith("body.")) + 1):
        before = y
        for j in (1, 2, 3):
            known = [y]
            for k in (1, 2, 3, 4):
                step = conv(state, f"body.{i}.rdb{j}.conv{k}", torch.cat(known, 1))
                known.append(rectified(step))
            y = y + 0.2 * conv(state, f"body.{i}.rdb{j}.conv5", torch.cat(known, 1))
        y = before + 0.2 * y
    y = first + conv(state, "conv_body", y)
    for name in ("conv_up1", "conv_up2"):
        y = rectified(conv(state, name, y.repeat_interleave(2, 2).repeat_interleave(2, 3)))
    return conv(state, "conv_last", rectified(conv(state, "conv_hr", y)))


def shufflemixer(state: State, x: Tensor) -> Tensor:
    def silu(y: Tensor) -> Tensor:
        return y * torch.sigmoid(y)

    def normed(name: str, y: Tensor) -> Tensor:
        weight = state[f"{name}.body.weight"]
        return F.layer_norm(y.movedim(1, -1), weight.shape, weight, None, 1e-5).movedim(-1, 1)

    def mixed(name: str, y: Tensor) -> Tensor:
        half = y.shape[1] // 2
        first = conv(state, f"{name}.fc.2", silu(conv(state, f"{name}.fc.0", y[:, :half])))
        joined = torch.cat((first, y[:, half:]), 1)
        each = joined.shape[1] // 8  # channel d of group g becomes channel g of group d
        order = [g * each + d for d in range(each) for g in range(8)]
        return joined[:, order]

    y = conv(state, "to_feat", x)
    for i in range(1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))):
        z = y
        for j in (0, 1):
            name = f"blocks.{i}.net.{j}"
            z = z + mixed(f"{name}.mlp1", normed(f"{name}.norm1", z))
            z = conv(state, f"{name}.spatial", z, groups=z.shape[1])
            z = z + mixed(f"{name}.mlp2", normed(f"{name}.norm2", z))
        y = y + z
        y = y + conv(state, f"blocks.{i}.conv.2", silu(conv(state, f"blocks.{i}.conv.0", y)))
    for i in (0, 3):
        y = silu(F.pixel_shuffle(conv(state, f"upsapling.{i}", y), 2))
    larger = F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)
    return larger + conv(state, "tail", y)


CASES = [
    (EDSR, edsr, {"channels": 12, "blocks": 3}),
    (RRDBNet, rrdb, {"channels": 8, "blocks": 2, "growth": 4}),
    (ShuffleMixer, shufflemixer, {"channels": 16, "blocks": 2, "kernel": 5, "mlp_ratio": 3}),
]
each = pytest.mark.parametrize(("kind", "oracle", "arguments"), CASES, ids=lambda x: str(x)[:20])


def randomized(network: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


@each
def test_forward_is_the_paper_s(kind: Any, oracle: Any, arguments: dict[str, int]) -> None:
    network = randomized(kind(**arguments))
    images = torch.rand(2, 3, 7, 9) * network.input_range
    with torch.inference_mode():
        output, expected = network(images), oracle(dict(network.state_dict()), images)
    assert output.shape == (2, 3, 28, 36)
    torch.testing.assert_close(
        output, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max())
    )


@each
def test_state_tells_the_arguments(kind: Any, oracle: Any, arguments: dict[str, int]) -> None:
    assert kind.arguments_of(kind(**arguments).state_dict()) == arguments


@pytest.mark.parametrize(
    ("kind", "parameters", "entries", "some"),
    [
        (EDSR, 43_089_923 + 24, 142, {"body.32.weight": (256, 256, 3, 3), "sub_mean.bias": (3,)}),
        (RRDBNet, 16_697_987, 702, {"body.22.rdb3.conv5.weight": (64, 192, 3, 3)}),
        (ShuffleMixer, 410_579, 147, {"blocks.4.net.1.spatial.weight": (64, 1, 7, 7)}),
    ],
)
def test_default_sizes_are_the_released(
    kind: Any, parameters: int, entries: int, some: dict[str, tuple[int, ...]]
) -> None:
    with torch.device("meta"):
        state = kind().state_dict()
    assert sum(part.numel() for part in state.values()) == parameters
    assert len(state) == entries
    for name, shape in some.items():
        assert tuple(state[name].shape) == shape


@each
def test_halo_is_as_far_as_a_pixel_sees(kind: Any, oracle: Any, arguments: dict[str, int]) -> None:
    network = randomized(kind(**arguments))
    images = torch.rand(1, 3, 4, 2 * network.halo + 9)
    changed = images.clone()
    changed[..., -1] += 1
    with torch.inference_mode():
        differs = (network(images) != network(changed)).any(dim=(0, 1, 2)).nonzero()
    assert images.shape[-1] - 1 - int(differs.min()) // 4 <= network.halo


def test_mean_colour_of_the_authors() -> None:
    network = randomized(EDSR(channels=8, blocks=1))
    fresh = EDSR(channels=8, blocks=1)
    for name in ("sub_mean", "add_mean"):
        getattr(network, name).load_state_dict(getattr(fresh, name).state_dict())
    images = torch.rand(1, 3, 5, 5) * 255
    mean = 255 * torch.tensor([0.4488, 0.4371, 0.4040])[:, None, None]
    with torch.inference_mode():
        plain = network(images - mean) + mean
        network.mean_shift = True
        torch.testing.assert_close(network(images), plain, rtol=1e-5, atol=1e-3)
