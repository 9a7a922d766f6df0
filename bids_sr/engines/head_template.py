"""The head template: the brain of a template with a skull and a scalp drawn around it.

The bundled template is a T1w brain without its skull.  Registered as it is to a whole
head, its outer edge goes to the edge of the scalp; with a layer for the skull and
one for the scalp, each a class of its own, the layers meet their like.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.engines import BUNDLED_TEMPLATE as BUNDLED
from bids_sr.engines.template import brain_template
from bids_sr.imaging import Volume

_RESOLUTION = 2  # mm
_MARGIN = 12  # voxels of air around the bundled template
_SKULL = 9.0  # mm, skull and the fluid under it
_SCALP = 7.0  # mm
_AIR = 8.0  # mm of air that still counts
_SKULL_BASE = ((20.0, -15.0), (-40.0, -15.0), (-np.inf, -50.0))
"""(y, z), mm of the bundled template: behind y the layers are drawn above z only; below are
face and neck."""
_FLUID = 35.0
_DEEP = 25.0  # mm
_CLASS_EDGES = (1, 20, 35, 50, 65, 80, 95, 130, 160)
SKULL_CLASS = 140.0
SCALP_CLASS = 180.0
CLASSES = len(_CLASS_EDGES) + 1


@dataclass(frozen=True, kw_only=True)
class HeadTemplate:
    """Hold the template and the region in which it is valid."""

    image: Volume
    """Brain from 0 to 120, skull 140, scalp 180, air 0."""
    brain: Volume
    """Brain mask, bool."""
    head: Volume
    """Valid region: brain, skull, scalp and some air above the skull base, bool."""
    size: float = 1.0
    """Of the brain, as a length, relative to the bundled one's."""

    @property
    def centre(self) -> npt.NDArray[np.float64]:
        """(3,) centre of mass of the brain, mm, RAS+."""
        return _centre(self.brain)

    @property
    def ventricles(self) -> Volume:
        """Fluid deep within the brain, bool."""
        depth = ndimage.distance_transform_edt(self.brain.data) * _RESOLUTION  # mm
        fluid = (self.image.data < _FLUID) & (depth > _DEEP)
        return self.brain.with_data(fluid)

    def classes(self) -> npt.NDArray[np.intp]:
        """Sort every voxel into one of ``CLASSES`` intensity classes."""
        return np.digitize(self.image.data, _CLASS_EDGES)


@lru_cache(maxsize=2)
def head_template(name: str = BUNDLED) -> HeadTemplate:
    """Build the head template from a template's brain.

    Parameters
    ----------
    name : str
        As in :func:`.require_template`.

    Returns
    -------
    template : HeadTemplate
        At 2 mm.

    References
    ----------
    Fonov et al. 2011, Unbiased average age-appropriate atlases for pediatric studies,
    NeuroImage 54:313-327, doi:10.1016/j.neuroimage.2010.07.033.
    """
    atlas = brain_template(name, _RESOLUTION)
    affine = atlas.image.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, _MARGIN)
    image = np.pad(atlas.image.data, _MARGIN)
    brain = np.pad(atlas.mask.data, _MARGIN)
    adult = None if name == BUNDLED else head_template()
    size, shift = 1.0, np.zeros(3)
    if adult is not None:
        size = (np.count_nonzero(brain) / np.count_nonzero(adult.brain.data)) ** (1 / 3)
        shift = _centre(Volume(brain, affine)) - size * adult.centre
    distance = ndimage.distance_transform_edt(~brain) * _RESOLUTION  # mm from the brain
    tissue = 100 * np.clip(image / np.percentile(image[brain], 99), 0, 1.2)
    classes = np.where(brain, tissue, 0.0)
    classes[(distance > 0) & (distance <= _SKULL)] = SKULL_CLASS
    classes[(distance > _SKULL) & (distance <= _SKULL + _SCALP)] = SCALP_CLASS
    near = distance <= _SKULL + _SCALP + _AIR
    adult_world = np.linalg.inv(_scaling(size, shift)) @ affine
    head = near & (_above_skull_base(adult_world, brain.shape) | brain)
    return HeadTemplate(
        image=Volume(classes.astype(np.float32), affine),
        brain=Volume(brain, affine),
        head=Volume(head, affine),
        size=float(size),
    )


def _centre(mask: Volume) -> npt.NDArray[np.float64]:
    index = np.asarray(ndimage.center_of_mass(mask.data))
    return np.asarray(mask.affine[:3, :3] @ index + mask.affine[:3, 3])


def _scaling(size: float, shift: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    matrix = np.diag([size, size, size, 1.0])
    matrix[:3, 3] = shift
    return matrix


def _above_skull_base(
    affine: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> npt.NDArray[np.bool_]:
    index = np.indices(shape).reshape(3, -1)
    _, y, z = (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *shape)
    limit = np.select([y > start for start, _ in _SKULL_BASE], [low for _, low in _SKULL_BASE])
    return np.asarray(z > limit)
