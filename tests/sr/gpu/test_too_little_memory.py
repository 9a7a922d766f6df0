"""Too little memory on a device: smaller pieces, then the CPU, or a clear error.

A limit on what torch may take stands for a small or a busy GPU.  Where the device is the CPU
(a rehearsal) convolutions refuse large results instead, the first few times.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bids_sr.exceptions import EngineError
from bids_sr.imaging import Acquisition, Volume, lay_out_grid
from bids_sr.sr import Reconstruction, reconstruct
from bids_sr.sr.inference.tiles import InferenceSettings, run_over_slices

pytestmark = pytest.mark.gpu

Limited = Callable[..., AbstractContextManager[None]]
MEGABYTE = 1 << 20


@pytest.fixture
def limited(device: str, monkeypatch: pytest.MonkeyPatch) -> Limited:
    """Return a context in which so many MB more may be taken on the device."""
    return _on_gpu(torch.device(device)) if device != "cpu" else _pretended(monkeypatch)


def _on_gpu(device: torch.device) -> Limited:
    number = torch.cuda.current_device() if device.index is None else device.index

    @contextmanager
    def limit(megabytes: int, refusals: int | None = None) -> Iterator[None]:
        gc.collect()
        torch.cuda.synchronize(number)
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(number).total_memory
        allowed = torch.cuda.memory_reserved(number) + megabytes * MEGABYTE
        torch.cuda.set_per_process_memory_fraction(allowed / total, number)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, number)
            torch.cuda.empty_cache()

    return limit


def _pretended(monkeypatch: pytest.MonkeyPatch) -> Limited:
    @contextmanager
    def limit(megabytes: int, refusals: int | None = None) -> Iterator[None]:
        left = [refusals if refusals is not None else 1 << 30]

        def small_enough(convolve: Any) -> Any:
            def convolved(*words: Any, **keywords: Any) -> Tensor:
                output: Tensor = convolve(*words, **keywords)
                if (
                    left[0] > 0
                    and 2 * output.numel() * output.element_size() > megabytes * MEGABYTE
                ):
                    left[0] -= 1
                    raise torch.OutOfMemoryError("CUDA out of memory (pretended)")
                return output

            return convolved

        with monkeypatch.context() as patch:
            for name in ("conv2d", "conv3d"):
                patch.setattr(nn.functional, name, small_enough(getattr(nn.functional, name)))
            yield

    return limit


@pytest.fixture(scope="module")
def planes() -> Tensor:
    """(D, K, W) planes of which all at once take 67 MB for each set of features."""
    return torch.rand((64, 32, 256), generator=torch.Generator().manual_seed(0))


class Features(nn.Module):
    """Three convolutions across planes with room for many features in between."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        sizes = ((1, 32), (32, 32), (32, 2))
        self.layers = nn.ModuleList(
            nn.Conv3d(inputs, outputs, 3, padding=1) for inputs, outputs in sizes
        )

    def forward(self, planes: Tensor) -> Tensor:
        for layer in self.layers:
            planes = nn.functional.relu(layer(planes))
        return planes


def predict(network: nn.Module, planes: Tensor) -> Tensor:
    rows: Tensor = network(planes)
    return rows.movedim(1, -2).flatten(-3, -2)


def options(device: str, **more: Any) -> InferenceSettings:
    return InferenceSettings(device=torch.device(device), halo=3, plane_halo=3, half=False, **more)


def test_smaller_pieces_when_memory_runs_out(
    device: str, planes: Tensor, limited: Limited, measure: Any, caplog: pytest.LogCaptureFixture
) -> None:
    network = Features().to(device)
    whole, _ = run_over_slices(network, predict, planes, options(device))
    tiles: list[int] = []
    with caplog.at_level(logging.INFO), limited(64):
        output, used = run_over_slices(
            network,
            predict,
            planes,
            options(device, report=lambda _, total: tiles.append(total)),
        )
    measure(tiles=tiles[-1])
    assert used == device
    assert tiles[-1] > 1
    assert "Out of memory" in caplog.text
    torch.testing.assert_close(output, whole, atol=2e-3, rtol=2e-2)


def test_the_cpu_when_not_even_small_pieces_fit(
    cuda: torch.device, planes: Tensor, limited: Limited, caplog: pytest.LogCaptureFixture
) -> None:
    network = Features().to(cuda)
    few = planes[:12, :12, :64]
    with caplog.at_level(logging.WARNING), limited(0):
        output, used = run_over_slices(network, predict, few, options(str(cuda)))
    assert used == "cpu"
    assert "using the CPU" in caplog.text
    expected = predict(network.cpu(), few[None, None])[0].detach()
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=1e-3)


def test_a_device_that_was_asked_for_fails_with_small_pieces(
    device: str, planes: Tensor, limited: Limited
) -> None:
    network = Features().to(device)
    with limited(0), pytest.raises(EngineError, match=f"too little memory on {device}"):
        run_over_slices(network, predict, planes[:12, :12, :64], options(device, allow_cpu=False))


@pytest.fixture
def run(thick_head: Volume, acquisition: Acquisition, threads: int) -> Any:
    def on(device: str, **more: Any) -> Reconstruction:
        grid = lay_out_grid(thick_head, slice_axis=2, output_resolution=1.0)
        parameters = {"steps": 4, "orientations": 1, "mirrored": False, "threads": threads}
        return reconstruct(
            thick_head,
            acquisition,
            method="finetuned",
            grid=grid,
            parameters={**parameters, "device": device, **more},
        )

    return on


@pytest.mark.parametrize("adapt", ["image", "none"])
def test_auto_goes_on_with_the_cpu_and_says_so(
    adapt: str, device: str, run: Any, limited: Limited, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), limited(0, refusals=1):
        result = run("auto", adapt=adapt)
    assert result.record.device == "cpu"
    if device == "cpu" and adapt == "none":
        return  # smaller pieces were enough
    assert "little memory" in result.record.device_fallback
    assert "the CPU" in caplog.text
    expected = run("cpu", adapt=adapt).volume.data
    np.testing.assert_allclose(result.volume.data, expected, atol=1e-3 * expected.max())


def test_cuda_by_name_fails_clearly(device: str, run: Any, limited: Limited) -> None:
    with limited(0), pytest.raises(EngineError, match=r"too little memory on .*--device cpu"):
        run(device)


def test_the_device_is_usable_again(cuda: torch.device, run: Any, limited: Limited) -> None:
    with limited(0), pytest.raises(EngineError):
        run(str(cuda))
    assert run(str(cuda)).record.device == str(cuda)


def test_a_small_device_is_enough_for_a_whole_image(
    device: str, run: Any, limited: Limited, measure: Any
) -> None:
    """With smaller tiles the result stays what it is."""
    free = run(device, adapt="none")
    with limited(64):
        tight = run(device, adapt="none")
    assert tight.record.device == device
    apart = np.abs(tight.volume.data - free.volume.data).max() / free.volume.data.max()
    measure(difference=float(apart), tolerance=0.02)
    assert apart <= 0.02
