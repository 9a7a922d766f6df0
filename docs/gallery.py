r"""Draw the pictures of the gallery and of the README from real scans.

    bids_sr ../shared/data/clinical-2d OUT participant -w WORK --level full --fuse-stacks none \
        --guide none --participant-label ms01 ms03 knee02 spine01
    python docs/gallery.py OUT docs/images

Of a head only the brain is drawn, within the mask of the run: nothing of the face or of the
outline of the head.  All columns are denoised and bias-corrected, as in the run.
"""

from __future__ import annotations

import argparse
import io
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from bids_sr.imaging import Volume
from bids_sr.sr import super_resolve

COLUMNS = ("acquired slices", "cubic interpolation", "bids_sr")
PLANES = ("sagittal", "coronal", "axial")
MARGIN = 3  # voxels around what is drawn


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What is drawn of one scan."""

    image: str
    """The scan, without ending."""
    planes: tuple[str, ...] = PLANES[::-1]
    head: bool = True
    at: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Where the planes cut what is drawn, as fractions along left-right, back-front, feet-head."""
    part: tuple[tuple[float, float], ...] = ((0, 1), (0, 1), (0, 1))
    """The part of the field of view that is drawn, as fractions along the same axes."""


PICTURES = {
    "before-after": Picture(
        image="sub-ms03_ses-02_T2w", planes=("coronal", "sagittal"), at=(0.47, 0.45, 0.5)
    ),
    "gallery/flair": Picture(image="sub-ms01_ses-01_FLAIR", at=(0.46, 0.45, 0.55)),
    "gallery/t2w": Picture(image="sub-ms03_ses-02_T2w", at=(0.47, 0.45, 0.5)),
    "gallery/knee": Picture(image="sub-knee02_acq-sag_PDw", head=False),
    "gallery/spine": Picture(
        image="sub-spine01_acq-sag_T2w",
        head=False,
        at=(0.5, 0.5, 0.5),
        part=((0, 1), (0.32, 0.72), (0.35, 0.85)),
    ),
}


def main() -> None:
    """Draw every picture whose scan is in the output of the run."""
    mpl.use("Agg")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="+", help="output of bids_sr --level full; folder")
    *outs, folder = parser.parse_args().out
    for name, picture in PICTURES.items():
        stem, _, suffix = picture.image.rpartition("_")
        for out in outs:
            for fine in out.rglob(f"{stem}_res-*_desc-sr_{suffix}.nii.gz"):
                path = folder / f"{name}.webp"
                path.parent.mkdir(parents=True, exist_ok=True)
                draw(columns_of(fine, stem, suffix, picture), picture, path)


def columns_of(
    fine: Path, stem: str, suffix: str, picture: Picture
) -> list[npt.NDArray[np.float32]]:
    """Return the three columns on the grid of the result, axes near to left, front and head."""
    sr = Volume.load(fine)
    thick = Volume.load(fine.parent / f"{stem}_space-orig_desc-n4_{suffix}.nii.gz")
    cubic = super_resolve(thick, method="bspline", output_resolution=float(sr.spacings.min()))
    to_thick = np.linalg.inv(thick.affine) @ sr.affine
    acquired = ndimage.affine_transform(
        thick.data, to_thick[:3, :3], to_thick[:3, 3], sr.shape, order=0, mode="nearest"
    )
    columns = [acquired, cubic.data, sr.data]
    if picture.head:
        (mask,) = [
            path
            for path in fine.parent.glob(f"{stem}*_desc-brain_mask.nii.gz")
            if "space-orig" not in path.name
        ]
        brain = Volume.load(mask).data > 0
        box = ndimage.find_objects(brain.astype(int))[0]
        columns = [np.where(brain, column, 0)[box] for column in columns]
    upright = [Volume(column, sr.affine).canonical().data for column in columns]
    part = tuple(
        slice(int(low * size), int(high * size))
        for (low, high), size in zip(picture.part, upright[0].shape, strict=True)
    )
    return [np.pad(column[part], MARGIN) for column in upright]


def draw(columns: list[npt.NDArray[np.float32]], picture: Picture, path: Path) -> None:
    """Draw the planes as rows of one scale, all columns in one window."""
    low, high = np.percentile(columns[2][columns[2] > 0], (0.5, 99.7))
    cuts = {
        plane: [cut(column, plane, picture.at) for column in columns] for plane in picture.planes
    }
    width = max(cuts[plane][0].shape[1] for plane in picture.planes)
    heights = [cuts[plane][0].shape[0] / width for plane in picture.planes]
    figure, axes = plt.subplots(
        len(cuts),
        3,
        figsize=(8.4, 2.8 * sum(heights) + 0.3),
        height_ratios=heights,
        squeeze=False,
        facecolor="black",
    )
    for row, plane in enumerate(picture.planes):
        for column, section in enumerate(cuts[plane]):
            axis = axes[row, column]
            voxels = "nearest" if column == 0 else "bilinear"
            axis.imshow(section, cmap="gray", vmin=min(low, 0), vmax=high, interpolation=voxels)
            axis.axis("off")
    for column, title in enumerate(COLUMNS):
        axes[0, column].set_title(title, color="white", fontsize=11)
    top = 1 - 0.3 / figure.get_figheight()
    figure.subplots_adjust(0, 0, 1, top, wspace=0.02, hspace=0.02)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110, facecolor="black")
    plt.close(figure)
    Image.open(drawn).convert("L").save(path, quality=82, method=6)


def cut(
    column: npt.NDArray[np.float32], plane: str, at: tuple[float, float, float]
) -> npt.NDArray[np.float32]:
    """Return one plane, head or front up, the patient's left on the right."""
    axis = PLANES.index(plane)
    section = np.take(column, int(column.shape[axis] * at[axis]), axis=axis)
    return section.T[::-1, :] if plane == "sagittal" else section.T[::-1, ::-1]


if __name__ == "__main__":
    main()
