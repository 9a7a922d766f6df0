"""Where the time of a training step goes: making pairs, the network, the host.

    python benchmarks/training_step.py IMAGE [IMAGE ...] [--device auto] [--steps 20] \
        [--start WEIGHTS] [--channels N] [--volume-batch N] [--out TABLE.json]

Prints seconds a step (median), of which pairs alone take how much, and the share of a
step in which the host works on anything but the network: on a GPU the time until the
pairs' operations are queued, on a CPU the time until they are made.  Of that the drawing of
random numbers, which is the host's on every device.  And the computing of a step: its mean
over the batches, forward and backward, in teraflop.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from bids_sr.compute.device import half_precision, mixed_precision, resolve_device
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.learning.loop import Schedule, fit
from bids_sr.sr.learning.pairs import Pairs, PatchSize
from bids_sr.sr.learning.protocols import Protocols
from bids_sr.sr.learning.sources import read_images
from bids_sr.sr.networks.backbone import Backbone
from bids_sr.sr.recipes.backbone import _predicted
from bids_sr.sr.recipes.supervised import training_volume_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--volume-batch", type=int, default=6)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    table = measure(options)
    print(json.dumps(table, indent=1))
    if options.out:
        options.out.write_text(json.dumps(table, indent=1) + "\n")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    device = resolve_device(options.device)
    torch.set_num_threads(options.threads)
    network = _network(options).to(device).laid_out()
    size = PatchSize(planes=20, batch=options.batch, volume_batch=options.volume_batch)
    size = size if network.planes > 1 else PatchSize(batch=options.batch)
    volumes = [training_volume_of(image) for image in read_images(options.images)]
    pairs = Pairs(volumes, Protocols(), size, factor=network.factor, seed=0, device=device)
    for _ in range(200):  # so that all acquisitions are worked out
        batch = next(pairs)

    draw_seconds, queued, pairs_made, forward, teraflop = [], [], [], [], []
    for _ in range(options.steps):
        table = pairs._table(pairs._plans[0].shape)
        number = pairs._number(table.planes)
        begin = time.perf_counter()
        pairs._choices(table, pairs._random.integers(len(table.plans), size=number))
        draw_seconds.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        batch = next(pairs)
        queued.append(time.perf_counter() - begin)
        _wait(device)
        pairs_made.append(time.perf_counter() - begin)
        forward.append(_forward(network, batch, device))
        teraflop.append(_teraflop(network, batch))
    steps = _whole_steps(network, pairs, options)
    step_seconds = statistics.median(steps)
    return {
        "Device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "Torch": torch.__version__,
        "Architecture": network.arguments,
        "VolumeBatch": size.volume_batch,
        "TeraflopAStep": round(statistics.mean(teraflop), 4),
        "StepSeconds": round(step_seconds, 5),
        "PairsSeconds": round(statistics.median(pairs_made), 5),
        "PairsQueuedSeconds": round(statistics.median(queued), 5),
        "DrawnSeconds": round(statistics.median(draw_seconds), 5),
        "ForwardSeconds": round(statistics.median(forward), 5),
        "PairsShareOfStep": round(statistics.median(pairs_made) / step_seconds, 4),
        "HostShareOfStep": round(statistics.median(queued) / step_seconds, 4),
    }


def _network(options: argparse.Namespace) -> Backbone:
    if options.start is None:
        return Backbone(channels=options.channels, planes=3)
    network = Backbone.from_weights(Weights.load(options.start))
    wide = options.channels > network.head.out_channels
    return network.widened(options.channels) if wide else network


@torch.inference_mode()
def _forward(network: Backbone, batch: Any, device: torch.device) -> float:
    begin = time.perf_counter()
    with mixed_precision(device, half_precision(device)):
        _predicted(network, batch[0])
    _wait(device)
    return time.perf_counter() - begin


def _teraflop(network: Backbone, batch: Any) -> float:
    """Count what a step computes, forward and backward."""
    slices, rows = batch
    with FlopCounterMode(display=False) as counter:
        rows.absolute_error(_predicted(network, slices)).backward()
    network.zero_grad()
    return float(counter.get_total_flops()) / 1e12


def _whole_steps(network: Backbone, pairs: Pairs, options: argparse.Namespace) -> list[float]:
    """Train and return the seconds of each step after the first few."""
    times = [time.perf_counter()]

    def progress(step: int, total: int, message: str) -> None:
        if step % every == 0:
            _wait(pairs.device)
            times.append(time.perf_counter())

    every = 1 if pairs.device.type == "cpu" else 10
    number = options.steps if pairs.device.type == "cpu" else 10 * options.steps
    fit(
        network,
        lambda network, slices: _predicted(network, slices),  # type: ignore[arg-type]
        pairs,
        lambda predicted, rows: rows.absolute_error(predicted),
        Schedule(steps=number, optimizer="muon", learning_rate=1e-4, report_every=number),
        threads=options.threads,
        progress=progress,
    )
    spans = [(after - before) / every for before, after in pairwise(times)]
    return spans[len(spans) // 4 :]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
