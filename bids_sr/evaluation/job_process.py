"""One piece of a comparison in a process of its own: ``python -m bids_sr.evaluation.job_process``.

Reads what to do as JSON from standard input, writes the files it is told to, and lines
``step total text`` to standard output.  Its time and peak memory are the piece's own.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_sr.compute.progress import throttled
from bids_sr.exceptions import BidsSrError, InputDataError
from bids_sr.files import write_atomic
from bids_sr.plain_values import structured

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bids_sr.imaging import Volume

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
        from bids_sr.evaluation.downstream_tools import segmenter

        segment = segmenter(folder / "segmentations", threads=task["threads"], seed=job.seed)
    outcome = run(job, progress=throttled(_tell_progress, _LINE_SECONDS), segment=segment)
    write_atomic(
        folder / "rows" / f"{job.stem}.npz",
        lambda path: np.savez_compressed(path, **outcome.pictures),  # type: ignore[arg-type]
    )
    if task["keep_images"]:
        outcome.estimate.save(folder / "images" / f"{job.stem}.nii.gz")
    _tell(json.dumps({"row": outcome.row}, default=str))


def _segment(task: dict[str, Any]) -> None:
    from bids_sr.evaluation.downstream_tools import segmenter
    from bids_sr.evaluation.job import Job, segment_kept
    from bids_sr.imaging import Volume

    job, folder = structured(task["job"], Job), Path(task["folder"])
    estimate = Volume.load(folder / "images" / f"{job.stem}.nii.gz")
    segment = segmenter(folder / "segmentations", threads=task["threads"], seed=job.seed)
    row = task["row"]
    row["scores"] |= segment_kept(job, estimate, segment)
    _tell(json.dumps({"row": row}, default=str))


def _make_mask(task: dict[str, Any]) -> None:
    import numpy as np

    from bids_sr.evaluation.references import not_zero
    from bids_sr.imaging import Volume

    volume, kind = Volume.load(task["image"]).canonical(), task["kind"]
    if kind == "nonzero":
        mask, origin = not_zero(volume), "what is not zero, holes filled"
    else:
        mask, origin = _brain(volume, task, engine_only=kind != "auto")
    if not mask.any():
        raise InputDataError(f"{task['image']}: found an empty mask; give one with --mask.")
    volume.with_data(mask.astype(np.uint8)).save(task["out"])
    _tell(json.dumps({"row": {"origin": origin}}))


def _brain(
    volume: Volume, task: dict[str, Any], *, engine_only: bool
) -> tuple[npt.NDArray[np.bool_], str]:
    """Return the brain of an image, stripped before or not, and how it was found."""
    from bids_sr.engines.ants import template_brain_mask
    from bids_sr.engines.stripped_image import stripped_brain

    found = None if engine_only else stripped_brain(volume)[0]
    origin = "the image was stripped before: what is not background"
    if found is None:
        found, _ = template_brain_mask(volume, threads=task["threads"], seed=task["seed"])
        origin = "template engine"
    return found.data > 0, origin


def _tell_progress(step: int, total: int, text: str) -> None:
    _tell(f"{step} {total} {' '.join(text.split())}")


def _tell(line: str) -> None:
    """Write a line to whoever started this process."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
