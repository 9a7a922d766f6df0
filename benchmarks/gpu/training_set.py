"""Pack images to learn from into one file that is small enough to travel.

    python benchmarks/gpu/training_set.py SET.tar.bz2 IMAGE [IMAGE ...] --left-out sub-01 ...

Every image becomes an 8-bit NIfTI file, cropped to what is not background, intensities in steps
of 1/160 of the robust range: finer than the noise of any of them.  Of subjects that are left
out, which only validate, the middle of the head is enough.
"""

from __future__ import annotations

import argparse
import io
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import nibabel as nb
import numpy as np
import numpy.typing as npt

from bids_sr.imaging import RobustScaler, Volume

LEVELS = 160  # of the robust range; 255 is then 1.6 times its upper end
BACKGROUND = 0.05
MARGIN = 4  # voxels around the head
VALIDATED = 112  # voxels along each axis of what only validates


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", type=Path, metavar="SET.tar.bz2")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--left-out", nargs="*", default=[], metavar="SUBJECT")
    options = parser.parse_args(argv)
    with tarfile.open(options.set, "w:bz2") as archive:
        for path in sorted(options.images, key=lambda path: path.name):
            validates = any(path.name.startswith(f"{name}_") for name in options.left_out)
            content = packed(Volume.load(path), validates=validates).to_bytes()
            entry = tarfile.TarInfo(path.name.removesuffix(".gz"))
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    print(
        f"{options.set}: {len(options.images)} images, {options.set.stat().st_size / 1e6:.1f} MB"
    )
    return 0


def packed(volume: Volume, *, validates: bool) -> nb.Nifti1Image:
    """Return an image of 8 bits, cropped."""
    scaled = RobustScaler.fit(volume.data).apply(volume.data)
    box = around(scaled, VALIDATED if validates else None)
    levels = np.clip(np.rint(scaled[box] * LEVELS), 0, 255).astype(np.uint8)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    image = nb.Nifti1Image(levels, affine)
    image.header.set_slope_inter(1 / LEVELS, 0)
    return image


def around(scaled: npt.NDArray[np.floating], size: int | None) -> tuple[slice, ...]:
    """Return the box of the head, or that of so many voxels in its middle."""
    box = []
    for axis, length in enumerate(scaled.shape):
        others = tuple(other for other in range(3) if other != axis)
        inside = np.flatnonzero((scaled > BACKGROUND).mean(others) > 0.01)
        first, last = (inside[0], inside[-1] + 1) if inside.size else (0, length)
        if size is None:
            box.append(slice(max(0, int(first) - MARGIN), min(length, int(last) + MARGIN)))
        else:
            begin = min(max(0, (int(first) + int(last) - size) // 2), max(0, length - size))
            box.append(slice(begin, min(length, begin + size)))
    return tuple(box)


if __name__ == "__main__":
    sys.exit(main())
