"""A network over a stack of slices: in batches, in tiles, within the memory there is.

Slices are thick along their rows only.  Tiles cut the columns and overlap by as much
as the network sees, so that tiled and whole results agree.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bids_sr.exceptions import EngineError
from bids_sr.sr.device import half_precision, mixed_precision, single_core_workers

LOGGER = logging.getLogger(__name__)
_CPU_PIXELS = 1 << 16  # larger batches leave the cache and gain nothing
_GPU_PIXELS = 1 << 22
_LEAST_PIXELS = 1 << 10

Predict = Callable[[nn.Module, Tensor], Tensor]
"""(network, (N, C, K, W) tensor) to (N, n, W), or (N, ..., n, W)."""


@dataclass(frozen=True, kw_only=True)
class InferenceSettings:
    """State where and how to run a network."""

    device: torch.device
    halo: int
    """Columns that an output pixel sees on each side."""
    batch_pixels: int | None = None
    """Thick-slice pixels a call; None for what suits the device."""
    half: bool = True
    """Use the device's half precision where that is faster."""
    threads: int = 1
    """On a CPU, so many batches at once, one on each core."""
    allow_cpu: bool = True
    """Go on with the CPU when a GPU has too little memory even for small tiles."""
    report: Callable[[int, int], None] | None = None
    """Told after every piece how many there are done and in all."""


@torch.inference_mode()
def run_over_slices(
    network: nn.Module, predict: Predict, stack: Tensor, settings: InferenceSettings
) -> tuple[Tensor, str]:
    """Apply a network to every slice of a stack.

    Out of memory on a GPU: the batch is halved, then slices are cut into tiles, then
    the CPU takes over with a warning, unless that is forbidden.

    Parameters
    ----------
    network : nn.Module
    predict : callable
        How to call it.
    stack : (N, K, W) or (N, C, K, W) tensor
        Slices whose K rows are thick; where there are no channels C, there is one.
    settings : InferenceSettings

    Returns
    -------
    result : (N, n, W) or (N, ..., n, W) float32 tensor
        What was predicted, on the CPU.
    device : str
        The device that made it.

    Raises
    ------
    EngineError
        If memory ran out and the CPU is not allowed.
    """
    device = settings.device
    default = _CPU_PIXELS if device.type == "cpu" else _GPU_PIXELS
    pixels = settings.batch_pixels or default
    network = network.to(device).eval()
    while True:
        try:
            threads = settings.threads if device.type == "cpu" else 1
            with single_core_workers(threads) as pool:
                made = _run(network, predict, stack, settings, device, pixels, pool)
            return made, str(device)
        except torch.OutOfMemoryError as error:
            _free(device)
            if pixels > _LEAST_PIXELS:
                pixels //= 2
                LOGGER.info("Out of memory on %s: trying %d pixels a batch", device, pixels)
            elif settings.allow_cpu and device.type != "cpu":
                LOGGER.warning("Out of memory on %s with small tiles: using the CPU", device)
                device, pixels = torch.device("cpu"), _CPU_PIXELS
                network = network.to(device)
            else:
                raise EngineError(
                    f"Found too little memory on {device} for tiles of {pixels} pixels; expected "
                    "some hundred MB. Free the device or choose --device cpu."
                ) from error


def _run(
    network: nn.Module,
    predict: Predict,
    stack: Tensor,
    settings: InferenceSettings,
    device: torch.device,
    pixels: int,
    pool: Executor,
) -> Tensor:
    dtype = half_precision(device) if settings.half else None
    if stack.ndim == 3:
        stack = stack[:, None]
    number, _, slices, width = stack.shape
    tiles = list(_tiles((number, slices, width), pixels, settings.halo))

    def compute(tile: _Tile) -> Tensor:
        part = stack[tile.slices, :, :, tile.read].to(device)
        # Both contexts belong to the thread that enters them.
        with torch.inference_mode(), mixed_precision(device, dtype):
            made = predict(network, part.contiguous(memory_format=torch.channels_last))
        return made[..., tile.keep].float().cpu()

    result: Tensor | None = None
    made = pool.map(compute, tiles) if device.type == "cpu" else map(compute, tiles)
    for done, (tile, piece) in enumerate(zip(tiles, made, strict=True), 1):
        if result is None:
            result = torch.empty((number, *piece.shape[1:-1], width))
        result[tile.slices, ..., tile.write] = piece
        if settings.report:
            settings.report(done, len(tiles))
    assert result is not None
    return result


class _Tile(NamedTuple):
    """Say what of a stack to read, and what of the prediction to keep and where."""

    slices: slice
    read: slice
    keep: slice
    write: slice


def _tiles(shape: tuple[int, ...], pixels: int, halo: int) -> Iterator[_Tile]:
    number, slices, width = shape
    batch = max(1, pixels // (slices * width))
    core = width if batch > 1 else max(1, min(width, pixels // slices))
    for first in range(0, number, batch):
        for left in range(0, width, core):
            right = min(left + core, width)
            lower, upper = max(0, left - halo), min(width, right + halo)
            yield _Tile(
                slices=slice(first, first + batch),
                read=slice(lower, upper),
                keep=slice(left - lower, right - lower),
                write=slice(left, right),
            )


def _free(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
