"""A network applied to a stack of planes: in batches and tiles that fit into memory.

The rows of planes are thick slices.  Tiles cut the columns, or the stack for a network that
sees neighbouring planes, and overlap by as much as the network sees, so that tiled and whole
results agree.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bids_sr.compute.device import (
    half_precision,
    mixed_precision,
    single_core_workers,
)
from bids_sr.exceptions import EngineError, is_device_full

LOGGER = logging.getLogger(__name__)
_CPU_PIXELS = 1 << 16  # larger batches leave the cache and gain nothing
_CPU_VOXELS = 1 << 20  # but where tiles overlap they save work
_GPU_PIXELS = 1 << 22
_LEAST_PIXELS = 1 << 10

Predict = Callable[[nn.Module, Tensor], Tensor]
"""(network, (N, C, K, W) tensor) to (N, n, W), or (N, ..., n, W); of planes that are seen
together (network, (1, C, D, K, W) tensor) to (1, D, n, W)."""


@dataclass(frozen=True, kw_only=True)
class InferenceSettings:
    """State where and how to run a network."""

    device: torch.device
    halo: int
    """Receptive field on each side, columns."""
    plane_halo: int = 0
    """The same in planes; 0: planes are processed one by one."""
    batch_pixels: int | None = None
    """Thick-slice pixels a call; None for what suits the device."""
    half: bool = True
    """Use the device's half precision where that is faster."""
    threads: int = 1
    """On a CPU, number of batches at once, one on each core."""
    allow_cpu: bool = True
    """Go on with the CPU when a GPU has too little memory even for small tiles."""
    report: Callable[[int, int], None] | None = None
    """Called after every tile with the number done and in all."""


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
        The prediction, on the CPU.
    device : str
        The device that computed it.

    Raises
    ------
    EngineError
        If memory ran out and the CPU is not allowed.
    """
    device = settings.device
    on_cpu = _CPU_VOXELS if settings.plane_halo else _CPU_PIXELS
    pixels = settings.batch_pixels or (on_cpu if device.type == "cpu" else _GPU_PIXELS)
    network = network.to(device).eval()
    while True:
        try:
            threads = settings.threads if device.type == "cpu" else 1
            with single_core_workers(threads) as pool:
                result = _run(network, predict, stack, settings, device, pixels, pool)
            return result, str(device)
        except RuntimeError as error:
            if not is_device_full(error):
                raise
            _free(device)
            if pixels > _LEAST_PIXELS:
                pixels //= 2
                LOGGER.info("Out of memory on %s: trying %d pixels a batch", device, pixels)
            elif settings.allow_cpu and device.type != "cpu":
                LOGGER.warning("Out of memory on %s with small tiles: using the CPU", device)
                device, pixels = torch.device("cpu"), on_cpu
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
    together = settings.plane_halo > 0
    if together:  # a tile for every core, at least
        pixels = min(pixels, -(-number // settings.threads) * slices * width)
    tiles = list(_tiles((number, slices, width), pixels, settings))

    def compute(tile: _Tile) -> Tensor:
        part = stack[tile.planes.read, :, :, tile.columns.read].to(device)
        if together:
            part = part.transpose(0, 1)[None].contiguous(memory_format=torch.channels_last_3d)
        else:
            part = part.contiguous(memory_format=torch.channels_last)
        # Both contexts belong to the thread that enters them.
        with torch.inference_mode(), mixed_precision(device, dtype):
            predicted = predict(network, part)
        predicted = predicted[0] if together else predicted
        return predicted[tile.planes.keep][..., tile.columns.keep].float().cpu()

    result: Tensor | None = None
    pieces = pool.map(compute, tiles) if device.type == "cpu" else map(compute, tiles)
    for done, (tile, piece) in enumerate(zip(tiles, pieces, strict=True), 1):
        if result is None:
            result = torch.empty((number, *piece.shape[1:-1], width))
        result[tile.planes.write, ..., tile.columns.write] = piece
        if settings.report:
            settings.report(done, len(tiles))
    assert result is not None
    return result


class _Span(NamedTuple):
    """Say what of an axis to read, and what of the prediction to keep and where."""

    read: slice
    keep: slice
    write: slice


class _Tile(NamedTuple):
    planes: _Span
    columns: _Span


def _tiles(
    shape: tuple[int, int, int], pixels: int, settings: InferenceSettings
) -> Iterator[_Tile]:
    number, slices, width = shape
    batch = max(1, pixels // (slices * width))
    batch = -(-number // -(-number // batch))  # all of about one size
    core = width if batch > 1 else max(1, min(width, pixels // slices))
    for planes in _spans(number, batch, settings.plane_halo):
        for columns in _spans(width, core, settings.halo):
            yield _Tile(planes, columns)


def _spans(size: int, step: int, halo: int) -> Iterator[_Span]:
    for first in range(0, size, step):
        last = min(first + step, size)
        lower, upper = max(0, first - halo), min(size, last + halo)
        yield _Span(
            read=slice(lower, upper),
            keep=slice(first - lower, last - lower),
            write=slice(first, last),
        )


def _free(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
