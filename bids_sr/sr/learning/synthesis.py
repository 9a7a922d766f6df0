"""Images of random contrast, synthesised from label maps.

A network can learn from them the outlines of structures in any contrast; they hold no texture
but noise.  Maps and pairs are made elsewhere.

References
----------
Billot et al. 2023, SynthSeg: segmentation of brain MRI scans of any contrast and
resolution without retraining, Med Image Anal 86:102789, doi:10.1016/j.media.2023.102789
(a random Gaussian intensity for every label, blurred and biased).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.imaging.resample import apply_along_axis, interpolation_matrix

_LARGEST_SPREAD = 0.08  # standard deviation within a label, for means of 0 to 1
_BLUR = (0.4, 0.9)  # voxels, standard deviation: no scanner sees an edge as sharp as a map's
_BIAS = 0.25  # standard deviation of the logarithm of the field
_BIAS_KNOTS = 4  # along each axis
_DARK_AIR = 0.75  # share of the images
_MOST_SPOTS = 40
_SPOT_RADII = (1.0, 5.0)  # voxels


def synthesise(
    labels: npt.NDArray[np.integer], random: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Make an image of a contrast drawn at random.

    Parameters
    ----------
    labels : (X, Y, Z) int array
        0 is background.
    random : Generator

    Returns
    -------
    (X, Y, Z) float32 array
        0 or more.

    Notes
    -----
    Every label gets a mean and a standard deviation; spots of one further intensity lie
    anywhere in the head, as lesions do; all is blurred a little and multiplied by a smooth
    field.
    """
    lowest, highest = int(labels.min()), int(labels.max())
    places = labels.astype(np.intp) - lowest
    means = random.uniform(0, 1, highest - lowest + 1).astype(np.float32)
    spreads = random.uniform(0, _LARGEST_SPREAD, means.size).astype(np.float32)
    if lowest <= 0 <= highest and random.random() < _DARK_AIR:
        means[-lowest], spreads[-lowest] = 0, spreads[-lowest] / 4
    image = means[places]
    _add_spots(image, np.flatnonzero(labels), random)
    image += random.standard_normal(labels.shape, dtype=np.float32) * spreads[places]
    image = ndimage.gaussian_filter(image, random.uniform(*_BLUR))
    logarithm = _smooth_field(labels.shape, random) * random.uniform(0, _BIAS)
    result: npt.NDArray[np.float32] = np.maximum(image * np.exp(logarithm), 0)
    return result


def _smooth_field(shape: tuple[int, ...], random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return values of standard deviation 1 at the knots, cubic between them."""
    field = random.standard_normal((_BIAS_KNOTS,) * len(shape)).astype(np.float32)
    for axis, size in enumerate(shape):
        knots = np.linspace(0, _BIAS_KNOTS - 1, size)
        field = apply_along_axis(interpolation_matrix(knots, _BIAS_KNOTS, "bspline"), field, axis)
    return field.astype(np.float32)


def _add_spots(
    image: npt.NDArray[np.float32], inside: npt.NDArray[np.intp], random: np.random.Generator
) -> None:
    """Put ellipsoids of one intensity around some of the voxels whose flat indices are given."""
    if not inside.size:
        return
    intensity = np.float32(random.uniform(0, 1))
    for _ in range(int(random.integers(_MOST_SPOTS + 1))):
        chosen = inside[int(random.integers(inside.size))]
        centre = np.array(np.unravel_index(chosen, image.shape))
        radii = random.uniform(*_SPOT_RADII, 3)
        reach = np.ceil(radii).astype(int)
        first = np.maximum(centre - reach, 0)
        box = tuple(slice(low, high) for low, high in zip(first, centre + reach + 1, strict=True))
        part = image[box]
        offsets = np.indices(part.shape).T + first - centre
        part[(np.square(offsets / radii).sum(axis=-1) <= 1).T] = intensity
