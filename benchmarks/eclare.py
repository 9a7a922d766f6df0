"""Put ECLARE itself into a comparison: its own package, run by its own command.

ECLARE (Remedios et al., GPL-3) is neither imported nor part of this project.  Install it
apart from it,

    python3 -m venv eclare-venv && eclare-venv/bin/pip install eclare

compare our methods first, then add its rows to the same folder and tables:

    bids_sr-tools evaluate DATA --out OUT --methods bspline self
    python benchmarks/eclare.py OUT --run-eclare eclare-venv/bin/run-eclare

Every test in OUT (image, protocol, mask, seed) is made again, written as NIfTI, given to
``run-eclare``, and scored like all others.  Its defaults are kept: 1,000,000 patches in
batches of 128, the slice profile estimated by ESPRESO.  That needs a GPU (--gpu-id); what
is changed, such as --n-patches on a CPU, stands in the name of its rows.  --known-thickness
gives it the true thickness (a Gaussian) instead of the estimate.

Time is that of its whole command, memory the peak of its largest process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bids_sr.cli.evaluate import write_results
from bids_sr.evaluation import TestCase, table
from bids_sr.evaluation.job import Job, load_case, pictures
from bids_sr.evaluation.scoring import on_grid, score
from bids_sr.exceptions import BidsSrError
from bids_sr.imaging import Volume

DEFAULT_PATCHES, DEFAULT_BATCH = 1_000_000, 128


def main(argv: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    rows = options.out / "rows"
    jobs = tests_of(table.read_rows(rows), options)
    if not jobs:
        print(f"{options.out} has no tests that fit: run bids_sr-tools evaluate first")
        return 1
    known = {row["file"]: row for row in table.read_rows(rows)}
    for number, job in enumerate(jobs, start=1):
        words = f"{number}/{len(jobs)} {job.image}, {job.protocol.label}"
        key = f"{job.key()} {settings_of(options)}"
        old = known.get(job.stem, {})
        if old.get("key") == key and old.get("status") == "ok":
            print(f"{words}: done before")
            continue
        row = {
            "image": job.image,
            "protocol": job.protocol.name,
            "slices": job.protocol.slices,
            "noise": job.protocol.noise,
            "method": job.label,
            "mask": job.mask_origin,
            "key": key,
            "settings": {**job.to_dict(), "eclare": settings_of(options)},
        }
        try:
            row |= {"status": "ok", "message": "", **measure(job, options)}
            print(f"{words}: {row['scores']['psnr']:.2f} dB, {row['seconds']:.0f} s", flush=True)
        except (BidsSrError, OSError, RuntimeError) as error:
            row |= {"status": "failed", "message": str(error)}
            print(f"{words}: failed: {error}", flush=True)
        table.write_row(rows / f"{job.stem}.json", row)
    everything = table.read_rows(rows)
    write_results(options.out, everything, [], None, notes_of(options), options.examples)
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of bids_sr-tools evaluate")
    parser.add_argument("--run-eclare", default="run-eclare", help="its command")
    parser.add_argument("--n-patches", type=int, default=DEFAULT_PATCHES)
    parser.add_argument("--batch-size", type=int, default=DEFAULT_BATCH)
    parser.add_argument("--gpu-id", type=int, default=-1, help="-1: CPU")
    parser.add_argument("--known-thickness", action="store_true")
    parser.add_argument("--threads", type=int, help="CPU threads; default: all")
    parser.add_argument("--images", nargs="*", default=[], help="parts of image names to keep")
    parser.add_argument("--protocols", nargs="*", default=[], help="labels such as '5/6 axial'")
    parser.add_argument("--examples", type=int, default=3, help="images on the page")
    return parser


def label_of(options: argparse.Namespace) -> str:
    """Name the rows: ECLARE, and what differs from its defaults."""
    changes = []
    if options.n_patches != DEFAULT_PATCHES:
        changes.append(f"{options.n_patches} patches")
    if options.batch_size != DEFAULT_BATCH:
        changes.append(f"batch {options.batch_size}")
    if options.known_thickness:
        changes.append("known thickness")
    return f"ECLARE ({', '.join(changes)})" if changes else "ECLARE"


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "n_patches": options.n_patches,
        "batch_size": options.batch_size,
        "known_thickness": options.known_thickness,
        "gpu": options.gpu_id >= 0,
    }


def notes_of(options: argparse.Namespace) -> list[str]:
    where = f"GPU {options.gpu_id}" if options.gpu_id >= 0 else "a CPU"
    return [
        f"{label_of(options)}: the package's own command on {where}, {options.n_patches} of its "
        f"default {DEFAULT_PATCHES} patches in batches of {options.batch_size}; slice profile "
        + ("given (Gaussian, true thickness)" if options.known_thickness else "by its ESPRESO")
    ]


def tests_of(rows: Sequence[dict[str, Any]], options: argparse.Namespace) -> list[Job]:
    """Return each test of a comparison once, as a job named after ECLARE."""
    found = {}
    for row in rows:
        settings = row.get("settings", {})
        if row["status"] != "ok" or "path" not in settings or "eclare" in settings:
            continue
        names = Job.__dataclass_fields__.keys() & settings.keys()
        job = Job.from_dict({name: settings[name] for name in names} | {"parameters": {}})
        wanted = not options.images or any(part in job.image for part in options.images)
        if wanted and (not options.protocols or job.protocol.label in options.protocols):
            values = job.to_dict() | {"label": label_of(options), "method": "none"}
            found[job.image, job.protocol] = Job.from_dict(values)
    return list(found.values())


def measure(job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """Run ECLARE on a test and score what it makes."""
    case, mask, lesions = load_case(job)
    with tempfile.TemporaryDirectory(prefix="eclare-") as folder:
        in_file = case.lr.save(Path(folder) / "slices.nii.gz")
        row = run_eclare(in_file, Path(folder), case, options)
        (made,) = Path(folder).glob("*_eclare.nii.gz")
        estimate = Volume.load(made)
    if case.lr.data.min() >= 0:
        estimate = estimate.with_data(np.maximum(estimate.data, 0))
    row["record"] = {
        "OutputShape": list(estimate.shape),
        "OutputSpacings": [float(spacing) for spacing in estimate.spacings],
        "OnReferenceGrid": bool(estimate.grid.same(case.grid)),
        "Settings": settings_of(options),
    }
    estimate = on_grid(case, estimate)
    row["scores"] = score(case, estimate, mask=mask, lesions=lesions, measures=job.measures)
    rows = options.out / "rows"
    np.savez_compressed(rows / f"{job.stem}.npz", **pictures(case, estimate, mask))
    return row


def run_eclare(
    in_file: Path, folder: Path, case: TestCase, options: argparse.Namespace
) -> dict[str, Any]:
    command = [options.run_eclare, "--in-fpath", str(in_file), "--out-dir", str(folder)]
    command += ["--n-patches", str(options.n_patches), "--batch-size", str(options.batch_size)]
    if options.gpu_id >= 0:
        command += ["--gpu-id", str(options.gpu_id)]
    if options.known_thickness:
        voxel = float(np.delete(case.lr.spacings, case.acquisition.slice_axis).min())
        thickness = case.acquisition.nominal_thickness / voxel
        command += ["--relative-slice-thickness", f"{thickness:.4f}"]
    environment = dict(os.environ)
    if options.threads:
        environment |= {
            "OMP_NUM_THREADS": str(options.threads),
            "MKL_NUM_THREADS": str(options.threads),
        }
    log = folder / "log.txt"
    start = time.perf_counter()
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        lines = log.read_text(errors="replace").strip().splitlines()
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {lines[-1:]}")
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_gb": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9,
        "peak_gpu_gb": None,
    }


if __name__ == "__main__":
    sys.exit(main())
