"""Nipype skins of the steps before super-resolution: input check, denoising, N4, slice gain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nb
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from bids_sr.imaging import Acquisition, Series, Volume
from bids_sr.interfaces.optional import OptionalInputSpec, OptionalStep

FLAT_FIELD = 1.1


class _RecordOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="processed image")
    record = traits.Dict(desc="what the step did")


class _CheckInputInputSpec(BaseInterfaceInputSpec):
    in_file = File(mandatory=True, desc="acquired image; one that is gone fails the check")
    slice_axis = traits.Range(0, 2, desc="array axis across slices")
    slice_spacing = traits.Either(
        None, traits.Float(), usedefault=True, desc="replaces that of the header, mm"
    )


class CheckInput(SimpleInterface):
    """Read an image to the last byte and write it with one unambiguous header.

    The copy holds 32-bit floats on the acquired grid, with equal qform and sform.  A
    series stays one.
    """

    input_spec = _CheckInputInputSpec
    output_spec = _RecordOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        series = Series.load(self.inputs.in_file)
        if self.inputs.slice_spacing:
            series = series.with_slice_spacing(self.inputs.slice_spacing, self.inputs.slice_axis)
        volume = next(series.frames())
        conformed = series if len(series) > 1 else volume
        self._results["out_file"] = str(conformed.save(Path(runtime.cwd) / "conformed.nii.gz"))
        self._results["record"] = {
            "Shape": list(conformed.data.shape),
            "Spacings": [round(float(spacing), 6) for spacing in volume.spacings],
            "InputRange": [float(conformed.data.min()), float(conformed.data.max())],
            "InputDataType": str(nb.load(self.inputs.in_file).get_data_dtype()),  # type: ignore[attr-defined]
        }
        return runtime


class _EngineInputSpec(OptionalInputSpec):
    in_file = File(exists=True, mandatory=True, desc="image")
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads of the engine")
    random_seed = traits.Int(0, usedefault=True, desc="random seed")


class _OnAcquiredGrid(OptionalStep):
    """Improve an image, or leave it unchanged if that fails."""

    output_spec = _RecordOutputSpec

    def _do_without(self, reason: str) -> dict[str, Any]:
        return {"out_file": self.inputs.in_file, "record": {"Method": "none"}}


class Unchanged(_OnAcquiredGrid):
    """Leave an image unchanged, in place of a step that is switched off."""

    input_spec = _EngineInputSpec
    without = "the image was left unchanged"

    def _run_step(self, runtime: Any) -> None:
        self._results = {"out_file": self.inputs.in_file, "record": {"Method": "none"}}


class Denoise(_OnAcquiredGrid):
    """Denoise an image by non-local means."""

    input_spec = _EngineInputSpec
    without = "the image was not denoised"

    def _run_step(self, runtime: Any) -> None:
        from bids_sr.engines import ants

        denoised, record = ants.denoise(
            Volume.load(self.inputs.in_file),
            threads=self.inputs.num_threads,
            seed=self.inputs.random_seed,
        )
        self._results["out_file"] = str(denoised.save(Path(runtime.cwd) / "denoised.nii.gz"))
        self._results["record"] = record


class _CorrectBiasInputSpec(_EngineInputSpec):
    anat_biascorrect = traits.Enum("n4", "auto", usedefault=True, desc="bias field correction")
    sloppy = traits.Bool(False, usedefault=True, desc="few iterations, for tests only")


class CorrectBias(_OnAcquiredGrid):
    """Remove the bias field by N4.

    ``anat_biascorrect="auto"`` keeps the image where the field that N4 finds is nearly flat:
    its largest value is less than ``FLAT_FIELD`` times its smallest.
    """

    input_spec = _CorrectBiasInputSpec
    without = "the bias field was not corrected"

    def _run_step(self, runtime: Any) -> None:
        from bids_sr.engines import ants

        corrected, (low, high), record = ants.n4(
            Volume.load(self.inputs.in_file),
            threads=self.inputs.num_threads,
            seed=self.inputs.random_seed,
            sloppy=self.inputs.sloppy,
        )
        applied = self.inputs.anat_biascorrect == "n4" or high > FLAT_FIELD * low
        self._results["out_file"] = self.inputs.in_file
        if applied:
            path = Path(runtime.cwd) / "corrected.nii.gz"
            self._results["out_file"] = str(corrected.save(path))
        self._results["record"] = {**record, "Applied": applied}


class _CorrectSliceGainInputSpec(OptionalInputSpec):
    in_file = File(exists=True, mandatory=True, desc="image")
    acquisition = traits.Instance(Acquisition, mandatory=True, desc="how its slices were taken")


class CorrectSliceGain(_OnAcquiredGrid):
    """Bring slices that differ from their neighbours to one brightness."""

    input_spec = _CorrectSliceGainInputSpec
    without = "the brightness of the slices was not corrected"

    def _run_step(self, runtime: Any) -> None:
        from bids_sr.sr.slices.slice_gain import correct_slice_gain

        volume = Volume.load(self.inputs.in_file)
        corrected, gain = correct_slice_gain(volume, self.inputs.acquisition)
        self._results["out_file"] = self.inputs.in_file
        if gain.applied:
            self._results["out_file"] = str(corrected.save(Path(runtime.cwd) / "evened.nii.gz"))
        self._results["record"] = {"Method": "neighbouring slices", **gain.record.to_dict()}
