"""Nipype skin of the measures behind the verdict on an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from nipype.interfaces.base import File, TraitedSpec, traits

from bids_sr.imaging import Acquisition, Series, Volume
from bids_sr.interfaces.optional import OptionalInputSpec, OptionalStep


class _MeasureImageInputSpec(OptionalInputSpec):
    acquired_file = File(exists=True, mandatory=True, desc="image as acquired")
    prepared_file = traits.Either(
        None, File(exists=True), usedefault=True, desc="image as it was super-resolved, or None"
    )
    result_file = File(exists=True, mandatory=True, desc="super-resolved image")
    acquisition = traits.Instance(Acquisition, mandatory=True, desc="by which it was made")
    brain_mask = traits.Either(
        None, File(exists=True), usedefault=True, desc="on the acquired grid, or None"
    )
    result_mask = traits.Either(
        None, File(exists=True), usedefault=True, desc="brain mask on the output grid, or None"
    )
    uncertainty = traits.Either(
        None, File(exists=True), usedefault=True, desc="of the result, or None"
    )


class _MeasureImageOutputSpec(TraitedSpec):
    record = traits.Dict(desc="the measures by name")


class MeasureImage(OptionalStep):
    """Measure on the volumes what the verdict needs; of a series on its first frame."""

    input_spec = _MeasureImageInputSpec
    output_spec = _MeasureImageOutputSpec
    without = "the image was not measured, so the verdict lacks some checks"

    def _run_step(self, runtime: Any) -> None:
        from bids_sr.evaluation.image_measures import MeasuredImage, measures_of

        masks = {
            name: Volume.load(path, dtype=np.uint8)
            for name in ("brain_mask", "result_mask")
            if (path := getattr(self.inputs, name))
        }
        maps = [Series.load(path) for path in [self.inputs.uncertainty] if path]
        image = MeasuredImage(
            acquired=_first_frame(self.inputs.acquired_file),
            prepared=_first_frame(prepared) if (prepared := self.inputs.prepared_file) else None,
            result=_first_frame(self.inputs.result_file),
            acquisition=self.inputs.acquisition,
            uncertainty=next(maps[0].frames()) if maps else None,
            **masks,
        )
        self._results["record"] = measures_of(image)

    def _do_without(self, reason: str) -> dict[str, Any]:
        return {"record": {}}


def _first_frame(path: str) -> Volume:
    return next(Series.load(path).frames())
