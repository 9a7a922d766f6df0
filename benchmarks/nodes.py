"""Measure the peak memory of every step of a run beside what the step declares.

    python benchmarks/nodes.py --out FOLDER --grids 182x218x30@1x1x6 -- --sr-steps 2
    python benchmarks/nodes.py --out FOLDER --bids DATASET -- --participant-label ms01

The steps are the nodes of the real graph, run by the run's own scheduler, each in a process of
its own; peak memory is that process's largest resident set (``VmHWM``), pages that it shares
with others included.  The grids are laid over the anatomy of ``bids_sr-tools demo``.  What
follows ``--`` goes to ``bids_sr``; memory does not depend on the length of the training.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_sr.cli.parser import parse_args
from bids_sr.compute.environment import prepare
from bids_sr.files.writing import write_json_atomic
from bids_sr.imaging import Grid, resample

HEADING = """\
| image | threads | acquired | output Mvoxel | step | declared GB | peak GB | ratio |
|---|---|---|---|---|---|---|---|"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One step of one image."""

    image: str
    step: str
    acquired: tuple[int, ...]
    output_megavoxels: float
    declared_gb: float
    peak_gb: float

    @property
    def row(self) -> list[str]:
        """The cells after the image's name and the threads."""
        shape = "x".join(map(str, self.acquired))
        ratio = f"{self.declared_gb / self.peak_gb:.2f}"
        numbers = [f"{self.declared_gb:.2f}", f"{self.peak_gb:.2f}", ratio]
        return [shape, f"{self.output_megavoxels:.1f}", self.step, *numbers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bids", type=Path, help="a dataset, instead of --grids")
    parser.add_argument("--grids", nargs="+", default=[], metavar="AxBxC@XxYxZ")
    parser.add_argument("--threads", type=int, default=1)
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    arguments, options = parser.parse_args(words[:end]), words[end + 1 :]
    print(HEADING)
    sources = [arguments.bids] if arguments.bids else []
    for number, grid in enumerate(arguments.grids, 1):
        # in a process of its own, as what it imports would count in every step
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            root = arguments.out / f"grid{number}" / "bids"
            sources.append(pool.apply(write_dataset, (root, grid)))
    for source in sources:
        folder = arguments.out if arguments.bids else source.parent

        def tell(one: Measured) -> None:
            cells = [one.image, str(arguments.threads), *one.row]
            print("| " + " | ".join(cells) + " |", flush=True)

        words = ["--nprocs", str(arguments.threads), "--omp-nthreads", str(arguments.threads)]
        measure(source, folder, [*options, *words], tell)


def write_dataset(root: Path, grid: str) -> Path:
    """Write a dataset of one T1w image on a grid, ``AxBxC@XxYxZ``: voxels, and mm."""
    from bids_sr.evaluation.demonstration import reference_volume

    shape, spacings = ([float(x) for x in part.split("x")] for part in grid.split("@"))
    head = reference_volume()
    affine = np.diag([*spacings, 1.0])
    centre = head.affine @ [*(np.asarray(head.shape) - 1) / 2, 1.0]
    affine[:3, 3] = centre[:3] - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    image = resample(
        head, Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine), kernel="linear"
    )
    noise = np.random.default_rng(0).normal(0, 10, image.shape).astype(np.float32)
    stem = root / "sub-01" / "anat" / "sub-01_T1w"
    image.with_data(np.abs(image.data + noise)).save(
        stem.with_name("sub-01_T1w.nii.gz"), dtype=np.int16
    )
    write_json_atomic(stem.with_name("sub-01_T1w.json"), {"SliceThickness": max(spacings)})
    write_json_atomic(
        root / "dataset_description.json", {"Name": f"one head, {grid}", "BIDSVersion": "1.10.0"}
    )
    return root


def measure(
    bids: Path, out: Path, options: Sequence[str], tell: Callable[[Measured], None]
) -> None:
    """Run the graph and tell of each step what it declared and what it took."""
    from bids_sr.run import execution, scheduler
    from bids_sr.run.graph import build
    from bids_sr.run.plan import make_plan
    from bids_sr.run.provenance import new_record
    from bids_sr.workflows.base import image_of_node, images_by_graph

    shutil.rmtree(out / "work", ignore_errors=True)  # a step that was done is not run again
    words = [str(bids), str(out / "out"), "participant", "-w", str(out / "work"), *options]
    config = parse_args([*words, "--clean-workdir", "--skip-bids-validation"])
    prepare(config.omp_nthreads)
    images = make_plan(config)
    graph, known = build(config, images), images_by_graph(images)
    (out / "out").mkdir(parents=True, exist_ok=True)

    class Measuring(scheduler.SteadyMultiProcPlugin):  # type: ignore[misc, unused-ignore]
        def _clear_task(self, taskid: int) -> None:
            node = self._steps[taskid].node
            image = image_of_node(node.fullname, known)
            peak = self.peaks_gb.get(node.fullname)
            if image is not None and image.source_grid and image.target_grid and peak:
                megavoxels = float(np.prod(image.target_grid.shape)) / 1e6
                tell(
                    Measured(
                        image=image.stem,
                        step=node.name,
                        acquired=image.source_grid.shape,
                        output_megavoxels=megavoxels,
                        declared_gb=node.mem_gb,
                        peak_gb=peak,
                    )
                )
            super()._clear_task(taskid)

    before, scheduler.SteadyMultiProcPlugin = scheduler.SteadyMultiProcPlugin, Measuring
    try:
        execution.run_graph(graph, config, images, new_record(words))
    finally:
        scheduler.SteadyMultiProcPlugin = before


if __name__ == "__main__":
    main()
