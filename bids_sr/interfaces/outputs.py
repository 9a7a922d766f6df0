"""Nipype skins that write results: images with their sidecars, tables and QC."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    DynamicTraitedSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)
from nipype.interfaces.io import add_traits

from bids_sr.bids.output_sidecars import as_made
from bids_sr.files.writing import copy_atomic, remove_others, write_json_atomic
from bids_sr.records.checks import verdict_on
from bids_sr.records.learning_curve import LearningCurve
from bids_sr.records.method_record import MethodRecord
from bids_sr.records.quality import STEPS, QualityRecord
from bids_sr.records.slice_gain_record import SliceGainRecord
from bids_sr.records.step_record import StepRecord
from bids_sr.records.uncertainty import UncertaintyRecord

LOGGER = logging.getLogger(__name__)


class _SaveDerivativeInputSpec(BaseInterfaceInputSpec):
    in_file = traits.Either(None, File(exists=True), mandatory=True, desc="result, or None")
    out_path = traits.Str(mandatory=True, desc="where it goes")
    metadata = traits.Dict({}, usedefault=True, desc="sidecar, as known before the run")
    record = traits.Dict(desc="what the run adds to the sidecar")
    record_key = traits.Str("", usedefault=True, desc="sidecar field that takes the record")
    skull_stripped = traits.Either(None, traits.Bool, desc="as recognised; None: as planned")


class _SaveDerivativeOutputSpec(TraitedSpec):
    out_file = traits.Either(None, File(exists=True), desc="the file written, or None")


class SaveDerivative(SimpleInterface):
    """Copy a result to its place with a JSON sidecar; each is written whole or not at all.

    Runs at every start, because the output folder may have been emptied since; a
    file that is already there with the same content is left unchanged.
    """

    input_spec = _SaveDerivativeInputSpec
    output_spec = _SaveDerivativeOutputSpec
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        self._results["out_file"] = None
        if not self.inputs.in_file:
            return runtime
        target = Path(self.inputs.out_path)
        metadata, stripped = self._metadata(), self.inputs.skull_stripped
        if metadata and isdefined(stripped) and stripped is not None:
            metadata["SkullStripped"] = stripped
        _save(Path(self.inputs.in_file), target, metadata)
        self._results["out_file"] = str(target)
        return runtime

    def _metadata(self) -> dict[str, Any]:
        """Return the sidecar after the run."""
        metadata = dict(self.inputs.metadata)
        if self.inputs.record_key:
            metadata[self.inputs.record_key] = dict(self.inputs.record)
        return metadata


class _SaveProductInputSpec(_SaveDerivativeInputSpec):
    method = traits.Instance(MethodRecord, mandatory=True, desc="what the method did")
    slice_gain = traits.Dict(desc="record of the brightness of the slices")
    steps = traits.List(desc="records of the steps before, whose warnings join the sidecar")


class SaveProduct(SaveDerivative):
    """Save the super-resolved image with a sidecar that says how it was made."""

    input_spec = _SaveProductInputSpec

    def _metadata(self) -> dict[str, Any]:
        steps = [StepRecord(record) for record in self.inputs.steps or []]
        warnings = [step.warning for step in steps if step.warning]
        gain = SliceGainRecord.from_value(self.inputs.slice_gain or {})
        return as_made(self.inputs.metadata, self.inputs.method, warnings, gain)


class _SaveUncertaintyInputSpec(_SaveDerivativeInputSpec):
    method = traits.Instance(MethodRecord, mandatory=True, desc="what the method says of it")


class SaveUncertainty(SaveDerivative):
    """Save an uncertainty map with a sidecar that says what its values mean."""

    input_spec = _SaveUncertaintyInputSpec

    def _metadata(self) -> dict[str, Any]:
        meaning = self.inputs.method.uncertainty or UncertaintyRecord()
        description = f"{self.inputs.metadata['Description']}; {meaning.in_words()}"
        return {**self.inputs.metadata, "Description": description, **meaning.to_dict()}


class _HandOverInputSpec(_SaveProductInputSpec):
    in_mask = traits.Either(None, File(exists=True), mandatory=True, desc="brain mask, or None")
    mask_record = traits.Dict(mandatory=True, desc="record of the brain mask")
    without_mask = traits.Bool(False, usedefault=True, desc="provide an image without a mask, too")


class HandOver(SaveProduct):
    """Save the reference image for other tools, unless a brain was sought in it and not found."""

    input_spec = _HandOverInputSpec

    def _run_interface(self, runtime: Any) -> Any:
        no_brain = not self.inputs.in_mask and StepRecord(self.inputs.mask_record).warning
        if no_brain and not self.inputs.without_mask:
            self.inputs.in_file = None
        return super()._run_interface(runtime)


def _save(source: Path, target: Path, metadata: dict[str, Any]) -> None:
    copy_atomic(source, target)
    if metadata:
        write_json_atomic(target.parent / f"{target.name.split('.')[0]}.json", metadata)


class _SaveDerivativesInputSpec(BaseInterfaceInputSpec):
    in_files = traits.Dict(mandatory=True, desc="results by name; those that are not there lack")
    out_paths = traits.Dict(mandatory=True, desc="where each goes")
    metadata = traits.Dict({}, usedefault=True, desc="sidecars of some, as known before the run")
    record = traits.Dict(mandatory=True, desc="what the run adds to the sidecars")
    record_key = traits.Str(mandatory=True, desc="sidecar field that takes the record")


class _SaveDerivativesOutputSpec(TraitedSpec):
    out_files = traits.List(File(exists=True), desc="the files written")


class SaveDerivatives(SimpleInterface):
    """Copy several results to their places, each as :class:`SaveDerivative` does."""

    input_spec = _SaveDerivativesInputSpec
    output_spec = _SaveDerivativesOutputSpec
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        written = []
        for name, source in self.inputs.in_files.items():
            metadata = dict(self.inputs.metadata.get(name, {}))
            if metadata:
                metadata[self.inputs.record_key] = dict(self.inputs.record)
            target = Path(self.inputs.out_paths[name])
            _save(Path(source), target, metadata)
            written.append(str(target))
        self._results["out_files"] = written
        return runtime


class _ClearLeftoversInputSpec(DynamicTraitedSpec, BaseInterfaceInputSpec):
    patterns = traits.List(
        traits.Tuple(traits.Str, traits.Str, traits.Str),
        mandatory=True,
        desc="folder, pattern of names, field of our sidecars",
    )


class _ClearLeftoversOutputSpec(TraitedSpec):
    removed = traits.List(traits.Str, desc="files that an earlier run had left")


class ClearLeftovers(SimpleInterface):
    """Remove what earlier runs left of an image and this run did not make.

    It has an input for each file that is written, so that it runs after all of them.

    Parameters
    ----------
    written : iterable of str
        Names of these inputs: a path, several, or None where there was nothing to write.
    """

    input_spec = _ClearLeftoversInputSpec
    output_spec = _ClearLeftoversOutputSpec
    _always_run = True

    def __init__(self, written: Iterable[str] = (), **inputs: Any) -> None:
        super().__init__(**inputs)
        self._written = tuple(written)
        add_traits(self.inputs, self._written)

    def _run_interface(self, runtime: Any) -> Any:
        current: list[Path] = []
        for name in self._written:
            value = getattr(self.inputs, name)
            values = value if isinstance(value, list) else [value]
            current += [Path(path) for path in values if isdefined(path) and path]
        removed = remove_others(self.inputs.patterns, current)
        for path in removed:
            LOGGER.info("removed %s, left by an earlier run", path.name)
        self._results["removed"] = [str(path) for path in removed]
        return runtime


class _SaveQualityInputSpec(BaseInterfaceInputSpec):
    out_path = traits.Str(mandatory=True, desc="where the QC file goes")
    image = traits.Str(mandatory=True, desc="path of the image below the input dataset")
    suffix = traits.Str(mandatory=True, desc="what kind of image it is")
    action = traits.Str(mandatory=True, desc="what was planned for it")
    sloppy = traits.Bool(False, usedefault=True, desc="made with --sloppy: not a result")
    check = traits.Dict(desc="record of the input check")
    denoise = traits.Dict(desc="record of the denoising")
    bias_correction = traits.Dict(desc="record of the bias field correction")
    slice_gain = traits.Dict(desc="record of the brightness of the slices")
    brain_mask = traits.Dict(desc="record of the brain mask")
    super_resolution = traits.Instance(MethodRecord, desc="what the method did")
    curve = traits.Instance(LearningCurve, desc="learning curve")
    segmentations = traits.List([], usedefault=True, desc="records of the segmentations")
    later = traits.List([], usedefault=True, desc="records of what was made from the result")
    measures = traits.Dict({}, usedefault=True, desc="what was measured on the volumes")


class _SaveQualityOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="the QC file")


class SaveQuality(SimpleInterface):
    """Write the QC file of an image from the records of its steps, with the verdict on it."""

    input_spec = _SaveQualityInputSpec
    output_spec = _SaveQualityOutputSpec
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        quality = QualityRecord.of(
            image=self.inputs.image,
            suffix=self.inputs.suffix,
            action=self.inputs.action,
            sloppy=self.inputs.sloppy,
            steps={name: StepRecord(getattr(self.inputs, name)) for name in STEPS},
            method=self.inputs.super_resolution,
            curve=self.inputs.curve,
            segmentations=tuple(map(StepRecord, self.inputs.segmentations)),
            later=tuple(map(StepRecord, self.inputs.later)),
            measures=StepRecord(self.inputs.measures),
        )
        quality = replace(quality, verdict=verdict_on(quality))
        write_json_atomic(Path(self.inputs.out_path), quality.to_dict())
        self._results["out_file"] = self.inputs.out_path
        return runtime
