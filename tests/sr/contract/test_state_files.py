"""Checkpoints as others write them, and files that only look like them."""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bids_sr.exceptions import WeightsError
from bids_sr.sr.contract.card import WeightsCard
from bids_sr.sr.contract.state_files import load_into, read_state
from bids_sr.sr.contract.weights import Weights

TENSORS = OrderedDict(weight=torch.rand(2, 3), bias=torch.rand(2))


class Harmful:
    """Would write a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("wrapper", [None, "model_weights", "generator_weights", "params_ema"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("zipped", [True, False])
def test_layouts(tmp_path: Path, wrapper: str | None, prefix: str, zipped: bool) -> None:
    tensors = OrderedDict((prefix + name, part) for name, part in TENSORS.items())
    content = tensors if wrapper is None else {wrapper: tensors, "epoch": 3}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    state = read_state(tmp_path / "w.pth")
    assert state.wrapper == wrapper
    assert list(state.tensors) == ["weight", "bias"]
    torch.testing.assert_close(state.tensors["weight"], TENSORS["weight"], rtol=0, atol=0)


def test_numbers_beside_the_weights_do_no_harm(tmp_path: Path) -> None:
    numbers = {"loss": np.float64(0.5), "best": np.float32(1), "epoch": np.int64(7)}
    torch.save({"model_weights": TENSORS, **numbers, "lr": [1e-4]}, tmp_path / "w.pth")
    assert list(read_state(tmp_path / "w.pth").tensors) == ["weight", "bias"]


def test_numbers_of_an_older_numpy(tmp_path: Path) -> None:
    """NumPy 1 had the function that rebuilds them in another place."""
    path = tmp_path / "w.pth"
    content = {"model_weights": TENSORS, "loss": np.float64(0.5)}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    new, old = b"numpy._core.multiarray", b"numpy.core.multiarray"
    raw = path.read_bytes()
    assert raw.count(new) == 1
    path.write_bytes(raw.replace(new, old))
    assert list(read_state(path).tensors) == ["weight", "bias"]


def test_half_precision_is_widened(tmp_path: Path) -> None:
    torch.save({"weight": torch.rand(2).half(), "count": torch.tensor(3)}, tmp_path / "w.pth")
    tensors = read_state(tmp_path / "w.pth").tensors
    assert tensors["weight"].dtype == torch.float32
    assert tensors["count"].dtype == torch.int64


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_is_executed(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "executed"
    content = {"model_weights": TENSORS, "more": Harmful(mark)}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="can run code"):
        read_state(tmp_path / "w.pth")
    assert not mark.exists()


def test_a_whole_network_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"torch\.nn.*Linear.*state_dict"):
        read_state(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04broken", b"\x80\x02garbage"])
def test_damaged_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.pth"):
        read_state(tmp_path / "w.pth")


def test_cut_file(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "w.pth")
    whole = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="damaged"):
        read_state(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"model_weights": {"a": 1}}, [1]])
def test_no_state_inside(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="expected the parameters of a network"):
        read_state(tmp_path / "w.pth")


def test_own_weights_bring_their_card(tmp_path: Path) -> None:
    Weights(tensors=dict(TENSORS), card=WeightsCard(seed=1)).save(tmp_path / "w.safetensors")
    assert read_state(tmp_path / "w.safetensors").card == WeightsCard(seed=1)
    save_file(dict(TENSORS), tmp_path / "bare.safetensors")
    with pytest.raises(WeightsError, match="safetensors file with a card"):
        read_state(tmp_path / "bare.safetensors")


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="Found no file"):
        read_state(tmp_path / "w.pth")


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "w.pth")
    state = read_state(tmp_path / "w.pth")
    network = torch.nn.Linear(3, 2)
    load_into(network, state)
    torch.testing.assert_close(network.bias.detach(), TENSORS["bias"])
    with pytest.raises(WeightsError, match=r"weight \(2, 3\) for \(5, 4\), .*of a Linear"):
        load_into(torch.nn.Linear(4, 5), state)
    with pytest.raises(WeightsError, match=r"lacks 0\.weight, 0\.bias; has besides weight, bias"):
        load_into(torch.nn.Sequential(network), state)
    load_into(torch.nn.BatchNorm1d(2, affine=True), read_cut(state), idle=("running", "num_"))


def read_cut(state: Any) -> Any:
    from dataclasses import replace

    tensors = {"weight": state.tensors["bias"], "bias": state.tensors["bias"]}
    return replace(state, tensors=tensors)


def test_a_checkpoint_that_unpacks_to_more_than_it_is_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1_000_000)}, tmp_path / "plain.pth")
    assert read_state(tmp_path / "plain.pth").tensors["a"].numel() == 1_000_000
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(WeightsError, match=r"packed\.pth: found \d+ bytes that unpack to \d+"):
        read_state(tmp_path / "packed.pth")
