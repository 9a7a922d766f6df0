"""What an earlier run left in the work folder: used where it is whole, else made again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from nipype import config as nipype_config
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)
from nipype.pipeline import engine as pe

from bids_sr.run.crashes import read_crashes
from bids_sr.run.progress import StageLines
from bids_sr.run.scheduler import SteadyMultiProcPlugin

pytestmark = [
    # Nipype's own habits
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
Nodes = Callable[..., pe.Node]
Run = Callable[..., tuple[StageLines, Exception | None]]


def wait(seconds: float) -> float:
    import time

    time.sleep(seconds)
    return seconds


def give(path: str) -> str:
    from pathlib import Path

    Path("given.txt").write_text(Path(path).read_text())
    return str(Path("given.txt").resolve())


class _ReadsFileInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True)


class _OutputSpec(TraitedSpec):
    out = traits.Int()


class ReadsFile(SimpleInterface):
    input_spec = _ReadsFileInputSpec
    output_spec = _OutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        self._results["out"] = len(Path(self.inputs.in_file).read_text())
        return runtime


def chain(node: Nodes, path: Path, number: int, *, here: bool) -> pe.Workflow:
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
    tmp_path: Path, three_texts: list[Path], content: bytes, here: bool, node: Nodes, run: Run
) -> None:
    def again() -> tuple[StageLines, Exception | None]:
        return run([chain(node, p, n, here=here) for n, p in enumerate(three_texts)])

    assert again()[1] is None
    for name in ("copy", "read"):
        result = tmp_path / "work" / "w" / "image1" / name / f"result_{name}.pklz"
        result.write_bytes(content)
        lines, error = again()
        assert error is None
        assert len(lines.ended) == 6
        assert result.stat().st_size > len(content)


@pytest.mark.parametrize("here", [True, False])
def test_a_step_that_had_failed_is_tried_again_without_a_word(
    three_texts: list[Path], here: bool, node: Nodes, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    def again() -> Exception | None:
        return run([chain(node, p, n, here=here) for n, p in enumerate(three_texts)])[1]

    failing = three_texts[0]
    failing.chmod(0o600)
    content = failing.read_bytes()
    failing.write_bytes(b"\xff")  # no text
    assert again() is not None
    caplog.clear()
    assert again() is not None
    assert "damaged" not in caplog.text
    failing.write_bytes(content)
    assert again() is None


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
def test_a_file_that_was_cut_off_is_made_again(
    tmp_path: Path, name: str, left: float, node: Nodes, run: Run
) -> None:
    """Not empty: a power loss can leave the first part of what was written last."""

    def again() -> list[bytes]:
        workflow = pe.Workflow(name="image0")
        workflow.add_nodes([node("draw", draw, folder="")])
        assert run([workflow])[1] is None
        return [path.read_bytes() for path in sorted(folder.glob("?.*"))]

    folder = tmp_path / "work" / "w" / "image0" / "draw"
    contents = again()
    assert len(contents) == 4
    before = (folder / "d.tsv").stat().st_mtime_ns
    assert again() == contents
    assert (folder / "d.tsv").stat().st_mtime_ns == before, "what is whole is kept"
    os.truncate(folder / name, int(left * (folder / name).stat().st_size))
    assert again() == contents


@pytest.mark.parametrize("here", [True, False])
def test_named_pipes_in_the_work_folder_are_not_waited_for(
    tmp_path: Path, three_texts: list[Path], here: bool, node: Nodes, run: Run
) -> None:
    def again() -> tuple[StageLines, Exception | None]:
        return run([chain(node, three_texts[0], 0, here=here)])

    assert again()[1] is None
    for path in list((tmp_path / "work").rglob("*")):
        if path.is_file():
            path.unlink()
            os.mkfifo(path)
    assert again()[1] is None
    assert (tmp_path / "work/w/image0/copy/given.txt").read_text() == "text"


def test_a_kept_file_that_is_empty_is_made_again(
    tmp_path: Path, three_texts: list[Path], node: Nodes, run: Run
) -> None:
    assert run([chain(node, three_texts[0], 0, here=False)])[1] is None
    text_file = tmp_path / "work" / "w" / "image0" / "copy" / "given.txt"
    text_file.write_bytes(b"")
    assert run([chain(node, three_texts[0], 0, here=False)])[1] is None
    assert text_file.read_text() == "text"


@pytest.mark.parametrize("here", [True, False])
def test_a_step_whose_input_has_vanished_fails_alone(tmp_path: Path, here: bool, run: Run) -> None:
    readers = [
        pe.Node(ReadsFile(), name=f"read{number}", run_without_submitting=here)
        for number in range(3)
    ]
    for number, reader in enumerate(readers):
        path = tmp_path / f"{number}.txt"
        path.write_text("text")
        reader.inputs.in_file = str(path)
    (tmp_path / "1.txt").unlink()
    lines, error = run(readers)
    assert error is not None
    assert lines.ended == {"w.read0", "w.read2"}
    (crash,) = read_crashes([tmp_path / "crashes"])
    assert crash.step == "read1"


class WritesFile(ReadsFile):
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        target = Path(self.inputs.in_file).with_suffix(".copy")
        target.write_text(Path(self.inputs.in_file).read_text())
        self._results["out"] = 0
        return runtime


@pytest.mark.parametrize("here", [True, False])
def test_a_work_folder_that_is_gone_is_made_again(
    tmp_path: Path, three_texts: list[Path], here: bool, node: Nodes
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


def test_a_step_that_always_runs_here_keeps_what_a_later_one_asks_for(
    tmp_path: Path, three_texts: list[Path], node: Nodes, run: Run
) -> None:
    copy = node("copy", give, path=str(three_texts[0]))
    write = pe.Node(WritesFile(), name="write", run_without_submitting=True)
    last = pe.Node(WritesFile(), name="last", run_without_submitting=True)
    workflow = pe.Workflow(name="image")
    workflow.connect(copy, "out", write, "in_file")
    workflow.connect(copy, "out", last, "in_file")
    workflow.connect(write, "out", node("wait", wait, seconds=9.0), "seconds")
    for _ in range(2):
        lines, error = run([deepcopy(workflow)])
        assert error is None
        assert len(lines.ended) == 4
    folder = tmp_path / "work" / "w" / "image"
    assert (folder / "copy" / "given.copy").read_text() == "text"
    assert [path.name for path in (folder / "write").iterdir()] == ["result_write.pklz"]
    assert not (folder / "last").exists()
