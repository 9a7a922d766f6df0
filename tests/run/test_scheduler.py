from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from nipype import config as nipype_config
from nipype.interfaces import utility as niu
from nipype.interfaces.base import TraitedSpec, isdefined, traits
from nipype.pipeline import engine as pe
from nipype.pipeline.engine.utils import load_resultfile as load_result

from bids_sr.exceptions import EngineError
from bids_sr.interfaces.optional import OptionalInputSpec, OptionalStep, StepOfSeveralImages
from bids_sr.run.crashes import read_crashes, unreported
from bids_sr.run.progress import StageLines
from bids_sr.run.scheduler import SteadyMultiProcPlugin

pytestmark = [
    # Nipype's own habits
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
Nodes = Callable[..., pe.Node]
Run = Callable[..., tuple[StageLines, Exception | None]]


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


def begin_and_wait(marker: str) -> None:
    import os
    import time
    from pathlib import Path

    part = Path(f"{marker}.part")
    part.write_text(str(os.getpid()))
    part.rename(marker)
    time.sleep(600)


def fail() -> None:
    raise FileNotFoundError("none")


def test_a_step_that_is_killed_once_is_tried_again(tmp_path: Path, node: Nodes, run: Run) -> None:
    killed = node("killed", kill_self, marker=str(tmp_path / "marker"), times=1)
    lines, error = run([killed, node("other", wait, seconds=0.3)])
    assert error is None
    assert lines.ended == {"w.killed", "w.other"}


def test_a_step_that_is_always_killed_fails_alone(tmp_path: Path, node: Nodes, run: Run) -> None:
    killed = node("killed", kill_self, marker=str(tmp_path / "marker"), times=9)
    others = [node(f"other{number}", wait, seconds=0.2) for number in range(4)]
    lines, error = run([killed, *others])
    assert error is not None
    assert lines.ended == {f"w.other{number}" for number in range(4)}
    (crash,) = read_crashes([tmp_path / "crashes"])
    assert crash.step == "killed"
    assert crash.message.startswith("the process of this step was killed twice")
    assert "--low-mem" in crash.message


class _OptionalInputSpec(OptionalInputSpec):
    how = traits.Str(mandatory=True)
    marker = traits.Str(mandatory=True)


class _OptionalOutputSpec(TraitedSpec):
    record = traits.Dict()


class Optional(OptionalStep):
    input_spec = _OptionalInputSpec
    output_spec = _OptionalOutputSpec
    without = "nothing optional"

    def _run_step(self, runtime: Any) -> None:
        # in a folder: the content of a file would count for the hash of the inputs
        (Path(self.inputs.marker) / str(time.monotonic_ns())).touch()
        if self.inputs.how == "memory":
            raise MemoryError("Unable to allocate 148. GiB")
        if self.inputs.how == "ours":
            raise EngineError("no brain in it")
        if self.inputs.how == "exit":
            sys.exit(3)
        if self.inputs.how == "time":
            raise TimeoutError("no answer for 60 s")
        if self.inputs.how:
            os.kill(os.getpid(), int(self.inputs.how))
        self._results["record"] = {"Status": "done"}

    def _do_without(self, reason: str) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("how", "tries", "said"),
    [
        (str(int(signal.SIGKILL)), 2, "was killed twice"),
        (str(int(signal.SIGSEGV)), 2, "crashed twice (SIGSEGV)"),
        ("exit", 1, "SystemExit: 3"),
        ("memory", 2, "MemoryError: Unable to allocate 148. GiB"),
        ("time", 1, "TimeoutError: no answer for 60 s"),
        ("ours", 1, "no brain in it"),
    ],
)
def test_a_step_that_an_image_is_good_without_costs_no_image(
    tmp_path: Path, how: str, tries: int, said: str, run: Run
) -> None:
    marker = tmp_path / "marker"
    marker.mkdir()
    optional = pe.Node(Optional(how=how, marker=str(marker)), name="optional")
    after = pe.Node(niu.Merge(1), name="after")
    workflow = pe.Workflow(name="steps")
    workflow.connect(optional, "record", after, "in1")
    lines, error = run([workflow])
    assert error is None
    assert lines.ended == {"w.steps.optional", "w.steps.after"}
    assert read_crashes([tmp_path / "crashes"]) == []
    assert len(list(marker.iterdir())) == tries
    (result,) = (tmp_path / "work").rglob("result_after.pklz")
    (record,) = load_result(result).outputs.out
    assert record["Status"] == "failed"
    assert record["Warning"].startswith("nothing optional: ")
    assert said in record["Warning"]


def test_what_may_be_gone_by_the_next_run_is_tried_again_then(tmp_path: Path, run: Run) -> None:
    for how, tries in (("memory", 4), ("time", 2), ("ours", 1)):
        marker = tmp_path / how / "marker"
        marker.mkdir(parents=True)
        for again in range(2):
            folder = tmp_path / how / f"run{again}"
            folder.mkdir()
            if again:
                (tmp_path / how / "run0" / "work").rename(folder / "work")
            optional = pe.Node(Optional(how=how, marker=str(marker)), name="optional")
            _, error = run([optional], folder=folder)
            assert error is None
        assert len(list(marker.iterdir())) == tries


class _LenientInputSpec(OptionalInputSpec):
    spare = traits.Any()
    needed = traits.Any()


class _LenientOutputSpec(TraitedSpec):
    got = traits.List()


class Lenient(StepOfSeveralImages):
    """Do without the first of two inputs."""

    input_spec = _LenientInputSpec
    output_spec = _LenientOutputSpec

    def can_lack(self, name: str) -> bool:
        return name == "spare"

    def _run_step(self, runtime: Any) -> None:
        self._results["got"] = [isdefined(self.inputs.spare), isdefined(self.inputs.needed)]


@pytest.mark.parametrize(("failing", "runs"), [("spare", True), ("needed", False)])
def test_a_step_goes_on_without_what_it_can_lack_and_nothing_else(
    tmp_path: Path, node: Nodes, run: Run, failing: str, runs: bool
) -> None:
    step = pe.Node(Lenient(), name="step")
    after = pe.Node(niu.Merge(1), name="after")
    workflow = pe.Workflow(name="steps")
    for name in ("spare", "needed"):
        before = node(name, fail) if name == failing else node(name, wait, seconds=0.1)
        workflow.connect(before, "out", step, name)
    workflow.connect(step, "got", after, "in1")
    run([workflow])
    results = list((tmp_path / "work").rglob("result_after.pklz"))
    assert [load_result(path).outputs.out for path in results] == [[False, True]] * runs


def test_an_image_is_finished_before_the_next_is_begun(tmp_path: Path, node: Nodes) -> None:
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


def test_stop_ends_the_processes(tmp_path: Path, node: Nodes) -> None:
    plugin = SteadyMultiProcPlugin({"n_procs": 2, "memory_gb": 8})
    waiting = node("waiting", wait, seconds=60)
    waiting.base_dir = str(tmp_path)
    plugin._submit_job(waiting)
    (step,) = plugin._steps.values()
    assert step.process is not None
    assert step.process.is_alive()
    plugin.stop()
    assert not psutil.pid_exists(step.process.pid)


def test_no_step_outlives_a_run_that_is_killed(tmp_path: Path, node: Nodes) -> None:
    pid = os.fork()
    if pid == 0:  # the run
        plugin = SteadyMultiProcPlugin({"n_procs": 2, "memory_gb": 8})
        waiting = node("waiting", begin_and_wait, marker=str(tmp_path / "begun"))
        waiting.base_dir = str(tmp_path)
        plugin._submit_job(waiting)
        signal.pause()
    begun = tmp_path / "begun"
    wait_until(begun.exists)  # by then the step has asked to end with its parent
    step = psutil.Process(int(begun.read_text()))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_until(lambda: not is_at_work(step))


def wait_until(reached: Callable[[], bool]) -> None:
    """Look again and again; a minute is far more than a busy machine takes."""
    until = time.monotonic() + 60
    while not reached() and time.monotonic() < until:
        time.sleep(0.02)
    assert reached()


def is_at_work(process: psutil.Process) -> bool:
    """Tell whether a process is there and no zombie: in a container nobody may collect it."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    "kind", [RecursionError, MemoryError, OverflowError, UnicodeError, OSError]
)
def test_an_error_while_a_step_is_looked_up_fails_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception], node: Nodes, run: Run
) -> None:
    """As root reads everything, what the system would refuse is simulated."""
    looked_up = pe.Node.is_cached

    def refuse(self: pe.Node, rm_outdated: bool = False) -> Any:
        if self.name == "bad":
            raise kind("told")
        return looked_up(self, rm_outdated)

    monkeypatch.setattr(pe.Node, "is_cached", refuse)
    nodes = [node(name, wait, seconds=0.01) for name in ("good", "bad", "other")]
    nodes[1].run_without_submitting = True
    lines, error = run(nodes)
    assert error is not None
    assert lines.ended == {"w.good", "w.other"}
    (crash,) = read_crashes([tmp_path / "crashes"])
    assert "told" in crash.message


def test_what_failed_is_known_where_no_crash_report_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, node: Nodes
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("no")

    monkeypatch.setattr("nipype.pipeline.plugins.base.report_crash", refuse)
    plugin = SteadyMultiProcPlugin({"n_procs": 2, "memory_gb": 8})
    workflow = pe.Workflow(name="w", base_dir=str(tmp_path / "work"))
    bad = node("bad", fail)
    workflow.add_nodes([bad, node("good", wait, seconds=0.01)])
    with pytest.raises(RuntimeError):
        workflow.run(plugin=plugin)
    (crash,) = unreported(plugin.failures, [])
    assert (crash.node, crash.step, crash.path) == ("w.bad", "bad", None)
    assert "FileNotFoundError" in crash.message
    assert "no crash report of w.bad can be written" in caplog.text


def test_a_process_that_cannot_be_started_is_tried_again_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: Nodes, run: Run
) -> None:
    refused = []
    fork = os.fork

    def full_once() -> int:
        if not refused:
            refused.append(True)
            raise BlockingIOError("too many processes")
        return fork()

    monkeypatch.setattr(os, "fork", full_once)
    lines, error = run([node(f"n{number}", wait, seconds=0.01) for number in range(3)])
    assert error is None
    assert len(lines.ended) == 3


def test_a_process_that_can_never_be_started_fails_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: Nodes, run: Run
) -> None:
    def full() -> int:
        raise BlockingIOError("too many processes")

    monkeypatch.setattr(os, "fork", full)
    lines, error = run([node("n", wait, seconds=0.01)])
    assert error is not None
    assert lines.ended == set()
    (crash,) = read_crashes([tmp_path / "crashes"])
    assert crash.message == "BlockingIOError: too many processes"


def test_garbage_is_not_collected_at_each_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: Nodes, run: Run
) -> None:
    collections = []
    monkeypatch.setattr("gc.collect", lambda *_: collections.append(True))
    _, error = run([node(f"n{number}", wait, seconds=0.2) for number in range(3)])
    assert error is None
    assert not collections
