"""The head template: the MNI152 brain with a skull and a scalp drawn around it.

nilearn bundles the T1w brain without its skull.  Registered as it is to a whole
head, its outer edge goes to the edge of the scalp; with a layer for the skull and
one for the scalp, each a class of its own, the layers meet their like.  Nothing is
downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.imaging import Volume

_RESOLUTION = 2  # mm
_MARGIN = 12  # voxels of air around the bundled template
_SKULL = 9.0  # mm, skull and the fluid under it
_SCALP = 7.0  # mm
_AIR = 8.0  # mm of air that still counts
_SKULL_BASE = ((20.0, -15.0), (-40.0, -15.0), (-np.inf, -50.0))
"""(y, z) in mm: behind y the layers are drawn above z only; below are face and neck."""
_FLUID = 35.0
_DEEP = 25.0  # mm
_CLASS_EDGES = (1, 20, 35, 50, 65, 80, 95, 130, 160)
SKULL_CLASS = 140.0
SCALP_CLASS = 180.0
CLASSES = len(_CLASS_EDGES) + 1


@dataclass(frozen=True, kw_only=True)
class HeadTemplate:
    """Hold the template and where it says something."""

    image: Volume
    """Brain from 0 to 120, skull 140, scalp 180, air 0."""
    brain: Volume
    """Brain mask, bool."""
    head: Volume
    """Where the image is meant: brain, skull, scalp and some air above the skull base, bool."""

    @property
    def centre(self) -> npt.NDArray[np.float64]:
        """(3,) centre of mass of the brain, mm, RAS+."""
        index = np.asarray(ndimage.center_of_mass(self.brain.data))
        return np.asarray(self.brain.affine[:3, :3] @ index + self.brain.affine[:3, 3])

    @property
    def ventricles(self) -> Volume:
        """Fluid deep within the brain, bool."""
        depth = ndimage.distance_transform_edt(self.brain.data) * _RESOLUTION  # mm
        fluid = (self.image.data < _FLUID) & (depth > _DEEP)
        return self.brain.with_data(fluid)

    @property
    def brain_volume(self) -> float:
        """Volume of the brain, mL."""
        voxel = float(np.prod(self.brain.spacings))
        return float(np.count_nonzero(self.brain.data)) * voxel / 1000

    def classes(self) -> npt.NDArray[np.intp]:
        """Sort every voxel into one of ``CLASSES`` intensity classes."""
        return np.digitize(self.image.data, _CLASS_EDGES)


@lru_cache(maxsize=1)
def head_template() -> HeadTemplate:
    """Build the template from what nilearn bundles.

    Returns
    -------
    template : HeadTemplate
        At 2 mm.

    References
    ----------
    Fonov et al. 2011, NeuroImage 54:313-327, doi:10.1016/j.neuroimage.2010.07.033.
    """
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

    t1w = load_mni152_template(resolution=_RESOLUTION)
    affine = np.asarray(t1w.affine, dtype=np.float64).copy()
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, _MARGIN)
    image = np.pad(np.asarray(t1w.dataobj, dtype=np.float32), _MARGIN)
    mask = np.asarray(load_mni152_brain_mask(resolution=_RESOLUTION).dataobj)
    brain = np.pad(mask, _MARGIN) > 0.5
    distance = ndimage.distance_transform_edt(~brain) * _RESOLUTION  # mm from the brain
    tissue = 100 * np.clip(image / np.percentile(image[brain], 99), 0, 1.2)
    drawn = np.where(brain, tissue, 0.0)
    drawn[(distance > 0) & (distance <= _SKULL)] = SKULL_CLASS
    drawn[(distance > _SKULL) & (distance <= _SKULL + _SCALP)] = SCALP_CLASS
    near = distance <= _SKULL + _SCALP + _AIR
    head = near & (_above_skull_base(affine, brain.shape) | brain)
    return HeadTemplate(
        image=Volume(drawn.astype(np.float32), affine),
        brain=Volume(brain, affine),
        head=Volume(head, affine),
    )


def _above_skull_base(
    affine: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> npt.NDArray[np.bool_]:
    index = np.indices(shape).reshape(3, -1)
    _, y, z = (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *shape)
    limit = np.select([y > start for start, _ in _SKULL_BASE], [low for _, low in _SKULL_BASE])
    return np.asarray(z > limit)
