"""Measure what the main process costs where one subject has many images.

    python benchmarks/many_images.py --images 300 --out /tmp/many

Makes one subject with so many small images and runs the real command on them, by default
without any step but linear interpolation.  The CPU time of the main process alone is told:
that of its children, which do the steps, is theirs.  What is spent once (plan, graph, last
page) and what each image adds are told apart, the latter between the ends of the first and
the last image.  With ``--seconds`` the run is ended early; then fewer images have ended.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import nibabel as nb
import numpy as np

SHAPE, VOXELS = (20, 22, 6), (2.0, 2.0, 6.0)
OPTIONS = (
    *("--sr-method=linear", "--denoise-method=none", "--anat-biascorrect=none", "--sloppy"),
    *("--skull-strip-method=none", "--skip-bids-validation", "--omp-nthreads=1"),
)
HEADING = (
    "| images | ended | wall s | main process, once: CPU s | each image: CPU s | children, each: "
    "CPU s |\n|---|---|---|---|---|---|"
)


class Ends(logging.Handler):
    """Notes wall and CPU time when the results of an image are written."""

    def __init__(self) -> None:
        super().__init__()
        self.at: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().endswith("results written"):
            self.at.append(cpu_seconds())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--out", type=Path, required=True, help="folder, made where missing")
    parser.add_argument("--nprocs", type=int, default=2)
    parser.add_argument("--seconds", type=float, help="end the run after so long")
    arguments = parser.parse_args()
    bids = arguments.out / f"n{arguments.images}"
    if not bids.exists():
        write_subject(bids, arguments.images)
    for folder in ("new", "work"):
        shutil.rmtree(arguments.out / folder, ignore_errors=True)
    words = [str(bids), str(arguments.out / "new"), "participant"]
    words += ["-w", str(arguments.out / "work"), *OPTIONS, f"--nprocs={arguments.nprocs}"]
    print(HEADING)
    print(measure(words, arguments.images, arguments.seconds), flush=True)


def measure(words: list[str], images: int, seconds: float | None) -> str:
    """Run the command in this process and return a row of the table."""
    from bids_sr.cli.run import main as run

    ends = Ends()
    logging.getLogger("bids_sr").addHandler(ends)
    if seconds:
        timer = threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()
    start = time.monotonic()
    code = run(words)
    wall, total, ended = time.monotonic() - start, cpu_seconds(), len(ends.at)
    if ended < 2:
        sys.exit(f"exit code {code}: {ended} images have ended, of which nothing can be told")
    each = (ends.at[-1] - ends.at[0]) / (ended - 1)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    theirs = (children.ru_utime + children.ru_stime) / ended
    once = total - each * ended
    return f"| {images} | {ended} | {wall:.0f} | {once:.1f} | {each:.3f} | {theirs:.1f} |"


def cpu_seconds() -> float:
    """Return the CPU time of this process without its children."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def write_subject(root: Path, count: int) -> None:
    """Write one subject with so many images of noise."""
    folder = root / "sub-01" / "anat"
    folder.mkdir(parents=True)
    (root / "README").write_text("Made to measure: images of noise.\n" * 4)
    (root / "dataset_description.json").write_text(
        json.dumps({"Name": "Many images", "BIDSVersion": "1.10.0"})
    )
    noise = np.random.default_rng(0).integers(0, 1000, SHAPE, dtype=np.int16)
    image = nb.Nifti1Image(noise, np.diag([*VOXELS, 1]))
    for number in range(count):
        stem = folder / f"sub-01_acq-{number:04d}_FLAIR"
        image.to_filename(f"{stem}.nii.gz")
        Path(f"{stem}.json").write_text(json.dumps({"SliceThickness": 5.0}))


if __name__ == "__main__":
    main()
