"""Measure how well the slice profile is read from images that were degraded with a known one.

    python benchmarks/slice_profile.py DATA --include '*adult11*' '*arc2208*' --out /tmp/profiles

Every image, which must be of truly high resolution, is degraded with each profile, gap and
spacing, and the profile is estimated from the slices alone.  What the choice costs is that of the
loss that `benchmarks/profile_choice.py` fits; `benchmarks/assumptions.py` measures it by
reconstruction.  With `--real`, DATA holds thick slices, and the estimates are listed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Acquisition, Series, Volume, degrade
from bids_sr.sr.slices.estimated_acquisition import completed, contradiction
from bids_sr.sr.slices.profile_distribution import LOSSES, ProfileDistribution, passed
from bids_sr.sr.slices.profile_estimation import estimate_slice_profile

Row = dict[str, object]


def simulated(image: Volume, true: Acquisition, noise: float, rng: np.random.Generator) -> Row:
    """Estimate a known profile, with the thickness told and without."""
    lr = degrade(image, true, noise_fraction=noise, seed=int(rng.integers(1 << 30)))
    assert true.slice_axis is not None
    start = time.process_time()
    estimate = estimate_slice_profile(lr, true.slice_axis)
    seconds = time.process_time() - start
    unknown = Acquisition(spacing=true.spacing, slice_axis=true.slice_axis)
    known = replace(unknown, thickness=true.thickness, assumed=("profile",))
    used = [completed(told, estimate).acquisition for told in (unknown, known)]
    plausible = estimate.distribution.with_prior()
    low, high = plausible.interval()
    return {
        "fwhm": plausible.fwhm / true.spacing,
        "deviation": plausible.deviation / true.spacing,
        "within": low <= true.nominal_thickness <= high,
        "kind": max(plausible.kind_shares, key=plausible.kind_shares.__getitem__),
        "kind_told_thickness": used[1].profile,
        "loss_nothing_told": loss(used[0], true),
        "loss_thickness_told": loss(used[1], true),
        "loss_assumed": loss(unknown, true),
        "loss_assumed_thickness_told": loss(known, true),
        **contradictions(estimate.distribution.with_prior(), true.nominal_thickness),
        "s": seconds,
    }


def loss(assumed: Acquisition, true: Acquisition) -> float:
    """Return the predicted loss of an assumption, dB."""
    shares = [passed(str(a.profile), a.nominal_thickness / a.spacing) for a in (assumed, true)]
    difference = shares[0] - shares[1]
    return (LOSSES[0] if difference > 0 else LOSSES[1]) * difference**2


def contradictions(plausible: ProfileDistribution, thickness: float) -> dict[str, bool]:
    """Tell of which stated thicknesses the image warns."""
    stated = {"true": 1.0, "thick": 1.3, "thin": 0.7}
    return {
        f"warns_{name}": bool(contradiction(factor * thickness, plausible))
        for name, factor in stated.items()
    }


def real(path: Path) -> Row | None:
    """Estimate the profile of thick slices; None where that cannot be done."""
    volume = next(Series.load(path).frames())
    sidecar = path.with_name(path.name.removesuffix(".nii.gz") + ".json")
    stated = json.loads(sidecar.read_text()) if sidecar.is_file() else {}
    axis = volume.slice_axis
    spacing = float(volume.spacings[axis])
    try:
        estimate = estimate_slice_profile(volume, axis)
    except InputDataError:
        return None
    estimated = completed(Acquisition(spacing=spacing, slice_axis=axis), estimate)
    plausible = estimate.distribution.with_prior()
    told = stated.get("SliceThickness")
    try:  # every second slice: as thick, in mm, at twice the spacing
        sparse = estimate_slice_profile(volume.planes(axis, slice(0, None, 2)), axis)
        half = sparse.distribution.with_prior().equivalent_widths()["slr"] / spacing
    except InputDataError:
        half = float("nan")
    return {
        "spacing": spacing,
        "told": told / spacing if told else float("nan"),
        "fwhm": plausible.fwhm / spacing,
        "deviation": plausible.deviation / spacing,
        "slr_equivalent": plausible.equivalent_widths()["slr"] / spacing,
        "slr_equivalent_of_half": half,
        "used": estimated.acquisition.profile,
        "used_width": estimated.acquisition.nominal_thickness / spacing,
        **{f"share_{kind}": share for kind, share in plausible.kind_shares.items()},
    }


def summary(rows: list[Row]) -> str:
    """Return predicted losses (mean and highest) by true profile and gap, as a table."""
    columns = (
        "loss_nothing_told",
        "loss_assumed",
        "loss_thickness_told",
        "loss_assumed_thickness_told",
    )
    warns = ("warns_true", "warns_thick", "warns_thin")
    names = " | ".join((*columns, "within", "kind right", *warns))
    lines = [f"| true | cases | {names} |", "|" + " --- |" * (4 + len(columns) + len(warns))]
    for kind, gap in [*itertools.product(("gaussian", "slr", "rect"), (0.0, 0.2)), ("", 0.0)]:
        some = [row for row in rows if not kind or (row["true"], row["gap"]) == (kind, gap)]
        losses = [np.array([row[name] for row in some], float) for name in columns]
        cells = [f"{values.mean():.2f} ({values.max():.2f})" for values in losses]
        right = [row["kind"] == row["true"] for row in some]
        shares = [[row["within"] for row in some], right, *([r[w] for r in some] for w in warns)]
        cells += [f"{100 * np.mean(share):.0f} %" for share in shares]
        name = f"{kind} {100 * gap:g} %" if kind else "all"
        lines.append(f"| {name} | {len(some)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write(rows: list[Row], out_file: Path) -> None:
    lines = ["\t".join(rows[0])]
    for row in rows:
        cells = row.values()
        lines.append("\t".join(f"{c:.4f}" if isinstance(c, float) else str(c) for c in cells))
    out_file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder that is searched for NIfTI images")
    parser.add_argument("--out", type=Path, required=True, help="folder for the table")
    parser.add_argument("--include", nargs="*", default=["*"], help="patterns of file names")
    parser.add_argument("--spacings", nargs="+", type=float, default=[3.0, 4.0, 6.0], help="mm")
    parser.add_argument("--axes", nargs="+", type=int, default=[2])
    parser.add_argument("--real", action="store_true", help="DATA holds thick slices")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    rng = np.random.default_rng(0)
    for path in sorted(arguments.data.rglob("*.nii.gz")):
        if not any(fnmatch(path.name, pattern) for pattern in arguments.include):
            continue
        name = path.name.removesuffix(".nii.gz")
        if arguments.real:
            if (row := real(path)) is not None:
                rows.append({"image": name, **row})
            write(rows, arguments.out / "slice_profile.tsv")
            continue
        image = Volume.load(path).canonical()
        for axis, spacing, kind, gap in itertools.product(
            arguments.axes, arguments.spacings, ("gaussian", "slr", "rect"), (0.0, 0.2)
        ):
            noise = (0.0, 0.01, 0.03)[rng.integers(3)]
            true = Acquisition(
                spacing=spacing, thickness=(1 - gap) * spacing, profile=kind, slice_axis=axis
            )
            facts = {"axis": axis, "spacing": spacing, "true": kind, "gap": gap, "noise": noise}
            rows.append({"image": name, **facts, **simulated(image, true, noise, rng)})
        write(rows, arguments.out / "slice_profile.tsv")
    if not arguments.real:
        print(summary(rows))


if __name__ == "__main__":
    main()
