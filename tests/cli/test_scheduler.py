from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from nipype import config as nipype_config
from nipype.interfaces import utility as niu
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    SimpleInterface,
    TraitedSpec,
    traits,
)
from nipype.pipeline import engine as pe

from bids_sr.cli.crashes import read_crashes
from bids_sr.cli.progress import StageLines
from bids_sr.cli.scheduler import SteadyMultiProcPlugin

pytestmark = [
    # Nipype's own habits
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def kill_self(marker: str, times: int) -> int:
    import os
    import signal
    from pathlib import Path

    path = Path(marker)
    died = int(path.read_text()) if path.exists() else 0
    if died < times:
        path.write_text(str(died + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return died


def wait(seconds: float) -> float:
    import time

    time.sleep(seconds)
    return seconds


def node(name: str, function: Any, **inputs: Any) -> pe.Node:
    interface = niu.Function(input_names=list(inputs), output_names=["out"], function=function)
    made = pe.Node(interface, name=name)
    for key, value in inputs.items():
        setattr(made.inputs, key, value)
    return made


def run(
    tmp_path: Path, nodes: list[pe.Node], **plugin_args: Any
) -> tuple[StageLines, Exception | None]:
    nipype_config.update_config(
        {
            "execution": {
                "crashdump_dir": str(tmp_path / "crashes"),
                "crashfile_format": "txt",
                "create_report": False,
                "poll_sleep_duration": 0.05,
            }
        }
    )
    (tmp_path / "crashes").mkdir()
    workflow = pe.Workflow(name="w", base_dir=str(tmp_path / "work"))
    workflow.add_nodes(nodes)
    lines = StageLines(lambda name: name)
    defaults = {"n_procs": 2, "memory_gb": 8, "raise_insufficient": False}
    plugin = SteadyMultiProcPlugin({**defaults, "status_callback": lines, **plugin_args})
    error = None
    try:
        workflow.run(plugin=plugin)
    except Exception as caught:
        error = caught
    finally:
        plugin.stop()
    return lines, error


def test_a_step_that_is_killed_once_is_tried_again(tmp_path: Path) -> None:
    killed = node("killed", kill_self, marker=str(tmp_path / "marker"), times=1)
    lines, error = run(tmp_path, [killed, node("other", wait, seconds=0.3)])
    assert error is None
    assert lines.ended == {"w.killed", "w.other"}


def test_a_step_that_is_always_killed_fails_alone(tmp_path: Path) -> None:
    killed = node("killed", kill_self, marker=str(tmp_path / "marker"), times=9)
    others = [node(f"other{number}", wait, seconds=0.2) for number in range(4)]
    lines, error = run(tmp_path, [killed, *others])
    assert error is not None
    assert lines.ended == {f"w.other{number}" for number in range(4)}
    (crash,) = read_crashes([tmp_path / "crashes"])
    assert crash.step == "killed"
    assert crash.message.startswith("the process of this step was killed twice")
    assert "--low-mem" in crash.message


def test_an_image_is_finished_before_the_next_is_begun(tmp_path: Path) -> None:
    order: list[str] = []
    images = []
    for image in ("sub_01_T1w_wf", "sub_01_T2w_wf"):
        workflow = pe.Workflow(name=image)
        steps = [node(f"step{number}", wait, seconds=0.01) for number in range(3)]
        for first, second in itertools.pairwise(steps):
            workflow.connect(first, "out", second, "seconds")
        images.append(workflow)
    subject = pe.Workflow(name="sub_01_wf")
    subject.add_nodes(images)
    whole = pe.Workflow(name="run", base_dir=str(tmp_path))
    whole.add_nodes([subject])

    def note(node: Any, status: str) -> None:
        if status == "start":
            order.append(node.fullname.split(".")[2])

    nipype_config.update_config({"execution": {"poll_sleep_duration": 0.05}})
    plugin = SteadyMultiProcPlugin({"n_procs": 1, "memory_gb": 8, "status_callback": note})
    whole.run(plugin=plugin)
    assert order == ["sub_01_T1w_wf"] * 3 + ["sub_01_T2w_wf"] * 3


def test_stop_ends_the_processes(tmp_path: Path) -> None:
    plugin = SteadyMultiProcPlugin({"n_procs": 2, "memory_gb": 8})
    waiting = node("waiting", wait, seconds=60)
    waiting.base_dir = str(tmp_path)
    plugin._submit_job(waiting)
    (step,) = plugin._steps.values()
    assert step.process is not None
    assert step.process.is_alive()
    plugin.stop()
    assert not psutil.pid_exists(step.process.pid)


def test_no_step_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:  # the run
        plugin = SteadyMultiProcPlugin({"n_procs": 2, "memory_gb": 8})
        waiting = node("waiting", wait, seconds=60)
        waiting.base_dir = str(tmp_path)
        plugin._submit_job(waiting)
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(1)
    run_itself = psutil.Process(pid)
    while run_itself.status() != psutil.STATUS_STOPPED:
        time.sleep(0.05)
    (step,) = run_itself.children()
    time.sleep(0.5)  # until it has asked to end with its parent
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    until = time.monotonic() + 10
    while is_at_work(step) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_at_work(step)


def is_at_work(process: psutil.Process) -> bool:
    """Tell whether a process is there and no zombie: in a container nobody may collect it."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_memory_goes_with_a_step_and_never_more_runs_than_fits(tmp_path: Path) -> None:
    """Steps that declare 3 of 8 GB: two at once, each in a process that ends with it."""
    nodes = [node(f"step{number}", note_process, folder=str(tmp_path)) for number in range(5)]
    for one in nodes:
        one._mem_gb = 3.0
    _, error = run(tmp_path, nodes, n_procs=4)
    assert error is None
    spans = read_spans(tmp_path)
    assert len({span[2] for span in spans}) == 5
    assert not any(psutil.pid_exists(int(span[2])) for span in spans)
    assert largest_number_at_once(spans) == 2


def test_a_step_that_asks_for_more_than_there_is_runs_alone(tmp_path: Path) -> None:
    nodes = [node(f"step{number}", note_process, folder=str(tmp_path)) for number in range(3)]
    nodes[0]._mem_gb = 30.0
    _, error = run(tmp_path, nodes, n_procs=4)
    assert error is None
    large, *others = read_spans(tmp_path)
    assert largest_number_at_once([large, *others[:1]]) == 1
    assert largest_number_at_once([large, *others[1:]]) == 1


def test_a_gpu_is_used_by_one_step_at_a_time(tmp_path: Path) -> None:
    """Two simulated devices, named as a Slurm job would; the steps read their own."""
    interfaces = [UsesDevice(folder=str(tmp_path), use_gpu=True) for _ in range(6)]
    nodes = [
        pe.Node(interface, name=f"step{number}", n_procs=2, mem_gb=0.3)
        for number, interface in enumerate(interfaces)
    ]
    _, error = run(tmp_path, nodes, n_procs=12, n_gpu_procs=4, devices=("3", "GPU-5a"))
    assert error is None
    spans = read_spans(tmp_path)
    by_device = {name: [span for span in spans if span[3] == name] for name in ("3", "GPU-5a")}
    assert sum(map(len, by_device.values())) == 6
    assert all(largest_number_at_once(found) == 1 for found in by_device.values())
    assert largest_number_at_once(spans) == 2


def note_process(folder: str) -> int:
    import os
    import time
    from pathlib import Path

    begin = time.monotonic()
    time.sleep(0.4)
    words = [begin, time.monotonic(), os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", "")]
    Path(folder, f"{Path.cwd().name}.span").write_text(" ".join(map(str, words)))
    return os.getpid()


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


def read_spans(folder: Path) -> list[tuple[float, float, str, str]]:
    """Read begin, end, process and device of each step, by the step's name."""
    found = [path.read_text().split(" ") for path in sorted(folder.glob("*.span"))]
    return [(float(begin), float(end), process, device) for begin, end, process, device in found]


def largest_number_at_once(spans: list[tuple[float, float, str, str]]) -> int:
    begins = [span[0] for span in spans]
    return max(sum(begin <= at < end for begin, end, *_ in spans) for at in begins)
