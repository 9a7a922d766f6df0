"""A guide is a thin scan of another contrast that helps a thick one of the same patient.

It is registered to the reconstruction, its relation to the image is learnt from the patient's
own slices, and slices that were held out decide whether it is used.  What it tells is added
to the reconstruction; the acquired slices have the last word.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bids_sr.compute.device import limited_threads
from bids_sr.compute.progress import Progress, silent
from bids_sr.exceptions import WeightsError
from bids_sr.imaging import Acquisition, ForwardModel, RobustScaler, Volume, resample
from bids_sr.imaging.noise import estimate_noise
from bids_sr.imaging.volume import Image
from bids_sr.method_facts import DEFAULT_METHOD
from bids_sr.records.method_record import MethodRecord
from bids_sr.records.uncertainty import RECORD as UNCERTAINTY
from bids_sr.records.uncertainty import UncertaintyRecord
from bids_sr.seed import DEFAULT_SEED
from bids_sr.sr.contract.results import Reconstruction
from bids_sr.sr.inference.workspace import Workspace
from bids_sr.sr.methods.base import with_slices
from bids_sr.sr.methods.finetuned import trained_acquisition
from bids_sr.sr.methods.view_network import why_not_own_slices
from bids_sr.sr.networks.backbone import Backbone
from bids_sr.sr.registry import acquisition_of, grid_of_result, parameters_for, reconstruct
from bids_sr.sr.together.degraded_slices import DARK, ThickPair, near
from bids_sr.sr.together.judgement import Registration
from bids_sr.sr.together.placement import Matrix, covered, placed
from bids_sr.sr.together.registration import register
from bids_sr.sr.together.relation import Relation, Scene
from bids_sr.sr.together.support import across_slices, support

LOGGER = logging.getLogger(__name__)
THICKEST_MM = 1.5
"""Distance of the guide's voxels across the slices up to which it is thin."""
LEAST_GAIN = 0.2
"""Gain on held-out slices that a guide must add to what is learnt without it, dB."""
BELIEVED = 0.85
"""Share of the correction that is made: what holds within the slices holds less across them."""
_FINER = 0.8  # of the spacing of the slices: a guide that is thicker tells too little
_NOT_USED = "the guide is not used: "
_MARGIN = 3  # voxels around what is bright that are corrected


@dataclass(frozen=True, kw_only=True)
class GuidedReconstruction(Reconstruction):
    """Hold a reconstruction that a guide helped, or why it did not.

    The record has what was done under ``Guide``; a guide that is not used is one of its
    warnings.

    Attributes
    ----------
    unguided : Volume
        What the method made without the guide; where it is not used, the volume itself.
    used : bool
        Whether the guide was used.
    reason : str
        Why not, in words; empty where it was.
    to_guide : float64 array, optional
        (4, 4) rigid transform from the world of the image to that of the guide, mm.
    """

    unguided: Volume = field(repr=False)
    used: bool = False
    reason: str = ""
    to_guide: npt.NDArray[np.float64] | None = field(default=None, repr=False)


def super_resolve_guided(
    image: Image,
    guide: Image,
    acquisition: Acquisition | None = None,
    *,
    method: str = DEFAULT_METHOD,
    output_resolution: float | Literal["native"] | None = None,
    seed: int = DEFAULT_SEED,
    threads: int | None = None,
    progress: Progress | None = None,
    **parameters: Any,
) -> GuidedReconstruction:
    """Super-resolve a thick-slice volume with the help of a thin scan of the same patient.

    Parameters
    ----------
    image : Volume, nibabel image, or path
        The acquired slices.
    guide : Volume, nibabel image, or path
        A thin scan of another contrast; it need not be registered.
    acquisition : Acquisition, optional
        How the slices were taken; as for :func:`.super_resolve`.
    method : str
        ``finetuned``; other methods have no network that can learn from a guide, which is
        then not used.
    output_resolution : float, mm, or "native", optional
        As for :func:`.super_resolve`.
    seed : int
        Of all that is drawn by chance.
    threads : int, optional
        CPU threads.
    progress : callable, optional
        Called with (steps done, steps in all, text).
    **parameters
        Hyper-parameters of the method.

    Returns
    -------
    GuidedReconstruction
    """
    volume, guide = Volume.of(image), Volume.of(guide)
    acquisition = acquisition_of(volume, acquisition, estimate=True)
    grid = grid_of_result(
        volume,
        acquisition,
        method=method,
        output_resolution=output_resolution,
        output_grid="fov",
    )
    chosen = parameters_for(method, {"seed": seed, "threads": threads}) | parameters
    result = reconstruct(
        volume, acquisition, method=method, grid=grid, parameters=chosen, progress=progress
    )
    return guided(result, volume, guide, seed=seed, threads=threads, progress=progress)


def guided(
    unguided: Reconstruction,
    volume: Volume,
    guide: Volume,
    *,
    seed: int = DEFAULT_SEED,
    threads: int | None = None,
    progress: Progress | None = None,
) -> GuidedReconstruction:
    """Improve a reconstruction by a guide, if held-out slices confirm that it helps.

    Parameters
    ----------
    unguided : Reconstruction
        What a method made, as :func:`.reconstruct` returns it.
    volume : Volume
        The slices that it was made of.
    guide : Volume
        A thin scan of the same patient.
    seed, threads, progress
        As for :func:`super_resolve_guided`.

    Returns
    -------
    GuidedReconstruction

    Notes
    -----
    With x the reconstruction and g the guide on its grid, a small network predicts from
    nine voxels of both across the slices and a few beside them what x lacks.  It learns
    that from the slices, degraded along a direction within them; this supposes that what
    is lacking there and across the slices is alike.
    """
    start = time.perf_counter()
    facts: dict[str, Any] = {}
    changed: dict[str, Any] = {}
    details: dict[str, Any] = {}
    reason = ""
    with limited_threads(threads):
        try:
            job = _GuideJob.of(unguided, volume, guide, seed, progress or silent, facts)
            changed, details = job.corrected(facts)
            changed["to_guide"] = job.to_guide
        except _NotUsedError as refusal:
            reason = str(refusal)
            LOGGER.warning("%s%s", _NOT_USED, reason)
    facts = {"Used": not reason, **({"Reason": reason} if reason else {}), **facts}
    facts["Seconds"] = round(time.perf_counter() - start, 2)
    record = MethodRecord(
        remarks=(_NOT_USED + reason,) if reason else (),
        details={**details, "Guide": facts},
    )
    known = {entry.name: getattr(unguided, entry.name) for entry in fields(unguided)}
    known |= changed | {"record": unguided.record.joined(record)}
    return GuidedReconstruction(**known, unguided=unguided.volume, used=not reason, reason=reason)


def _meaning(uncertainty: Volume | None) -> dict[str, Any]:
    """Say what the uncertainty beside a guide promises: nothing, it was only scaled."""
    if uncertainty is None:
        return {}
    reason = (
        "the interval without the guide was scaled by the share of the error that the guide leaves"
    )
    return {UNCERTAINTY: UncertaintyRecord(reason=reason).to_dict()}


class _NotUsedError(Exception):
    """Say why a guide is not used."""


@dataclass(frozen=True, eq=False)
class _GuideJob:
    """Hold an image, its reconstruction and a guide that lies on it."""

    unguided: Reconstruction
    volume: Volume
    acquisition: Acquisition
    backbone: Backbone
    work: Workspace
    scaler: RobustScaler
    guide: npt.NDArray[np.float32]
    """On the grid of the workspace, intensities of about 0 to 1."""
    covered: npt.NDArray[np.bool_]
    to_guide: Matrix
    guide_spacing: float
    """Distance of the guide's voxels across the slices, mm; 0 where it is thin."""
    directions: tuple[int, ...]
    """Array axes within the slices along which the guide is thin."""
    seed: int
    progress: Progress

    @classmethod
    def of(
        cls,
        unguided: Reconstruction,
        volume: Volume,
        guide: Volume,
        seed: int,
        tell: Progress,
        facts: dict[str, Any],
    ) -> _GuideJob:
        acquisition = unguided.acquisition
        if unguided.learned is None or acquisition is None or unguided.record.interpolated:
            raise _NotUsedError("the image was reconstructed without a network that could learn")
        try:
            backbone = Backbone.from_weights(unguided.learned).of_one_plane()
        except WeightsError:
            raise _NotUsedError("only the method finetuned can learn from a guide") from None
        acquisition = trained_acquisition(acquisition.for_volume(volume))
        axis = acquisition.slice_axis
        assert axis is not None
        work = Workspace.of(volume, axis, unguided.volume.grid)
        if reason := why_not_own_slices(work, acquisition.scale(work.spacing)):
            raise _NotUsedError(reason)
        if not np.isfinite(guide.data).all() or np.ptp(guide.data) == 0:
            raise _NotUsedError("its values are constant or not finite")
        tell(0, 0, "registering the guide")
        fit = register(guide, unguided.volume, contrasts=True, seed=seed)
        facts |= _registration_facts(fit)
        if not fit.believed:
            raise _NotUsedError(f"its registration is not trusted: {fit.reason}")
        across, directions = _distances(guide, work, fit.to_fixed, acquisition.spacing)
        lying = placed(guide, work.grid, fit.to_fixed)
        return cls(
            unguided=unguided,
            volume=volume,
            acquisition=acquisition,
            backbone=backbone,
            work=work,
            scaler=RobustScaler.fit(work.slices.data),
            guide=RobustScaler.fit(lying).apply(lying),
            covered=covered(guide.grid, work.grid, fit.to_fixed),
            to_guide=fit.to_fixed,
            guide_spacing=across,
            directions=directions,
            seed=seed,
            progress=tell,
        )

    def corrected(self, facts: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return volume and uncertainty with the guide, and how they agree with the slices.

        What was measured of the guide goes to `facts`.
        """
        pair = self._pair()
        learnt, judged = pair.examples(self.directions, self.seed)
        if min(len(learnt.missing), len(judged.missing)) < 1000:
            raise _NotUsedError("it covers too little of the image")
        relation = Relation.learnt(learnt, seed=self.seed, progress=self.progress)
        gain, without = relation.gain(judged), relation.gain(judged, blind=True)
        facts |= {
            "Examples": len(learnt.missing),
            "HeldOutGainDecibel": round(gain, 3),
            "HeldOutGainWithoutGuideDecibel": round(without, 3),
        }
        if gain - max(without, 0.0) < LEAST_GAIN:
            raise _NotUsedError(
                f"on held-out slices it adds {gain - max(without, 0.0):.2f} dB; at least "
                f"{LEAST_GAIN:g} dB are required"
            )
        self.progress(0, 0, "applying the guide")
        before = self.unguided.volume
        correction = Volume(
            self._correction(relation) * self._support(pair, facts), self.work.grid.affine
        )
        data = before.data + resample(correction, before.grid).data * np.float32(self.scaler.width)
        brightest = max(float(before.data.max()), float(self.volume.data.max()))
        assert self.unguided.acquisition is not None
        after, consistency = with_slices(
            before.with_data(np.minimum(data, np.float32(brightest))),
            self.volume,
            self.unguided.acquisition,
            correct=bool(self.unguided.record.parameters.get("data_consistency", True)),
            weights=self.unguided.record.slice_record.weights,
        )
        uncertainty = self.unguided.uncertainty
        left = np.float32(10 ** (-gain / 20))
        return {
            "volume": after,
            "uncertainty": uncertainty and uncertainty.with_data(uncertainty.data * left),
        }, {"DataConsistency": consistency, **_meaning(uncertainty)}

    def _pair(self) -> ThickPair:
        model = ForwardModel.between(self.work.grid, self.work.slices.grid, self.acquisition)
        return ThickPair(
            slices=self.scaler.apply(self.work.slices.data.astype(np.float32)),
            guide=np.asarray(model.apply(self.guide), dtype=np.float32),
            covered=model.apply(self.covered.astype(np.float32)) > 0.99,
            acquisition=self.acquisition,
            spacing=self.work.spacing,
            backbone=self.backbone,
            detail=float(self.unguided.record.parameters.get("detail", 1.0)),
            guide_spacing=self.guide_spacing,
            noise=estimate_noise(self.work.slices, self.work.slice_axis) / self.scaler.width,
        )

    def _support(self, pair: ThickPair, facts: dict[str, Any]) -> npt.NDArray[np.float32]:
        """Return how far the guide is believed on the workspace's grid, 0 to 1."""
        axis = self.work.slice_axis
        slices, guide = (np.moveaxis(values, axis, 0) for values in (pair.slices, pair.guide))
        where = near(slices > DARK) & np.moveaxis(pair.covered, axis, 0)
        weights = support(slices, guide, where, seed=self.seed)
        facts["ContradictedPercent"] = round(100 * float(1 - weights[where].mean()), 2)
        return np.moveaxis(across_slices(weights, self.work.coordinates), 0, axis)

    def _correction(self, relation: Relation) -> npt.NDArray[np.float32]:
        """Return what the relation adds, in scaled intensities, on the workspace's grid."""
        axis = self.work.slice_axis
        before = self.scaler.apply(resample(self.unguided.volume, self.work.grid).data)
        coordinates = self.work.coordinates
        scene = Scene(
            reconstruction=before.astype(np.float32, copy=False),
            guide=self.guide,
            phase=(coordinates - np.round(coordinates)).astype(np.float32),
            along=axis,
            across=(axis + 1) % 3,
        )
        bright = ndimage.binary_dilation(before > DARK, iterations=_MARGIN)
        return np.float32(BELIEVED) * relation.correction(scene, bright & self.covered)


def _registration_facts(fit: Registration) -> dict[str, Any]:
    return {
        "ToGuide": fit.to_fixed.tolist(),
        "Overlap": round(fit.overlap, 4),
        "RegistrationResidual": round(fit.residual, 4),
    }


def _distances(
    guide: Volume, work: Workspace, to_guide: Matrix, thickest: float
) -> tuple[float, tuple[int, ...]]:
    """Return how far a guide's voxels are apart across the slices, and where it is thin.

    Parameters
    ----------
    guide : Volume
    work : Workspace
    to_guide : (4, 4) array
    thickest : float, mm
        Distance across the slices up to which a guide is used.

    Returns
    -------
    across : float, mm
        0 where it is thin.
    within : tuple of int
        Axes within the slices along which it is thin.
    """
    directions = to_guide[:3, :3] @ (work.grid.affine[:3, :3] / work.grid.spacings)
    steps = np.linalg.inv(guide.affine[:3, :3]) @ directions  # voxels of the guide a mm
    distances = 1 / np.linalg.norm(steps, axis=0)  # mm
    thin = distances <= max(THICKEST_MM, 1.5 * work.spacing)
    across = 0.0 if thin[work.slice_axis] else float(distances[work.slice_axis])
    if across > _FINER * thickest:
        raise _NotUsedError(
            f"its voxels are {across:.3g} mm apart across the slices of the image; at most "
            f"{_FINER * thickest:.3g} mm are required"
        )
    within = tuple(int(axis) for axis in np.flatnonzero(thin) if axis != work.slice_axis)
    if not within:
        raise _NotUsedError("it is thick in both directions within the slices of the image")
    return across, within
