from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from nipype import config as nipype_config
from nipype.interfaces import utility as niu
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


def run(tmp_path: Path, nodes: list[pe.Node]) -> tuple[StageLines, Exception | None]:
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
    plugin = SteadyMultiProcPlugin({"n_procs": 2, "memory_gb": 8, "status_callback": lines})
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


def test_stop_ends_the_workers(tmp_path: Path) -> None:
    plugin = SteadyMultiProcPlugin({"n_procs": 2, "memory_gb": 8})
    future = plugin.pool.submit(wait, 60)
    while not future.running():
        time.sleep(0.01)
    processes = list(plugin.pool._processes.values())  # type: ignore[attr-defined]
    plugin.stop()
    # The pool's own thread may be the one that reaps them, a moment later.
    deadline = time.monotonic() + 5
    while any(psutil.pid_exists(process.pid) for process in processes):
        assert time.monotonic() < deadline, "workers are still there"
        time.sleep(0.05)
