"""What a thin scan of another contrast adds to a thick image, and what a wrong one does.

    python benchmarks/guide.py REFERENCE GUIDE [--slice-axis 0] [--adapt image] [--mirrored]
        [--planes 20] [--lesions MASK] [--thick-guide 3/3.3]

REFERENCE and GUIDE are two contrasts of one patient, fine along the slice axis.  The reference
is degraded to slices 5 mm thick every 6 mm with 1 % noise and reconstructed; the guide is moved by
5 mm and 5 degrees in its header, and registered, judged and used as for any image.  A GUIDE of
another patient, or ``--mirrored``, shows whether a wrong one is noticed.  A reference that is
itself a stack of slices must be fine along the slice axis; finer voxels than 1 mm are brought to
1 mm, and ``--planes`` keeps the middle ones of its own slices.  ``--thick-guide`` degrades
the guide, too, along the same axis.  One table row: PSNR and SSIM over the brain (of images that
are not cut to it, over all that is bright) without and with the guide, and what the program itself
records of it; with ``--lesions``, the share of the contrast of lesions that is kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from lesions import STANDS_OUT, contrasts, lesions_and_surroundings
from scipy import ndimage

from bids_sr.evaluation.metrics import psnr, ssim
from bids_sr.evaluation.references import not_zero
from bids_sr.imaging import Acquisition, Volume, degrade, resample
from bids_sr.sr import reconstruct
from bids_sr.sr.together.guide import guided
from bids_sr.sr.together.placement import rigid_motion

FINE_MM = 0.95
CUT = 0.3  # share of voxels that are exactly zero in an image cut to the brain
MOVED_MM = 5.0
MOVED_DEGREES = 5.0
DIRECTION = np.array([1.0, -2.0, 2.0]) / 3
"""Of the shift, and axis of the rotation."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", type=Path)
    parser.add_argument("guide", type=Path)
    parser.add_argument("--slice-axis", type=int, default=0, choices=(0, 1, 2))
    parser.add_argument("--adapt", default="none", choices=("none", "image"))
    parser.add_argument("--mirrored", action="store_true", help="flip the guide left to right")
    parser.add_argument("--planes", type=int, help="of the reference's own slices")
    parser.add_argument("--lesions", type=Path, help="mask on the grid of the reference")
    parser.add_argument("--thick-guide", metavar="THICKNESS/SPACING")
    arguments = parser.parse_args()

    reference = as_reference(Volume.load(arguments.reference).canonical(), arguments.planes)
    guide = Volume.load(arguments.guide).canonical()
    if arguments.thick_guide:
        thickness, spacing = map(float, arguments.thick_guide.split("/"))
        acquired = Acquisition(
            spacing=spacing,
            thickness=thickness,
            profile="gaussian",
            slice_axis=arguments.slice_axis,
        )
        guide = degrade(guide, acquired, noise_fraction=0.01, seed=6)
    guide = moved(guide, mirrored=arguments.mirrored)
    acquisition = Acquisition(
        spacing=6.0, thickness=5.0, profile="gaussian", slice_axis=arguments.slice_axis
    )
    lr = degrade(reference, acquisition, noise_fraction=0.01, seed=5)
    axis = arguments.slice_axis
    rows = round(float(lr.fov[axis] / reference.spacings[axis]))  # that whole slices cover
    grid = reference.grid.with_planes(axis, rows)
    parameters = {"adapt": arguments.adapt, "threads": 1}
    plain = reconstruct(lr, acquisition, method="finetuned", grid=grid, parameters=parameters)
    result = guided(plain, lr, guide, threads=1)

    size = tuple(slice(0, count) for count in grid.shape)
    truth = reference.data[size]
    mask = bright(reference)[size]
    cells = [
        f"{psnr(volume.data, truth, mask):.2f} / {ssim(volume.data, truth, mask):.3f}"
        for volume in (plain.volume, result.volume)
    ]
    if arguments.lesions:
        lesions = Volume.load(arguments.lesions).canonical().data[size] > 0
        places = lesions_and_surroundings(lesions, mask)
        true = contrasts(truth, places)
        clear = true > STANDS_OUT * np.median(truth[mask])
        for number, volume in enumerate((plain.volume, result.volume)):
            kept = (contrasts(volume.data, places) / true)[clear]
            cells[number] += f"; {clear.sum()} lesions keep {np.median(kept):.3f}"
    facts = result.record.details["Guide"]
    shown = {name: value for name, value in facts.items() if name != "ToGuide"}
    print("| without guide | with guide | record |")
    print("| --- | --- | --- |")
    print(f"| {' | '.join(cells)} | {shown} |")


def as_reference(volume: Volume, planes: int | None) -> Volume:
    """Return the middle slices of a stack, finer voxels within them brought to 1 mm."""
    axis = volume.slice_axis
    if planes is not None:
        first = (volume.shape[axis] - planes) // 2
        volume = volume.planes(axis, slice(first, first + planes))
    grid, blur = volume.grid, np.zeros(3)
    for within in range(3):
        spacing = float(volume.spacings[within])
        if within != axis and spacing < FINE_MM:
            blur[within] = 0.4 * np.sqrt(1 / spacing**2 - 1)  # voxels
            grid = grid.with_spacing(within, 1.0)
    if grid is volume.grid:
        return volume
    return resample(volume.with_data(ndimage.gaussian_filter(volume.data, blur)), grid)


def bright(volume: Volume) -> npt.NDArray[np.bool_]:
    """Return the brain of an image that is cut to it, else all that is bright."""
    if np.mean(volume.data == 0) > CUT:
        return not_zero(volume)
    filled: npt.NDArray[np.bool_] = ndimage.binary_fill_holes(
        volume.data > 0.1 * np.percentile(volume.data, 99)
    )
    return filled


def moved(guide: Volume, *, mirrored: bool) -> Volume:
    """Return a guide that lies 5 mm and 5 degrees off, flipped before if asked for."""
    data = guide.data[::-1] if mirrored else guide.data
    centre = guide.affine @ [*((np.array(guide.shape) - 1) / 2), 1]
    motion = rigid_motion(np.deg2rad(MOVED_DEGREES) * DIRECTION, MOVED_MM * DIRECTION, centre[:3])
    return Volume(np.ascontiguousarray(data), motion @ guide.affine)


if __name__ == "__main__":
    main()
