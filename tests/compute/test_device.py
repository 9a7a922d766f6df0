from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bids_sr.compute.device import limited_threads, or_on_cpu, resolve_device
from bids_sr.exceptions import ConfigError, EngineError
from bids_sr.imaging import Acquisition, Volume, lay_out_grid
from bids_sr.interfaces.super_resolution import SuperResolve
from bids_sr.sr import reconstruct
from bids_sr.sr.learning import own_slices


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


def full_gpu(name: str) -> str:
    """Stand for work that no GPU has the memory for."""
    if name != "cpu":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nmore")
    return "made on the CPU"


def test_the_cpu_takes_over_from_a_gpu_that_nobody_insisted_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        result, reason = or_on_cpu("auto", full_gpu)
    assert result == "made on the CPU"
    assert reason in caplog.text
    assert "Tried to allocate 9 GiB." in reason
    assert or_on_cpu("cpu", full_gpu) == ("made on the CPU", "")


def test_a_device_that_was_asked_for_fails_instead() -> None:
    with pytest.raises(EngineError, match=r"too little memory on cuda:1 .*--device cpu"):
        or_on_cpu("cuda:1", full_gpu)


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: out of memory",
        "GET was unable to find an engine to execute this computation",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_other_words_for_too_little_memory(message: str) -> None:
    """Torch has a type for this, but the libraries below it raise plain errors."""

    def full(name: str) -> str:
        if name != "cpu":
            raise RuntimeError(message)
        return "made on the CPU"

    result, reason = or_on_cpu("auto", full)
    assert result == "made on the CPU"
    assert message in reason


def test_another_error_of_a_device_is_not_hidden() -> None:
    def broken(name: str) -> str:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        or_on_cpu("auto", broken)


QUICK: dict[str, Any] = {
    "steps": 2,
    "channels": 2,
    "blocks": 1,
    "batch_size": 2,
    "patch_width": 8,
    "patch_slices": 4,
    "threads": 1,
}


@pytest.fixture
def slices() -> Volume:
    data = np.random.default_rng(0).uniform(50, 100, (48, 48, 12)).astype(np.float32)
    return Volume(data, np.diag([1.0, 1.0, 3.0, 1.0]))


@pytest.fixture
def _training_fills_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the first device, which stands for a GPU, training runs out of memory."""
    real, tries = own_slices.fit, [True, False]

    def fit(*words: Any, **keywords: Any) -> Any:
        if tries.pop(0):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*words, **keywords)

    monkeypatch.setattr(own_slices, "fit", fit)


@pytest.mark.usefixtures("_training_fills_the_gpu")
def test_training_that_does_not_fit_is_done_on_the_cpu_and_recorded(
    slices: Volume, tmp_path: Path
) -> None:
    interface = SuperResolve(
        in_file=str(slices.save(tmp_path / "slices.nii.gz")),
        acquisition=Acquisition(spacing=3.0, thickness=3.0, profile="gaussian", slice_axis=2),
        sr_method="self",
        parameters={**QUICK, "device": "auto"},
    )
    record = interface.run(cwd=tmp_path).outputs.record
    assert record.device == "cpu"
    assert record.device_fallback == "the GPU had too little memory (CUDA out of memory)"
    assert f"computed on the CPU: {record.device_fallback}" in record.warnings


@pytest.mark.usefixtures("_training_fills_the_gpu")
def test_training_that_does_not_fit_fails_on_a_device_asked_for(slices: Volume) -> None:
    grid = lay_out_grid(slices, slice_axis=2)
    with pytest.raises(EngineError, match="too little memory on cpu"):
        reconstruct(
            slices,
            Acquisition(spacing=3.0, slice_axis=2),
            method="self",
            grid=grid,
            parameters={**QUICK, "device": "cpu"},
        )
