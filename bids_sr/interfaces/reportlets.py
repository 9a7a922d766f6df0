"""Nipype skins of the figures in the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import File, TraitedSpec, isdefined, traits

from bids_sr.imaging import Acquisition, RobustScaler, Series, Volume, resample
from bids_sr.interfaces.optional import OptionalInputSpec, OptionalStep
from bids_sr.records.learning_curve import LearningCurve
from bids_sr.records.method_record import MethodRecord
from bids_sr.records.slice_gain_record import SliceGainRecord


class FigureOutputSpec(TraitedSpec):
    """Outputs of every figure."""

    out_file = traits.Either(None, File(exists=True), desc="the figure, or None")
    record = traits.Dict(desc="why there is none, if so")


class _Figure(OptionalStep):
    """Draw one figure in the work folder."""

    output_spec = FigureOutputSpec

    def _run_step(self, runtime: Any) -> None:
        out_file = Path(runtime.cwd) / "figure.svg"
        drawn = self._draw(out_file)
        self._results.update(out_file=str(out_file) if drawn else None, record={})

    def _do_without(self, reason: str) -> dict[str, Any]:
        return {"out_file": None}

    def _draw(self, out_file: Path) -> bool:
        raise NotImplementedError


class _MaskFigureInputSpec(OptionalInputSpec):
    in_file = File(exists=True, mandatory=True, desc="image")
    in_mask = traits.Either(None, File(exists=True), mandatory=True, desc="its mask, or None")


class MaskFigure(_Figure):
    """Draw the outline of the brain mask on the acquired image."""

    input_spec = _MaskFigureInputSpec
    without = "no figure of the brain mask"

    def _draw(self, out_file: Path) -> bool:
        from bids_sr.reports import figures

        if not self.inputs.in_mask:
            return False
        figures.plot_mask(
            Volume.load(self.inputs.in_file),
            Volume.load(self.inputs.in_mask, dtype="uint8"),
            out_file,
        )
        return True


class _BeforeAfterFigureInputSpec(OptionalInputSpec):
    acquired_file = File(exists=True, mandatory=True, desc="image as it was acquired")
    before_file = File(exists=True, mandatory=True, desc="image before super-resolution")
    after_file = File(exists=True, mandatory=True, desc="super-resolved image")
    record = traits.Instance(MethodRecord, mandatory=True, desc="what the super-resolution did")


class BeforeAfterFigure(_Figure):
    """Draw the acquired voxels, their interpolation by B-splines, and the result.

    The interpolation is left out where the result is one itself, or keeps the acquired grid.  Of a
    series its first frame.
    """

    input_spec = _BeforeAfterFigureInputSpec
    without = "no figure of the acquired and the super-resolved image"

    def _draw(self, out_file: Path) -> bool:
        from bids_sr.reports.acquired_figure import plot_acquired_and_result

        after, record = _first_frame(self.inputs.after_file), self.inputs.record
        others = [("Super-resolved", after)]
        if record.passed_through:
            others = [("Result", after)]
        elif record.interpolated:
            others = [("Interpolated", after)]
        else:
            before = resample(_first_frame(self.inputs.before_file), after.grid)
            others.insert(0, ("Interpolated", before))
        plot_acquired_and_result(_first_frame(self.inputs.acquired_file), others, out_file)
        return True


class _GuideFigureInputSpec(OptionalInputSpec):
    unguided_file = File(exists=True, mandatory=True, desc="result without the guide")
    sr_file = File(exists=True, mandatory=True, desc="result with the guide")
    aligned_guide = traits.Either(
        None, File(exists=True), mandatory=True, desc="the guide on its grid, or None"
    )
    record = traits.Instance(MethodRecord, mandatory=True, desc="what the guide did")


class GuideFigure(_Figure):
    """Draw the result without and with the guide, to flip between; nothing if it is not used."""

    input_spec = _GuideFigureInputSpec
    without = "no figure of the result without and with the guide"

    def _draw(self, out_file: Path) -> bool:
        from bids_sr.reports import figures

        guide = self.inputs.record.guide
        if guide is None or not guide.used:
            return False
        before, after = map(Volume.load, (self.inputs.unguided_file, self.inputs.sr_file))
        labels = ("Without the guide", "With the guide")
        figures.plot_before_after(before, after, out_file, labels=labels)
        return True


class AlignedGuideFigure(_Figure):
    """Draw the guide, registered, and the result without it; nothing without a registration."""

    input_spec = _GuideFigureInputSpec
    without = "no figure of the registered guide"

    def _draw(self, out_file: Path) -> bool:
        from bids_sr.reports import figures

        if not self.inputs.aligned_guide:
            return False
        guide, image = map(Volume.load, (self.inputs.aligned_guide, self.inputs.unguided_file))
        own, other = RobustScaler.fit(image.data), RobustScaler.fit(guide.data)
        shown = guide.with_data(own.inverse(other.apply(guide.data)))  # in the grey scale of both
        labels = ("Guide, registered", "Result without the guide")
        figures.plot_before_after(shown, image, out_file, labels=labels)
        return True


class _SliceGainFigureInputSpec(OptionalInputSpec):
    gain_record = traits.Dict(mandatory=True, desc="what was done to the brightness of the slices")


class SliceGainFigure(_Figure):
    """Draw the factor of each slice; nothing where no slice was changed."""

    input_spec = _SliceGainFigureInputSpec
    without = "no figure of the brightness of the slices"

    def _draw(self, out_file: Path) -> bool:
        from bids_sr.reports.slice_gain_figure import plot_slice_gain

        record = SliceGainRecord.from_value(self.inputs.gain_record)
        if not record.applied:
            return False
        plot_slice_gain(record, out_file)
        return True


class _SliceProfileFigureInputSpec(OptionalInputSpec):
    acquisition = traits.Instance(Acquisition, mandatory=True, desc="by which it was made")
    record = traits.Instance(MethodRecord, mandatory=True, desc="what the super-resolution did")


class SliceProfileFigure(_Figure):
    """Draw the slice profile that was used, and what the image shows of it."""

    input_spec = _SliceProfileFigureInputSpec
    without = "no figure of the slice profile"

    def _draw(self, out_file: Path) -> bool:
        from bids_sr.reports import figures

        acquisition, record = self.inputs.acquisition, self.inputs.record
        figures.plot_slice_profile(
            acquisition.slice_profile, acquisition, out_file, record.profile_estimate
        )
        return True


class _SlicesFigureInputSpec(OptionalInputSpec):
    record = traits.Instance(MethodRecord, mandatory=True, desc="what the super-resolution did")


class SlicesFigure(_Figure):
    """Draw how much each slice differs from its prediction; nothing where none is at fault."""

    input_spec = _SlicesFigureInputSpec
    without = "no figure of the slices"

    def _draw(self, out_file: Path) -> bool:
        from bids_sr.reports.slice_figure import plot_slices

        record = self.inputs.record.slice_record
        if not record.faults:
            return False
        plot_slices(record, out_file)
        return True


class _LearningCurveFigureInputSpec(OptionalInputSpec):
    curve = traits.Instance(LearningCurve, mandatory=True, desc="learning curve")


class LearningCurveFigure(_Figure):
    """Draw the learning curve; nothing where nothing was learned."""

    input_spec = _LearningCurveFigureInputSpec
    without = "no figure of the learning curve"

    def _draw(self, out_file: Path) -> bool:
        from bids_sr.reports import figures

        if not self.inputs.curve.points:
            return False
        figures.plot_learning_curve(self.inputs.curve, out_file)
        return True


class _UncertaintyFigureInputSpec(OptionalInputSpec):
    in_file = File(exists=True, mandatory=True, desc="super-resolved image")
    in_uncertainty = traits.Either(
        None, File(exists=True), mandatory=True, desc="its uncertainty, or None"
    )
    in_mask = traits.Either(
        None, File(exists=True), desc="brain mask of the acquired image, or None"
    )
    record = traits.Instance(MethodRecord, desc="what the method says of the uncertainty")


class UncertaintyFigure(_Figure):
    """Draw the uncertainty next to the result; nothing where the method states none."""

    input_spec = _UncertaintyFigureInputSpec
    without = "no figure of the uncertainty"

    def _draw(self, out_file: Path) -> bool:
        from bids_sr.reports.uncertainty_figure import plot_uncertainty

        if not self.inputs.in_uncertainty:
            return False
        record, mask = self.inputs.record, self.inputs.in_mask
        meaning = record.uncertainty if isdefined(record) else None
        plot_uncertainty(
            Volume.load(self.inputs.in_file),
            Volume.load(self.inputs.in_uncertainty),
            out_file,
            calibrated=meaning is not None and meaning.calibrated,
            mask=Volume.load(mask, dtype=np.uint8) if isdefined(mask) and mask else None,
        )
        return True


class _SegmentationFigureInputSpec(OptionalInputSpec):
    in_file = traits.Either(None, File(exists=True), mandatory=True, desc="image, or None")
    in_labels = traits.Either(
        None, File(exists=True), mandatory=True, desc="its label map, or None"
    )
    colours = traits.List(mandatory=True, desc="index, name and colour of each label")


class SegmentationFigure(_Figure):
    """Draw the labels in colours on the image; nothing where there are none."""

    input_spec = _SegmentationFigureInputSpec
    without = "no figure of the segmentation"

    def _draw(self, out_file: Path) -> bool:
        from bids_sr.reports.segmentation_figure import plot_segmentation

        if not self.inputs.in_labels:
            return False
        plot_segmentation(
            Volume.load(self.inputs.in_file),
            Volume.load(self.inputs.in_labels, dtype="int32"),
            {index: (name, colour) for index, name, colour in self.inputs.colours},
            out_file,
        )
        return True


def _first_frame(path: str) -> Volume:
    return next(Series.load(path).frames())
