"""A pre-trained backbone, adapted to the image: seconds where training takes minutes.

References
----------
Wang et al. 2024, Inter-slice super-resolution of magnetic resonance images by pre-training
and self-supervised fine-tuning, ISBI, doi:10.48550/arXiv.2406.05974 (this is the last of
its three stages; the others are recipes, :mod:`bids_sr.sr.recipes`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bids_sr.imaging import Acquisition, Volume
from bids_sr.records.learning_curve import NO_CURVE, LearningCurve
from bids_sr.records.method_record import MethodRecord
from bids_sr.records.uncertainty import RECORD as UNCERTAINTY
from bids_sr.sr.contract.card import RecipeUsed, Start, WeightsCard
from bids_sr.sr.contract.results import Reconstruction
from bids_sr.sr.contract.settings import require
from bids_sr.sr.contract.side_results import side_result
from bids_sr.sr.contract.weights import Weights, locate
from bids_sr.sr.inference.interval import (
    IntervalModel,
    calibrated_deviation,
    calibration_record,
)
from bids_sr.sr.learning.loop import Schedule
from bids_sr.sr.learning.own_slices import OwnSlices
from bids_sr.sr.methods.base import Method
from bids_sr.sr.methods.view_network import ImageJob, ReadyNetwork, ViewNetwork, why_not_own_slices
from bids_sr.sr.networks.backbone import Backbone

LOGGER = logging.getLogger(__name__)
LARGEST_GAIN = 1.5
"""Gain by adaptation on slices held out above which it is not used, dB: it does harm across the
slices then (``benchmarks/RESULTS.md``, "When adaptation harms")."""
THINNEST_SHARE = 0.5
"""Smallest thickness that a network is conditioned on, as a share of the slice spacing."""


@dataclass(frozen=True, kw_only=True)
class Finetuned(ViewNetwork):
    """Adapt a pre-trained network to the image, then apply it across the slices.

    Attributes
    ----------
    model : str
        Published name or path of the weights, as the recipes ``supervised``, ``video`` and
        ``adapt`` write them; ``brain-5`` comes with the package.
    weights_dir : str, optional
        Where published weights lie.
    offline : bool
        Refuse to fetch them.
    fusion : str
        How the two views are combined: ``mean`` or ``directional``.
    orientations : int
        Pairs of views; 2 and ``directional`` gain 0.00 to 0.07 dB for twice the time.
    adapt : Literal["image", "none"]
        ``image``: continue training on the image's own slices; ``none``: use the weights as
        they are.
    detail : float
        Factor on the detail that the network adds: averaging views that differ weakens it.
    matching : float
        Share of the slice thickness over which thin planes are averaged before an adapted
        network sees them.
    mixture : float
        Weight of the adapted weights in their mean with the pre-trained ones.
    steps : int
        Maximum steps of the adaptation.
    time_budget : float, optional
        Upper bound on its time, s; the result then depends on the machine's speed.
    learning_rate : float
        Highest learning rate of the adaptation.
    optimizer : Literal["adam", "muon"]
        ``adam``, or ``muon`` for the kernels of hidden layers.
    batch_size : int
        Patches a step.
    patch_slices : int
        Thick slices a patch; fewer where the image is too small.
    patch_width : int
        In-plane voxels a patch.
    hold_out : int
        One of this many slices is held out for validation.
    calibrated_uncertainty : bool
        State an interval of 90 % for every voxel; False: only where the views disagree.
    """

    name = "finetuned"
    mirror = "slices"

    model: str = "brain-5"
    weights_dir: str | None = None
    offline: bool = False
    fusion: str = "mean"
    orientations: int = 1
    adapt: Literal["image", "none"] = "image"
    detail: float = 1.15
    matching: float = 0.2
    mixture: float = 0.5
    steps: int = 600
    time_budget: float | None = None
    learning_rate: float = 2e-3
    optimizer: Literal["adam", "muon"] = "muon"
    batch_size: int = 16
    patch_slices: int = 12
    patch_width: int = 48
    hold_out: int = 6
    calibrated_uncertainty: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible values (ConfigError)."""
        super().__post_init__()
        require(self.adapt in ("image", "none"), "adapt", self.adapt, "image or none")
        require(0 < self.mixture <= 1, "mixture", self.mixture, "above 0, at most 1")
        self._schedule()
        self._own_slices()

    def required_files(self) -> tuple[Path, ...]:
        """Return the file of the weights (WeightsError)."""
        path = self._path()
        Backbone.from_weights(Weights.load(path))
        return (path,)

    def tester(self) -> Method | None:
        """Return the network as it is before it is adapted; None for memberships."""
        if not self.scale_intensities:
            return None
        return replace(self, adapt="none", mirrored=False, calibrated_uncertainty=False)

    def for_labels(self) -> Method:
        """Return the method for memberships: nothing is learnt from them."""
        plain = replace(self, scale_intensities=False, calibrated_uncertainty=False)
        return replace(plain, data_consistency=False, adapt="none")

    def _path(self) -> Path:
        return locate(self.model, self.weights_dir, offline=self.offline)

    def _schedule(self) -> Schedule:
        return Schedule(
            steps=self.steps,
            time_budget=self.time_budget,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            ema_decay=0.95,
            keep="best",
            report_every=max(1, min(50, self.steps // 4)),
            half=self.mixed_precision,
        )

    def _own_slices(self) -> OwnSlices:
        return OwnSlices(
            patch_slices=self.patch_slices,
            patch_width=self.patch_width,
            batch_size=self.batch_size,
            hold_out=self.hold_out,
            seed=self.seed,
        )

    def _make_ready(self, job: ImageJob) -> ReadyNetwork:
        path = self._path()
        weights = Weights.load(path)
        job = job._replace(acquisition=trained_acquisition(job.acquisition))
        backbone = Backbone.from_weights(weights).to(job.device)
        network = backbone.for_acquisition(job.acquisition, job.work.spacing)
        record = MethodRecord(
            model=path.name, adaptation=self.adapt, details={"ModelSHA256": weights.digest}
        )
        as_it_is = ReadyNetwork(
            network, record, NO_CURVE, weights, from_thick_planes=weights.card.thick_planes
        )
        reason = why_not_own_slices(job.work, job.scale)
        if reason:
            known = record if self.adapt == "none" else _not_adapted(record, reason)
            return as_it_is._replace(record=known)
        thickness = job.acquisition.slice_profile.fwhm
        learner = backbone.of_one_plane()
        learner.fix_conditions()  # slices of one thickness hold nothing about other ones
        learning = learner.for_acquisition(job.acquisition, job.work.spacing, thickness)
        own = (job.scaled, job.work, job.acquisition)
        if self.adapt == "none":
            gain = self._own_slices().gain(learning, *own)
            return as_it_is._replace(record=record.with_details(ValidationGainDecibel=gain))
        result = self._own_slices().train(
            learning,
            *own,
            self._schedule(),
            threads=job.threads,
            progress=job.progress,
        )
        before = result.before
        best = max(result.curve.scores, default=None)
        record = replace(record, stop_reason=result.stop_reason).with_details(
            Seed=self.seed,
            Steps=result.steps,
            TrainingSeconds=round(result.seconds, 2),
            ValidationGainBeforeDecibel=before,
            ValidationGainDecibel=best,
        )
        if not any((gain or 0.0) > 0 for gain in (before, best)):
            return ReadyNetwork(network, record, result.curve, None)
        if before is not None and (why := _why_not_used(before, best)):
            record = _not_adapted(record, why).with_details(ValidationGainDecibel=before)
            return as_it_is._replace(record=record, curve=result.curve)
        backbone.load_one_plane(learner)
        backbone.interpolate_weights(self.mixture, start=weights.tensors)
        return ReadyNetwork(
            network, record, result.curve, self._adapted(backbone, weights, result.curve)
        )

    def _with_uncertainty(self, result: Reconstruction, lr: Volume) -> Reconstruction:
        result = super()._with_uncertainty(result, lr)
        if result.uncertainty is None or not self.calibrated_uncertainty:
            return result
        deviation, acquisition = result.uncertainty, result.acquisition
        assert acquisition is not None
        assert result.learned is not None
        used = (result.learned.digest, *origins(result.learned.card))

        def measure() -> Reconstruction:
            model = IntervalModel.packaged()
            meaning = calibration_record(model, result.volume, acquisition, used)
            record = result.record.with_details(**{UNCERTAINTY: meaning.to_dict()})
            if not meaning.calibrated:
                return replace(result, record=record)
            calibrated = calibrated_deviation(model, result.volume, lr, acquisition, deviation)
            return replace(result, record=record, uncertainty=calibrated)

        return side_result("calibrated uncertainty", measure) or result

    def _adapted(self, backbone: Backbone, start: Weights, curve: LearningCurve) -> Weights:
        licence = start.card.licence or "not stated"
        return backbone.weights(
            replace(
                start.card,
                recipe=RecipeUsed(name=self.name, parameters=self.parameters()),
                data="the slices of one image",
                thick_planes=True,
                licence=f"that of the image, and of the start: {licence}",
                start=Start(sha256=start.digest, card=start.card),
                seed=self.seed,
                curve=curve,
            )
        )


def origins(card: WeightsCard) -> tuple[str, ...]:
    """Return the digests of the weights that a training began with, and theirs, and so on."""
    return () if card.start is None else (card.start.sha256, *origins(card.start.card))


def _why_not_used(before: float, best: float | None) -> str:
    """Say why weights that were adapted are not used, if so, from gains on slices held out."""
    if best is None or best <= before:
        return "no gain on the slices held out"
    if best - before <= LARGEST_GAIN:
        return ""
    return (
        f"on slices held out it gains {best - before:.1f} dB over the pre-trained network (most: "
        f"{LARGEST_GAIN:g}): the slices hold less detail than their voxels, as interpolated ones "
        "do, and would teach to blur"
    )


def _not_adapted(record: MethodRecord, reason: str) -> MethodRecord:
    LOGGER.warning("Not adapted to the image: %s", reason)
    return replace(record, adaptation="none", adaptation_fallback=reason)


def trained_acquisition(acquisition: Acquisition) -> Acquisition:
    """Return an acquisition within the range of the training: at least half the spacing thick.

    For a thinner slice the condition is far from all those of the training, and the output of
    the network is arbitrary; half of the spacing is the best that can be done for it.
    """
    width = acquisition.slice_profile.fwhm
    least = THINNEST_SHARE * acquisition.spacing
    if width >= least * (1 - 1e-6):
        return acquisition
    if isinstance(acquisition.profile, str):
        return replace(acquisition, thickness=least)
    profile = acquisition.slice_profile
    wider = replace(profile, positions=profile.positions * (least / width))
    return replace(acquisition, thickness=least, profile=wider)
