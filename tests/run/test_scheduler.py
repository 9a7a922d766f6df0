from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import psutil
import pytest
from nipype import config as nipype_config
from nipype.interfaces import utility as niu
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)
from nipype.pipeline import engine as pe
from nipype.pipeline.engine.utils import load_resultfile as load_result

from bids_sr.exceptions import EngineError
from bids_sr.interfaces.optional import OptionalInputSpec, OptionalStep
from bids_sr.run.crashes import read_crashes, unreported
from bids_sr.run.progress import StageLines
from bids_sr.run.scheduler import SteadyMultiProcPlugin

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

    def _do_without(self, record: dict[str, Any]) -> dict[str, Any]:
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
    tmp_path: Path, how: str, tries: int, said: str
) -> None:
    marker = tmp_path / "marker"
    marker.mkdir()
    optional = pe.Node(Optional(how=how, marker=str(marker)), name="optional")
    after = pe.Node(niu.Merge(1), name="after")
    workflow = pe.Workflow(name="steps")
    workflow.connect(optional, "record", after, "in1")
    lines, error = run(tmp_path, [workflow])
    assert error is None
    assert lines.ended == {"w.steps.optional", "w.steps.after"}
    assert read_crashes([tmp_path / "crashes"]) == []
    assert len(list(marker.iterdir())) == tries
    (result,) = (tmp_path / "work").rglob("result_after.pklz")
    (record,) = load_result(result).outputs.out
    assert record["Status"] == "failed"
    assert record["Warning"].startswith("nothing optional: ")
    assert said in record["Warning"]


def test_what_may_be_gone_by_the_next_run_is_tried_again_then(tmp_path: Path) -> None:
    for how, tries in (("memory", 4), ("time", 2), ("ours", 1)):
        marker = tmp_path / how / "marker"
        marker.mkdir(parents=True)
        for again in range(2):
            folder = tmp_path / how / f"run{again}"
            folder.mkdir()
            if again:
                (tmp_path / how / "run0" / "work").rename(folder / "work")
            optional = pe.Node(Optional(how=how, marker=str(marker)), name="optional")
            _, error = run(folder, [optional])
            assert error is None
        assert len(list(marker.iterdir())) == tries


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


def give(path: str) -> str:
    from pathlib import Path

    Path("given.txt").write_text(Path(path).read_text())
    return str(Path("given.txt").resolve())


class _ReadsFileInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True)


class ReadsFile(SimpleInterface):
    input_spec = _ReadsFileInputSpec
    output_spec = _UsesDeviceOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        self._results["out"] = len(Path(self.inputs.in_file).read_text())
        return runtime


def chain(path: Path, number: int, *, here: bool) -> pe.Workflow:
    """Build two steps: one that copies a file, one that reads the copy, in this process or not."""
    workflow = pe.Workflow(name=f"image{number}")
    copy = node("copy", give, path=str(path))
    read = pe.Node(ReadsFile(), name="read", run_without_submitting=here)
    workflow.connect(copy, "out", read, "in_file")
    return workflow


@pytest.fixture
def three_texts(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.txt" for number in range(3)]
    for path in paths:
        path.write_text("text")
    return paths


@pytest.mark.parametrize("here", [True, False])
@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08", b"nothing like a result"])
def test_a_kept_result_that_is_broken_is_made_again(
    tmp_path: Path, three_texts: list[Path], content: bytes, here: bool
) -> None:
    def again() -> tuple[StageLines, Exception | None]:
        return run(tmp_path, [chain(p, n, here=here) for n, p in enumerate(three_texts)])

    assert again()[1] is None
    for name in ("copy", "read"):
        kept = tmp_path / "work" / "w" / "image1" / name / f"result_{name}.pklz"
        kept.write_bytes(content)
        (tmp_path / "crashes").rmdir()
        lines, error = again()
        assert error is None
        assert len(lines.ended) == 6
        assert kept.stat().st_size > len(content)


def draw(folder: str) -> list[str]:
    from pathlib import Path

    import nibabel as nb
    import numpy as np

    files = [Path(name).resolve() for name in ("a.nii.gz", "b.nii", "c.svg", "d.tsv")]
    volume = np.random.default_rng(0).random((9, 9, 9)).astype("f4")
    for path in files[:2]:
        nb.Nifti1Image(volume, np.eye(4)).to_filename(path)
    files[2].write_text(f"<svg>{' ' * 100}</svg>\n")
    files[3].write_text("x\n1\n")
    return [str(path) for path in files]


@pytest.mark.parametrize(("name", "left"), [("a.nii.gz", 0.5), ("b.nii", 0.9), ("c.svg", 0.5)])
def test_a_file_that_was_cut_off_is_made_again(tmp_path: Path, name: str, left: float) -> None:
    """Not empty: a power loss can leave the first part of what was written last."""

    def again() -> list[bytes]:
        workflow = pe.Workflow(name="image0")
        workflow.add_nodes([node("draw", draw, folder="")])
        assert run(tmp_path, [workflow])[1] is None
        (tmp_path / "crashes").rmdir()
        return [path.read_bytes() for path in sorted(folder.glob("?.*"))]

    folder = tmp_path / "work" / "w" / "image0" / "draw"
    made = again()
    assert len(made) == 4
    before = (folder / "d.tsv").stat().st_mtime_ns
    assert again() == made
    assert (folder / "d.tsv").stat().st_mtime_ns == before, "what is whole is kept"
    os.truncate(folder / name, int(left * (folder / name).stat().st_size))
    assert again() == made


@pytest.mark.parametrize("here", [True, False])
def test_named_pipes_in_the_work_folder_are_not_waited_for(
    tmp_path: Path, three_texts: list[Path], here: bool
) -> None:
    def again() -> tuple[StageLines, Exception | None]:
        return run(tmp_path, [chain(three_texts[0], 0, here=here)])

    assert again()[1] is None
    (tmp_path / "crashes").rmdir()
    for path in list((tmp_path / "work").rglob("*")):
        if path.is_file():
            path.unlink()
            os.mkfifo(path)
    assert again()[1] is None
    assert (tmp_path / "work/w/image0/copy/given.txt").read_text() == "text"


def test_a_kept_file_that_is_empty_is_made_again(tmp_path: Path, three_texts: list[Path]) -> None:
    assert run(tmp_path, [chain(three_texts[0], 0, here=False)])[1] is None
    kept = tmp_path / "work" / "w" / "image0" / "copy" / "given.txt"
    kept.write_bytes(b"")
    (tmp_path / "crashes").rmdir()
    assert run(tmp_path, [chain(three_texts[0], 0, here=False)])[1] is None
    assert kept.read_text() == "text"


@pytest.mark.parametrize("here", [True, False])
def test_a_step_whose_input_has_vanished_fails_alone(tmp_path: Path, here: bool) -> None:
    readers = [
        pe.Node(ReadsFile(), name=f"read{number}", run_without_submitting=here)
        for number in range(3)
    ]
    for number, reader in enumerate(readers):
        path = tmp_path / f"{number}.txt"
        path.write_text("text")
        reader.inputs.in_file = str(path)
    (tmp_path / "1.txt").unlink()
    lines, error = run(tmp_path, readers)
    assert error is not None
    assert lines.ended == {"w.read0", "w.read2"}
    (crash,) = read_crashes([tmp_path / "crashes"])
    assert crash.step == "read1"


@pytest.mark.parametrize(
    "kind", [RecursionError, MemoryError, OverflowError, UnicodeError, OSError]
)
def test_an_error_while_a_step_is_looked_up_fails_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
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
    lines, error = run(tmp_path, nodes)
    assert error is not None
    assert lines.ended == {"w.good", "w.other"}
    (crash,) = read_crashes([tmp_path / "crashes"])
    assert "told" in crash.message


def test_what_failed_is_known_where_no_crash_report_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("no")

    monkeypatch.setattr("nipype.pipeline.plugins.base.report_crash", refuse)
    plugin = SteadyMultiProcPlugin({"n_procs": 2, "memory_gb": 8})
    workflow = pe.Workflow(name="w", base_dir=str(tmp_path / "work"))
    bad = node("bad", give, path=str(tmp_path / "none"))
    workflow.add_nodes([bad, node("good", wait, seconds=0.01)])
    with pytest.raises(RuntimeError):
        workflow.run(plugin=plugin)
    (crash,) = unreported(plugin.failures, [])
    assert (crash.node, crash.step, crash.path) == ("w.bad", "bad", None)
    assert "FileNotFoundError" in crash.message
    assert "no crash report of w.bad can be written" in caplog.text


def test_a_process_that_cannot_be_started_is_tried_again_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []
    fork = os.fork

    def full_once() -> int:
        if not refused:
            refused.append(True)
            raise BlockingIOError("too many processes")
        return fork()

    monkeypatch.setattr(os, "fork", full_once)
    lines, error = run(tmp_path, [node(f"n{number}", wait, seconds=0.01) for number in range(3)])
    assert error is None
    assert len(lines.ended) == 3


def test_a_process_that_can_never_be_started_fails_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> int:
        raise BlockingIOError("too many processes")

    monkeypatch.setattr(os, "fork", full)
    lines, error = run(tmp_path, [node("n", wait, seconds=0.01)])
    assert error is not None
    assert lines.ended == set()
    (crash,) = read_crashes([tmp_path / "crashes"])
    assert crash.message == "BlockingIOError: too many processes"


@pytest.mark.parametrize("here", [True, False])
def test_a_work_folder_that_is_gone_is_made_again(
    tmp_path: Path, three_texts: list[Path], here: bool
) -> None:
    def note(node: Any, status: str) -> None:
        if node.name == "first" and status == "end":
            (tmp_path / "current").rmdir()

    (tmp_path / "current").mkdir()
    nipype_config.update_config({"execution": {"poll_sleep_duration": 0.05}})
    workflow = pe.Workflow(name="w", base_dir=str(tmp_path / "work"))
    write = pe.Node(WritesFile(in_file=str(three_texts[0])), name="write")
    write.run_without_submitting = here
    workflow.add_nodes([node("first", wait, seconds=0.01), write])
    with contextlib.chdir(tmp_path / "current"):
        plugin = SteadyMultiProcPlugin({"n_procs": 1, "memory_gb": 8, "status_callback": note})
        workflow.run(plugin=plugin)
        os.chdir(tmp_path)
    assert three_texts[0].with_suffix(".copy").exists()


class WritesFile(ReadsFile):
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        target = Path(self.inputs.in_file).with_suffix(".copy")
        target.write_text(Path(self.inputs.in_file).read_text())
        self._results["out"] = 0
        return runtime


def test_a_step_that_always_runs_here_keeps_what_a_later_one_asks_for(
    tmp_path: Path, three_texts: list[Path]
) -> None:
    copy = node("copy", give, path=str(three_texts[0]))
    write = pe.Node(WritesFile(), name="write", run_without_submitting=True)
    last = pe.Node(WritesFile(), name="last", run_without_submitting=True)
    workflow = pe.Workflow(name="image")
    workflow.connect(copy, "out", write, "in_file")
    workflow.connect(copy, "out", last, "in_file")
    workflow.connect(write, "out", node("wait", wait, seconds=9.0), "seconds")
    for _ in range(2):
        lines, error = run(tmp_path, [deepcopy(workflow)])
        assert error is None
        assert len(lines.ended) == 4
        (tmp_path / "crashes").rmdir()
    folder = tmp_path / "work" / "w" / "image"
    assert (folder / "copy" / "given.copy").read_text() == "text"
    assert [path.name for path in (folder / "write").iterdir()] == ["result_write.pklz"]
    assert not (folder / "last").exists()


def test_garbage_is_not_collected_at_each_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("gc.collect", lambda *_: asked.append(True))
    _, error = run(tmp_path, [node(f"n{number}", wait, seconds=0.2) for number in range(3)])
    assert error is None
    assert not asked
