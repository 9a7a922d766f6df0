"""Nipype skins of the steps before super-resolution: input check, denoising, N4."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nb
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from bids_sr.imaging import Series, Volume
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
        volume = next(series.frames())
        if self.inputs.slice_spacing:
            volume = volume.with_slice_spacing(self.inputs.slice_spacing, self.inputs.slice_axis)
        conformed: Volume | Series = volume
        if len(series) > 1:
            conformed = replace(series, affine=volume.affine)
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
    """Improve an image, or hand it on unchanged: for the method ``none``, or where that fails."""

    output_spec = _RecordOutputSpec
    option: ClassVar[str]
    """Input that names the method."""

    def _run_step(self, runtime: Any) -> None:
        if getattr(self.inputs, self.option) == "none":
            self._results = {"out_file": self.inputs.in_file, "record": {"Method": "none"}}
        else:
            self._improve(Path(runtime.cwd))

    def _improve(self, cwd: Path) -> None:
        raise NotImplementedError

    def _do_without(self, record: dict[str, Any]) -> dict[str, Any]:
        record["Method"] = "none"
        return {"out_file": self.inputs.in_file}


class _DenoiseInputSpec(_EngineInputSpec):
    denoise_method = traits.Enum("nlm", "none", usedefault=True, desc="denoising method")


class Denoise(_OnAcquiredGrid):
    """Denoise an image, or hand it on unchanged."""

    input_spec = _DenoiseInputSpec
    option = "denoise_method"
    without = "the image was not denoised"

    def _improve(self, cwd: Path) -> None:
        from bids_sr.engines import ants

        denoised, record = ants.denoise(
            Volume.load(self.inputs.in_file),
            threads=self.inputs.num_threads,
            seed=self.inputs.random_seed,
        )
        self._results["out_file"] = str(denoised.save(cwd / "denoised.nii.gz"))
        self._results["record"] = record


class _CorrectBiasInputSpec(_EngineInputSpec):
    anat_biascorrect = traits.Enum(
        "n4", "auto", "none", usedefault=True, desc="bias field correction method"
    )
    sloppy = traits.Bool(False, usedefault=True, desc="few iterations, for tests only")


class CorrectBias(_OnAcquiredGrid):
    """Remove the bias field by N4, or hand the image on unchanged.

    ``anat_biascorrect="auto"`` keeps the image where the field that N4 finds is nearly flat:
    its largest value is less than ``FLAT_FIELD`` times its smallest.
    """

    input_spec = _CorrectBiasInputSpec
    option = "anat_biascorrect"
    without = "the bias field was not corrected"

    def _improve(self, cwd: Path) -> None:
        from bids_sr.engines import ants

        corrected, record = ants.n4(
            Volume.load(self.inputs.in_file),
            threads=self.inputs.num_threads,
            seed=self.inputs.random_seed,
            sloppy=self.inputs.sloppy,
        )
        low, high = record["FieldRange"]
        applied = self.inputs.anat_biascorrect == "n4" or high > FLAT_FIELD * low
        self._results["out_file"] = self.inputs.in_file
        if applied:
            self._results["out_file"] = str(corrected.save(cwd / "corrected.nii.gz"))
        self._results["record"] = {**record, "Applied": applied}
