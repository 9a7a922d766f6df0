"""The template brain mask: a template's mask registered to an image and fitted to its brain.

It needs no weights and no internet access, and works on any contrast; it does not follow
the sulci and does not model lesions or resections.
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

from bids_sr.engines import BUNDLED_TEMPLATE as BUNDLED
from bids_sr.engines.brain_surface import fit_surface, signed_distance
from bids_sr.engines.foreground import largest_component
from bids_sr.engines.head_pose import HeadPose, find_head, mutual_information
from bids_sr.engines.head_template import HeadTemplate, head_template
from bids_sr.engines.itk import ants_session, to_ants
from bids_sr.engines.registration_image import equalised, isotropic
from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume
from bids_sr.seed import DEFAULT_SEED

_COARSE = 4.0  # mm
_FINE = 2.0  # mm
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
VOLUMES = (600.0, 2200.0)  # mL
_LEAST_COVERAGE = 0.4
_MOST_AT_BORDER = 0.02
_MOST_APART = 0.05
_LEAST_INFORMATION = 0.075  # nat
_SCALES = (0.7, 1.2)  # of a brain of the bundled template's size
_DEEP = 5.0  # mm
_FREE = 8.0  # mm
_HELD = 1.5  # mm, where the template has neither skull nor scalp: face, neck, brainstem


def template_brain_mask(
    volume: Volume, *, threads: int = 1, seed: int = DEFAULT_SEED, template: str = BUNDLED
) -> tuple[Volume, dict[str, Any]]:
    """Extract the brain with a registered template.

    Parameters
    ----------
    volume : Volume
        A head or a stripped brain of any contrast, spacing and orientation.
    threads : int
    seed : int
        Of the registration's sampling.
    template : str
        As in :func:`.require_template`.

    Returns
    -------
    mask : Volume
        uint8, on the volume's own grid.
    record : dict
        ``VolumeMl`` and ``TemplateVolumeMl`` (before the fit of the surface), ``Coverage``
        (share of the template's brain inside the image), ``AtBorder``, ``Apart`` (share of the
        voxels outside the largest piece), ``BrightFluid``, ``MutualInformation``,
        ``Scales``, threads, seed.

    Raises
    ------
    EngineError
        If the result is not a plausible brain, or ANTs fails.

    Notes
    -----
    The pose of the head comes first (:func:`.find_head`), then an affine registration
    by Mattes mutual information within the brain only: the structures inside set the
    size, and neither scalp nor skull can pull the surface outwards.  Finally the surface is
    moved to where the intensities of the brain end (:func:`.fit_surface`), freely along the
    vault, little at the skull base.
    """
    head = head_template(template)
    image = equalised(isotropic(volume, _FINE))
    with (
        ants_session(threads=threads, seed=seed) as (ants, threads_used),
        TemporaryDirectory(prefix="bids_sr-") as folder,
    ):
        fits = []
        for stripped in (False, True):
            pose = find_head(isotropic(image, _COARSE), head, stripped=stripped)
            fits.append(_register(ants, image, head, pose, Path(folder) / f"{stripped}_"))
            if fits[-1].is_plausible:
                break
        fit = max(fits, key=lambda attempt: (attempt.is_plausible, attempt.information))
        outside = signed_distance(head.brain.data, float(head.brain.spacings[0]))
        start = _to_grid(ants, head.brain.with_data(outside), image, fit.transform)
        vault = _to_grid(ants, head.head, image, fit.transform)
        ventricles = _to_grid(ants, head.ventricles, image, fit.transform) > 0.5
    bright_fluid = _is_brighter(image.data, ventricles, start < -_DEEP)
    freedom = _HELD + (_FREE - _HELD) * vault
    distance = fit_surface(image, start, freedom, bright_fluid=bright_fluid)
    inside = _on_grid(image.with_data(distance), volume) < 0
    mask = largest_component(inside)
    apart = 1 - float(mask.sum()) / max(float(inside.sum()), 1.0)
    mask = ndimage.binary_fill_holes(mask)
    at_border = border_share(mask, free_axes(volume))
    millilitres = float(np.count_nonzero(mask)) * float(np.prod(volume.spacings)) / 1000
    before = float(np.count_nonzero(start < 0)) * _FINE**3 / 1000
    record = {
        "Method": f"affine registration of the {template} template (ANTs), surface fitted",
        "VolumeMl": round(millilitres, 1),
        "TemplateVolumeMl": round(before, 1),
        "Coverage": round(fit.coverage, 3),
        "AtBorder": round(at_border, 4),
        "Apart": round(apart, 4),
        "BrightFluid": bright_fluid,
        "MutualInformation": round(fit.information, 3),
        "Scales": [round(scale, 3) for scale in fit.scales],
        "Threads": threads_used,
        "Seed": seed,
    }
    _check(fit, millilitres, at_border, apart)
    return volume.with_data(mask.astype(np.uint8)), record


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
    transform: str
    """File of the affine transform, template to image."""
    information: float
    """Mutual information of template and image within the brain, nat."""
    scales: tuple[float, ...]
    """Singular values of the transform, for a template of the bundled one's size."""
    coverage: float
    """Share of the template's brain that lies inside the image."""

    @property
    def is_plausible(self) -> bool:
        least, most = _SCALES
        return (
            self.information >= _LEAST_INFORMATION
            and min(self.scales) >= least
            and max(self.scales) <= most
        )


def _register(
    ants: ModuleType, image: Volume, template: HeadTemplate, pose: HeadPose, prefix: Path
) -> _Fit:
    start = ants.create_ants_transform(
        transform_type="AffineTransform",
        dimension=3,
        matrix=_RAS_TO_LPS @ pose.matrix @ _RAS_TO_LPS,
        center=_RAS_TO_LPS @ pose.centre,
        translation=_RAS_TO_LPS @ pose.shift,
    )
    start_file = f"{prefix}pose.mat"
    ants.write_transform(start, start_file)
    result = ants.registration(
        to_ants(ants, template.image),
        to_ants(ants, image),
        "Affine",
        initial_transform=start_file,
        mask=to_ants(ants, template.brain),
        mask_all_stages=True,
        aff_random_sampling_rate=0.5,
        aff_iterations=(200, 100),
        aff_shrink_factors=(2, 1),
        aff_smoothing_sigmas=(1, 0),
        outprefix=str(prefix),
    )
    transform = str(result["fwdtransforms"][0])
    matrix = np.asarray(ants.read_transform(transform).parameters[:9]).reshape(3, 3)
    singular = np.linalg.svd(matrix, compute_uv=False)
    return _Fit(
        transform=transform,
        information=_information(ants, image, template, transform),
        scales=tuple(float(scale) * template.size for scale in singular),
        coverage=_coverage(ants, image, template, transform),
    )


def _to_grid(
    ants: ModuleType, image: Volume, volume: Volume, transform: str
) -> npt.NDArray[np.float32]:
    # float32: a uint8 image would be cut to 0 and 1 by the interpolation.
    moving = to_ants(ants, image.with_data(image.data.astype(np.float32)))
    warped = ants.apply_transforms(
        to_ants(ants, volume),
        moving,
        [transform],
        whichtoinvert=[True],
        interpolator="linear",
        defaultvalue=float(image.data[0, 0, 0]),
    )
    return np.asarray(warped.numpy(), dtype=np.float32)


def _on_grid(image: Volume, volume: Volume) -> npt.NDArray[np.float32]:
    """Sample an image at the voxels of another; beyond its edge the edge values are repeated."""
    step = np.linalg.inv(image.affine) @ volume.affine
    index = np.indices(volume.shape, dtype=np.float32).reshape(3, -1)
    coordinates = step[:3, :3] @ index + step[:3, 3:]
    values = ndimage.map_coordinates(image.data, coordinates, order=1, mode="nearest")
    return np.asarray(values, dtype=np.float32).reshape(volume.shape)


def _is_brighter(
    data: npt.NDArray[np.floating], part: npt.NDArray[np.bool_], whole: npt.NDArray[np.bool_]
) -> bool:
    """Tell whether a part is brighter than the whole; False if it is outside the image."""
    if not (part.any() and whole.any()):
        return False
    return bool(np.median(data[part]) > np.median(data[whole]))


def _information(ants: ModuleType, image: Volume, template: HeadTemplate, transform: str) -> float:
    fixed = to_ants(ants, template.image)
    moving = to_ants(ants, image)
    warped = ants.apply_transforms(fixed, moving, [transform], interpolator="linear").numpy()
    values = warped[template.brain.data]
    joint, _, _ = np.histogram2d(template.classes()[template.brain.data], values, bins=(10, 32))
    return mutual_information(joint)


def _coverage(ants: ModuleType, image: Volume, template: HeadTemplate, transform: str) -> float:
    full = to_ants(ants, image.with_data(np.ones(image.shape, np.float32)))
    fixed = to_ants(ants, template.image)
    inside = ants.apply_transforms(fixed, full, [transform], interpolator="nearestNeighbor")
    return float((inside.numpy()[template.brain.data] > 0.5).mean())


def _check(fit: _Fit, millilitres: float, at_border: float, apart: float) -> None:
    """Refuse a mask that is not plausible as a brain.

    Raises
    ------
    EngineError
        With the first figure that is out of range.
    """
    advice = (
        "Check that the image shows a head; give a mask with --derivatives, "
        "or use --skull-strip-method none."
    )
    low, high = VOLUMES
    least, most = _SCALES
    if fit.information < _LEAST_INFORMATION:
        raise EngineError(
            "The image hardly matches the brain of the template (mutual information "
            f"{fit.information:.2f} nat, expected at least {_LEAST_INFORMATION}). {advice}"
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
    if apart > _MOST_APART:
        raise EngineError(
            f"Found {apart:.0%} of the brain mask apart from its largest piece; expected at most "
            f"{_MOST_APART:.0%}. {advice}"
        )
    if at_border > _MOST_AT_BORDER:
        raise EngineError(
            f"Found {at_border:.1%} of the brain mask at the in-plane edge of the image; expected "
            f"at most {_MOST_AT_BORDER:.0%}. {advice}"
        )
