"""What a thin scan of another contrast adds to a thick image, and what a wrong one does.

    python benchmarks/guide.py REFERENCE GUIDE [--slice-axis 0] [--adapt image] [--mirrored]

REFERENCE and GUIDE are two fine contrasts of one head on one grid, without skull.  The reference
is degraded to slices 5 mm thick every 6 mm with 1 % noise and reconstructed; the guide is moved by
5 mm and 5 degrees in its header, and registered, judged and used as for any image.  A GUIDE of
another patient, or ``--mirrored``, shows whether a wrong one is noticed.  One table row: PSNR and
SSIM over the brain without and with the guide, and what the program itself records of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from bids_sr.evaluation.metrics import psnr, ssim
from bids_sr.evaluation.references import not_zero
from bids_sr.imaging import Acquisition, Volume, degrade, lay_out_grid
from bids_sr.sr import reconstruct
from bids_sr.sr.together.guide import guided
from bids_sr.sr.together.placement import rigid_motion

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
    arguments = parser.parse_args()

    reference = Volume.load(arguments.reference).canonical()
    guide = moved(Volume.load(arguments.guide).canonical(), mirrored=arguments.mirrored)
    acquisition = Acquisition(
        spacing=6.0, thickness=5.0, profile="gaussian", slice_axis=arguments.slice_axis
    )
    lr = degrade(reference, acquisition, noise_fraction=0.01, seed=5)
    grid = lay_out_grid(
        lr, slice_axis=arguments.slice_axis, output_resolution=None, output_grid="fov"
    )
    parameters = {"adapt": arguments.adapt, "threads": 1}
    plain = reconstruct(lr, acquisition, method="finetuned", grid=grid, parameters=parameters)
    result = guided(plain, lr, guide, threads=1)

    size = tuple(slice(0, count) for count in grid.shape)  # whole slices may end before the image
    truth = reference.data[size]
    mask = not_zero(reference)[size]
    cells = [
        f"{psnr(volume.data, truth, mask):.2f} / {ssim(volume.data, truth, mask):.3f}"
        for volume in (plain.volume, result.volume)
    ]
    facts = result.record.details["Guide"]
    shown = {name: value for name, value in facts.items() if name != "ToGuide"}
    print("| without guide | with guide | record |")
    print("| --- | --- | --- |")
    print(f"| {' | '.join(cells)} | {shown} |")


def moved(guide: Volume, *, mirrored: bool) -> Volume:
    """Return a guide that lies 5 mm and 5 degrees off, flipped before if asked for."""
    data = guide.data[::-1] if mirrored else guide.data
    centre = guide.affine @ [*((np.array(guide.shape) - 1) / 2), 1]
    motion = rigid_motion(np.deg2rad(MOVED_DEGREES) * DIRECTION, MOVED_MM * DIRECTION, centre[:3])
    return Volume(np.ascontiguousarray(data), motion @ guide.affine)


if __name__ == "__main__":
    main()
