"""The device that networks run on, and torch's settings for the time of a run.

Nothing here changes the process for good: threads are put back afterwards.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch

from bids_sr.exceptions import ConfigError, EngineError, is_device_full

LOGGER = logging.getLogger(__name__)
_Made = TypeVar("_Made")


def resolve_device(name: str) -> torch.device:
    """Return the device of that name.

    Parameters
    ----------
    name : str
        ``auto`` (CUDA if there is one, else the CPU), ``cpu``, ``cuda``, ``cuda:N`` or
        ``mps``.

    Raises
    ------
    ConfigError
        If the name is unknown or this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdigit()):
        raise ConfigError(f"Found device {name!r}; expected auto, cpu, cuda, cuda:N or mps.")
    if kind == "cuda" and not int(number or 0) < torch.cuda.device_count():
        raise ConfigError(
            f"Found device {name!r} and {torch.cuda.device_count()} CUDA devices; expected the "
            "device to exist. Use auto or cpu, or install a CUDA build of torch."
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("Found device 'mps' on a machine without it. Use auto or cpu.")
    return torch.device(name)


def or_on_cpu(name: str, work: Callable[[str], _Made]) -> tuple[_Made, str]:
    """Do work on a device; on the CPU if an automatically chosen GPU has too little memory.

    Parameters
    ----------
    name : str
        As for :func:`resolve_device`; with ``auto`` the CPU may take over.
    work : callable
        From the name of a device to a result.

    Returns
    -------
    made
        What `work` returned.
    reason : str
        Why the CPU took over; empty where it did not.

    Raises
    ------
    EngineError
        If memory ran out on a device that was requested by name.
    """
    try:
        return work(name), ""
    except RuntimeError as error:
        if not is_device_full(error):
            raise
        detail = str(error).splitlines()[0]
        if name != "auto":
            raise EngineError(
                f"Found too little memory on {name} ({detail}). Free the device, or choose "
                "--device auto or --device cpu."
            ) from error
    reason = f"the GPU had too little memory ({detail})"
    LOGGER.warning("Using the CPU: %s", reason)
    torch.cuda.empty_cache()
    return work("cpu"), reason


@contextmanager
def limited_threads(threads: int | None) -> Iterator[int]:
    """Run with that many CPU threads of torch (None: as they are); yields the number."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


@contextmanager
def single_core_workers(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of that many threads, each of which computes on one core.

    Small convolutions run faster this way than when the threads of a library share each of
    them: no thread waits for another, least of all by spinning on a busy machine
    (benchmarks/RESULTS.md).
    """
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


@contextmanager
def fastest_convolutions(device: torch.device) -> Iterator[None]:
    """Let a GPU search for the fastest convolutions, for shapes that occur repeatedly."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before or device.type == "cuda"
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def half_precision(device: torch.device) -> torch.dtype | None:
    """Return the half precision in which a device computes faster, or None.

    bfloat16 has the range of float32, so it is used where the device has it: newer
    GPUs, and CPUs with bfloat16 instructions, where it halves the time.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu":
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"):
            return torch.bfloat16
    return None


def mixed_precision(
    device: torch.device, dtype: torch.dtype | None
) -> AbstractContextManager[object]:
    """Return the context in which convolutions run in `dtype`; None: nothing changes."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
