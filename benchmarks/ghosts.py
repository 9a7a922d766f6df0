"""What becomes of spots that only the image, or only its guide, shows.

    python benchmarks/ghosts.py REFERENCE GUIDE {image,guide} [--slice-axis 0] [--axial 50 130]

REFERENCE and GUIDE are two fine contrasts of one head on one grid.  The reference is degraded
to thick slices and reconstructed with and without the guide.  Soft spots of 3, 5 and 8 mm
are planted in the image (before it is degraded) or in the guide: once brighter and once darker
than what is around them, at the same places.  Half the difference of the two results, which have
the same noise, is what follows the spots.  Table: that contrast of the reconstruction without and
with guide in percent of the planted one, relative to the robust range of each image; and the
same at as many places where nothing was planted: how much it scatters by itself, as the
relation is learnt anew each time.
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
SPOTS = 24  # of each size, and as many places without
_APART = 15.0  # mm between places
_EDGE = 0.3  # mm over which a spot fades
_INSIDE = 8  # voxels to the edge of the head

Array = npt.NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", type=Path)
    parser.add_argument("guide", type=Path)
    parser.add_argument("planted_in", choices=("image", "guide"))
    parser.add_argument("--slice-axis", type=int, default=0)
    parser.add_argument("--spacing", type=float, default=6.0)
    parser.add_argument("--thickness", type=float, default=5.0)
    parser.add_argument("--adapt", default="none")
    parser.add_argument(
        "--axial", type=int, nargs=2, help="first plane, and the one after the last"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    reference = Volume.load(options.reference).canonical()
    guide = Volume.load(options.guide).canonical()
    assert reference.grid.same(guide.grid), "the images lie on two grids"
    if options.axial:
        reference, guide = (image.planes(2, slice(*options.axial)) for image in (reference, guide))
    acquisition = Acquisition(
        spacing=options.spacing,
        thickness=options.thickness,
        profile="gaussian",
        slice_axis=options.slice_axis,
    )
    spots, labels, is_planted = planted(reference, options.seed)
    parameters = {"adapt": options.adapt, "threads": 1}
    results, unguided = [], None
    for sign in (1, -1):
        if options.planted_in == "image":
            changed = both(with_spots(reference, sign * spots), guide, acquisition, parameters)
        else:
            beside = with_spots(guide, sign * spots)
            changed = both(reference, beside, acquisition, parameters, unguided)
            unguided = changed[0]
        results.append(changed)
    unit = RobustScaler.fit(reference.data).width
    size = tuple(slice(0, count) for count in results[0][0].volume.shape)  # of whole slices
    spots, labels = spots[size], labels[size]
    true = contrasts(spots, labels)
    print(
        "| mm | spots | without guide | with guide | worst with guide | not planted, with guide |"
    )
    print("|" + " --- |" * 6)
    for number, diameter in enumerate(DIAMETERS):
        own = np.arange(true.size) // (2 * SPOTS) == number
        typical = np.nanmean(true[own & is_planted])
        cells = []
        for brighter, darker in zip(*results, strict=True):  # without guide, with guide
            half = (brighter.volume.data - darker.volume.data) / (2 * unit)
            share = 100 * contrasts(half, labels) / typical
            cells.append(share)
        without, share = (cell[own & is_planted] for cell in cells)
        null = cells[1][own & ~is_planted]
        null = null[np.isfinite(null)]
        change = share - without
        print(
            f"| {diameter:g} | {share.size} | {without.mean():.1f} | {share.mean():.1f} | "
            f"root mean square {np.sqrt(np.mean(change**2)):.1f}, worst "
            f"{change[np.abs(change).argmax()]:+.0f} | "
            f"root mean square {np.sqrt(np.mean(null**2)):.1f}, worst "
            f"{null[np.abs(null).argmax()]:+.0f} |",
            flush=True,
        )


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
    result = guided(made, lr, guide, threads=1)
    print(
        {key: value for key, value in result.record.details["Guide"].items() if key != "ToGuide"}
    )
    return made, result


def with_spots(volume: Volume, spots: Array) -> Volume:
    """Return a volume with spots in units of its robust range."""
    width = RobustScaler.fit(volume.data).width
    return volume.with_data(np.maximum(volume.data + np.float32(width) * spots, 0))


def planted(
    reference: Volume, seed: int
) -> tuple[Array, npt.NDArray[np.int_], npt.NDArray[np.bool_]]:
    """Return spots, the labels of all places (negative: the surroundings), and which have one."""
    generator = np.random.default_rng(seed)
    data = reference.data
    head = ndimage.binary_fill_holes(data > 0.1 * np.percentile(data, 99))
    places = np.argwhere(ndimage.binary_erosion(head, iterations=_INSIDE))
    spots = np.zeros(data.shape, np.float32)
    labels = np.zeros(data.shape, int)
    centres: list[npt.NDArray[np.float64]] = []
    is_planted = np.zeros(2 * len(DIAMETERS) * SPOTS, bool)
    for number in generator.permutation(is_planted.size):  # one size as easily as another
        radius = DIAMETERS[number // (2 * SPOTS)] / 2
        for _ in range(1000):
            centre = places[generator.integers(len(places))] + generator.uniform(-0.5, 0.5, 3)
            away = (centre - np.reshape(centres, (-1, 3))) * reference.spacings
            if np.all(np.linalg.norm(away, axis=1) > _APART):
                break
        else:
            continue
        centres.append(centre)
        is_planted[number] = number % 2 == 0
        reach = np.ceil((2 * radius + 3) / reference.spacings).astype(int)
        low = np.maximum(np.round(centre).astype(int) - reach, 0)
        box = tuple(slice(a, a + 2 * b + 1) for a, b in zip(low, reach, strict=True))
        grid = np.indices(spots[box].shape) + low[:, None, None, None]
        steps = (grid - centre[:, None, None, None]) * reference.spacings[:, None, None, None]
        distance = np.sqrt((steps**2).sum(axis=0))
        if is_planted[number]:
            spots[box] += CONTRAST / (1 + np.exp((distance - radius) / _EDGE))
        around = (distance > radius + 1.5) & (distance < radius + 3)
        labels[box][around] = -(number + 1)
        labels[box][distance <= radius] = number + 1
    return spots, labels, is_planted


def contrasts(image: Array, labels: npt.NDArray[np.int_]) -> npt.NDArray[np.float64]:
    """Return the mean of every spot minus that of what is around it."""
    numbers = np.arange(1, 2 * len(DIAMETERS) * SPOTS + 1)
    inside = ndimage.mean(image, labels, numbers)
    return np.asarray(inside - ndimage.mean(image, labels, -numbers))


if __name__ == "__main__":
    main()
