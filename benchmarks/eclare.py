"""Put ECLARE itself into a comparison: its own package, run by its own command.

ECLARE (Remedios et al., GPL-3) is neither imported nor part of this project.  Compare our methods
first; each test of that comparison (image, protocol, mask, seed) is then made again, written as
NIfTI, given to ECLARE, and scored like all others, in the same folder and tables:

    bids_sr-tools evaluate DATA --out OUT --methods bspline self

Where this machine is to run it, install it apart from this project:

    python3 -m venv eclare-venv && eclare-venv/bin/pip install eclare
    python benchmarks/eclare.py compare OUT --run-eclare eclare-venv/bin/run-eclare

Its defaults, 1,000,000 patches in batches of 128 and a slice profile estimated by its ESPRESO,
need a GPU (--gpu-id).  Where there is one only on a machine without a network, and for minutes:

    python benchmarks/eclare.py pack OUT KIT --images msCS07_FLAIR child02 --protocols '5/6 axial'
    python3 KIT/run.py KIT BACK --minutes 10        # there, with Python 3.12 and torch
    python benchmarks/eclare.py score OUT BACK      # here, with what came back

KIT, below 60 MB, holds the slices of these tests, the wheels that such a machine lacks (fetched by
pip; torch, numpy and scipy are those of the machine, whatever version ECLARE names), and
benchmarks/gpu/eclare_run.py as run.py.  Its wheels have licences of their own: it is no part of
this project, do not commit it.  Rehearse it on a CPU with a small image, --n-patches 64
--batch-size 32 --known-thickness.

What is changed, such as --n-patches, stands in the name of the rows.  --known-thickness
gives ECLARE the true thickness (a Gaussian) instead of the estimate.  Time is that of its whole
command, memory the peak of its largest process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bids_sr.cli.evaluate import write_results
from bids_sr.evaluation import TestCase, table
from bids_sr.evaluation.job import Job, load_case, pictures
from bids_sr.evaluation.scoring import on_grid, score
from bids_sr.exceptions import BidsSrError
from bids_sr.imaging import Volume
from bids_sr.plain_values import plain, structured

DEFAULT_PATCHES, DEFAULT_BATCH = 1_000_000, 128
MOST_MEGABYTES = 60
PYTHON = "3.12"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux2014_x86_64")
# ECLARE and what it needs beside torch, numpy and scipy.
WHEELS = (
    *("eclare==1.0.1", "radifox-utils==1.0.3", "nibabel", "sigpy-lite", "tqdm", "transforms3d"),
    *("exceptiongroup", "tomli", "typing_extensions", "matplotlib", "contourpy", "cycler"),
    *("fonttools", "kiwisolver", "packaging", "pillow", "pyparsing", "python-dateutil", "tzdata"),
)


def main(argv: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    return int(options.do(options))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for do, what in (
        (compare, "run it here"),
        (pack, "pack it for a machine without a network"),
        (score_back, "score what came back from there"),
    ):
        command = commands.add_parser(do.__name__.split("_")[0], help=what)
        command.set_defaults(do=do)
        command.add_argument("out", type=Path, metavar="OUT", help="folder of the comparison")
        if do is pack:
            command.add_argument("kit", type=Path, metavar="KIT", help="folder to make anew")
            command.add_argument("--wheels", type=Path, metavar="FOLDER", help="take them there")
        if do is score_back:
            command.add_argument("back", type=Path, metavar="BACK", help="OUT of run.py")
        else:
            _add_settings(command)
        if do is compare:
            command.add_argument("--run-eclare", default="run-eclare", help="its command")
            command.add_argument("--gpu-id", type=int, default=-1, help="-1: CPU")
            command.add_argument("--threads", type=int, help="CPU threads; default: all")
        if do is not pack:
            command.add_argument("--examples", type=int, default=3, help="images on the page")
    return parser


def _add_settings(command: argparse.ArgumentParser) -> None:
    command.add_argument("--n-patches", type=int, default=DEFAULT_PATCHES)
    command.add_argument("--batch-size", type=int, default=DEFAULT_BATCH)
    command.add_argument("--known-thickness", action="store_true")
    command.add_argument("--images", nargs="*", default=[], help="parts of image names to keep")
    command.add_argument("--protocols", nargs="*", default=[], help="labels such as '5/6 axial'")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What ECLARE is told beside the image, and where it runs."""

    n_patches: int
    batch_size: int
    known_thickness: bool
    gpu: bool

    @property
    def label(self) -> str:
        """Name of the rows: ECLARE, and what differs from its defaults."""
        changes = []
        if self.n_patches != DEFAULT_PATCHES:
            changes.append(f"{self.n_patches} patches")
        if self.batch_size != DEFAULT_BATCH:
            changes.append(f"batch {self.batch_size}")
        if self.known_thickness:
            changes.append("known thickness")
        return f"ECLARE ({', '.join(changes)})" if changes else "ECLARE"

    @property
    def note(self) -> str:
        return (
            f"{self.label}: the package's own command on a {'GPU' if self.gpu else 'CPU'}, "
            f"{self.n_patches} of its default {DEFAULT_PATCHES} patches in batches of "
            f"{self.batch_size}; slice profile "
            + ("given (Gaussian, true thickness)" if self.known_thickness else "by its ESPRESO")
        )

    def arguments(self, case: TestCase) -> list[str]:
        """Return the arguments of its command for a test, without files and device."""
        words = ["--n-patches", str(self.n_patches), "--batch-size", str(self.batch_size)]
        if self.known_thickness:
            voxel = float(np.delete(case.lr.spacings, case.acquisition.slice_axis).min())
            thickness = case.acquisition.nominal_thickness / voxel
            words += ["--relative-slice-thickness", f"{thickness:.4f}"]
        return words


def settings_of(options: argparse.Namespace, *, gpu: bool) -> Settings:
    return Settings(
        n_patches=options.n_patches,
        batch_size=options.batch_size,
        known_thickness=options.known_thickness,
        gpu=gpu,
    )


def compare(options: argparse.Namespace) -> int:
    """Run ECLARE here on the tests of a comparison; what was done before is not done again."""
    settings = settings_of(options, gpu=options.gpu_id >= 0)
    jobs = tests_of(options, settings)
    known = {row["file"]: row for row in table.read_rows(options.out / "rows")}
    for number, job in enumerate(jobs, start=1):
        words = f"{number}/{len(jobs)} {job.image}, {job.protocol.label}"
        old = known.get(job.stem, {})
        if old.get("key") == key_of(job, settings) and old.get("status") == "ok":
            print(f"{words}: done before")
        else:
            write(options.out, job, settings, words, partial(measure, job, settings, options))
    return finish(options, settings) if jobs else 1


def pack(options: argparse.Namespace) -> int:
    """Make the folder that travels."""
    kit: Path = options.kit
    if kit.exists() and not (kit / "kit.json").is_file():
        print(f"Found {kit}, which is no kit; expected a new folder or an earlier kit.")
        return 1
    settings = settings_of(options, gpu=True)
    jobs = tests_of(options, settings)
    if not jobs:
        return 1
    shutil.rmtree(kit, ignore_errors=True)
    (kit / "cases").mkdir(parents=True)
    cases = []
    for job in jobs:
        name = replace(job, label="").stem.rstrip("_")
        case = load_case(job).case
        file = case.lr.save(kit / "cases" / f"{name}.nii.gz")
        facts = {"name": name, "slices": str(file.relative_to(kit)), "job": plain(job)}
        cases.append(
            {**facts, "settings": asdict(settings), "arguments": settings.arguments(case)}
        )
    (kit / "kit.json").write_text(json.dumps({"cases": cases}, indent=1), encoding="utf-8")
    scripts = Path(__file__).with_name("gpu")
    shutil.copy2(scripts / "eclare_run.py", kit / "run.py")
    shutil.copy2(scripts / "kit.py", kit)
    if options.wheels:
        shutil.copytree(options.wheels, kit / "wheels")
    else:
        fetch_wheels(kit / "wheels")
    size = sum(file.stat().st_size for file in kit.rglob("*") if file.is_file()) / 1e6
    print(f"{kit}: {', '.join(case['name'] for case in cases)}; {size:.1f} MB")
    if size > MOST_MEGABYTES:
        print(f"Too much: expected at most {MOST_MEGABYTES} MB; pack fewer --images.")
    return int(size > MOST_MEGABYTES)


def fetch_wheels(folder: Path) -> None:
    """Fetch wheels for Linux and the machine's Python, whatever runs here."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp"]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    subprocess.run([*command, "--dest", str(folder), *WHEELS], check=True)


def score_back(options: argparse.Namespace) -> int:
    """Score the reconstructions that came back; a case that did not end is a failed row."""
    report = json.loads((options.back / "report.json").read_text(encoding="utf-8"))
    for case in report["cases"]:
        settings = Settings(**{**case["settings"], "gpu": report["machine"]["gpu"]})
        job = structured(case["job"], Job)
        words = f"{case['name']}, {report['machine']['device']}"
        write(options.out, job, settings, words, partial(read_back, job, settings, options, case))
    return finish(options, settings) if report["cases"] else 1


def read_back(
    job: Job, settings: Settings, options: argparse.Namespace, facts: dict[str, Any]
) -> dict[str, Any]:
    if facts["status"] != "ok":
        raise RuntimeError(f"{facts['status']}: {facts.get('message') or facts.get('progress')}")
    row = {name: facts[name] for name in ("seconds", "cpu_seconds", "peak_gb")}
    estimate = Volume.load(options.back / facts["file"])
    return {**row, "peak_gpu_gb": None, **scored(job, settings, estimate, options.out)}


def finish(options: argparse.Namespace, settings: Settings) -> int:
    rows = table.read_rows(options.out / "rows")
    write_results(options.out, rows, [], None, [settings.note], options.examples)
    return 0


def tests_of(options: argparse.Namespace, settings: Settings) -> list[Job]:
    """Return each test of a comparison once, as a job named after ECLARE."""
    jobs = {}
    for row in table.read_rows(options.out / "rows"):
        values = row.get("settings", {})
        if row["status"] != "ok" or "path" not in values or "eclare" in values:
            continue
        names = Job.__dataclass_fields__.keys() & values.keys()
        job = structured({name: values[name] for name in names} | {"parameters": {}}, Job)
        selected = not options.images or any(part in job.image for part in options.images)
        if selected and (not options.protocols or job.protocol.label in options.protocols):
            settings_of_job = plain(job) | {"label": settings.label, "method": "none"}
            jobs[job.image, job.protocol] = structured(settings_of_job, Job)
    if not jobs:
        print(f"{options.out} has no tests that fit: run bids_sr-tools evaluate first")
    return list(jobs.values())


def key_of(job: Job, settings: Settings) -> str:
    return f"{job.key()} {asdict(settings)}"


def write(
    out: Path, job: Job, settings: Settings, words: str, make: Callable[[], dict[str, Any]]
) -> None:
    """Write the row of a test, whatever becomes of it."""
    row = {
        "image": job.image,
        "protocol": job.protocol.name,
        "slices": job.protocol.slices,
        "noise": job.protocol.noise,
        "method": job.label,
        "mask": job.mask_origin,
        "key": key_of(job, settings),
        "settings": {**plain(job), "eclare": asdict(settings)},
    }
    try:
        row |= {"status": "ok", "message": "", **make()}
        print(f"{words}: {row['scores']['psnr']:.2f} dB, {row['seconds']:.0f} s", flush=True)
    except (BidsSrError, OSError, RuntimeError) as error:
        row |= {"status": "failed", "message": str(error)}
        print(f"{words}: failed: {error}", flush=True)
    table.write_row(out / "rows" / f"{job.stem}.json", row)


def measure(job: Job, settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    """Run ECLARE on a test and score what it makes."""
    case = load_case(job).case
    with tempfile.TemporaryDirectory(prefix="eclare-") as folder:
        in_file = case.lr.save(Path(folder) / "slices.nii.gz")
        row = run_eclare(in_file, Path(folder), settings.arguments(case), options)
        (estimate_path,) = Path(folder).glob("*_eclare.nii.gz")
        estimate = Volume.load(estimate_path)
    return {**row, **scored(job, settings, estimate, options.out)}


def scored(job: Job, settings: Settings, estimate: Volume, out: Path) -> dict[str, Any]:
    """Return record and scores of a reconstruction; its pictures go to the folder."""
    test = load_case(job)
    case = test.case
    if case.lr.data.min() >= 0:
        estimate = estimate.with_data(np.maximum(estimate.data, 0))
    record = {
        "OutputShape": list(estimate.shape),
        "OutputSpacings": [float(spacing) for spacing in estimate.spacings],
        "OnReferenceGrid": bool(estimate.grid.same(case.grid)),
        "Settings": asdict(settings),
    }
    estimate = on_grid(case, estimate)
    np.savez_compressed(out / "rows" / f"{job.stem}.npz", **pictures(case, estimate, test.mask))
    scores = score(case, estimate, mask=test.mask, lesions=test.lesions, measures=job.measures)
    return {"record": record, "scores": scores}


def run_eclare(
    in_file: Path, folder: Path, arguments: Sequence[str], options: argparse.Namespace
) -> dict[str, Any]:
    command = [options.run_eclare, "--in-fpath", str(in_file), "--out-dir", str(folder)]
    command += [*arguments, *(["--gpu-id", str(options.gpu_id)] if options.gpu_id >= 0 else [])]
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
