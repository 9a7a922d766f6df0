"""Draw the picture of the README from what `make demo` left behind.

``python docs/before_after.py demo docs/images/before-after.png``
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from bids_sr.imaging import Volume
from bids_sr.sr import super_resolve

# World axis across the cut and where it lies, mm; a demo head has the axes of the world.
CUTS = ((1, -16.0), (0, -13.0))


def main() -> None:
    """Read the demonstration's images and draw."""
    mpl.use("Agg")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    made = arguments.demo / "out" / "sub-01" / "anat"
    thick = Volume.load(made / "sub-01_space-orig_desc-n4_T1w.nii.gz")
    shown = {
        "6 mm slices, cubic B-spline": super_resolve(thick, method="bspline"),
        "bids_sr": Volume.load(made / "sub-01_res-1mm_desc-sr_T1w.nii.gz"),
        "reference": Volume.load(arguments.demo / "reference" / "sub-01_T1w.nii.gz"),
    }
    draw(shown, arguments.picture)


def draw(shown: dict[str, Volume], picture: Path) -> None:
    """Draw a coronal and a sagittal cut of each volume, each in its own window."""
    figure, axes = plt.subplots(len(CUTS), len(shown), figsize=(9, 6.1), facecolor="black")
    for column, (title, volume) in enumerate(shown.items()):
        low, high = np.percentile(volume.data, (1, 99.8))
        for row, (axis, place) in enumerate(CUTS):
            index = round((place - volume.affine[axis, 3]) / volume.affine[axis, axis])
            cut = np.take(volume.data, index, axis=axis).T
            axes[row, column].imshow(cut, cmap="gray", vmin=low, vmax=high, origin="lower")
            axes[row, column].axis("off")
        axes[0, column].set_title(title, color="white", fontsize=11)
    figure.subplots_adjust(0, 0, 1, 0.94, wspace=0.02, hspace=0.02)
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    main()
