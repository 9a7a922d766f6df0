"""Nipype skins of stacks that become one volume: fuse them, join their masks, save, draw."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
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

from bids_sr.bids.output_sidecars import beside_metadata
from bids_sr.files import read_json_or_empty
from bids_sr.files.writing import copy_atomic, write_json_atomic
from bids_sr.imaging import Volume
from bids_sr.imaging.itk_transform import write_itk_transform
from bids_sr.imaging.noise import estimate_noise
from bids_sr.interfaces.optional import OptionalInputSpec, StepOfSeveralImages
from bids_sr.interfaces.super_resolution import log_progress
from bids_sr.records.fusion_checks import verdict_on_fused
from bids_sr.records.fusion_record import FusedStack, FusionRecord
from bids_sr.records.method_record import Output
from bids_sr.records.step_record import StepRecord
from bids_sr.records.uncertainty import UncertaintyRecord

if TYPE_CHECKING:
    from bids_sr.sr import FusedReconstruction, Stack

PARTS = ("slices", "sr", "acquisition", "uncertainty")
"""What is needed of each stack; its inputs are called after these and its number."""
NO_RESULT = "it has no result of its own"


class StacksInputSpec(DynamicTraitedSpec, OptionalInputSpec):
    """Inputs of every step of several stacks."""

    images = traits.List(traits.Str, mandatory=True, desc="paths of the acquired images")


class _FuseStacksInputSpec(StacksInputSpec):
    random_seed = traits.Int(0, usedefault=True, desc="of the points of the registration")


class _FuseStacksOutputSpec(TraitedSpec):
    out_file = traits.Either(None, File(exists=True), desc="fused volume, or None")
    out_uncertainty = traits.Either(None, File(exists=True), desc="to expect, or None")
    out_transforms = traits.Dict(desc="ITK transform by the path of the image")
    record = traits.Dict(desc="what became of the stacks")


class OfStacks(StepOfSeveralImages):
    """Take an input of each kind for each stack.

    Parameters
    ----------
    count : int
        Number of stacks.
    kinds : iterable of str
        Names of their inputs, to which the number of the stack is added.
    """

    def __init__(self, count: int, kinds: Iterable[str], **inputs: Any) -> None:
        super().__init__(**inputs)
        self.kinds = tuple(kinds)
        add_traits(self.inputs, [f"{kind}_{place}" for place in range(count) for kind in kinds])

    def parts_of(self, place: int) -> dict[str, Any] | None:
        """Return the inputs of a stack; None where it failed."""
        values = {kind: getattr(self.inputs, f"{kind}_{place}") for kind in self.kinds}
        return values if all(map(isdefined, values.values())) else None


class FuseStacks(OfStacks):
    """Fuse the stacks that have a result; fewer than two, or none that fit, give no volume."""

    input_spec = _FuseStacksInputSpec
    output_spec = _FuseStacksOutputSpec
    without = "the stacks were not fused"

    def __init__(self, count: int = 0, **inputs: Any) -> None:
        super().__init__(count, PARTS, **inputs)

    def _run_step(self, runtime: Any) -> None:
        images = list(self.inputs.images)
        given = {
            image: parts
            for place, image in enumerate(images)
            if (parts := self.parts_of(place)) is not None
        }
        lacking = [FusedStack(image=image, reason=NO_RESULT) for image in images]
        lacking = [stack for stack in lacking if stack.image not in given]
        self._results |= self._nothing()
        if len(given) < 2:
            reason = f"{len(given)} of {len(images)} stacks have a result; two are needed"
            others = [FusedStack(image=image, reason=reason) for image in given]
            record = FusionRecord(status="skipped", reason=reason, stacks=(*others, *lacking))
            self._results["record"] = record.to_dict()
            return
        from bids_sr.sr import fuse_stacks

        stacks = [_stack(**parts) for parts in given.values()]
        fused = fuse_stacks(stacks, seed=self.inputs.random_seed, progress=log_progress())
        record = _record(fused, list(given), lacking)
        if record.status == "done":
            self._save(fused, record, list(given), Path(runtime.cwd))
        self._results["record"] = record.to_dict()

    def _save(
        self, fused: FusedReconstruction, record: FusionRecord, images: list[str], cwd: Path
    ) -> None:
        self._results["out_file"] = str(fused.volume.save(cwd / "fused.nii.gz"))
        if fused.uncertainty is not None:
            path = fused.uncertainty.save(cwd / "uncertainty.nii.gz")
            self._results["out_uncertainty"] = str(path)
        self._results["out_transforms"] = {
            image: str(write_itk_transform(stack.from_frame, cwd / f"stack_{place}_xfm.txt"))
            for place, (image, stack) in enumerate(zip(images, fused.stacks, strict=True))
            if image in record.used
        }

    def _do_without(self, reason: str) -> dict[str, Any]:
        stacks = tuple(FusedStack(image=image) for image in self.inputs.images)
        record = FusionRecord(status="failed", reason=reason, stacks=stacks)
        return {**self._nothing(), "record": record.to_dict()}

    def _nothing(self) -> dict[str, Any]:
        names = ("out_file", "out_uncertainty")
        return {**dict.fromkeys(names), "out_transforms": {}}


def _stack(slices: str, sr: str, acquisition: Any, uncertainty: str | None) -> Stack:
    from bids_sr.sr import Stack

    volume = Volume.load(slices)
    acquisition = acquisition.for_volume(volume)
    return Stack(
        slices=volume,
        acquisition=acquisition,
        reconstruction=Volume.load(sr),
        noise=estimate_noise(volume, acquisition.slice_axis),
        uncertainty=Volume.load(uncertainty) if uncertainty else None,
    )


def _record(
    fused: FusedReconstruction, images: list[str], lacking: list[FusedStack]
) -> FusionRecord:
    """Tell what became of the stacks, with their names for their numbers."""
    stacks = []
    for image, stack, facts in zip(images, fused.stacks, fused.record["Stacks"], strict=True):
        shift, rotation = motion(stack.to_frame, stack.slices)
        known = {**facts, "Image": image, "ShiftMm": shift, "RotationDegrees": rotation}
        stacks.append(FusedStack.from_dict(known))
    used = sum(stack.used for stack in stacks)
    reason = "" if used > 1 else "no other stack fits to the finest one"

    def name(match: re.Match[str]) -> str:
        return stacks[int(match[1]) - 1].stem

    return FusionRecord(
        status="done" if used > 1 else "skipped",
        reason=reason,
        frame=images[fused.frame],
        stacks=(*stacks, *lacking),
        warnings=tuple(re.sub(r"^stack (\d+)", name, text) for text in fused.warnings),
        output=_output(fused.volume) if used > 1 else None,
    )


def _output(volume: Volume) -> Output:
    return Output(
        shape=tuple(volume.shape),
        spacings=tuple(round(float(value), 6) for value in volume.spacings),
        intensities=(float(volume.data.min()), float(volume.data.max())),
        residual_percent=None,
    )


def motion(to_frame: Any, slices: Volume) -> tuple[float, float]:
    """Return by how much a transform moves the centre of a stack, mm, and turns it, degrees."""
    index = (np.array(slices.shape) - 1) / 2
    centre = slices.affine @ [*index, 1]
    shift = float(np.linalg.norm((to_frame @ centre - centre)[:3]))
    cosine = np.clip((np.trace(to_frame[:3, :3]) - 1) / 2, -1, 1)
    return round(shift, 3), round(float(np.degrees(np.arccos(cosine))), 3)


class _FuseMasksInputSpec(StacksInputSpec):
    fusion = traits.Dict(mandatory=True, desc="what became of the stacks")
    reference_file = traits.Either(
        None, File(exists=True), mandatory=True, desc="fused volume, or None"
    )


class _FuseMasksOutputSpec(TraitedSpec):
    out_mask = traits.Either(None, File(exists=True), desc="mask on its grid, or None")
    record = traits.Dict(desc="its volume, or why there is none")


class FuseMasks(OfStacks):
    """Join the brain masks of the stacks that were fused."""

    input_spec = _FuseMasksInputSpec
    output_spec = _FuseMasksOutputSpec
    without = "no brain mask of the fused volume"

    def __init__(self, count: int = 0, **inputs: Any) -> None:
        super().__init__(count, ("mask",), **inputs)

    def _run_step(self, runtime: Any) -> None:
        self._results |= {"out_mask": None, "record": {}}
        record = FusionRecord.from_dict(self.inputs.fusion)
        files = {}
        for place, image in enumerate(self.inputs.images):
            parts = self.parts_of(place)
            if parts and parts["mask"]:
                files[image] = parts["mask"]
        used = [stack for stack in record.stacks if stack.used and stack.image in files]
        if not (self.inputs.reference_file and used):
            return
        from bids_sr.sr.together.masks import joined_masks

        mask = joined_masks(
            [Volume.load(files[stack.image], dtype=np.uint8) for stack in used],
            [np.array(stack.to_frame) for stack in used],
            Volume.load(self.inputs.reference_file).grid,
        )
        self._results["out_mask"] = str(mask.save(Path(runtime.cwd) / "brain_mask.nii.gz"))
        voxel = float(np.prod(mask.spacings)) / 1000
        volume = round(float(np.count_nonzero(mask.data)) * voxel, 1)
        self._results["record"] = {"VolumeMl": volume}

    def _do_without(self, reason: str) -> dict[str, Any]:
        return {"out_mask": None}


class _SaveFusedInputSpec(BaseInterfaceInputSpec):
    in_file = traits.Either(None, File(exists=True), mandatory=True, desc="fused volume, or None")
    in_uncertainty = traits.Either(None, File(exists=True), mandatory=True, desc="or None")
    in_mask = traits.Either(None, File(exists=True), mandatory=True, desc="brain mask, or None")
    in_transforms = traits.Dict(mandatory=True, desc="ITK transform by the path of the image")
    fusion = traits.Dict(mandatory=True, desc="what became of the stacks")
    record_key = traits.Str(mandatory=True, desc="field of the sidecar that says it")
    output_dir = traits.Str(mandatory=True, desc="root of the output dataset")
    suffix = traits.Str(mandatory=True, desc="what kind of image it is")
    name = traits.Str(mandatory=True, desc="name of the fused volume, without its resolution")
    products = traits.Dict(mandatory=True, desc="where it goes, by the image that is the frame")
    metadata = traits.Dict(mandatory=True, desc="its sidecar, by the image that is the frame")
    sources = traits.Dict(mandatory=True, desc="URIs that each stack brings")
    transforms = traits.Dict(mandatory=True, desc="where each transform goes")
    out_mask = traits.Str(mandatory=True, desc="where the mask goes")
    out_uncertainty = traits.Str(mandatory=True, desc="where the uncertainty goes")
    out_quality = traits.Str(mandatory=True, desc="where the QC file goes")


class _SaveFusedOutputSpec(TraitedSpec):
    out_quality = File(exists=True, desc="the QC file")


class SaveFused(SimpleInterface):
    """Write a fused volume and what comes with it, and always the QC file of the group.

    Waits for nothing that may fail beside the volume: see :class:`CompleteFusedQuality`.
    """

    input_spec = _SaveFusedInputSpec
    output_spec = _SaveFusedOutputSpec
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        record = {**self.inputs.fusion, "Product": self.inputs.name}
        if self.inputs.in_file:
            self._save(record)
        quality = Path(self.inputs.out_quality)
        write_json_atomic(quality, record)
        self._results["out_quality"] = str(quality)
        return runtime

    def _save(self, record: dict[str, Any]) -> None:
        used = FusionRecord.from_dict(record).used
        product = Path(self.inputs.products[record["Frame"]])
        sources = [uri for image in used for uri in self.inputs.sources[image]]
        metadata = {**self.inputs.metadata[record["Frame"]], "Sources": sources}
        metadata[self.inputs.record_key] = record
        _save(self.inputs.in_file, product, metadata)
        root, suffix = Path(self.inputs.output_dir), self.inputs.suffix
        words = f"Standard deviation to expect of the fused {suffix} volume; in its unit"
        meaning = UncertaintyRecord(reason="the disagreement of stacks is not calibrated")
        beside = beside_metadata(root, product, words) | meaning.to_dict()
        _save(self.inputs.in_uncertainty, Path(self.inputs.out_uncertainty), beside)
        beside = beside_metadata(root, product, f"Brain mask of the fused {suffix} volume")
        _save(self.inputs.in_mask, Path(self.inputs.out_mask), {**beside, "Type": "Brain"})
        for image, path in self.inputs.in_transforms.items():
            copy_atomic(Path(path), Path(self.inputs.transforms[image]))


class _CompleteFusedQualityInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc="the QC file")
    later = traits.List([], usedefault=True, desc="records of what was made beside, or not")
    segmentations = traits.List([], usedefault=True, desc="records of the segmentations")


class CompleteFusedQuality(SimpleInterface):
    """Add to the QC file of a fused volume what was made of it, and the verdict."""

    input_spec = _CompleteFusedQualityInputSpec
    output_spec = _SaveFusedOutputSpec
    _always_run = True

    def _run_interface(self, runtime: Any) -> Any:
        path = Path(self.inputs.in_file)
        record = FusionRecord.from_dict(read_json_or_empty(path))
        tools = tuple(StepRecord(facts) for facts in self.inputs.segmentations)
        later = [StepRecord(facts) for facts in self.inputs.later]
        said = [step.warning for step in (*tools, *later) if step.warning]
        warnings = tuple(dict.fromkeys([*record.warnings, *said]))
        volumes = [step.volume_ml for step in later if step.volume_ml is not None]
        complete = replace(
            record,
            segmentations=tools,
            warnings=warnings,
            brain_mask_ml=volumes[0] if volumes else record.brain_mask_ml,
        )
        complete = replace(complete, verdict=verdict_on_fused(complete))
        write_json_atomic(path, complete.to_dict())
        self._results["out_quality"] = str(path)
        return runtime


def _save(source: str | None, target: Path, metadata: dict[str, Any]) -> None:
    sidecar = target.with_name(f"{target.name.split('.')[0]}.json")
    if source:
        copy_atomic(Path(source), target)
        write_json_atomic(sidecar, metadata)
        return
    for path in (target, sidecar):  # of an earlier run
        path.unlink(missing_ok=True)
