"""Make blocks of heads, degraded by simulated acquisitions and reconstructed by `finetuned`.

    python benchmarks/interval_blocks.py FOLDER IMAGE ... --masks MASKS --rounds 12

For `benchmarks/interval.py`.  A block is a part of the brain, whole across the slices, so that
many acquisitions cost little.  What is there already is left.
"""

from __future__ import annotations

import argparse
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bids_sr.compute.progress import silent
from bids_sr.imaging import Acquisition, RobustScaler, Volume, degrade
from bids_sr.sr.contract.weights import Weights
from bids_sr.sr.inference.workspace import Workspace
from bids_sr.sr.methods.finetuned import Finetuned
from bids_sr.sr.methods.view_network import ImageJob

PROTOCOLS = ((5.0, 6.0), (4.0, 4.0), (3.0, 3.0), (2.5, 3.3))
"""Thickness and spacing, mm."""
NOISE = (0.0, 0.01, 0.03, 0.02)
PROFILES = ("gaussian", "slr", "rect", "slr")
AXES = (2, 0, 1)
BLOCK = (24, 100)
"""Voxels of a block along the two directions within the slices."""
MARGIN = 14
HEADS = {
    "sub-adult03": "sub-adult01",
    "sub-adult04": "sub-adult02",
    "sub-adult09": "sub-adult02",
}
"""Subjects that are the head of another (benchmarks/same_head.py)."""


def collect(arguments: argparse.Namespace) -> None:
    """Simulate and reconstruct every image in every round."""
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, arguments.rounds, 2):  # two rounds a head at a time
        for path in arguments.images:
            image = Volume.load(path).canonical()
            mask = Volume.load(arguments.masks / path.name, dtype=np.uint8).canonical()
            for number in range(first, min(first + 2, arguments.rounds)):
                simulated(path.name.removesuffix(".nii.gz"), image, mask, number, arguments)


def simulated(
    name: str, image: Volume, mask: Volume, number: int, arguments: argparse.Namespace
) -> None:
    """Simulate acquisition `number` of an image; kind, direction and noise differ by image."""
    place = zlib.crc32(name.encode())
    thickness, spacing = PROTOCOLS[(number + place) % 4]
    axis = AXES[(number + 2 * place) % 3]
    noise = NOISE[(number + place + number // 4 + place // 4) % 4]
    profile = PROFILES[(3 * number + place) % 4]
    protocol = f"{thickness:g}/{spacing:g}"
    out = arguments.folder / f"{name}_{number:02d}.npz"
    if out.exists():
        return
    random = np.random.default_rng(zlib.crc32(f"{name}{protocol}{axis}{number}".encode()))
    box = block(mask, axis, random)
    truth, inside = image.part(box), mask.data[box] > 0
    acquisition = Acquisition(
        spacing=spacing, thickness=thickness, profile=profile, slice_axis=axis
    )
    scaler = RobustScaler.fit(image.data)
    # A share of the whole image's range, which degrade would take from the block.
    sigma = noise * float(np.percentile(image.data, 99))
    lr = noisy(degrade(truth, acquisition), sigma, random, scaler)
    method = Finetuned(
        threads=1,
        adapt="none",
        model=arguments.model,
        scale_intensities=False,
        calibrated_uncertainty=False,
    )
    if arguments.adapt:
        whole = noisy(degrade(image.part(around(mask)), acquisition), sigma, random, scaler)
        learned = adapted(replace(method, adapt="image"), whole, acquisition, truth)
        method = replace(method, model=str(learned.save(out.with_suffix(".safetensors"))))
    result = method.reconstruct(lr, acquisition, truth.grid, judge_slices=False)
    assert result.uncertainty is not None
    subject = name.split("_")[0]
    facts = {
        "head": HEADS.get(subject, subject),
        "image": name,
        "protocol": protocol,
        "axis": axis,
        "noise": noise,
        "profile": profile,
        "thickness": thickness,
        "spacing": spacing,
    }
    np.savez(
        out,
        facts=json.dumps(facts),
        affine=truth.affine,
        lr_affine=lr.affine,
        lr=lr.data,
        sr=result.volume.data,
        truth=scaler.apply(truth.data).astype(np.float32),
        views=result.uncertainty.data,
        inside=inside,
    )
    print(out.name, protocol, axis, profile, noise, flush=True)


def noisy(lr: Volume, sigma: float, random: np.random.Generator, scaler: RobustScaler) -> Volume:
    """Return slices with Rician noise, scaled."""
    if sigma:
        real, imaginary = random.normal(0, sigma, (2, *lr.shape))
        lr = lr.with_data(np.hypot(lr.data + real, imaginary).astype(np.float32))
    return lr.with_data(scaler.apply(lr.data))


def adapted(method: Finetuned, lr: Volume, acquisition: Acquisition, like: Volume) -> Weights:
    """Return the weights adapted to all slices of an image, as the method does by default."""
    axis = acquisition.slice_axis
    assert axis is not None
    grid = lr.grid.tiled(axis, float(like.spacings[axis]))
    work = Workspace.of(lr, axis, grid)
    job = ImageJob(work.slices.data, work, acquisition, torch.device("cpu"), 1, silent)
    weights = method._make_ready(job).weights
    assert weights is not None
    return weights


def around(mask: Volume) -> tuple[slice, slice, slice]:
    """Return the box of the brain, with a margin."""
    spans = [
        slice(max(0, int(part.min()) - MARGIN), min(size, int(part.max()) + 1 + MARGIN))
        for part, size in zip(np.nonzero(mask.data), mask.shape, strict=True)
    ]
    return spans[0], spans[1], spans[2]


def block(mask: Volume, axis: int, random: np.random.Generator) -> tuple[slice, slice, slice]:
    """Choose a block that is a quarter brain or more, whole across the slices of the brain."""
    box = around(mask)
    across = random.permutation([other for other in range(3) if other != axis])
    for _ in range(20):
        chosen = list(box)
        for other, size in zip(across, BLOCK, strict=True):
            free = box[other].stop - box[other].start - size
            start = box[other].start + int(random.integers(0, max(1, free + 1)))
            chosen[other] = slice(start, min(start + size, box[other].stop))
        if (mask.data[tuple(chosen)] > 0).mean() > 0.25:
            break
    return chosen[0], chosen[1], chosen[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the blocks")
    parser.add_argument("images", nargs="+", type=Path, help="high-resolution NIfTI images")
    parser.add_argument("--masks", type=Path, required=True, help="brain masks of their names")
    parser.add_argument("--rounds", type=int, default=12, help="acquisitions of each image")
    parser.add_argument("--model", default="brain-5")
    parser.add_argument("--adapt", action="store_true", help="to the whole image first")
    collect(parser.parse_args())


if __name__ == "__main__":
    main()
