"""Measure how well slices that differ in brightness are brought to one.

    python benchmarks/slice_gain.py simulated IMAGE ... [--methods bspline --slab 40]
    python benchmarks/slice_gain.py real ../shared/data/clinical-2d --out FOLDER [--methods ...]

`simulated`: fine images are degraded along z (5 mm thick every 6 mm; 4/4 mm), and the slices get
gains: odd-even (neighbours differ by so many percent), random (so many percent standard
deviation), or none.  Table: how far slices differ from their neighbours, as measured, which
without gains is anatomy; the difference of slices to the mean of both neighbours that the
gains make, before and after the correction (RMS, percent, slices with at least half of the
largest foreground); and with `--methods` the PSNR where the image is bright, minus that of the
undisturbed slices, without and with correction.  With `--slab` only the middle so many mm along x
are super-resolved and scored; the gains are those of the whole slices.

`real`: each image of a folder.  Table: what was found, and the high-pass of plane medians of each
method without and with correction (percent: medians of each output plane over their mean along
one slice spacing, in the foreground without what is 1.5 times as bright as its median, such as
fat).  `--corrected` leaves out the slices without correction.  Pictures: both planes across
the slices.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.bids.sidecar import AcquisitionOverrides
from bids_sr.bids.training_set import read_acquisitions
from bids_sr.cli.evaluate_options import parse_spec
from bids_sr.imaging import Acquisition, Volume, degrade, lay_out_grid
from bids_sr.sr import correct_slice_gain, reconstruct
from bids_sr.sr.slices.slice_gain import SliceGain, banded

Array = npt.NDArray[np.float64]
PROTOCOLS = ((5.0, 6.0), (4.0, 4.0))
NOISE = 0.01


def main() -> None:
    mpl.use("Agg")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    simulated = commands.add_parser("simulated")
    simulated.add_argument("images", type=Path, nargs="+")
    simulated.add_argument("--percents", nargs="+", type=float, default=[1.0, 2.0, 5.0])
    simulated.add_argument("--methods", nargs="*", default=[])
    simulated.add_argument("--kinds", nargs="*", default=["odd-even", "random"])
    simulated.add_argument("--slab", type=float, help="mm along x that is super-resolved")
    real = commands.add_parser("real")
    real.add_argument("bids", type=Path)
    real.add_argument("--out", type=Path, required=True)
    real.add_argument("--include", nargs="*", default=["*"], help="patterns of file names")
    real.add_argument("--methods", nargs="*", default=["bspline", "finetuned:adapt=none"])
    real.add_argument("--corrected", action="store_true", help="super-resolve only those")
    options = parser.parse_args()
    if options.command == "simulated":
        measure_simulated(options)
    else:
        measure_real(options)


def gains_of(kind: str, percent: float, count: int) -> Array:
    """Return the gain of each slice."""
    if kind == "odd-even":
        return np.asarray(1 + percent / 200 * (-1.0) ** np.arange(count))
    if kind == "random":
        return np.asarray(1 + np.random.default_rng(1).normal(0, percent / 100, count))
    return np.ones(count)


def measure_simulated(options: argparse.Namespace) -> None:
    specs = [parse_spec(text) for text in options.methods]
    scores = " | ".join(f"{spec.label}, without | with" for spec in specs)
    print(
        f"| image | mm | gains | found | measured, % | before, % | left, % |"
        f"{scores and f' {scores} |'}"
    )
    print("|" + " --- |" * (7 + 2 * len(specs)))
    for path in options.images:
        image = Volume.load(path).canonical()
        for thickness, spacing in PROTOCOLS:
            acquisition = Acquisition(
                spacing=spacing, thickness=thickness, profile="slr", slice_axis=2
            )
            lr = degrade(image, acquisition, noise_fraction=NOISE)
            scored = slab(image, options.slab)
            undisturbed = [
                psnr(scored, slab(lr, options.slab), acquisition, spec) for spec in specs
            ]
            for kind, size in cases(options.kinds, options.percents):
                gains = gains_of(kind, size, lr.shape[2])
                striped = banded(lr, gains, 2) if kind != "none" else lr
                even, gain = correct_slice_gain(striped, acquisition)
                changes = []
                for spec, best in zip(specs, undisturbed, strict=True):
                    for slices in (striped, even):
                        score = best
                        if slices is not lr:
                            score = psnr(scored, slab(slices, options.slab), acquisition, spec)
                        changes.append(f"{score - best:+.3f}")
                before, left = (
                    difference(values, lr) for values in (gains, gains * np.array(gain.factors))
                )
                cells = [path.name.removesuffix(".nii.gz"), f"{thickness:g}/{spacing:g}"]
                cells += [f"{kind} {size:g} %" if size else kind, words(gain)]
                cells.append(percent(gain.before_percent))
                print(
                    f"| {' | '.join([*cells, f'{before:.2f}', f'{left:.2f}', *changes])} |",
                    flush=True,
                )


def slab(volume: Volume, millimetres: float | None) -> Volume:
    """Return the middle of a volume along x."""
    if millimetres is None:
        return volume
    size = volume.shape[0]
    half = min(round(millimetres / 2 / float(volume.spacings[0])), size // 2)
    return volume.planes(0, slice(size // 2 - half, size // 2 + half))


def cases(kinds: list[str], percents: list[float]) -> Iterator[tuple[str, float]]:
    yield "none", 0.0
    for kind in kinds:
        for percent in percents:
            yield kind, percent


def words(gain: SliceGain) -> str:
    return ", ".join(gain.pattern) if gain.applied else gain.reason


def difference(gains: Array, lr: Volume) -> float:
    """Return the RMS difference of gains to the mean of both neighbours, percent."""
    bright = lr.data > 0.25 * np.percentile(lr.data[lr.data > np.median(lr.data)], 99)
    counts = bright.sum(axis=(0, 1))
    inner = np.flatnonzero(counts[1:-1] >= 0.5 * counts.max())
    logarithms = np.log(gains)
    ratios = logarithms[1:-1] - (logarithms[2:] + logarithms[:-2]) / 2
    return float(100 * np.sqrt(np.mean(ratios[inner] ** 2)))


def psnr(truth: Volume, lr: Volume, acquisition: Acquisition, spec: object) -> float:
    sr = reconstruct(
        lr,
        acquisition,
        method=spec.method,  # type: ignore[attr-defined]
        grid=truth.grid,
        parameters={"threads": 1, **spec.parameters},  # type: ignore[attr-defined]
    ).volume
    top = float(np.percentile(truth.data, 99))
    bright = truth.data > 0.05 * top
    bright[:, :, int(lr.shape[2] * acquisition.spacing / truth.spacings[2]) :] = False
    error = float(np.mean((sr.data[bright] - truth.data[bright]) ** 2))
    return float(10 * np.log10(top**2 / error))


def measure_real(options: argparse.Namespace) -> None:
    files = [
        path
        for path in sorted(options.bids.rglob("*.nii.gz"))
        if any(fnmatch(path.name, pattern) for pattern in options.include)
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    acquisitions = read_acquisitions(files, [options.bids], AcquisitionOverrides())
    specs = [parse_spec(text) for text in options.methods]
    titles = " | ".join(f"{spec.label}, without | with" for spec in specs)
    print(
        f"| image | slices | found | evidence | before, % | after, % |{titles and f' {titles} |'}"
    )
    print("|" + " --- |" * (6 + 2 * len(specs)))
    for path in files:
        lr = Volume.load(path)
        acquisition = acquisitions[path].for_volume(lr)
        axis = acquisition.slice_axis
        assert axis is not None
        even, gain = correct_slice_gain(lr, acquisition)
        name = path.name.removesuffix(".nii.gz")
        cells = [name, str(lr.shape[axis]), words(gain), f"{gain.evidence:.1f}"]
        cells += [percent(gain.before_percent), percent(gain.after_percent)]
        panels = {"acquired": lr, "corrected": even}
        region = None
        for spec in specs:
            for title, slices in (("without", lr), ("with", even)):
                if title == "without" and options.corrected and even is not lr:
                    cells.append("-")
                    continue
                if title == "with" and even is lr:
                    cells.append(cells[-1])
                    continue
                sr = reconstruct(
                    slices,
                    replace(acquisition, slice_axis=axis),
                    method=spec.method,
                    grid=lay_out_grid(slices, slice_axis=axis),
                    parameters={"threads": 1, **spec.parameters},
                ).volume
                region = foreground(sr) if region is None else region
                cells.append(f"{high_pass(sr, region, axis, acquisition.spacing):.2f}")
                panels[f"{spec.label}, {title}"] = sr
        print(f"| {' | '.join(cells)} |", flush=True)
        draw(panels, axis, options.out / f"{name}.png")


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def foreground(volume: Volume) -> npt.NDArray[np.bool_]:
    brighter = volume.data[volume.data > np.median(volume.data)]
    bright = volume.data > 0.25 * np.percentile(brighter, 99)
    return np.asarray(bright & (volume.data < 1.5 * np.median(volume.data[bright])))


def high_pass(sr: Volume, region: npt.NDArray[np.bool_], axis: int, spacing: float) -> float:
    """Return the RMS of plane medians over their mean along a slice spacing, percent."""
    counts = region.sum(axis=tuple({0, 1, 2} - {axis}))
    planes = np.flatnonzero(counts >= 0.5 * counts.max())
    planes = np.arange(planes[0], planes[-1] + 1)
    medians = np.array([
        np.median(np.take(sr.data, place, axis)[np.take(region, place, axis)]) for place in planes
    ])  # fmt: skip
    smooth = ndimage.gaussian_filter1d(medians, spacing / float(sr.spacings[axis]), mode="nearest")
    return float(100 * np.sqrt(np.mean((medians / smooth - 1) ** 2)))


def draw(panels: dict[str, Volume], slice_axis: int, path: Path) -> None:
    """Draw the cuts along the two in-plane axes, the slices lying flat, true to scale."""
    figure, axes = plt.subplots(2, len(panels), figsize=(4.2 * len(panels), 8), squeeze=False)
    for column, (label, volume) in enumerate(panels.items()):
        top = float(np.percentile(volume.data, 99.5))
        in_plane = [axis for axis in range(3) if axis != slice_axis]
        for row, across in enumerate(in_plane):
            section = np.take(volume.data, int(volume.shape[across] * 0.45), axis=across)
            along = in_plane[1 - row]
            flat = section.T if slice_axis > along else section
            aspect = float(volume.spacings[slice_axis] / volume.spacings[along])
            axes[row, column].imshow(
                flat, cmap="gray", vmin=0, vmax=top, origin="lower", aspect=aspect,
                interpolation="nearest",
            )  # fmt: skip
            axes[row, column].axis("off")
        axes[0, column].set_title(label, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=70)
    plt.close(figure)


if __name__ == "__main__":
    main()
