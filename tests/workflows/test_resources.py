"""What nodes declare against what they take, and what runs together against its forecast."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from nipype.pipeline.engine.utils import generate_expanded_graph

from bids_sr.bids.image import AnatImage
from bids_sr.compute.resources import MEMORY_SHARE
from bids_sr.config import RunConfig
from bids_sr.run.memory import MAIN_PROCESS_GB, participant_memory_gb
from bids_sr.workflows.base import init_bids_sr_wf

MakeImage = Callable[..., AnatImage]
SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "nodes.py"
MOST_DECLARED = 1.7
"""Of what a step takes; least is 1."""
SLACK_GB = 0.2
"""No more than this is no waste: small steps take what their imports take."""

IDLE = ("denoise", "correct_bias", "mask_to_grid", "draw_mask", "draw_uncertainty")
"""Steps that have nothing to do without a mask, a map of uncertainty or their option."""


def check_declarations(
    folder: Path, grid: str, *options: str, idle: Sequence[str] = IDLE
) -> set[str]:
    """Run the real graph on a grid, each step in its own process; return the steps."""
    command = [sys.executable, str(SCRIPT), "--out", str(folder), "--grids", grid, "--", *options]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    rows = [line.strip("| ").split(" | ") for line in process.stdout.splitlines()[2:]]
    memory_of = {row[4]: (float(row[5]), float(row[6])) for row in rows if len(row) == 8}
    assert memory_of
    wrong = [
        f"{step}: declared {declared:.2f} GB, took {peak:.2f} GB"
        for step, (declared, peak) in memory_of.items()
        if peak > declared
        or (step not in idle and declared > max(MOST_DECLARED * peak, peak + SLACK_GB))
    ]
    assert not wrong
    return set(memory_of)


QUICK = ("--sr-steps", "2", "--skull-strip-method", "none", "--anat-biascorrect", "none")


def test_steps_take_no_more_than_they_declare_on_a_small_grid(tmp_path: Path) -> None:
    steps = check_declarations(tmp_path, "64x72x12@3x3x9", *QUICK)
    assert {"check_input", "denoise", "super_resolve", "mask_to_grid", "draw_sr"} <= steps


def test_interpolation_takes_no_more_than_it_declares_on_a_large_grid(tmp_path: Path) -> None:
    """256 x 256 x 150 voxels: where what a voxel costs outweighs what imports cost."""
    options = ("--denoise-method", "none", "--sr-method", "bspline", *QUICK[2:])
    check_declarations(tmp_path, "256x256x30@1x1x5", *options)


@pytest.mark.slow
@pytest.mark.parametrize("grid", ["96x112x20@2x2x8", "182x218x30@1x1x6"])
def test_every_step_takes_no_more_than_it_declares(tmp_path: Path, grid: str) -> None:
    options = ("--sr-steps", "2", "--skull-strip-anat", "force")
    steps = check_declarations(tmp_path, grid, *options, idle=())
    assert {"denoise", "correct_bias", "extract_brain", "super_resolve"} <= steps


@pytest.mark.parametrize(
    ("nprocs", "threads"), [(1, 1), (2, 1), (3, 1), (4, 1), (2, 2), (3, 2), (4, 2)]
)
def test_memory_of_a_participant_is_the_most_that_its_graph_can_hold(
    tmp_path: Path, make_image: MakeImage, nprocs: int, threads: int
) -> None:
    """The oracle: every set of nodes of the real graph in which none waits for another."""
    config = RunConfig(
        bids_dir=tmp_path / "bids",
        output_dir=tmp_path / "out",
        work_dir=tmp_path / "work",
        nprocs=nprocs,
        omp_nthreads=threads,
        skull_strip_method="template",
        segmentation=("atropos",),
    )
    image = make_image()
    # as Nipype runs it: without identity nodes, each of which would join all that passes it
    graph = generate_expanded_graph(init_bids_sr_wf(config, [image])._create_flat_graph())
    most = 0.0
    before = nx.transitive_closure_dag(graph)
    # what runs in the main process is no step of its own, nor are identity nodes
    steps = [
        node
        for node in graph.nodes
        if not node.run_without_submitting
        and type(node.interface).__name__ not in ("IdentityInterface", "Merge")
    ]
    for number in range(1, nprocs + 1):
        for chosen in itertools.combinations(steps, number):
            if sum(node.n_procs for node in chosen) > nprocs:
                continue
            if any(before.has_edge(*pair) for pair in itertools.permutations(chosen, 2)):
                continue
            most = max(most, sum(node.mem_gb for node in chosen))
    needed = participant_memory_gb(config, [image]) * MEMORY_SHARE - MAIN_PROCESS_GB
    assert most - 0.02 <= needed <= 1.1 * most


def test_two_images_can_need_twice_the_memory_of_one(
    tmp_path: Path, make_image: MakeImage
) -> None:
    images = [make_image("01"), make_image("01", "FLAIR")]

    def needed(*, low_mem: bool = False, **changes: Any) -> float:
        config = RunConfig(
            bids_dir=tmp_path / "bids",
            output_dir=tmp_path / "out",
            work_dir=tmp_path / "work",
            low_mem=low_mem,
            **changes,
        )
        return participant_memory_gb(config, images) * MEMORY_SHARE - MAIN_PROCESS_GB

    single = needed(nprocs=1)
    assert needed(nprocs=2) == pytest.approx(2 * single, abs=0.02)
    assert needed(nprocs=2, omp_nthreads=2) == pytest.approx(
        single, abs=0.4
    )  # light steps in twos
    assert needed(nprocs=2, low_mem=True) == pytest.approx(single, abs=0.02)
    assert participant_memory_gb(RunConfig(
        bids_dir=tmp_path / "bids", output_dir=tmp_path / "out", work_dir=tmp_path / "work"
    ), [make_image(action="skip", source_grid=None)]) == 0  # fmt: skip
