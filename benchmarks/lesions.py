"""How much of the contrast of drawn lesions a reconstruction keeps, by their size.

    python benchmarks/lesions.py REFERENCE LESION-MASK RECONSTRUCTION ...

The contrast of a lesion is its mean minus that of the brain 2 and 3 voxels around all lesions.
Table: of the lesions that stand out of the reference (by 5 % of its median), how many there
are of each size, the median share of their contrast that is kept, and how many keep less than
a quarter.  Reconstructions: images on the grid of the reference, such as those that
``bids_sr-tools evaluate --keep-images`` leaves.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation, label

from bids_sr.imaging import Volume

SIZES = ((1, 10), (10, 50), (50, 200), (200, np.inf))  # mm3
STANDS_OUT = 0.05  # of the median of the brain
_LOST = 0.25  # of the contrast in the reference
_FEWEST_AROUND = 5  # voxels

Places = list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", type=Path)
    parser.add_argument("lesions", type=Path)
    parser.add_argument("reconstructions", type=Path, nargs="+")
    arguments = parser.parse_args()
    reference = Volume.load(arguments.reference).canonical()
    lesions = Volume.load(arguments.lesions).canonical().data > 0
    brain = reference.data > 0
    places = lesions_and_surroundings(lesions, brain)
    volumes = np.array([lesion.size for lesion, _ in places]) * np.prod(reference.spacings)
    true = contrasts(reference.data, places)
    clear = true > STANDS_OUT * np.median(reference.data[brain])
    sizes = [f"{low:g} to {high:g} mm3" for low, high in SIZES]
    print(f"| image | {' | '.join(sizes)} |")
    print("|" + " --- |" * (1 + len(SIZES)))
    for path in arguments.reconstructions:
        estimate = Volume.load(path).canonical()
        assert estimate.shape == reference.shape, f"{path} lies on another grid"
        ratios = contrasts(estimate.data, places) / true
        cells = []
        for low, high in SIZES:
            shares = ratios[clear & (volumes >= low) & (volumes < high)]
            lost = np.count_nonzero(shares < _LOST)
            median = f"{np.median(shares):.2f}" if shares.size else "n/a"
            cells.append(f"{shares.size}: {median}, {lost}")
        print(f"| {path.name.removesuffix('.nii.gz')} | {' | '.join(cells)} |", flush=True)


def lesions_and_surroundings(
    lesions: npt.NDArray[np.bool_], brain: npt.NDArray[np.bool_]
) -> Places:
    """Return the flat indices of every lesion, and of the brain around it."""
    apart, number = label(lesions, structure=np.ones((3, 3, 3)))
    around = brain & ~binary_dilation(lesions)
    places = []
    for index in range(1, number + 1):
        lesion = apart == index
        ring = np.flatnonzero(binary_dilation(lesion, iterations=3) & around)
        if ring.size >= _FEWEST_AROUND:
            places.append((np.flatnonzero(lesion), ring))
    return places


def contrasts(image: npt.NDArray[np.floating], places: Places) -> npt.NDArray[np.float64]:
    """Return the mean of every lesion minus that of the brain around it."""
    values = image.ravel()
    return np.array([values[lesion].mean() - values[ring].mean() for lesion, ring in places])


if __name__ == "__main__":
    main()
