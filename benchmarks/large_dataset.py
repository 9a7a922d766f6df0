"""Measure how the command copes with a dataset of many subjects.

    python benchmarks/large_dataset.py --subjects 100 300 1000 --out /tmp/large

Makes a skeleton (2 sessions x 3 contrasts a subject; all images of a contrast are links to
one file of noise, as large as a clinical scan) and runs the real command on it, each time in
a process of its own: wall time, CPU time, and the largest sum of the resident memory of the
process and its children.  Then the output
folder that so many subjects leave is made from that of one real participant (the
demonstration anatomy under the six names), and what works on it is measured:
the merges of ``decisions.tsv``, the last steps of one job, and the group level.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import nibabel as nb
import numpy as np
import psutil

SAMPLE_SECONDS = 0.05
SESSIONS = ("01", "02")
# Contrast -> matrix, voxels (mm), thickness (mm); grids as clinical protocols have them.
CONTRASTS = {
    "T1w": ((256, 256, 28), (0.9, 0.9, 5.5), 5.0),
    "T2w": ((320, 320, 30), (0.72, 0.72, 5.0), 4.0),
    "FLAIR": ((256, 232, 26), (0.9, 0.9, 6.0), 5.0),
}
ONE = ["--sr-method", "linear", "--denoise-method", "none", "--anat-biascorrect", "none"]
PROGRAM = [sys.executable, "-m", "bids_sr"]
HEADING = "| subjects | what | wall s | CPU s | peak GB |\n|---|---|---|---|---|"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--out", type=Path, required=True, help="folder, made where missing")
    parser.add_argument("--repeat", type=int, default=3, help="runs of which the median is told")
    parser.add_argument("--only", default="", help="regular expression: rows to measure")
    arguments = parser.parse_args()
    pattern, repeat = re.compile(arguments.only), arguments.repeat
    print(HEADING, flush=True)
    for count in arguments.subjects:
        folder = arguments.out / f"n{count}"
        bids = folder / "bids"
        if not bids.exists():
            write_skeleton(bids, count)
        if not (folder / "out").exists():
            write_outputs(folder / "out", participant(arguments.out), count)
        for name, command in commands(folder, count).items():
            if pattern.search(name):
                runs = [measure(command()) for _ in range(repeat)]
                wall, cpu, peak = (median(values) for values in zip(*runs, strict=True))
                print(f"| {count} | {name} | {wall:.1f} | {cpu:.1f} | {peak:.2f} |", flush=True)
        for path in sorted((folder / "out").glob("group_*.html")):
            print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")


def commands(folder: Path, count: int) -> dict[str, Callable[[], list[str]]]:
    """Return name -> what makes the command line, given anew each time."""
    bids, out = folder / "bids", folder / "out"
    run = [*PROGRAM, str(bids), str(folder / "new"), "participant", "-w", str(folder / "work")]
    run += ["--skip-bids-validation", "--device", "cpu"]
    label = ["--participant-label", f"{count // 2:04d}"]
    library = [sys.executable, "-c"]
    validate = "from bids_sr.bids import validate_dataset as v; import pathlib, sys; "
    validate += "r = v(pathlib.Path(sys.argv[1])); sys.exit(r.note or len(r.errors))"

    return {
        "import: --version": lambda: [*PROGRAM, "--version"],
        "import: --help": lambda: [*PROGRAM, "--help"],
        "plan all (--dry-run)": lambda: [*run, "--dry-run"],
        "plan one": lambda: [*run, "--dry-run", *label],
        "graph of one": lambda: [*run, "--boilerplate-only", *label],
        "validation of the input": lambda: [*library, validate, str(bids)],
        "validation of the output": lambda: [*library, validate, str(out)],
        f"decisions.tsv, {count} jobs": lambda: [sys.executable, __file__, "merge", str(folder)],
        "last steps of one job": lambda: [sys.executable, __file__, "finish", str(folder)],
        "pages of all (--reports-only)": lambda: [
            *[word if word != str(folder / "new") else str(out) for word in run],
            "--reports-only",
        ],
        "group": lambda: [*PROGRAM, str(bids), str(out), "group"],
    }


def measure(command: list[str]) -> tuple[float, float, float]:
    """Run a command; return wall and CPU time, s, and the peak memory with children, GB."""
    start, before, peak = time.monotonic(), _cpu_seconds(), 0
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None:
        peak = max(peak, sum(_resident(process)))
        time.sleep(SAMPLE_SECONDS)
    wall = time.monotonic() - start
    if process.returncode:
        raise SystemExit(f"{command}: {process.stderr.read().decode()[-2000:]}")
    return wall, _cpu_seconds() - before, peak / 1e9


def _cpu_seconds() -> float:
    """Return the CPU time of all children that have ended, and theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _resident(process: psutil.Process) -> Iterator[int]:
    try:
        for member in (process, *process.children(recursive=True)):
            yield member.memory_info().rss
    except psutil.NoSuchProcess:
        return


def write_skeleton(root: Path, count: int) -> None:
    """Write a valid dataset of ``count`` subjects whose images are noise."""
    root.mkdir(parents=True)
    description = {"Name": "Skeleton", "BIDSVersion": "1.10.0", "License": "CC0"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    (root / "README").write_text("Made to measure: headers and sidecars, images of noise.\n" * 4)
    models = root.parent / "models"
    models.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for suffix, (shape, voxels, _) in CONTRASTS.items():
        noise = random.integers(0, 1000, shape, dtype=np.int16)
        image = nb.Nifti1Image(noise, np.diag([*voxels, 1]))
        image.set_sform(image.affine, code=1)
        image.set_qform(image.affine, code=1)
        image.header.set_xyzt_units("mm", "sec")
        nb.save(image, models / f"{suffix}.nii.gz")
    for label, session in ((f"{n:04d}", s) for n in range(1, count + 1) for s in SESSIONS):
        folder = root / f"sub-{label}" / f"ses-{session}" / "anat"
        folder.mkdir(parents=True)
        for suffix, (_, voxels, thickness) in CONTRASTS.items():
            stem = folder / f"sub-{label}_ses-{session}_{suffix}"
            os.link(models / f"{suffix}.nii.gz", f"{stem}.nii.gz")
            Path(f"{stem}.json").write_text(json.dumps(_sidecar(voxels[2], thickness)))


def _sidecar(spacing: float, thickness: float) -> dict[str, object]:
    return {
        "Modality": "MR",
        "MRAcquisitionType": "2D",
        "BodyPart": "BRAIN",
        "MagneticFieldStrength": 1.5,
        "Manufacturer": "none: made to measure",
        "SliceThickness": thickness,
        "SpacingBetweenSlices": spacing,
        "EchoTime": 0.1,
        "RepetitionTime": 6.0,
        "FlipAngle": 90,
    }


def participant(folder: Path) -> Path:
    """Run one real participant with the names of the skeleton; return its output folder."""
    single = folder / "one"
    if not (single / "out" / "sub-0001.html").exists():
        tools = [sys.executable, "-m", "bids_sr.cli.tools", "demo", str(single / "demo")]
        subprocess.run(tools, check=True, stdout=subprocess.DEVNULL)
        thick = single / "demo" / "bids" / "sub-01" / "anat" / "sub-01_T1w"
        write_skeleton(single / "bids", 1)
        for path in (single / "bids").rglob("*.nii.gz"):
            path.unlink()
            shutil.copyfile(f"{thick}.nii.gz", path)
            shutil.copyfile(f"{thick}.json", str(path).replace(".nii.gz", ".json"))
        run = [*PROGRAM, str(single / "bids"), str(single / "out"), "participant", *ONE]
        run += ["-w", str(single / "work"), "--sloppy"]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
    return single / "out"


def write_outputs(root: Path, example: Path, count: int) -> None:
    """Write what ``count`` participants would leave: that of one, with other labels and numbers.

    Images and figures are hard links; texts are copied with the label replaced, and the
    numbers of the QC files vary by a tenth.
    """
    random = np.random.default_rng(0)
    for path in (path for path in example.rglob("*") if path.is_file()):
        relative = path.relative_to(example).as_posix()
        if relative == "decisions.tsv" or relative.startswith("group_"):
            continue
        own = "0001" in relative and not relative.startswith("logs/")
        for number in range(1, count + 1) if own else (1,):
            target = root / relative.replace("sub-0001", f"sub-{number:04d}")
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix not in (".json", ".tsv", ".html"):
                os.link(path, target)
                continue
            text = path.read_text().replace("sub-0001", f"sub-{number:04d}")
            if path.name.endswith("_qc.json"):
                text = _varied(text, random)
            target.write_text(text)
    header, *rows = (example / "decisions.tsv").read_text().splitlines(keepends=True)
    table = [row.replace("sub-0001", f"sub-{n:04d}") for n in range(1, count + 1) for row in rows]
    (root / "decisions.tsv").write_text(header + "".join(table))


def _varied(text: str, random: np.random.Generator) -> str:
    quality = json.loads(text)
    for name, seconds in quality.get("TimingsSeconds", {}).items():
        quality["TimingsSeconds"][name] = round(seconds * random.normal(1, 0.1), 3)
    for name in ("BrainMaskVolumeMl", "DataConsistencyResidualPercent"):
        if isinstance(quality.get(name), int | float):
            quality[name] *= random.normal(1, 0.1)
    return json.dumps(quality, indent=2)


def merge(folder: Path) -> None:
    """Write the table of decisions as so many jobs of one subject do, one after the other."""
    from bids_sr.bids.dataset import read_decisions, update_decisions

    rows = read_decisions(folder / "out")
    merged = folder / "merged"
    shutil.rmtree(merged, ignore_errors=True)
    for start in range(0, len(rows), len(SESSIONS) * len(CONTRASTS)):
        own = rows[start : start + len(SESSIONS) * len(CONTRASTS)]
        update_decisions(merged, [{**row, "status": "planned"} for row in own])
        update_decisions(merged, own)
    assert read_decisions(merged) == rows


def finish(folder: Path) -> None:
    """Do what a job of one participant does after its images: its page, the check of names."""
    from bids_sr.bids import check_output_tree
    from bids_sr.reports.assemble import assemble_subject

    assemble_subject(folder / "out", "0001")
    check_output_tree(folder / "out", ["0001"])


if __name__ == "__main__":
    if sys.argv[1:2] == ["merge"]:
        merge(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["finish"]:
        finish(Path(sys.argv[2]))
    else:
        main()
