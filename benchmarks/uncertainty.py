"""Measure whether the uncertainty that a method gives is the error that it makes.

    python benchmarks/uncertainty.py IMAGE ... --out /tmp/uncertainty --steps 250

Each image is degraded along z and reconstructed.  Within its foreground the map is compared
with the true error: rank correlation with the absolute error, and in ten bins of the map the
root mean square error against the root mean square of the map.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from bids_sr.imaging import Acquisition, RobustScaler, Volume, degrade
from bids_sr.sr import reconstruct

BINS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path, help="high-resolution NIfTI images")
    parser.add_argument("--out", type=Path, required=True, help="folder for table and plot")
    parser.add_argument("--thickness", type=float, default=5.0)
    parser.add_argument("--spacing", type=float, default=6.0)
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--method", default="self")
    parser.add_argument("--steps", type=int, help="training steps")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(4.5, 4.2), layout="constrained")
    axes = figure.add_subplot()
    lines = ["| image | rank correlation with the error | RMS error | RMS of the map |"]
    lines.append("|" + " --- |" * 4)
    for path in arguments.images:
        expected, true = measure(path, arguments)
        rank = spearmanr(expected, np.abs(true))[0]
        edges = np.quantile(expected, np.linspace(0, 1, BINS + 1))
        bins = np.clip(np.digitize(expected, edges) - 1, 0, BINS - 1)
        points = [
            [float(np.sqrt(np.mean(part[bins == index] ** 2))) for index in range(BINS)]
            for part in (expected, true)
        ]
        name = path.name.removesuffix(".nii.gz")
        axes.plot(*points, marker="o", markersize=3, label=f"{name}: {rank:.2f}")
        rms = [float(np.sqrt(np.mean(part**2))) for part in (true, expected)]
        lines.append(f"| {name} | {rank:.2f} | {rms[0]:.4f} | {rms[1]:.4f} |")
    most = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([0, most], [0, most], color="grey", linewidth=0.8)
    axes.set(xlabel="standard deviation given", ylabel="root mean square error", title="")
    axes.legend(frameon=False, fontsize=8, title="rank correlation")
    figure.savefig(arguments.out / "calibration.png", dpi=150)
    (arguments.out / "uncertainty.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def measure(
    path: Path, arguments: argparse.Namespace
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the map and the error in the foreground, in units of the robust range."""
    reference = Volume.load(path).canonical()
    acquisition = Acquisition(
        spacing=arguments.spacing,
        thickness=arguments.thickness,
        profile="gaussian",
        slice_axis=2,
    )
    lr = degrade(reference, acquisition, noise_fraction=arguments.noise, seed=0)
    parameters = {"threads": arguments.threads}
    if arguments.steps:
        parameters["steps"] = arguments.steps
    reconstruction = reconstruct(
        lr, acquisition, method=arguments.method, grid=reference.grid, parameters=parameters
    )
    if reconstruction.uncertainty is None:
        raise SystemExit(f"{arguments.method} gives no uncertainty")
    scaler = RobustScaler.fit(lr.data)
    inside = reference.data > scaler.offset + 0.1 * scaler.width
    error = (reconstruction.volume.data - reference.data)[inside] / np.float32(scaler.width)
    return reconstruction.uncertainty.data[inside] / np.float32(scaler.width), error


if __name__ == "__main__":
    main()
