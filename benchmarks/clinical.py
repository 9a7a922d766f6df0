"""Look at super-resolved clinical scans, for which there is no truth.

    python benchmarks/clinical.py ../shared/data/clinical-2d --out FOLDER --include '*gap01*'

Each image of a BIDS dataset is reconstructed by each method.  Table: sharpness (energy of
detail finer than the slices hold across them, relative to in-plane; 1 = alike), stripes (power
at one cycle a slice spacing over that of waves a sixth longer and shorter, dB; well above 0 =
the slices shine through), the residual of data consistency and the noise of the slices
(percent of the robust range).  Pictures: a cut across the slices for each image and method.
"""

from __future__ import annotations

import argparse
from fnmatch import fnmatch
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

from bids_sr.bids.sidecar import AcquisitionOverrides
from bids_sr.bids.training_set import read_acquisitions
from bids_sr.cli.evaluate_options import parse_spec
from bids_sr.evaluation.sharpness import sharpness
from bids_sr.imaging import RobustScaler, Volume, lay_out_grid
from bids_sr.sr import reconstruct
from bids_sr.sr.slices.consistency import agreement

_NEIGHBOURS = (5 / 6, 7 / 6)  # of the frequency of the slices


def main() -> None:
    mpl.use("Agg")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bids", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--include", nargs="*", default=["*"], help="patterns of file names")
    parser.add_argument("--methods", nargs="+", default=["bspline", "finetuned"])
    arguments = parser.parse_args()
    files = [
        path
        for path in sorted(arguments.bids.rglob("*.nii.gz"))
        if any(fnmatch(path.name, pattern) for pattern in arguments.include)
    ]
    arguments.out.mkdir(parents=True, exist_ok=True)
    acquisitions = read_acquisitions(files, [arguments.bids], AcquisitionOverrides())
    print(
        "| image | thickness/spacing, mm | method | sharpness | stripes, dB | residual | noise |"
    )
    print("|" + " --- |" * 7)
    for path in files:
        lr = Volume.load(path)
        acquisition = acquisitions[path].for_volume(lr)
        axis = acquisition.slice_axis
        assert axis is not None
        name = path.name.removesuffix(".nii.gz")
        geometry = f"{acquisition.nominal_thickness:.3g}/{acquisition.spacing:.3g}"
        volumes = {}
        for text in arguments.methods:
            spec = parse_spec(text)
            sr = reconstruct(
                lr,
                acquisition,
                method=spec.method,
                grid=lay_out_grid(lr, slice_axis=axis),
                parameters=spec.parameters,
            ).volume
            volumes[spec.label] = sr
            inside = foreground(sr)
            sharp = sharpness(sr.data, inside, sr.spacings, axis, 0.5 / acquisition.spacing)
            striped = stripes(sr, axis, acquisition.spacing)
            agreed = agreement(sr, lr, acquisition)
            print(
                f"| {name} | {geometry} | {spec.label} | {sharp:.2f} | {striped:+.1f} | "
                f"{agreed['ResidualPercent']:.2f} | {agreed['NoisePercent']:.2f} |",
                flush=True,
            )
        draw(volumes, axis, arguments.out / f"{name}.png")


def foreground(volume: Volume) -> npt.NDArray[np.bool_]:
    """Return the voxels above a tenth of the robust range."""
    scaler = RobustScaler.fit(volume.data)
    bright: npt.NDArray[np.bool_] = volume.data > scaler.offset + 0.1 * scaler.width
    return bright


def stripes(volume: Volume, slice_axis: int, spacing: float) -> float:
    """Return how far the power at one cycle a slice spacing stands out, dB."""
    lines = np.moveaxis(volume.data, slice_axis, -1)
    lines = lines[np.moveaxis(foreground(volume), slice_axis, -1).any(axis=-1)]
    window = np.hanning(lines.shape[1])
    power = (np.abs(np.fft.rfft((lines - lines.mean(axis=1)[:, None]) * window)) ** 2).mean(axis=0)
    frequencies = np.fft.rfftfreq(lines.shape[1], float(volume.spacings[slice_axis]))
    at = np.interp(np.array([1.0, *_NEIGHBOURS]) / spacing, frequencies, np.log10(power))
    return float(10 * (at[0] - at[1:].mean()))


def draw(volumes: dict[str, Volume], slice_axis: int, path: Path) -> None:
    """Draw the middle cuts along the two in-plane axes, the slices lying flat."""
    figure, axes = plt.subplots(2, len(volumes), figsize=(5 * len(volumes), 9), squeeze=False)
    for column, (label, volume) in enumerate(volumes.items()):
        low, high = np.percentile(volume.data, (1, 99.7))
        in_plane = [axis for axis in range(3) if axis != slice_axis]
        for row, across in enumerate(in_plane):
            section = np.take(volume.data, int(volume.shape[across] * 0.45), axis=across)
            flat = section.T if slice_axis > in_plane[1 - row] else section
            axes[row, column].imshow(flat, cmap="gray", vmin=low, vmax=high, origin="lower")
            axes[row, column].axis("off")
        axes[0, column].set_title(label)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
