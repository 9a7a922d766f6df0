"""Nipype skin of :func:`bids_sr.sr.reconstruct`."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from bids_sr.imaging import Acquisition, Volume, output_grid

LOGGER = logging.getLogger(__name__)
PROGRESS_SECONDS = 15.0


class _SuperResolveInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc="preprocessed image")
    acquisition = traits.Dict(
        mandatory=True, desc="fields of Acquisition: spacing, thickness, profile, slice_axis"
    )
    method = traits.Str(mandatory=True, desc="name of a registered method")
    parameters = traits.Dict({}, usedefault=True, desc="hyper-parameters of the method")
    spacing = traits.Either(
        None,
        traits.Float(),
        traits.Enum("native"),
        usedefault=True,
        desc="target spacing, mm; None: the default",
    )
    grid = traits.Enum("fov", "slice", usedefault=True, desc="how the output grid is laid")
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads of torch")
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc="takes a GPU slot")


class _SuperResolveOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="super-resolved image")
    out_profile = File(exists=True, desc="slice profile that was used, TSV")
    record = traits.Dict(desc="what the method did")
    curve = traits.List(desc="learning curve, a dictionary a point")


class SuperResolve(SimpleInterface):
    """Reconstruct an image on the output grid, and measure its data consistency.

    ``method="none"`` keeps the image and its grid as they are.
    """

    input_spec = _SuperResolveInputSpec
    output_spec = _SuperResolveOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from bids_sr import sr

        start = time.monotonic()
        volume = Volume.load(self.inputs.in_file)
        acquisition = Acquisition(**self.inputs.acquisition).for_volume(volume)
        grid = volume.grid
        method = self.inputs.method
        if method != "none":
            grid = output_grid(
                volume,
                slice_axis=acquisition.slice_axis,
                spacing=self.inputs.spacing,
                mode=self.inputs.grid,
            )
        result = sr.reconstruct(
            volume,
            acquisition,
            method=method,
            grid=grid,
            parameters=self._parameters(field.name for field in fields(sr.METHODS[method])),
            progress=_log_progress(),
        )
        residual = sr.data_consistency_residual(result.volume, volume, acquisition)
        cwd = Path(runtime.cwd)
        self._results["out_file"] = str(result.volume.save(cwd / "sr.nii.gz"))
        self._results["out_profile"] = str(acquisition.slice_profile.save(cwd / "profile.tsv"))
        self._results["curve"] = [dict(vars(point)) for point in result.curve]
        record = dict(result.record)
        if reason := record.get("FallbackReason"):
            record["Warning"] = f"interpolated instead of super-resolved: {reason}"
        self._results["record"] = {
            **record,
            "DataConsistencyResidualPercent": round(float(residual), 4),
            "OutputRange": [float(result.volume.data.min()), float(result.volume.data.max())],
            "OutputShape": list(result.volume.shape),
            "OutputSpacings": [round(float(value), 6) for value in result.volume.spacings],
            "Seconds": round(time.monotonic() - start, 1),
        }
        return runtime

    def _parameters(self, known: Iterable[str]) -> dict[str, Any]:
        threads = {"threads": self.inputs.num_threads} if "threads" in known else {}
        return {**self.inputs.parameters, **threads}


def _log_progress() -> Any:
    last = time.monotonic()

    def progress(step: int, total: int, message: str) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            LOGGER.info("%d of %d: %s", step, total, message)

    return progress
