"""Time the default method on three grids: first call, later calls, with and without adaptation.

    python timings.py ROWS --seconds 200

Each grid has a process of its own, so that its first call pays for all that a first call pays
for: CUDA's start, the loading of kernels, the choice of algorithms.  ROWS gets a line of JSON a
grid and way.  The images are synthetic: folded tissues in an ellipsoid that fills the field of
view as a head does.  Without a GPU the CPU is timed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEGIN = time.perf_counter()
MOST_REPEATS = 5


@dataclass(frozen=True)
class Image:
    """Say how a thick-slice image lies."""

    shape: tuple[int, int, int]
    in_plane: float
    spacing: float
    thickness: float


IMAGES = {
    "FLAIR": Image((182, 218, 30), 1.0, 6.0, 5.0),
    "whole head": Image((256, 256, 43), 1.0, 6.0, 5.0),
    "clinical": Image((320, 320, 36), 0.72, 4.0, 4.0),
}
SMALL = {"small": Image((64, 72, 12), 1.0, 5.0, 5.0)}
# The default, then without its adaptation; with the share of the time at which each ends.
WAYS: dict[str, tuple[dict[str, Any], float]] = {
    "adapted": ({}, 0.75),
    "as they are": ({"adapt": "none"}, 0.95),
}
QUICK = {"steps": 8}


def main(argv: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    images = SMALL if options.rehearse else IMAGES
    if options.image:
        time_image(options.image, images[options.image], options)
        return 0
    options.rows.unlink(missing_ok=True)
    end, failed = BEGIN + options.seconds, False
    for number, name in enumerate(images):
        seconds = (end - time.perf_counter()) / (len(images) - number)
        words = ["--rehearse"] if options.rehearse else []
        words += ["--seconds", str(seconds), "--image", name]
        command = [sys.executable, __file__, str(options.rows), *words]
        failed |= subprocess.run(command, check=False).returncode != 0
    return int(failed)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=Path, metavar="ROWS", help="file to write")
    parser.add_argument("--seconds", type=float, default=200.0, help="for all (default: 200)")
    parser.add_argument("--rehearse", action="store_true", help="a small image and few steps")
    parser.add_argument("--image", help="only this one, in this process")
    return parser


def time_image(name: str, image: Image, options: argparse.Namespace) -> None:
    """Time one image; the least is one call each way, more as long as there is time."""
    import torch

    from bids_sr.imaging import Acquisition, lay_out_grid
    from bids_sr.sr import reconstruct

    imported = time.perf_counter() - BEGIN
    volume = synthetic(image)
    acquisition = Acquisition(spacing=image.spacing, thickness=image.thickness, slice_axis=2)
    grid = lay_out_grid(volume, slice_axis=2)
    more = QUICK if options.rehearse else {}
    on_gpu = torch.cuda.is_available() and not options.rehearse
    for way, (parameters, share) in WAYS.items():
        settings = {**parameters, **more, "device": "cuda" if on_gpu else "cpu"}
        seconds: list[float] = []
        records: list[dict[str, Any]] = []
        if torch.cuda.is_initialized():  # the first call starts CUDA
            torch.cuda.reset_peak_memory_stats()
        while not seconds or (
            len(seconds) <= MOST_REPEATS
            and time.perf_counter() - BEGIN + seconds[-1] < share * options.seconds
        ):
            before = time.perf_counter()
            reconstruction = reconstruct(
                volume, acquisition, method="finetuned", grid=grid, parameters=settings
            )
            seconds.append(time.perf_counter() - before)
            records.append(reconstruction.record.to_dict())
            print(f"{name}, {way}: {seconds[-1]:.2f} s", flush=True)
        row = {"image": name, "grid": "x".join(map(str, grid.shape)), "weights": way}
        row["import_s"] = round(imported, 1)
        row |= summary(seconds, records)
        if on_gpu:
            row["peak_gpu_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
            row["reserved_gpu_gb"] = round(torch.cuda.max_memory_reserved() / 1e9, 2)
        with options.rows.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        print(row, flush=True)


def summary(seconds: list[float], records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the time of the first call and medians of the later ones, with their parts."""
    later = slice(1, None) if len(seconds) > 1 else slice(None)

    def median(values: list[float]) -> float:
        return round(statistics.median(values[later]), 2)

    parts = {
        part: median([record.get(key) or 0.0 for record in records])
        for part, key in (("adaptation_s", "TrainingSeconds"), ("inference_s", "InferenceSeconds"))
    }
    facts = records[-1]
    return {
        "first_s": round(seconds[0], 2),
        "median_s": median(seconds) if len(seconds) > 1 else None,
        "repeats": len(seconds) - 1,
        **parts,
        "steps": facts.get("Steps"),
        "device": facts["Device"],
        "fallback": facts.get("DeviceFallback") or facts.get("AdaptationFallback"),
    }


def synthetic(image: Image) -> Any:
    """Return a thick-slice image of folded tissues within an ellipsoid."""
    import numpy as np
    from scipy import ndimage

    from bids_sr.imaging import Volume

    zooms = np.array([image.in_plane, image.in_plane, image.spacing])
    noise = np.random.default_rng(0).standard_normal(image.shape).astype(np.float32)
    folds = ndimage.gaussian_filter(noise, 3.0 / zooms)  # 3 mm
    tissue = np.digitize(folds / folds.std(), [-0.8, 0.1, 0.9])
    x, y, z = (np.linspace(-1.1, 1.1, size) for size in image.shape)
    radius = np.sqrt(x[:, None, None] ** 2 + y[:, None] ** 2 + z**2)
    brightness = np.choose(tissue, [30.0, 70.0, 100.0, 120.0])
    data = np.where(radius < 1.0, brightness, 0.0)
    data = ndimage.gaussian_filter(data, (0.6, 0.6, 0.0)) + np.abs(noise)
    return Volume(data.astype(np.float32), np.diag([*zooms, 1.0]))


if __name__ == "__main__":
    sys.exit(main())
