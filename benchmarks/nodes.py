"""Measure peak memory and CPU time of each heavy step, each in a process of its own.

    python benchmarks/nodes.py IMAGE [IMAGE ...]

The figures that ``workflows/resources.py`` declares are lines laid above these.
Super-resolution is trained for a few steps only: its memory does not depend on their number.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bids_sr.imaging import Acquisition, Volume, output_grid

TRAINING_STEPS = 5
HEADING = """\
| image | step | acquired Mvoxel | output Mvoxel | peak GB | CPU s |
|---|---|---|---|---|---|"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    print(HEADING)
    context = multiprocessing.get_context("spawn")
    for path in arguments.images:
        for step in STEPS:
            with context.Pool(1) as pool:
                cells = pool.apply(measure, (step, path, arguments.threads))
            print("| " + " | ".join(cells) + " |", flush=True)


def measure(step: str, path: Path, threads: int) -> list[str]:
    volume = Volume.load(path)
    grid = output_grid(volume, slice_axis=volume.slice_axis, spacing=None, mode="fov")
    start = time.process_time()
    try:
        STEPS[step](volume, threads)
        outcome = ""
    except Exception as error:  # a refusal has its memory too
        outcome = f" ({type(error).__name__})"
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    megavoxels = [f"{a * b * c / 1e6:.1f}" for a, b, c in (volume.shape, grid.shape)]
    name = path.name.removesuffix(".nii.gz")
    return [name, step + outcome, *megavoxels, f"{peak:.2f}", f"{seconds:.0f}"]


def _denoise(volume: Volume, threads: int) -> Any:
    from bids_sr.engines import ants

    return ants.denoise(volume, threads=threads)


def _n4(volume: Volume, threads: int) -> Any:
    from bids_sr.engines import ants

    return ants.n4(volume, threads=threads)


def _template_mask(volume: Volume, threads: int) -> Any:
    from bids_sr.engines import ants

    return ants.template_brain_mask(volume, threads=threads)


def _super_resolve(volume: Volume, threads: int) -> Any:
    from bids_sr.sr import super_resolve

    acquisition = Acquisition.from_volume(volume)
    return super_resolve(volume, acquisition, steps=TRAINING_STEPS, threads=threads)


STEPS: dict[str, Callable[[Volume, int], Any]] = {
    "denoise": _denoise,
    "n4": _n4,
    "template mask": _template_mask,
    "super-resolution": _super_resolve,
}


if __name__ == "__main__":
    main()
