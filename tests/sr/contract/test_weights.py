from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from bids_sr.exceptions import WeightsError
from bids_sr.sr.contract.card import WeightsCard
from bids_sr.sr.contract.weights import Weights, locate


def weights() -> Weights:
    tensors = {"b": torch.arange(6.0).reshape(2, 3).T, "a": torch.tensor(3, dtype=torch.int64)}
    card = WeightsCard(seed=1, architecture="x", arguments={"blocks": 2})
    return Weights(tensors=tensors, card=card)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = weights().save(tmp_path / "new" / "w.safetensors")
    loaded = Weights.load(path)
    assert loaded.card == weights().card
    for name, tensor in weights().tensors.items():
        torch.testing.assert_close(loaded.tensors[name], tensor, rtol=0, atol=0)
    assert loaded.digest == weights().digest
    assert [entry.name for entry in path.parent.iterdir()] == ["w.safetensors"]


def test_same_weights_same_bytes(tmp_path: Path) -> None:
    first, second = (weights().save(tmp_path / name) for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_digest_tells_weights_apart() -> None:
    changed = weights()
    changed.tensors["a"] += 1
    assert changed.digest != weights().digest


@pytest.mark.parametrize("content", [None, b"", b"not weights at all"])
def test_other_files_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match="expected weights written by bids_sr"):
        Weights.load(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="a named pipe"):
        Weights.load(tmp_path / "w.safetensors")


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no file nowhere"):
        locate("nowhere", None, offline=True)
    with pytest.raises(WeightsError, match="offline"):
        locate("prettier-edsr", str(tmp_path), offline=True)
