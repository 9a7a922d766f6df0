r"""Put UniRes itself into a comparison of several stacks: its own package, run apart.

UniRes (Brudfors et al., MIT) is neither imported nor part of this project; install it, with the
nitorch it needs, apart from this project as its own page says.  Compare our method first; each
test with several stacks of that comparison (image, protocol, mask, seed) is then made again,
written as NIfTI, given to UniRes as repeats of one contrast, and scored like all others, in the
same tables:

    bids_sr-tools evaluate DATA --out OUT --protocols 5/6+5/6sagittal+5/6coronal \
        --methods finetuned:adapt=none --noise 0.01
    python benchmarks/unires.py OUT --python unires-venv/bin/python

It is told what is true of the stacks: the gap and a Gaussian profile (or a rectangle).  Stacks
that do not move are not registered.  Where they move, UniRes registers them, and what it makes is
laid on the reference by our registration: its frame is its own.  What is changed of its defaults
stands in the name of the rows.  Time is that of its whole process, memory its peak.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_sr.cli.evaluate import write_results
from bids_sr.evaluation import TestCase, table
from bids_sr.evaluation.job import Job, load_case, pictures
from bids_sr.evaluation.scoring import score
from bids_sr.exceptions import BidsSrError
from bids_sr.imaging import Volume
from bids_sr.plain_values import plain, structured
from bids_sr.sr.together.placement import placed
from bids_sr.sr.together.registration import register

DEFAULT_ITERATIONS = 512
# Runs in the environment of UniRes: a release without one of the settings says so.
DRIVER = """
import json, sys
from unires.run import fit, init
from unires.struct import settings
words = json.loads(sys.argv[1])
chosen = settings()
for name, value in words["settings"].items():
    if not hasattr(chosen, name):
        sys.exit(f"this UniRes has no setting {name}")
    setattr(chosen, name, value)
fit(*init([words["files"]], chosen))
"""


def main(argv: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    label = "UniRes"
    if options.iterations != DEFAULT_ITERATIONS:
        label += f" ({options.iterations} iterations)"
    jobs = tests_of(options, label)
    for number, job in enumerate(jobs, start=1):
        words = f"{number}/{len(jobs)} {job.image}, {job.protocol.label}"
        row = {
            "image": job.image,
            "protocol": job.protocol.name,
            "slices": job.protocol.slices,
            "noise": job.protocol.noise,
            "method": job.label,
            "mask": job.mask_origin,
            "key": f"{job.key()} {options.iterations}",
            "settings": {**plain(job), "unires": {"iterations": options.iterations}},
        }
        try:
            row |= {"status": "ok", "message": "", **measured(job, options)}
            print(f"{words}: {row['scores']['psnr']:.2f} dB, {row['seconds']:.0f} s", flush=True)
        except (BidsSrError, OSError, RuntimeError) as error:
            row |= {"status": "failed", "message": str(error)}
            print(f"{words}: failed: {error}", flush=True)
        table.write_row(options.out / "rows" / f"{job.stem}.json", row)
    if jobs:
        rows = table.read_rows(options.out / "rows")
        note = f"{label}: the package's own code on a CPU, told gap and profile"
        write_results(options.out, rows, [], None, [note], 3)
    return int(not jobs)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the comparison")
    parser.add_argument("--python", default="python", help="of the environment of UniRes")
    parser.add_argument("--iterations", type=int, default=DEFAULT_ITERATIONS)
    parser.add_argument("--threads", type=int, help="CPU threads; default: all")
    parser.add_argument("--images", nargs="*", default=[], help="parts of image names to keep")
    return parser


def tests_of(options: argparse.Namespace, label: str) -> list[Job]:
    """Return each test with several stacks once, as a job named after UniRes."""
    jobs = {}
    for row in table.read_rows(options.out / "rows"):
        values = row.get("settings", {})
        if row["status"] != "ok" or "path" not in values or "unires" in values:
            continue
        names = Job.__dataclass_fields__.keys() & values.keys()
        job = structured({name: values[name] for name in names} | {"parameters": {}}, Job)
        wanted = not options.images or any(part in job.image for part in options.images)
        if wanted and not job.protocol.leaves_out and len(job.protocol.named().stacks) > 1:
            jobs[job.image, job.protocol] = replace(job, label=label, method="none")
    if not jobs:
        print(f"{options.out} has no tests with several stacks: run bids_sr-tools evaluate first")
    return list(jobs.values())


def settings_of(job: Job, case: TestCase, folder: Path, iterations: int) -> dict[str, Any]:
    """Return what UniRes is told."""
    acquisition = case.acquisition
    moves = job.protocol.named().shift > 0 or job.protocol.named().degrees > 0
    return {
        "device": "cpu",
        "dir_out": str(folder),
        "do_coreg": moves,
        "do_print": 0,
        "gap": 1 - acquisition.nominal_thickness / acquisition.spacing,
        "max_iter": iterations,
        "profile_tp": 2 if acquisition.profile == "gaussian" else 0,
        "unified_rigid": moves,
        "vx": float(min(case.grid.spacings)),
    }


def measured(job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """Run UniRes on a test and score what it makes."""
    test = load_case(job)
    case = test.case
    with tempfile.TemporaryDirectory(prefix="unires-") as name:
        folder = Path(name)
        files = [
            str(stack.lr.save(folder / f"stack{number}.nii.gz"))
            for number, stack in enumerate(case.stacks)
        ]
        settings = settings_of(job, case, folder, options.iterations)
        row = run_unires({"files": files, "settings": settings}, folder, options)
        results = [file for file in folder.glob("*.nii*") if str(file) not in files]
        if len(results) != 1:
            raise RuntimeError(f"found {len(results)} results of UniRes; expected one")
        estimate = Volume.load(results[0])
    fit = register(case.truth, estimate).to_fixed if settings["do_coreg"] else np.eye(4)
    to_estimate = np.asarray(np.linalg.inv(fit), dtype=np.float64)
    data = np.maximum(placed(estimate, case.grid, to_estimate), 0)
    estimate = Volume(data, case.grid.affine)
    np.savez_compressed(
        options.out / "rows" / f"{job.stem}.npz", **pictures(case, estimate, test.mask)
    )
    scores = score(case, estimate, mask=test.mask, lesions=test.lesions, measures=job.measures)
    return {**row, "scores": scores, "record": {"Settings": settings | {"dir_out": ""}}}


def run_unires(words: dict[str, Any], folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run UniRes in its environment and say what that took."""
    environment = dict(os.environ)
    if options.threads:
        environment |= {"OMP_NUM_THREADS": str(options.threads)}
    log = folder / "log.txt"
    start = time.perf_counter()
    with log.open("w") as stream:
        process = subprocess.Popen(
            [options.python, "-c", DRIVER, json.dumps(words)],
            stdout=stream,
            stderr=stream,
            env=environment,
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        lines = log.read_text(errors="replace").strip().splitlines()
        raise RuntimeError(f"UniRes ended with {process.returncode}: {lines[-1:]}")
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_gb": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9,
        "peak_gpu_gb": None,
    }


if __name__ == "__main__":
    sys.exit(main())
