"""What becomes of spots that only the image, or only its guide, shows.

    python benchmarks/ghosts.py REFERENCE GUIDE [--slice-axis 0] [--spacing 6 --thickness 5]

REFERENCE and GUIDE are two fine contrasts of one head on one grid.  The reference is degraded
to thick slices and reconstructed with and without the guide.  Then soft spots of 3, 5 and 8 mm
are planted, first in the reference alone, then in the guide alone, brighter and darker than
what is around them.  Table: how much of the contrast of those in the reference is kept without
and with the guide, and how much of the contrast of those in the guide appears in the image, in
percent of the planted contrast; contrasts are relative to the robust range of each image.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.imaging import Acquisition, RobustScaler, Volume, degrade, lay_out_grid
from bids_sr.sr import Reconstruction, reconstruct
from bids_sr.sr.together.guide import GuidedReconstruction, guided

DIAMETERS = (3.0, 5.0, 8.0)  # mm
CONTRAST = 0.3  # of the robust range
SPOTS = 24  # of each size
_APART = 20.0  # mm between spots
_EDGE = 0.3  # mm over which a spot fades
_INSIDE = 8  # voxels to the edge of the head

Array = npt.NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", type=Path)
    parser.add_argument("guide", type=Path)
    parser.add_argument("--slice-axis", type=int, default=0)
    parser.add_argument("--spacing", type=float, default=6.0)
    parser.add_argument("--thickness", type=float, default=5.0)
    parser.add_argument("--adapt", default="image")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    reference = Volume.load(options.reference).canonical()
    guide = Volume.load(options.guide).canonical()
    assert reference.grid.same(guide.grid), "the images lie on two grids"
    acquisition = Acquisition(
        spacing=options.spacing,
        thickness=options.thickness,
        profile="gaussian",
        slice_axis=options.slice_axis,
    )
    spots, labels, signs = planted(reference, options.seed)
    parameters = {"adapt": options.adapt}
    plain = both(reference, guide, acquisition, parameters)
    shown = both(with_spots(reference, spots), guide, acquisition, parameters)
    ghosts = both(reference, with_spots(guide, spots), acquisition, parameters, plain[0])
    unit = RobustScaler.fit(reference.data).width
    true = contrasts(spots, labels)
    print("| mm | kept without guide | with guide | ghosts of the guide |")
    print("| --- | --- | --- | --- |")
    for number, diameter in enumerate(DIAMETERS):
        chosen = slice(number * SPOTS, (number + 1) * SPOTS)
        cells = []
        for before, after in (
            (plain[0].volume, shown[0].volume),
            (plain[1].volume, shown[1].volume),
            (plain[1].volume, ghosts[1].volume),
        ):
            change = contrasts((after.data - before.data) / unit, labels)
            share = 100 * (change / true)[chosen][signs[chosen] != 0]
            cells.append(f"{share.mean():.1f} (worst {share[np.abs(share).argmax()]:.0f})")
        print(f"| {diameter:g} | {' | '.join(cells)} |", flush=True)


def both(
    reference: Volume,
    guide: Volume,
    acquisition: Acquisition,
    parameters: dict[str, Any],
    made: Reconstruction | None = None,
) -> tuple[Reconstruction, GuidedReconstruction]:
    """Return the reconstruction of a reference that was degraded, without and with a guide."""
    lr = degrade(reference, acquisition, noise_fraction=0.01, seed=5)
    if made is None:
        assert acquisition.slice_axis is not None
        grid = lay_out_grid(
            lr, slice_axis=acquisition.slice_axis, output_resolution=None, output_grid="fov"
        )
        made = reconstruct(lr, acquisition, method="finetuned", grid=grid, parameters=parameters)
    result = guided(made, lr, guide)
    print(
        {key: value for key, value in result.record.details["Guide"].items() if key != "ToGuide"}
    )
    return made, result


def with_spots(volume: Volume, spots: Array) -> Volume:
    """Return a volume with spots in units of its robust range."""
    width = RobustScaler.fit(volume.data).width
    return volume.with_data(np.maximum(volume.data + np.float32(width) * spots, 0))


def planted(reference: Volume, seed: int) -> tuple[Array, npt.NDArray[np.int_], Array]:
    """Return spots, their labels (negative: the surroundings), and the sign of each."""
    generator = np.random.default_rng(seed)
    data = reference.data
    head = ndimage.binary_fill_holes(data > 0.1 * np.percentile(data, 99))
    places = np.argwhere(ndimage.binary_erosion(head, iterations=_INSIDE))
    spots = np.zeros(data.shape, np.float32)
    labels = np.zeros(data.shape, int)
    centres: list[npt.NDArray[np.float64]] = []
    signs = np.zeros(len(DIAMETERS) * SPOTS, np.float32)
    for number in range(signs.size):
        radius = DIAMETERS[number // SPOTS] / 2
        for _ in range(1000):
            centre = places[generator.integers(len(places))] + generator.uniform(-0.5, 0.5, 3)
            if all(
                np.linalg.norm((centre - other) * reference.spacings) > _APART for other in centres
            ):
                break
        else:
            continue
        centres.append(centre)
        signs[number] = generator.choice((-1, 1))
        reach = np.ceil((2 * radius + 3) / reference.spacings).astype(int)
        low = np.maximum(np.round(centre).astype(int) - reach, 0)
        box = tuple(slice(a, a + 2 * b + 1) for a, b in zip(low, reach, strict=True))
        grid = np.indices(spots[box].shape) + low[:, None, None, None]
        steps = (grid - centre[:, None, None, None]) * reference.spacings[:, None, None, None]
        distance = np.sqrt((steps**2).sum(axis=0))
        spots[box] += signs[number] * CONTRAST / (1 + np.exp((distance - radius) / _EDGE))
        around = (distance > radius + 1.5) & (distance < radius + 3)
        labels[box][around] = -(number + 1)
        labels[box][distance <= radius] = number + 1
    return spots, labels, signs


def contrasts(image: Array, labels: npt.NDArray[np.int_]) -> npt.NDArray[np.float64]:
    """Return the mean of every spot minus that of what is around it."""
    numbers = np.arange(1, len(DIAMETERS) * SPOTS + 1)
    inside = ndimage.mean(image, labels, numbers)
    return np.asarray(inside - ndimage.mean(image, labels, -numbers))


if __name__ == "__main__":
    main()
