"""A device to compare with the CPU, and a head made of nothing but arrays.

``BIDS_SR_TEST_DEVICE=cpu`` runs the same tests against the CPU, to find mistakes in them where
no GPU is at hand; a device that is asked for by name must be there.  What is measured goes to
the file that ``BIDS_SR_TEST_MEASUREMENTS`` names, a line each.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from bids_sr.imaging import Acquisition, Volume, degrade

Measure = Callable[..., None]


@pytest.fixture(scope="session")
def device() -> str:
    """Return the name of the device whose results are compared with the CPU's."""
    name = os.environ.get("BIDS_SR_TEST_DEVICE", "")
    if not name and not torch.cuda.is_available():
        pytest.skip("no CUDA device; BIDS_SR_TEST_DEVICE=cpu rehearses the test")
    return name or "cuda"


@pytest.fixture(scope="session")
def cuda(device: str) -> torch.device:
    """Return the device for what only a GPU can show."""
    if not device.startswith("cuda"):
        pytest.skip("only a CUDA device can show this")
    return torch.device(device)


@pytest.fixture(scope="session")
def threads() -> int:
    """Return the CPU threads of what the device is compared with."""
    return min(8, len(os.sched_getaffinity(0)))


@pytest.fixture
def measure(request: pytest.FixtureRequest) -> Measure:
    """Write down what a test measured."""

    def write(**values: float | str | None) -> None:
        path = os.environ.get("BIDS_SR_TEST_MEASUREMENTS")
        if path:
            with Path(path).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"test": request.node.name, **values}) + "\n")

    return write


@pytest.fixture(scope="session")
def head() -> Volume:
    """Folded tissues within an ellipsoid: 64 x 72 x 64 voxels of 1 mm."""
    shape = (64, 72, 64)
    noise = np.random.default_rng(7).standard_normal(shape).astype(np.float32)
    folds = ndimage.gaussian_filter(noise, 2.5)
    tissue = np.digitize(folds / folds.std(), [-0.8, 0.1, 0.9])  # 0 to 3
    x, y, z = (np.linspace(-1.15, 1.15, size) for size in shape)
    radius = np.sqrt(x[:, None, None] ** 2 + y[:, None] ** 2 + z**2)
    brightness = np.choose(tissue, [30.0, 70.0, 100.0, 120.0])
    brightness = np.where((radius > 0.9) & (radius < 1.0), 150.0, brightness)
    data = ndimage.gaussian_filter(np.where(radius < 1.0, brightness, 0.0), 0.5)
    data += 0.02 * np.abs(noise) * data
    return Volume(data.astype(np.float32), np.diag([1.0, 1.0, 1.0, 1.0]))


@pytest.fixture(scope="session")
def acquisition() -> Acquisition:
    return Acquisition(spacing=4.0, thickness=3.5, slice_axis=2)


@pytest.fixture(scope="session")
def thick_head(head: Volume, acquisition: Acquisition) -> Volume:
    return degrade(head, acquisition)
