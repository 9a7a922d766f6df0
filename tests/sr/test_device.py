from __future__ import annotations

import pytest
import torch

from bids_sr.exceptions import ConfigError
from bids_sr.sr.device import limited_threads, resolve_device


def test_auto_is_there_on_every_machine() -> None:
    assert resolve_device("auto").type in ("cpu", "cuda")
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "cpu:a"])
def test_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="expected auto, cpu, cuda"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_absent_gpu_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match="0 CUDA devices"):
        resolve_device(name)


def test_absent_mps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="without it"):
        resolve_device("mps")


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with limited_threads(1) as threads:
        assert threads == torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
