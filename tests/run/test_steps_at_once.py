"""How many steps the scheduler runs at once: as memory, processors and devices allow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    SimpleInterface,
    TraitedSpec,
    traits,
)
from nipype.pipeline import engine as pe

from bids_sr.run.progress import StageLines
from bids_sr.run.scheduler import SteadyMultiProcPlugin

pytestmark = [
    # Nipype's own habits
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
Nodes = Callable[..., pe.Node]
Run = Callable[..., tuple[StageLines, Exception | None]]
AtOnce = list[list[tuple[str, str | None]]]


@pytest.fixture
def at_once() -> AtOnce:
    """Names and devices of the steps in their processes, whenever one more was started."""
    return []


@pytest.fixture
def noting(
    at_once: AtOnce,
) -> type[SteadyMultiProcPlugin]:
    class Noting(SteadyMultiProcPlugin):
        def _start(self, taskid: int) -> None:
            super()._start(taskid)
            steps = self._steps.values()
            at_once.append([(s.node.name, s.device) for s in steps if s.process is not None])

    return Noting


def note_process(folder: str) -> int:
    import os
    from pathlib import Path

    device = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    Path(folder, f"{Path.cwd().name}.process").write_text(f"{os.getpid()} {device}")
    return os.getpid()


def noted(folder: Path) -> list[list[str]]:
    """Read process and device of each step, by the step's name."""
    return [path.read_text().split(" ") for path in sorted(folder.glob("*.process"))]


def test_memory_goes_with_a_step_and_never_more_runs_than_fits(
    tmp_path: Path,
    node: Nodes,
    run: Run,
    noting: type[SteadyMultiProcPlugin],
    at_once: AtOnce,
) -> None:
    """Steps that declare 3 of 8 GB: two at once, each in a process that ends with it."""
    nodes = [node(f"step{number}", note_process, folder=str(tmp_path)) for number in range(5)]
    for step in nodes:
        step._mem_gb = 3.0
    _, error = run(nodes, plugin=noting, n_procs=4)
    assert error is None
    processes = {int(process) for process, _ in noted(tmp_path)}
    assert len(processes) == 5
    assert not any(map(psutil.pid_exists, processes))
    assert max(map(len, at_once)) == 2


def test_a_step_that_asks_for_more_than_there_is_runs_alone(
    tmp_path: Path,
    node: Nodes,
    run: Run,
    noting: type[SteadyMultiProcPlugin],
    at_once: AtOnce,
) -> None:
    nodes = [node(f"step{number}", note_process, folder=str(tmp_path)) for number in range(3)]
    nodes[0]._mem_gb = 30.0
    _, error = run(nodes, plugin=noting, n_procs=4)
    assert error is None
    assert len(noted(tmp_path)) == 3
    assert [steps for steps in at_once if ("step0", None) in steps] == [[("step0", None)]]


class _UsesDeviceInputSpec(BaseInterfaceInputSpec):
    folder = traits.Str()
    use_gpu = traits.Bool()


class _UsesDeviceOutputSpec(TraitedSpec):
    out = traits.Int()


class UsesDevice(SimpleInterface):
    input_spec = _UsesDeviceInputSpec
    output_spec = _UsesDeviceOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        self._results["out"] = note_process(self.inputs.folder)
        return runtime


def test_a_gpu_is_used_by_one_step_at_a_time(
    tmp_path: Path,
    run: Run,
    noting: type[SteadyMultiProcPlugin],
    at_once: AtOnce,
) -> None:
    """Two simulated devices, named as a Slurm job would; the steps read their own."""
    interfaces = [UsesDevice(folder=str(tmp_path), use_gpu=True) for _ in range(6)]
    nodes = [
        pe.Node(interface, name=f"step{number}", n_procs=2, mem_gb=0.3)
        for number, interface in enumerate(interfaces)
    ]
    names = ("3", "GPU-5a")
    _, error = run(nodes, plugin=noting, n_procs=12, n_gpu_procs=4, devices=names)
    assert error is None
    devices = [device for _, device in noted(tmp_path)]
    assert len(devices) == 6
    assert set(devices) == set(names)
    assert max(map(len, at_once)) == 2
    for steps in at_once:
        in_use = [device for _, device in steps]
        assert len(set(in_use)) == len(in_use)
