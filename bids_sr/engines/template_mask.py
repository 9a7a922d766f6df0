"""The template brain mask: a template's mask brought to an image by registration.

It needs no weights and no network, and works on any contrast; it does not follow
the sulci and knows nothing of lesions or resections.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.engines.foreground import largest_component
from bids_sr.engines.head_pose import HeadPose, find_head, mutual_information
from bids_sr.engines.head_template import HeadTemplate, head_template
from bids_sr.engines.itk import ants_session, to_ants
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume

_COARSE = 4.0  # mm
_FINE = 2.0  # mm
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
_VOLUMES = (600.0, 2200.0)  # mL
_LEAST_COVERAGE = 0.4
_MOST_AT_BORDER = 0.02
_LEAST_INFORMATION = 0.15  # nat
_SCALES = (0.7, 1.4)


def template_brain_mask(
    volume: Volume, *, threads: int = 1, seed: int = 0
) -> tuple[Volume, dict[str, Any]]:
    """Extract the brain with a registered template.

    Parameters
    ----------
    volume : Volume
        A head or a stripped brain of any contrast, spacing and orientation.
    threads : int
    seed : int
        Of the registration's sampling.

    Returns
    -------
    mask : Volume
        uint8, on the volume's own grid.
    record : dict
        ``VolumeMl``, ``Coverage`` (share of the template's brain inside the image),
        ``AtBorder``, ``MutualInformation``, ``Scales``, threads and seed.

    Raises
    ------
    EngineError
        If what was found is no plausible brain, or ANTs fails.

    Notes
    -----
    The pose of the head comes first (:func:`.find_head`), then an affine registration
    by Mattes mutual information within the brain only: the structures inside set the
    size, and neither scalp nor skull can pull the edge outwards.
    """
    template = head_template()
    pose = find_head(isotropic(volume, _COARSE), template)
    with (
        ants_session(threads=threads, seed=seed) as (ants, used),
        TemporaryDirectory(prefix="bids_sr-") as folder,
    ):
        transform = _register(ants, isotropic(volume, _FINE), template, pose, Path(folder))
        warped = _to_grid(ants, template.brain, volume, transform)
        fit = _Fit(
            information=_information(ants, volume, template, transform),
            scales=_scales(ants, transform),
            coverage=_coverage(ants, volume, template, transform),
        )
    mask = ndimage.binary_fill_holes(largest_component(warped > 0.5))
    at_border = border_share(mask, free_axes(volume))
    millilitres = float(np.count_nonzero(mask)) * float(np.prod(volume.spacings)) / 1000
    record = {
        "Method": "affine registration of the MNI152 template (ANTs)",
        "VolumeMl": round(millilitres, 1),
        "Coverage": round(fit.coverage, 3),
        "AtBorder": round(at_border, 4),
        "MutualInformation": round(fit.information, 3),
        "Scales": [round(scale, 3) for scale in fit.scales],
        "Threads": used,
        "Seed": seed,
    }
    _check(fit, millilitres, at_border)
    return volume.with_data(mask.astype(np.uint8)), record


def isotropic(volume: Volume, spacing: float) -> Volume:
    """Bring an image to isotropic voxels for registration.

    Smoothed where it is finer, interpolated linearly where it is coarser; intensities
    are cut at the 0.5th and 99th percentile.

    Parameters
    ----------
    volume : Volume
    spacing : float, mm

    Returns
    -------
    image : Volume
        float32, same axes and outer edges up to one voxel.
    """
    low, high = np.percentile(volume.data, [0.5, 99])
    data = np.clip(volume.data.astype(np.float32), low, high)
    # Half the new spacing is left unblurred: 0.4 of it as sigma does not alias visibly.
    sigmas = np.where(volume.spacings < spacing, 0.4 * spacing / volume.spacings, 0.0)
    smooth = ndimage.gaussian_filter(data, sigmas, mode="nearest")
    step = spacing / volume.spacings  # new voxel in old voxels
    shape = np.maximum(np.round(np.asarray(volume.shape) / step), 1).astype(int)
    offset = (step - 1) / 2
    index = np.meshgrid(
        *(np.arange(n) * s + o for n, s, o in zip(shape, step, offset, strict=True)),
        indexing="ij",
        sparse=False,
    )
    sampled = ndimage.map_coordinates(smooth, index, order=1, mode="nearest")
    affine = volume.affine @ np.diag([*step, 1.0])
    affine[:3, 3] = volume.affine[:3, :3] @ offset + volume.affine[:3, 3]
    return Volume(sampled.astype(np.float32), affine)


def free_axes(volume: Volume) -> tuple[int, ...]:
    """Name the axes along which an image may end within the brain.

    Parameters
    ----------
    volume : Volume

    Returns
    -------
    axes : tuple of int
        The slice axis (stacks often start at the skull base), and the axis nearest to
        the body's long axis.
    """
    vertical = int(np.argmax(np.abs(volume.affine[2, :3]) / volume.spacings))
    return tuple(sorted({volume.slice_axis, vertical}))


def border_share(mask: npt.NDArray[np.bool_], free: tuple[int, ...]) -> float:
    """Measure how much of a mask lies at the edge of the image.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
    free : tuple of int
        Axes whose two faces do not count.

    Returns
    -------
    share : float
        Of the mask's voxels; 0 for an empty mask.
    """
    inner = tuple(slice(None) if axis in free else slice(1, -1) for axis in range(3))
    count = np.count_nonzero(mask)
    return 1 - np.count_nonzero(mask[inner]) / count if count else 0.0


@dataclass(frozen=True, kw_only=True)
class _Fit:
    information: float
    scales: tuple[float, ...]
    coverage: float


def _register(
    ants: ModuleType, image: Volume, template: HeadTemplate, pose: HeadPose, folder: Path
) -> str:
    start = ants.create_ants_transform(
        transform_type="AffineTransform",
        dimension=3,
        matrix=_RAS_TO_LPS @ pose.matrix @ _RAS_TO_LPS,
        center=_RAS_TO_LPS @ pose.centre,
        translation=_RAS_TO_LPS @ pose.shift,
    )
    start_file = str(folder / "pose.mat")
    ants.write_transform(start, start_file)
    result = ants.registration(
        to_ants(ants, template.image),
        to_ants(ants, image),
        "Affine",
        initial_transform=start_file,
        mask=to_ants(ants, template.brain),
        mask_all_stages=True,
        aff_random_sampling_rate=0.25,
        aff_iterations=(100, 50),
        aff_shrink_factors=(2, 1),
        aff_smoothing_sigmas=(1, 0),
        outprefix=str(folder / "affine_"),
    )
    return str(result["fwdtransforms"][0])


def _to_grid(
    ants: ModuleType, mask: Volume, volume: Volume, transform: str
) -> npt.NDArray[np.float32]:
    # float32: a uint8 image would be cut to 0 and 1 by the interpolation.
    moving = to_ants(ants, mask.with_data(mask.data.astype(np.float32)))
    warped = ants.apply_transforms(
        to_ants(ants, volume), moving, [transform], whichtoinvert=[True], interpolator="linear"
    )
    return np.asarray(warped.numpy(), dtype=np.float32)


def _information(
    ants: ModuleType, volume: Volume, template: HeadTemplate, transform: str
) -> float:
    fixed = to_ants(ants, template.image)
    moving = to_ants(ants, isotropic(volume, _FINE))
    moved = ants.apply_transforms(fixed, moving, [transform], interpolator="linear").numpy()
    values = moved[template.brain.data]
    joint, _, _ = np.histogram2d(template.classes()[template.brain.data], values, bins=(10, 32))
    return mutual_information(joint)


def _coverage(ants: ModuleType, volume: Volume, template: HeadTemplate, transform: str) -> float:
    ones = to_ants(ants, isotropic(volume.with_data(np.ones(volume.shape, np.float32)), _COARSE))
    fixed = to_ants(ants, template.image)
    inside = ants.apply_transforms(fixed, ones, [transform], interpolator="nearestNeighbor")
    return float((inside.numpy()[template.brain.data] > 0.5).mean())


def _scales(ants: ModuleType, transform: str) -> tuple[float, ...]:
    matrix = np.asarray(ants.read_transform(transform).parameters[:9]).reshape(3, 3)
    return tuple(float(scale) for scale in np.linalg.svd(matrix, compute_uv=False))


def _check(fit: _Fit, millilitres: float, at_border: float) -> None:
    """Refuse what is no brain.

    Raises
    ------
    EngineError
        With the first figure that is out of range.
    """
    advice = (
        "Look whether the image shows a head; give a mask with --derivatives, "
        "or use --skull-strip-method none."
    )
    low, high = _VOLUMES
    least, most = _SCALES
    if fit.information < _LEAST_INFORMATION:
        raise EngineError(
            f"Found {fit.information:.2f} nat of mutual information between the template's brain "
            f"and the image; a brain has at least {_LEAST_INFORMATION}. {advice}"
        )
    if min(fit.scales) < least or max(fit.scales) > most:
        raise EngineError(
            f"The template had to be scaled by {min(fit.scales):.2f} to {max(fit.scales):.2f}; "
            f"expected {least} to {most}. {advice}"
        )
    if fit.coverage < _LEAST_COVERAGE:
        raise EngineError(
            f"Found {fit.coverage:.0%} of the brain inside the image; expected at least "
            f"{_LEAST_COVERAGE:.0%}. {advice}"
        )
    if not low <= millilitres <= high:
        raise EngineError(
            f"Found a brain of {millilitres:.0f} mL; expected {low:.0f} to {high:.0f} mL. {advice}"
        )
    if at_border > _MOST_AT_BORDER:
        raise EngineError(
            f"Found {at_border:.1%} of the brain mask at the in-plane edge of the image; expected "
            f"at most {_MOST_AT_BORDER:.0%}. {advice}"
        )
