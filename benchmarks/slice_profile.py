"""Measure how well the slice profile is read from images that were degraded with a known one.

    python benchmarks/slice_profile.py DATA --exclude '*msCS*_T1w*' --out /tmp/profiles

Every image, which must be of truly high resolution, is degraded along z with each profile,
and the profile is estimated from the slices alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from bids_sr.imaging import Acquisition, Volume, degrade
from bids_sr.sr.slices.profile_estimation import estimate_slice_profile

PROTOCOLS = (
    "gaussian/2/2/0",
    "gaussian/3/4/0.02",
    "gaussian/4/4/0",
    "gaussian/5/6/0.01",
    "gaussian/6/6/0.02",
    "rect/2/3/0",
    "rect/3/3/0.02",
    "rect/4/5/0",
    "rect/5/5/0.01",
    "rect/6/6/0",
    "slr/3/3/0",
    "slr/4/5/0.02",
    "slr/5/5/0",
    "slr/5/6/0.01",
    "slr/6/7/0",
)
"""Profile, FWHM and spacing in mm, and noise."""
COLUMNS = ("image", "protocol", "fwhm", "error_voxels", "kind", "kind_share", "confidence", "s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder that is searched for NIfTI images")
    parser.add_argument("--out", type=Path, required=True, help="folder for the table")
    parser.add_argument("--exclude", nargs="*", default=[], help="patterns of file names")
    parser.add_argument("--protocols", nargs="+", default=PROTOCOLS)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for path in sorted(arguments.data.rglob("*.nii.gz")):
        if any(fnmatch(path.name, pattern) for pattern in arguments.exclude):
            continue
        name = path.name.removesuffix(".nii.gz")
        reference = Volume.load(path).canonical()
        for protocol in arguments.protocols:
            rows.append({"image": name, "protocol": protocol, **measure(reference, protocol)})
            write(rows, arguments.out / "slice_profile.tsv")
    print(summary(rows))


def measure(reference: Volume, protocol: str) -> dict[str, object]:
    kind, fwhm, spacing, noise = protocol.split("/")
    acquisition = Acquisition(
        spacing=float(spacing), thickness=float(fwhm), profile=kind, slice_axis=2
    )
    lr = degrade(reference, acquisition, noise_fraction=float(noise), seed=0)
    start = time.process_time()
    estimate = estimate_slice_profile(lr, 2)
    seconds = time.process_time() - start
    voxel = float(np.min(lr.spacings[:2]))
    return {
        "fwhm": estimate.fwhm,
        "error_voxels": (estimate.fwhm - acquisition.nominal_thickness) / voxel,
        "kind": estimate.kind,
        "kind_share": estimate.kind_share,
        "confidence": estimate.confidence,
        "s": seconds,
        **{f"fwhm_{fit.kind}": fit.fwhm for fit in estimate.fits},
        **{f"misfit_{fit.kind}": fit.likelihood_misfit for fit in estimate.fits},
    }


def write(rows: list[dict[str, object]], out_file: Path) -> None:
    columns = list(rows[0])
    lines = ["\t".join(columns)]
    for row in rows:
        cells = (row[column] for column in columns)
        lines.append("\t".join(f"{c:.4f}" if isinstance(c, float) else str(c) for c in cells))
    out_file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def summary(rows: list[dict[str, object]]) -> str:
    """Return errors by kind of the true profile, in in-plane voxels, as a table."""
    lines = [
        "| true profile | cases | median error | 90th percentile | bias | kind known: median "
        "error | kind right | most s |",
        "|" + " --- |" * 8,
    ]
    for group in ("gaussian", "rect", "slr", ""):
        some = [row for row in rows if str(row["protocol"]).startswith(group)]
        if not some:
            continue
        errors = np.array([row["error_voxels"] for row in some], float)
        known = [
            abs(
                float(row[f"fwhm_{str(row['protocol']).split('/')[0]}"])  # type: ignore[arg-type]
                - float(str(row["protocol"]).split("/")[1])
            )
            for row in some
        ]
        right = np.mean([str(row["protocol"]).startswith(str(row["kind"])) for row in some])
        lines.append(
            f"| {group or 'all'} | {len(some)} | {np.median(np.abs(errors)):.2f} | "
            f"{np.percentile(np.abs(errors), 90):.2f} | {np.median(errors):+.2f} | "
            f"{statistics.median(known):.2f} mm | {100 * right:.0f} % | "
            f"{max(float(row['s']) for row in some):.1f} |"  # type: ignore[arg-type]
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
