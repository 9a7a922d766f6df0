from __future__ import annotations

from pathlib import Path

import pytest

from bids_sr.exceptions import BidsSrError, family
from bids_sr.run.crashes import last_exception, read_crash

NIPYPE_CRASH = """\
Node: bids_sr_wf.sub_01_wf.sub_01_T1w_wf.preprocessing_wf.check_input
Working directory: /scratch/x

Node inputs:

in_file = /data/sub-01_T1w.nii.gz

Traceback (most recent call last):
  File "multiproc.py", line 66, in run_node
    result["result"] = node.run(updatehash=updatehash)
nipype.pipeline.engine.nodes.NodeExecutionError: Exception raised while executing Node check_input.

Traceback:
\tTraceback (most recent call last):
\t  File "volume.py", line 60, in load
\t    raise InputDataError("no")
\tbids_sr.exceptions.InputDataError: sub-01_T1w.nii.gz: found 3 NaN: expected finite numbers

"""


def test_the_cause_is_taken_from_a_crash_file(tmp_path: Path) -> None:
    path = tmp_path / "crash-1.txt"
    path.write_text(NIPYPE_CRASH)
    crash = read_crash(path)
    assert crash.step == "check_input"
    assert crash.node.startswith("bids_sr_wf.sub_01_wf")
    assert crash.message == "sub-01_T1w.nii.gz: found 3 NaN: expected finite numbers"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Traceback:\nKeyError: 'spacing'\n", "KeyError: 'spacing'"),
        ("MemoryError\n", "out of memory (MemoryError): free memory, or lower --nprocs"),
        (
            "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 148. GiB for an array "
            "with shape (1, 2) and data type float64\n",
            "out of memory (ArrayMemoryError: Unable to allocate 148. GiB for an array",
        ),
        (
            "RuntimeError: [enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: "
            "can't allocate memory: you tried to allocate 160000000000 bytes.\n",
            "out of memory (RuntimeError: [enforce fail",
        ),
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n",
            "out of memory (OutOfMemoryError: CUDA out of memory",
        ),
        ("OSError: [Errno 12] Cannot allocate memory\n", "out of memory (OSError"),
        (
            "bids_sr.exceptions.EngineError: line one\nline two\n  \nWhen creating this\n",
            "line one line two",
        ),
        ("concurrent.futures.process.BrokenProcessPool\n", "concurrent.futures.process"),
        ("Segmentation fault\n\n", "Segmentation fault"),
        ("", "unknown error"),
        ("ValueError: " + "x" * 900, "ValueError: x"),
    ],
)
def test_the_last_exception_becomes_one_line(text: str, message: str) -> None:
    line = last_exception(text.splitlines())
    assert line.startswith(message)
    assert "\n" not in line
    assert len(line) <= 500


def test_an_empty_crash_file_is_no_crash_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "crash-1.txt"
    path.write_text("")
    assert read_crash(path).message == "unknown error"


@pytest.mark.parametrize("error", sorted(family(), key=str))
def test_every_error_of_ours_speaks_for_itself(error: type[BidsSrError]) -> None:
    traceback = f"{error.__module__}.{error.__name__}: x.nii.gz: found 1, expected 2, do 3\n"

    assert last_exception([traceback]) == "x.nii.gz: found 1, expected 2, do 3"
