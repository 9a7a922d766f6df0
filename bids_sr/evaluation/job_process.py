"""One task of a comparison in a process of its own: ``python -m bids_sr.evaluation.job_process``.

Reads the task as JSON from standard input, writes its files, and prints lines
``step total text``.  Time and peak memory of the process are those of the task.
"""

from __future__ import annotations

import json
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any

from bids_sr.compute.progress import throttled
from bids_sr.exceptions import BidsSrError
from bids_sr.files import write_atomic
from bids_sr.plain_values import structured

_LINE_SECONDS = 1.0


def main() -> int:
    """Do the task of standard input; expected errors go into the row, others end it."""
    task = json.load(sys.stdin)
    try:
        {"mask": _make_mask, "segment": _segment}.get(task["do"], _measure)(task)
    except BidsSrError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except Exception as error:
        traceback.print_exc()
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    return 0


def _measure(task: dict[str, Any]) -> None:
    import numpy as np

    from bids_sr.evaluation.job import Job, run

    job: Job = structured(task["job"], Job)
    folder = Path(task["folder"])
    segment = None
    if job.downstream:
        from bids_sr.evaluation.downstream import segmenter

        segment = segmenter(folder / "segmentations", threads=task["threads"], seed=job.seed)
    outcome = run(job, progress=throttled(_tell_progress, _LINE_SECONDS), segment=segment)
    outcomes = [(job.rival(name), rival) for name, rival in outcome.rivals.items()]
    for drawn, result in [(job, outcome), *outcomes]:
        planes: Any = result.pictures
        write_atomic(folder / "rows" / f"{drawn.stem}.npz", partial(np.savez_compressed, **planes))
    if task["keep_images"]:
        outcome.estimate.save(folder / "images" / f"{job.stem}.nii.gz")
    rivals = {name: rival.row for name, rival in outcome.rivals.items()}
    _tell(json.dumps({"row": {**outcome.row, "rivals": rivals}}, default=str))


def _segment(task: dict[str, Any]) -> None:
    from bids_sr.evaluation.downstream import segmenter
    from bids_sr.evaluation.job import Job, segment_kept
    from bids_sr.imaging import Volume

    job, folder = structured(task["job"], Job), Path(task["folder"])
    estimate = Volume.load(folder / "images" / f"{job.stem}.nii.gz")
    segment = segmenter(folder / "segmentations", threads=task["threads"], seed=job.seed)
    row = task["row"]
    row["scores"] |= segment_kept(job, estimate, segment)
    _tell(json.dumps({"row": row}, default=str))


def _make_mask(task: dict[str, Any]) -> None:
    from bids_sr.evaluation.masks import make_mask

    how = {name: task[name] for name in ("kind", "threads", "seed", "sources")}
    make_mask(Path(task["image"]), Path(task["out"]), **how)
    _tell(json.dumps({"row": {}}))


def _tell_progress(step: int, total: int, text: str) -> None:
    _tell(f"{step} of {total}, {' '.join(text.split())}")


def _tell(line: str) -> None:
    """Write a line to whoever started this process."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
