"""Measure what it costs not to know how slices were taken, or to be told wrongly.

    python benchmarks/assumptions.py IMAGE ... --out FOLDER --methods finetuned:adapt=none self
    python benchmarks/assumptions.py STACK ... --out FOLDER --leave-out

Fine images are degraded along z with each true profile and gap, and reconstructed with each
thing that a method may be told.  Of stacks of thick slices every second slice is left out, so
that half of each spacing is gap.  Scores: gain over cubic interpolation, dB, where the image
is bright.  `guard` counts the images whose assumption was changed, or that were interpolated.
What is estimated is estimated from the slices of the whole image; the rest is done on its middle.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from bids_sr.cli.evaluate_options import parse_spec
from bids_sr.evaluation.protocol import LEAVE_OUT, Protocol, TestCase, covered, make_case
from bids_sr.imaging import Acquisition, Volume, degrade, resample
from bids_sr.sr.registry import make_method
from bids_sr.sr.slices.estimated_acquisition import estimated_acquisition

_BRIGHT = 0.05  # of the 99th percentile


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One image, how its slices were truly taken, and by which method they are reconstructed."""

    image: Path
    method: str
    profile: str = ""
    spacing: float = 0.0
    gap: float = 0.0
    """As a share of the spacing."""
    noise: float = 0.01
    crop: float = 0.6
    """Share of each in-plane axis of the head that is reconstructed."""
    guard: bool = True
    """Whether what is not told is tested on slices left out, and slices at fault are sought."""
    told: tuple[str, ...] = ()
    """What the method is told, by name; empty: everything."""

    @property
    def row(self) -> tuple[str, ...]:
        """What a line of the summary is about."""
        if not self.profile:
            return (self.method, "slices left out")
        return (
            self.method,
            f"{self.spacing:g} mm",
            self.profile,
            f"{100 * self.gap:g} %",
            f"noise {100 * self.noise:g} %",
        )


def tellings(true: Acquisition, whole: Volume) -> dict[str, Acquisition]:
    """Return what a method may be told, by name; the rest is assumed, or estimated from slices."""
    thickness, spacing, axis = true.nominal_thickness, true.spacing, true.slice_axis
    known = replace(true, assumed=())
    kind_unknown = Acquisition(spacing=spacing, thickness=thickness, slice_axis=axis)
    nothing = Acquisition(spacing=spacing, slice_axis=axis)
    return {
        "all": known,
        "profile unknown": kind_unknown,
        "profile estimated": estimated_acquisition(whole, kind_unknown).acquisition,
        "thickness unknown": Acquisition(spacing=spacing, profile=true.profile, slice_axis=axis),
        "nothing": nothing,
        "all estimated": estimated_acquisition(whole, nothing).acquisition,
        "gaussian, no gap": replace(known, thickness=spacing, profile="gaussian"),
        "20 % too thick": replace(known, thickness=1.2 * thickness),
        "20 % too thin": replace(known, thickness=0.8 * thickness),
    }


def measure(cell: Cell) -> dict[str, Any]:
    """Reconstruct one image with everything that can be told; gains over cubic, dB."""
    case, whole = _case(cell)
    spec = parse_spec(cell.method)
    method = make_method(spec.method, {"threads": 1, **spec.parameters})
    truth = case.truth.data
    bright = case.region & (truth > _BRIGHT * np.percentile(truth, 99))

    def error(volume: Volume) -> float:
        difference = np.maximum(case.at_truth(volume.data), 0) - truth
        return float(np.mean(difference[bright] ** 2))

    cubic = error(resample(case.lr, case.grid))
    linear = error(resample(case.lr, case.grid, kernel="linear"))
    gains: dict[str, Any] = {"linear": 10 * np.log10(cubic / linear)}
    results: dict[tuple[Any, ...], Any] = {}
    for name, assumed in tellings(case.acquisition, whole).items():
        if cell.told and name not in cell.told:
            continue
        if not cell.guard:
            assumed = replace(assumed, assumed=())
        key = (assumed.profile, round(assumed.nominal_thickness, 6), assumed.assumed)
        if key not in results:
            reconstruction = method.reconstruct(
                case.lr, assumed, case.grid, judge_slices=cell.guard
            )
            results[key] = (
                10 * np.log10(cubic / error(reconstruction.volume)),
                reconstruction.record,
            )
        gains[name], record = results[key]
        if name in ("nothing", "all estimated"):
            tested = record.held_out
            gains["guard"] = tested.assumption if tested else "not asked"
            gains["guard gain"] = tested.gain if tested else np.nan
    return gains


@cache
def _load(path: Path) -> Volume:
    return Volume.load(path).canonical()


def _case(cell: Cell) -> tuple[TestCase, Volume]:
    """Return what is reconstructed, and all slices."""
    image = _load(cell.image)
    if not cell.profile:
        case = make_case(image, Protocol(name=LEAVE_OUT))
        return case, case.lr
    true = Acquisition(
        spacing=cell.spacing,
        thickness=(1 - cell.gap) * cell.spacing,
        profile=cell.profile,
        slice_axis=2,
    )
    whole = degrade(image, true, noise_fraction=cell.noise, seed=0)
    image = middle(image, cell.crop)
    lr = degrade(image, true, noise_fraction=cell.noise, seed=0)
    region = covered(image.grid, lr.grid)
    case = TestCase(lr=lr, acquisition=true, grid=image.grid, truth=image, region=region)
    return case, whole


def middle(image: Volume, share: float) -> Volume:
    """Cut out the middle of the head, whole along z: a fair sample at a third of the time."""
    bright = image.data > 0.1 * np.percentile(image.data, 99.5)
    box, affine = [slice(None)] * 3, image.affine.copy()
    for axis in (0, 1):
        inside = np.flatnonzero(bright.mean(axis=tuple({0, 1, 2} - {axis})) > 0.02)
        count = int(share * (inside[-1] + 1 - inside[0]))
        first = int(inside[0] + inside[-1] + 1 - count) // 2
        box[axis] = slice(first, first + count)
        affine[:3, 3] += first * image.affine[:3, axis]
    data = np.ascontiguousarray(image.data[tuple(box)])
    return Volume(data, affine)


def cells(options: argparse.Namespace) -> Iterator[Cell]:
    names = tuple(options.told)
    for method, image in itertools.product(options.methods, options.images):
        if options.leave_out:
            yield Cell(image=image, method=method, told=names)
            continue
        for spacing, profile, gap, noise in itertools.product(
            options.spacings, options.profiles, options.gaps, options.noises
        ):
            yield Cell(
                image=image,
                method=method,
                spacing=spacing,
                profile=profile,
                gap=gap,
                noise=noise,
                crop=options.crop,
                guard=not options.no_guard,
                told=names,
            )


def summary(cells_gains: dict[Cell, dict[str, Any]]) -> str:
    """Return the mean gain of each row, and the least in brackets, as a table."""
    names = [name for name in next(iter(cells_gains.values())) if not name.startswith("guard")]
    rows: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for cell, gains in cells_gains.items():
        rows.setdefault(cell.row, []).append(gains)
    lines = [f"| true | n | {' | '.join(names)} | guard |", "|" + " --- |" * (len(names) + 3)]
    for row, some in rows.items():
        values = [[gains[name] for gains in some] for name in names]
        gains = [f"{np.mean(column):+.2f} ({np.min(column):+.2f})" for column in values]
        fired = sum(cell["guard"] not in ("kept", "not asked") for cell in some)
        lines.append(f"| {' '.join(row)} | {len(some)} | {' | '.join(gains)} | {fired} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, nargs="+", help="NIfTI images")
    parser.add_argument("--out", type=Path, required=True, help="folder for the table")
    parser.add_argument("--methods", nargs="+", default=["finetuned:adapt=none"])
    parser.add_argument("--profiles", nargs="+", default=["gaussian", "slr", "rect"])
    parser.add_argument("--spacings", nargs="+", type=float, default=[4.0, 6.0], help="mm")
    parser.add_argument("--gaps", nargs="+", type=float, default=[0.0, 0.1, 0.2, 0.35, 0.5])
    parser.add_argument("--noises", nargs="+", type=float, default=[0.01], help="of the range")
    parser.add_argument("--crop", type=float, default=0.6, help="share of each in-plane axis")
    parser.add_argument(
        "--no-guard",
        action="store_true",
        help="slices are not judged",
    )
    parser.add_argument("--told", nargs="+", default=[], help="only these (default: all)")
    parser.add_argument("--leave-out", action="store_true", help="the images are thick slices")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options.out.mkdir(parents=True, exist_ok=True)
    todo, all_gains = list(cells(options)), {}
    with (
        (options.out / "assumptions.tsv").open("w", encoding="utf-8") as table,
        get_context("spawn").Pool(options.jobs) as pool,
    ):
        for cell, gains in zip(todo, pool.imap(measure, todo), strict=True):
            if not all_gains:
                print("image", "method", "true", *gains, sep="\t", file=table)
            all_gains[cell] = gains
            values = [f"{v:.3f}" if isinstance(v, float) else str(v) for v in gains.values()]
            true = " ".join(cell.row[1:])
            print(cell.image.name, cell.method, true, *values, sep="\t", file=table, flush=True)
    print(summary(all_gains))


if __name__ == "__main__":
    main()
