"""Measure quality, time and memory of the methods on high-resolution references.

Every reference is degraded along z, reconstructed on its own grid by every method, and
scored within the brain.  Each reconstruction runs in a process of its own, so that
time and peak memory are its own.

    python benchmarks/quality.py ../shared/data/isotropic-hr --out /tmp/quality

PSNR: 10 log10(R^2 / MSE) over the brain, R = maximum - minimum of the reference there.
Brain: the non-zero part, holes filled, of images published without skull (BRAIN_ONLY);
elsewhere the mask of bids_sr's template engine, kept in OUT/masks.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.imaging import Acquisition, Volume

BRAIN_ONLY = ("sub-msCS07", "sub-msCS26", "sub-arc2208", "sub-adult01")
NOT_HIGH_RESOLUTION = ("sub-msCS07_T1w", "sub-msCS26_T1w")
"""Acquired in thick slices and interpolated by their source: no reference."""
COLUMNS = ("image", "protocol", "method", "psnr", "gain", "ssim", "wall_s", "cpu_s", "peak_gb")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One reconstruction to measure."""

    path: Path
    mask: Path
    protocol: str
    """Thickness/spacing, mm, and optionally the profile: ``5/6`` or ``5/6/rect``."""
    axis: int
    method: str
    parameters: dict[str, Any]

    @property
    def image(self) -> str:
        return self.path.name.removesuffix(".nii.gz")

    @property
    def acquisition(self) -> Acquisition:
        thickness, spacing, *profile = self.protocol.split("/")
        return Acquisition(
            spacing=float(spacing),
            thickness=float(thickness),
            profile=profile[0] if profile else "gaussian",
            slice_axis=self.axis,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder that is searched for *_<suffix>.nii.gz")
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and masks")
    parser.add_argument("--images", nargs="*", default=[], help="parts of file names to keep")
    parser.add_argument("--protocols", nargs="+", default=["5/6", "4/4"])
    parser.add_argument("--methods", nargs="+", default=["bspline", "linear", "lanczos", "self"])
    parser.add_argument("--axis", choices="xyz", default="z", help="through-plane, RAS+")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, help="training steps of self")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for job in jobs(arguments):
        row = in_own_process(measure, job)
        cubic = [
            other["psnr"]
            for other in rows
            if (other["image"], other["protocol"], other["method"])
            == (row["image"], row["protocol"], "bspline")
        ]
        row["gain"] = row["psnr"] - cubic[0] if cubic else 0.0
        rows.append(row)
        print("\t".join(show(row)), flush=True)
        write(rows, arguments.out)
    print(summary(rows))


def jobs(arguments: argparse.Namespace) -> list[Job]:
    listed = []
    for path in sorted(arguments.data.rglob("*.nii.gz")):
        name = path.name.removesuffix(".nii.gz")
        wanted = not arguments.images or any(part in name for part in arguments.images)
        if name in NOT_HIGH_RESOLUTION or not wanted:
            continue
        mask = arguments.out / "masks" / path.name
        if not mask.exists():
            in_own_process(make_mask, path, mask)
        for protocol in arguments.protocols:
            for method in arguments.methods:
                parameters = {"threads": arguments.threads}
                if method == "self" and arguments.steps:
                    parameters["steps"] = arguments.steps
                axis = "xyz".index(arguments.axis)
                listed.append(
                    Job(
                        path=path,
                        mask=mask,
                        protocol=protocol,
                        axis=axis,
                        method=method,
                        parameters=parameters,
                    )
                )
    return listed


def in_own_process(function: Any, *arguments: Any) -> Any:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def make_mask(path: Path, out: Path) -> None:
    volume = Volume.load(path).canonical()
    if path.name.startswith(BRAIN_ONLY):
        data: npt.NDArray[Any] = ndimage.binary_fill_holes(volume.data > 0)
        mask = volume.with_data(data.astype(np.uint8))
    else:
        from bids_sr.engines import ants

        mask, _ = ants.template_brain_mask(volume, threads=2, seed=0)
    out.parent.mkdir(parents=True, exist_ok=True)
    mask.save(out)


def measure(job: Job) -> dict[str, Any]:
    from bids_sr.evaluation.metrics import psnr, ssim
    from bids_sr.evaluation.protocol import covered
    from bids_sr.imaging import degrade
    from bids_sr.sr import reconstruct

    reference = Volume.load(job.path).canonical()
    mask = Volume.load(job.mask, dtype=np.uint8).data > 0
    lr = degrade(reference, job.acquisition)
    mask &= covered(reference.grid, lr.grid)
    wall, cpu = time.perf_counter(), time.process_time()
    made = reconstruct(
        lr, job.acquisition, method=job.method, grid=reference.grid, parameters=job.parameters
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    data = made.volume.data
    return {
        "image": job.image,
        "protocol": job.protocol,
        "method": job.method,
        "psnr": psnr(data, reference.data, mask),
        "ssim": ssim(data, reference.data, mask),
        "wall_s": wall,
        "cpu_s": cpu,
        "peak_gb": peak,
    }


def show(row: dict[str, Any]) -> list[str]:
    digits = {"psnr": 2, "gain": 2, "ssim": 4, "wall_s": 0, "cpu_s": 0, "peak_gb": 2}
    return [
        f"{row[name]:.{digits[name]}f}" if name in digits else str(row[name]) for name in COLUMNS
    ]


def write(rows: list[dict[str, Any]], out: Path) -> None:
    lines = ["\t".join(COLUMNS), *("\t".join(show(row)) for row in rows)]
    (out / "quality.tsv").write_text("\n".join(lines) + "\n")
    head = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    table = [*head, *("| " + " | ".join(show(row)) + " |" for row in rows)]
    (out / "quality.md").write_text("\n".join(table) + "\n\n" + summary(rows) + "\n")


def summary(rows: list[dict[str, Any]]) -> str:
    """Return the medians by protocol and method as a table."""
    lines = ["| protocol | method | median gain | least gain | median SSIM |", "|" + " --- |" * 5]
    for protocol, method in dict.fromkeys((row["protocol"], row["method"]) for row in rows):
        some = [r for r in rows if (r["protocol"], r["method"]) == (protocol, method)]
        gains = [row["gain"] for row in some]
        lines.append(
            f"| {protocol} | {method} | {statistics.median(gains):.2f} | {min(gains):.2f} | "
            f"{statistics.median(row['ssim'] for row in some):.4f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
