"""Nipype skins of super-resolution: of one image, and of training on all of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from bids_sr.compute.progress import Progress, throttled, with_time_left
from bids_sr.exceptions import in_words
from bids_sr.imaging import Acquisition, Grid, Series, Volume
from bids_sr.interfaces.optional import OptionalInputSpec, OptionalStep
from bids_sr.records.learning_curve import LearningCurve
from bids_sr.records.method_record import MethodRecord, Output, SlicesUsed
from bids_sr.records.profile_record import RECORD as PROFILE_RECORD
from bids_sr.records.step_record import StepRecord

if TYPE_CHECKING:
    from bids_sr.sr import Reconstruction
    from bids_sr.sr.series import SeriesReconstruction

LOGGER = logging.getLogger(__name__)
PROGRESS_SECONDS = 15.0


def chosen_method(
    method: str, options: Mapping[str, Any], *, model_follows: bool = False
) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Return the parameters that a method takes, and the weights that it needs.

    Parameters
    ----------
    method : str
        Name of a registered method.
    options : mapping
        Parameters by name; those that the method lacks are left out.
    model_follows : bool
        Whether the weights are trained later, in the run.

    Returns
    -------
    parameters : dict
    files : tuple of Path

    Raises
    ------
    ConfigError, WeightsError
        If a value is impossible, or weights are missing.
    """
    from bids_sr.sr.registry import make_method, parameters_for

    parameters = parameters_for(method, options)
    now = dict(parameters)
    if model_follows:  # a method that must not learn, and has no weights yet, is refused
        now.pop("adapt", None)
    return parameters, make_method(method, now).required_files()


class _SuperResolveInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc="preprocessed image")
    acquisition = traits.Instance(Acquisition, mandatory=True, desc="how the slices were taken")
    sr_method = traits.Str(mandatory=True, desc="name of a registered method")
    parameters = traits.Dict({}, usedefault=True, desc="hyper-parameters of the method")
    places = traits.Dict({}, usedefault=True, nohash=True, desc="parameters that change no result")
    output_resolution = traits.Either(
        None,
        traits.Float(),
        traits.Enum("native"),
        usedefault=True,
        desc="target spacing, mm; None: the default",
    )
    output_grid = traits.Enum("fov", "slice", usedefault=True, desc="how the output grid is laid")
    weights_files = traits.List(
        File(exists=True), usedefault=True, desc="weights that the result depends on"
    )
    in_model = traits.Either(
        None, File(exists=True), usedefault=True, desc="weights trained in this run, the model"
    )
    profile_record = traits.Dict({}, usedefault=True, desc="how the profile was estimated")
    save_model = traits.Bool(False, usedefault=True, desc="write the trained network")
    keep_learned = traits.Bool(False, usedefault=True, desc="keep the network for a guide")
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads of torch")
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc="takes a GPU slot")


class _SuperResolveOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="super-resolved image")
    out_profile = File(exists=True, desc="slice profile that was used, TSV")
    out_uncertainty = traits.Either(
        None, File(exists=True), desc="expected standard deviation, or None"
    )
    out_model = traits.Either(None, File(exists=True), desc="the trained network, or None")
    learned = traits.Either(None, File(exists=True), desc="the network, for a guide, or None")
    acquisition = traits.Instance(Acquisition, desc="by which it was made")
    record = traits.Instance(MethodRecord, desc="what the method did")
    curve = traits.Instance(LearningCurve, desc="learning curve")


class SuperResolve(SimpleInterface):
    """Reconstruct an image on the output grid, and measure its data consistency.

    ``sr_method="none"`` keeps the image and its grid as they are.  A series is
    reconstructed frame by frame.
    """

    input_spec = _SuperResolveInputSpec
    output_spec = _SuperResolveOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from bids_sr import sr
        from bids_sr.sr.contract.side_results import side_result

        start, cwd = time.monotonic(), Path(runtime.cwd)
        series = Series.load(self.inputs.in_file)
        first = next(series.frames())
        acquisition = self.inputs.acquisition.for_volume(first)
        result = self._reconstruct(series, acquisition)
        used = result.acquisition or acquisition
        residual = side_result(
            "data consistency",
            lambda: sr.data_consistency_residual(
                result.volume, first, used, result.record.slice_record.weights
            ),
        )
        self._results["out_file"] = str(result.image.save(cwd / "sr.nii.gz"))
        self._results["out_profile"] = str(used.slice_profile.save(cwd / "profile.tsv"))
        self._results["curve"] = result.curve
        self._results["acquisition"] = used
        lost = [
            *self._save_extras(result, cwd),
            *(["data consistency"] if residual is None else []),
        ]
        self._results["record"] = replace(
            self._with_estimate(result.record, lost),
            slices=SlicesUsed.of(used),
            output=described(result, residual),
            seconds=round(time.monotonic() - start, 1),
        )
        return runtime

    def _with_estimate(self, record: MethodRecord, lost: Sequence[str]) -> MethodRecord:
        """Return the record with the estimate of the slice profile, and what was not measured."""
        estimate = StepRecord(self.inputs.profile_record)
        if estimate.facts:
            record = record.with_details(**{PROFILE_RECORD: dict(estimate.facts)})
        return replace(
            record,
            remarks=tuple(filter(None, [estimate.warning, *record.remarks])),
            not_measured=tuple(dict.fromkeys([*record.not_measured, *lost])),
        )

    def _reconstruct(
        self, series: Series, acquisition: Acquisition
    ) -> Reconstruction | SeriesReconstruction:
        from bids_sr import sr
        from bids_sr.sr.series import SeriesReconstruction, reconstruct_image

        first, method = next(series.frames()), self.inputs.sr_method
        known = (field.name for field in fields(sr.METHODS[method]))
        result = reconstruct_image(
            series,
            acquisition,
            method=method,
            grid=self._grid(first, acquisition),
            parameters=self._parameters(known),
            progress=log_progress(),
        )
        if not isinstance(result, SeriesReconstruction):
            return result
        # One record a frame would fill the sidecar.
        record = result.record.joined(result.frames[0]).with_details(Frames=len(series))
        return replace(result, record=record)

    def _grid(self, first: Volume, acquisition: Acquisition) -> Grid:
        from bids_sr.sr.registry import grid_of_result

        return grid_of_result(
            first,
            acquisition,
            method=self.inputs.sr_method,
            output_resolution=self.inputs.output_resolution,
            output_grid=self.inputs.output_grid,
        )

    def _save_extras(self, result: Reconstruction | SeriesReconstruction, cwd: Path) -> list[str]:
        """Save what comes with the image; return what could not be."""
        from bids_sr.sr.contract.side_results import side_result

        uncertainty, lost = result.uncertainty, []
        self._results["out_uncertainty"] = self._results["out_model"] = None
        if uncertainty is not None:
            path = cwd / "uncertainty.nii.gz"
            saved = side_result("uncertainty", lambda: str(uncertainty.save(path)))
            self._results["out_uncertainty"] = saved
            lost = [] if saved else ["uncertainty"]
        self._results["learned"] = None
        if self.inputs.keep_learned and result.learned is not None:
            self._results["learned"] = str(result.learned.save(cwd / "learned.safetensors"))
        if self.inputs.save_model and result.learned is not None:
            path = result.learned.save(cwd / "model.safetensors")
            self._results["out_model"] = str(path)
        return lost

    def _parameters(self, known: Iterable[str]) -> dict[str, Any]:
        threads = {"threads": self.inputs.num_threads} if "threads" in known else {}
        model = {"model": self.inputs.in_model} if self.inputs.in_model else {}
        return {**self.inputs.parameters, **self.inputs.places, **threads, **model}


class _EstimateProfileInputSpec(OptionalInputSpec):
    in_file = File(exists=True, mandatory=True, desc="preprocessed image")
    acquisition = traits.Instance(Acquisition, mandatory=True, desc="what is known and assumed")
    sequence = traits.Str(usedefault=True, desc="SE, GR or 3D; empty where it is not known")


class _EstimateProfileOutputSpec(TraitedSpec):
    acquisition = traits.Instance(Acquisition, desc="the acquisition, completed")
    record = traits.Dict(desc="what was told, estimated and used")


class EstimateProfile(OptionalStep):
    """Estimate the unknown part of the slice profile; of a series by its first frame."""

    input_spec = _EstimateProfileInputSpec
    output_spec = _EstimateProfileOutputSpec
    without = "the slice profile was not estimated, the assumed one is used"

    def _run_step(self, runtime: Any) -> None:
        from bids_sr.sr.slices.estimated_acquisition import estimated_acquisition

        volume = next(Series.load(self.inputs.in_file).frames())
        estimated = estimated_acquisition(volume, self.inputs.acquisition, self.inputs.sequence)
        self._results.update(acquisition=estimated.acquisition, record=estimated.record.to_dict())

    def _do_without(self, reason: str) -> dict[str, Any]:
        return {"acquisition": self.inputs.acquisition}


class _LearnFromImagesInputSpec(BaseInterfaceInputSpec):
    in_files = traits.List(File(), mandatory=True, desc="images as acquired; some may be gone")
    acquisitions = traits.List(
        traits.Instance(Acquisition), mandatory=True, desc="how the slices of each were taken"
    )
    estimates_profile = traits.Bool(
        False, usedefault=True, desc="what is not stated of the slices is estimated from the image"
    )
    recipe = traits.Str(mandatory=True, desc="name of a registered recipe")
    parameters = traits.Dict({}, usedefault=True, desc="settings of the recipe")
    start_file = traits.Either(
        None, File(exists=True), usedefault=True, desc="weights to begin with"
    )
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads of torch")
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc="takes a GPU slot")


class _LearnFromImagesOutputSpec(TraitedSpec):
    out_weights = File(exists=True, desc="the trained weights")


class LearnFromImages(SimpleInterface):
    """Train the weights of a method on all images of one contrast.

    The images are read as they were acquired: a step before that fails for one of them
    must not stop the others.  Those that cannot be read are left out.
    """

    input_spec = _LearnFromImagesInputSpec
    output_spec = _LearnFromImagesOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from bids_sr.compute.device import or_on_cpu
        from bids_sr.sr.contract.weights import Weights
        from bids_sr.sr.recipes.base import make_recipe
        from bids_sr.sr.recipes.registry import RECIPES

        known = {field.name for field in fields(RECIPES[self.inputs.recipe])}
        options = {**self.inputs.parameters, "threads": self.inputs.num_threads}
        settings = {name: value for name, value in options.items() if name in known}
        acquisitions = self._acquisitions()
        start = self.inputs.start_file

        def train(device: str) -> Weights:
            chosen = settings | ({"device": device} if "device" in known else {})
            return make_recipe(RECIPES, self.inputs.recipe, chosen).train(
                list(acquisitions),
                acquisitions=acquisitions,
                start=Weights.load(Path(start)) if start else None,
                checkpoint=Path(runtime.cwd) / "training.checkpoint",
                progress=log_progress(),
            )

        weights, reason = or_on_cpu(str(settings.get("device", "auto")), train)
        if reason:
            weights = replace(weights, card=replace(weights.card, device_fallback=reason))
        path = weights.save(Path(runtime.cwd) / "weights.safetensors")
        self._results["out_weights"] = str(path)
        return runtime

    def _acquisitions(self) -> dict[Path, Acquisition]:
        """Return how each image was taken; without those that cannot be read."""
        from bids_sr.sr.slices.estimated_acquisition import estimated_acquisition

        files = [Path(name) for name in self.inputs.in_files]
        readable = {}
        for path, acquisition in zip(files, self.inputs.acquisitions, strict=True):
            try:
                first = next(Series.load(path).frames())
                if self.inputs.estimates_profile and acquisition.assumed:
                    acquisition = estimated_acquisition(first, acquisition).acquisition
            except Exception as error:  # the others of the dataset continue without it
                LOGGER.warning("Not used for training: %s: %s", path.name, in_words(error))
                continue
            readable[path] = acquisition
        return readable


def log_progress() -> Progress:
    """Return what tells of the progress of a step in the log, now and then."""

    def log(step: int, total: int, message: str) -> None:
        counted = f"{step} of {total}: " if total else ""
        LOGGER.info("%s%s", counted, message)

    return with_time_left(throttled(log, PROGRESS_SECONDS))


def described(result: Reconstruction | SeriesReconstruction, residual: float | None) -> Output:
    """Describe a result by grid, intensities and its residual of data consistency."""
    data = result.image.data
    return Output(
        shape=data.shape,
        spacings=tuple(round(float(value), 6) for value in result.volume.spacings),
        intensities=(float(data.min()), float(data.max())),
        residual_percent=None if residual is None else round(residual, 4),
    )
