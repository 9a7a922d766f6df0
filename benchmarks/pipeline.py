"""Measure time and peak memory of the whole command, a participant at a time.

    python benchmarks/pipeline.py ../shared/data/clinical-2d --out /tmp/pipeline -- --nprocs 2

What follows ``--`` goes to ``bids_sr``.  Memory is the largest sum of the resident memory
of the command and its children, sampled every fifth of a second (pages that processes
share count in each).  Stages and their seconds are read from the QC files.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

SAMPLE_SECONDS = 0.2
STAGES = ("denoise", "bias_correction", "brain_mask", "super_resolution")
COLUMNS = ("participant", "images", "exit_code", "wall_s", "cpu_s", "peak_gb")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bids", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--participants", nargs="*", default=[])
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    arguments, options = parser.parse_args(words[:end]), words[end + 1 :]
    labels = arguments.participants or [path.name[4:] for path in arguments.bids.glob("sub-*")]
    print("\t".join(COLUMNS), flush=True)
    for label in sorted(labels):
        row = measure(arguments.bids, arguments.out, label, options)
        print("\t".join(str(row[column]) for column in COLUMNS), flush=True)
    print(stage_table(arguments.out / "out"))


def measure(bids: Path, out: Path, label: str, options: list[str]) -> dict[str, Any]:
    words = ["bids_sr", bids, out / "out", "participant", "-w", out / "work"]
    command = [sys.executable, "-m", *words, "--participant-label", label, *options]
    out.mkdir(parents=True, exist_ok=True)
    start, peak, cpu = time.monotonic(), 0, dict[int, float]()
    with (out / f"sub-{label}.log").open("w") as log:
        process = psutil.Popen([str(word) for word in command], stdout=log, stderr=log)
        while process.poll() is None:
            peak = max(peak, resident(process, cpu))
            time.sleep(SAMPLE_SECONDS)
    return {
        "participant": label,
        "images": len(list((out / "out" / f"sub-{label}").rglob("*_res-*_desc-sr_*.nii.gz"))),
        "exit_code": process.returncode,
        "wall_s": round(time.monotonic() - start),
        "cpu_s": round(sum(cpu.values())),
        "peak_gb": round(peak / 1e9, 2),
    }


def resident(process: psutil.Process, cpu: dict[int, float]) -> int:
    """Sum the memory of a process and its children, bytes; note their CPU time, s."""
    total = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        try:
            total += member.memory_info().rss
            times = member.cpu_times()
            cpu[member.pid] = times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return total


def stage_table(out: Path) -> str:
    lines = ["| image | acquired voxels | output voxels | " + " | ".join(STAGES) + " |"]
    lines.append("|---|---|---|" + "---|" * len(STAGES))
    for path in sorted(out.rglob("*_qc.json")):
        quality = json.loads(path.read_text())
        shapes = (quality["CheckInput"]["Shape"], quality["Shape"])
        seconds = [f"{quality['TimingsSeconds'].get(stage, 0):.0f} s" for stage in STAGES]
        cells = [Path(quality["Image"]).name.split(".")[0]]
        cells += ["x".join(map(str, shape)) for shape in shapes] + seconds
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    subprocess.run([sys.executable, "-m", "bids_sr", "--version"], check=True)
    main()
